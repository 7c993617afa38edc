/* cache/plain_version.h - the last two versions of a plain key.
 *
 *   put of version v7    KEY = the new value, then KEY:@previous = what was there
 *   get of version v6    KEY, if it is that version; else KEY:@previous, if it is
 *
 * A value says which version it is in its metadata: {"version": "v7"}. The two are two keys: who
 * reads between the two writes finds the new value and, for a moment, the version before the last
 * in the place of the last one; never a value under another's name, since each carries its own.
 * What lies beside the key is served only if it was put there after the value that is under the key
 * now: after a delete, or a put without a version, it is not.
 *
 * Threads, tenants and trust: as cache/plain.h. Time: none.
 */
#ifndef DJ_CACHE_PLAIN_VERSION_H
#define DJ_CACHE_PLAIN_VERSION_H

#include <deja/base.h>

#include "base/buf.h"
#include "cache/plain.h"

#define DJ_PLAIN_VERSION_BYTES_MAX 128u

/* 1 to DJ_PLAIN_VERSION_BYTES_MAX bytes of text without control characters. */
bool dj_plain_version_is_name(struct deja_slice version);
/* That version said in metadata (empty, or a JSON object), written to the end of out. A failure is
 * also the buf's. DEJA_ERR_INVALID: metadata is something else; DEJA_ERR_NOMEM. */
enum deja_status dj_plain_version_write(struct deja_slice metadata, struct deja_slice version,
                                        struct dj_buf *out) DEJA_NODISCARD;
bool dj_plain_version_is(const struct dj_entry *entry, struct deja_slice version);

/* value, level: as dj_plain_got_fn. has_other: a miss, but the key is there in another version. */
typedef void dj_plain_version_got_fn(void *ctx, struct dj_value *value, const char *level,
                                     bool has_other);
/* As dj_plain_get, of that version. version is copied. */
enum deja_status dj_plain_version_get(struct dj_plain *plain, struct dj_loop *loop,
                                      const struct dj_plain_space *space, struct deja_slice key,
                                      struct deja_slice version, uint32_t skip, void *ctx,
                                      dj_plain_version_got_fn *got) DEJA_NODISCARD;

/* After a value of that version was put in the place of before: puts before beside the key; where
 * that was of the same version, what lies there stays and is put once more. done runs once, later,
 * on loop, also when it could not be kept (a version that is not kept is a miss). before is
 * referenced. DEJA_ERR_NOMEM; DEJA_ERR_LIMIT: the name would be too long. */
enum deja_status dj_plain_version_keep(struct dj_plain *plain, struct dj_loop *loop,
                                       const struct dj_plain_space *space, struct deja_slice key,
                                       struct deja_slice version, struct dj_value *before,
                                       uint32_t skip, void *ctx,
                                       void (*done)(void *ctx)) DEJA_NODISCARD;

#endif
