/* store/archive_s3.h - a backup in the bucket of the S3 tier: objects PREFIX NAME/000000,
 * NAME/000001 … of DJ_ARCHIVE_S3_PART_BYTES each but the last; a backup without its last block is
 * refused by its reader, so nothing says beside it that it is whole.
 *
 * Blocking: not on a loop. What the service refuses is told with its words. Threads: one at a time.
 */
#ifndef DJ_STORE_ARCHIVE_S3_H
#define DJ_STORE_ARCHIVE_S3_H

#include <stdatomic.h>

#include "loop/loop.h"
#include "store/archive.h"
#include "store/store.h"

#define DJ_ARCHIVE_S3_PART_BYTES (8u << 20)
#define DJ_ARCHIVE_S3_PARTS_MAX 1000000u

struct dj_archive_s3 {
    struct dj_store *store; /* of dj_s3_open; outlives what is opened here, as does the loop */
    struct dj_loop *loop;   /* it runs */
    const char *prefix;     /* "backups/"; NULL: none */
    const char *name;       /* letters, digits, . _ - */
    const _Atomic bool *is_cancelled;
};

/* DEJA_ERR_BUSY: there is one of that name. Without finish its objects are removed again. */
enum deja_status dj_archive_s3_create(const struct dj_archive_s3 *options,
                                      struct dj_archive_out *out_out,
                                      struct deja_error *error) DEJA_NODISCARD;
/* DEJA_ERR_NOT_FOUND: there is none. */
enum deja_status dj_archive_s3_open(const struct dj_archive_s3 *options,
                                    struct dj_archive_in *out_in,
                                    struct deja_error *error) DEJA_NODISCARD;

#endif
