/* tools/file.h - files read and written whole. Blocking. */
#ifndef DJ_TOOLS_FILE_H
#define DJ_TOOLS_FILE_H

#include <deja/base.h>

#include "base/buf.h"

/* Appends; out->bytes_max bounds it. error names the file: DEJA_ERR_NOT_FOUND (cannot be opened),
 * DEJA_ERR_IO, DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_tool_read_file(const char *path, struct dj_buf *out,
                                   struct deja_error *error) DEJA_NODISCARD;

/* Becomes what the file holds, or leaves it as it was: PATH.part is written to the disk, then takes
 * its place; 0600. error names the file: DEJA_ERR_IO, DEJA_ERR_NOMEM. */
enum deja_status dj_tool_replace_file(const char *path, struct deja_slice bytes,
                                      struct deja_error *error) DEJA_NODISCARD;

#endif
