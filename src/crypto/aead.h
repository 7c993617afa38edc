/* crypto/aead.h - AES-256-GCM, and memory for keys that no core dump or swap shows.
 *
 * Threads: any; a ready dj_aead is immutable. A key and a nonce together seal once: the callers
 * derive a key of its own for each thing they seal (security/keyring), so no nonce is ever counted.
 */
#ifndef DJ_CRYPTO_AEAD_H
#define DJ_CRYPTO_AEAD_H

#include <deja/base.h>

#define DJ_AEAD_KEY_BYTES 32u
#define DJ_AEAD_NONCE_BYTES 12u
#define DJ_AEAD_TAG_BYTES 16u
#define DJ_AEAD_PARTS_MAX 8u

struct dj_aead; /* the cipher, looked up once: looking it up costs more than sealing 1 KB */

enum deja_status dj_aead_create(struct dj_aead **out_aead) DEJA_NODISCARD;
void dj_aead_destroy(struct dj_aead *aead); /* accepts NULL */

/* What is sealed and how; bound: authenticated with it, one slice after another, not hidden. */
struct dj_aead_call {
    const uint8_t *key;   /* DJ_AEAD_KEY_BYTES */
    const uint8_t *nonce; /* DJ_AEAD_NONCE_BYTES */
    const struct deja_slice *bound;
    size_t bound_count; /* <= DJ_AEAD_PARTS_MAX */
};

/* out: plain.len + DJ_AEAD_TAG_BYTES, not overlapping plain. DEJA_ERR_NOMEM, DEJA_ERR_LIMIT (1 GiB
 * or more). */
enum deja_status dj_aead_seal(const struct dj_aead *aead, const struct dj_aead_call *call,
                              struct deja_slice plain, char *out) DEJA_NODISCARD;
/* out: sealed.len - DJ_AEAD_TAG_BYTES. DEJA_ERR_CORRUPT: not what was sealed, with this key and
 * these bound bytes; out is wiped then. DEJA_ERR_NOMEM, DEJA_ERR_LIMIT. */
enum deja_status dj_aead_open(const struct dj_aead *aead, const struct dj_aead_call *call,
                              struct deja_slice sealed, char *out) DEJA_NODISCARD;

/* ---- memory for keys ---- */

/* `count` slots of `size` bytes, zeroed, page by page of their own: kept out of core dumps, not
 * there for a forked child, and not swapped where the process may lock memory. Threads: any. */
struct dj_key_memory;
enum deja_status dj_key_memory_create(size_t size, size_t count,
                                      struct dj_key_memory **out_memory) DEJA_NODISCARD;
void dj_key_memory_destroy(struct dj_key_memory *memory);          /* wiped; accepts NULL */
void *dj_key_memory_take(struct dj_key_memory *memory);            /* NULL: all are taken */
void dj_key_memory_give(struct dj_key_memory *memory, void *slot); /* wiped; accepts NULL */
bool dj_key_memory_is_locked(const struct dj_key_memory *memory);  /* never swapped */

#endif
