/* tools/file.h - the whole of a file that a person named. */
#ifndef DJ_TOOLS_FILE_H
#define DJ_TOOLS_FILE_H

#include <deja/base.h>

#include "base/buf.h"

/* Appends; out->bytes_max bounds it. error names the file: DEJA_ERR_NOT_FOUND (cannot be opened),
 * DEJA_ERR_IO, DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_tool_read_file(const char *path, struct dj_buf *out,
                                   struct deja_error *error) DEJA_NODISCARD;

#endif
