/* store/data_dir.h - the data directory. Blocking; start-up only. */
#ifndef DJ_STORE_DATA_DIR_H
#define DJ_STORE_DATA_DIR_H

#include <deja/base.h>

/* As mkdir -p, the last part 0700; there already is fine. DEJA_ERR_IO, DEJA_ERR_NOMEM. */
enum deja_status dj_data_dir_make(const char *path, struct deja_error *error) DEJA_NODISCARD;

#endif
