/* security/keys_internal.h - what the files of the table of keys share: keys.c holds and checks,
 * and keys_change.c makes, rotates and revokes.
 */
#ifndef DJ_SECURITY_KEYS_INTERNAL_H
#define DJ_SECURITY_KEYS_INTERNAL_H

#include "security/keys.h"

#include <pthread.h>
#include <stdatomic.h>

#define DJ_KEY_SECRET_BYTES 32u
#define DJ_KEY_PREFIX "deja_"
#define DJ_KEY_PREFIX_LEN (sizeof DJ_KEY_PREFIX - 1)

struct dj_key_member {
    struct dj_key_record record;
    uint64_t round; /* of the reload, or of a change since, that told of it last */
    _Atomic int64_t used_ms;
};

struct dj_keys {
    pthread_rwlock_t lock;   /* members and certificates */
    pthread_mutex_t writing; /* one change at a time; taken before lock */
    struct dj_map *members;  /* by id; owned */
    struct dj_map *certificates;
    const struct dj_authority *authority;
    struct dj_hmac_key pepper;
    struct dj_lockout *lockout;
    size_t keys_max;
    uint64_t round; /* reloads so far */
    _Atomic int64_t pulled_ms;
    uint8_t hash_key[16];
};

static inline struct deja_slice dj_key_id(const struct dj_key *key)
{
    return deja_slice(key->id, DJ_KEY_ID_BYTES);
}

/* Under the write lock. The record is the one of its id from now on, unless what is there is newer.
 */
enum deja_status dj_keys_place(struct dj_keys *keys,
                               const struct dj_key_record *record) DEJA_NODISCARD;
void dj_keys_drop(struct dj_keys *keys, struct deja_slice id);

/* What is kept of a secret. */
void dj_keys_digest(const struct dj_keys *keys, struct deja_slice id,
                    const uint8_t secret[DJ_KEY_SECRET_BYTES], uint8_t out_digest[DJ_SHA256_BYTES]);
/* What such a secret of the key is worth: the one of now, or the one before. */
enum dj_key_verdict dj_key_judge(const struct dj_key *key, bool is_right, bool is_before,
                                 int64_t now_ms);

#endif
