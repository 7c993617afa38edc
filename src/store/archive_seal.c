/* store/archive_seal.c - a block's key is HKDF(backup's key, "deja backup" 00 index): each seals
 * one thing, so the nonce is zero. Bound: the backup's id and the block's head.
 */
#include "store/archive_internal.h"

enum deja_status dj_archive_seal_init(struct dj_archive_seal *seal, const uint8_t id[DJ_ID_BYTES],
                                      const uint8_t *key)
{
    enum deja_status status = dj_aead_create(&seal->aead);
    if (status != DEJA_OK)
        return status;
    memcpy(seal->id, id, sizeof seal->id);
    dj_hkdf_extract(key, &seal->ready);
    return DEJA_OK;
}

void dj_archive_seal_fini(struct dj_archive_seal *seal)
{
    dj_aead_destroy(seal->aead);
    dj_wipe(seal, sizeof *seal);
}

static void block_key(const struct dj_archive_seal *seal, const struct dj_archive_block *block,
                      uint8_t out_key[DJ_AEAD_KEY_BYTES])
{
    char info[] = "deja backup\0....";
    for (size_t i = 0; i < 4; i++)
        info[sizeof info - 5 + i] = (char)(block->index >> (8 * i) & 0xff);
    dj_hkdf_expand(&seal->ready, deja_slice(info, sizeof info - 1), out_key);
}

typedef enum deja_status cipher_fn(const struct dj_aead *aead, const struct dj_aead_call *call,
                                   struct deja_slice in, char *out);

static enum deja_status run(const struct dj_archive_seal *seal,
                            const struct dj_archive_block *block, cipher_fn *cipher,
                            struct deja_slice in, size_t out_len, struct dj_buf *out)
{
    static const uint8_t nonce[DJ_AEAD_NONCE_BYTES];
    uint8_t key[DJ_AEAD_KEY_BYTES];
    char head[DJ_ARCHIVE_HEAD_BOUND_BYTES];
    char *room = dj_buf_reserve(out, out_len);
    if (!room)
        return out->status;
    dj_archive_block_bound(block, head);
    block_key(seal, block, key);
    const struct deja_slice bound[] = {deja_slice(seal->id, sizeof seal->id),
                                       deja_slice(head, sizeof head)};
    const struct dj_aead_call call = {.key = key, .nonce = nonce, .bound = bound, .bound_count = 2};
    enum deja_status status = cipher(seal->aead, &call, in, room);
    dj_wipe(key, sizeof key);
    if (status == DEJA_OK)
        out->len += out_len;
    return status;
}

enum deja_status dj_archive_seal_block(const struct dj_archive_seal *seal,
                                       const struct dj_archive_block *block,
                                       struct deja_slice plain, struct dj_buf *out)
{
    return run(seal, block, dj_aead_seal, plain, plain.len + DJ_AEAD_TAG_BYTES, out);
}

enum deja_status dj_archive_open_block(const struct dj_archive_seal *seal,
                                       const struct dj_archive_block *block,
                                       struct deja_slice sealed, struct dj_buf *out)
{
    if (sealed.len < DJ_AEAD_TAG_BYTES)
        return DEJA_ERR_CORRUPT;
    return run(seal, block, dj_aead_open, sealed, sealed.len - DJ_AEAD_TAG_BYTES, out);
}
