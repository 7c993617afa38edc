/* security/vault_seal.c - see vault_seal.h. */
#include "security/vault_seal.h"

#include "base/alloc.h"
#include "crypto/aead.h"

#define VERSION '\x01'
#define SALT_BYTES 32u

static const char label[] = "deja vault 1";

struct dj_vault_seal {
    struct dj_aead *aead;
    struct dj_hmac_key root;
};

enum deja_status dj_vault_seal_create(const uint8_t secret[DJ_SHA256_BYTES],
                                      struct dj_vault_seal **out_seal)
{
    struct dj_vault_seal *seal = dj_alloc_zeroed(1, sizeof *seal);
    if (!seal)
        return DEJA_ERR_NOMEM;
    enum deja_status status = dj_aead_create(&seal->aead);
    if (status != DEJA_OK) {
        dj_free(seal);
        return status;
    }
    dj_hkdf_extract(secret, &seal->root);
    *out_seal = seal;
    return DEJA_OK;
}

void dj_vault_seal_destroy(struct dj_vault_seal *seal)
{
    if (!seal)
        return;
    dj_aead_destroy(seal->aead);
    dj_hmac_key_fini(&seal->root);
    dj_free(seal);
}

static void key_of(const struct dj_vault_seal *seal, const char *salt, struct dj_secret *out_key)
{
    char info[sizeof label + SALT_BYTES];
    memcpy(info, label, sizeof label);
    memcpy(info + sizeof label, salt, SALT_BYTES);
    dj_hkdf_expand(&seal->root, deja_slice(info, sizeof info), out_key->bytes);
}

/* parts: room for two. */
static struct dj_aead_call call_of(const struct dj_secret *key, struct deja_slice parts[2],
                                   const uint8_t tenant[DJ_TENANT_BYTES], struct deja_slice bound)
{
    static const uint8_t nonce[DJ_AEAD_NONCE_BYTES] = {0};
    parts[0] = deja_slice(tenant, DJ_TENANT_BYTES);
    parts[1] = bound;
    return (struct dj_aead_call){
        .key = key->bytes, .nonce = nonce, .bound = parts, .bound_count = 2};
}

static enum deja_status seal_document(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES],
                                      struct deja_slice bound, struct deja_slice plain,
                                      struct dj_buf *out)
{
    const struct dj_vault_seal *seal = ctx;
    struct deja_slice parts[2];
    struct dj_secret key;
    char *room = dj_buf_reserve(out, 1 + SALT_BYTES + plain.len + DJ_AEAD_TAG_BYTES);
    if (!room)
        return out->status;
    room[0] = VERSION;
    dj_random_bytes(room + 1, SALT_BYTES);
    key_of(seal, room + 1, &key);
    const struct dj_aead_call call = call_of(&key, parts, tenant, bound);
    enum deja_status status = dj_aead_seal(seal->aead, &call, plain, room + 1 + SALT_BYTES);
    dj_secret_fini(&key);
    if (status == DEJA_OK)
        out->len += 1 + SALT_BYTES + plain.len + DJ_AEAD_TAG_BYTES;
    return status;
}

static enum deja_status open_document(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES],
                                      struct deja_slice bound, struct deja_slice sealed,
                                      struct dj_buf *out)
{
    const struct dj_vault_seal *seal = ctx;
    struct deja_slice parts[2];
    struct dj_secret key;
    if (sealed.len < 1 + SALT_BYTES + DJ_AEAD_TAG_BYTES || sealed.data[0] != VERSION)
        return DEJA_ERR_CORRUPT;
    size_t len = sealed.len - 1 - SALT_BYTES - DJ_AEAD_TAG_BYTES;
    char *room = dj_buf_reserve(out, len + 1); /* never no room at all */
    if (!room)
        return out->status;
    key_of(seal, sealed.data + 1, &key);
    const struct dj_aead_call call = call_of(&key, parts, tenant, bound);
    enum deja_status status =
        dj_aead_open(seal->aead, &call,
                     deja_slice(sealed.data + 1 + SALT_BYTES, sealed.len - 1 - SALT_BYTES), room);
    dj_secret_fini(&key);
    if (status == DEJA_OK)
        out->len += len;
    return status;
}

struct dj_vault_sealer dj_vault_seal_table(struct dj_vault_seal *seal)
{
    return (struct dj_vault_sealer){.ctx = seal, .seal = seal_document, .open = open_document};
}
