/* store/data_dir.c - see directory.h. */
#include "store/data_dir.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/alloc.h"

enum deja_status dj_data_dir_make(const char *path, struct deja_error *error)
{
    char *copy = dj_strdup(deja_slice_text(path));
    if (!copy)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST)
            break; /* the last mkdir says it better */
        *at = '/';
    }
    int code = mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : errno;
    dj_free(copy);
    return code ? deja_error_set(error, DEJA_ERR_IO, "cannot make the data directory %s: %s", path,
                                 strerror(code))
                : DEJA_OK;
}
