/* security/data_key.c - see data_key.h. */
#include "security/data_key.h"

#include <assert.h>

#include "base/hash.h"
#include "base/little.h"
#include "base/num.h"

#define HEAD_BYTES 32u
#define SALT_BYTES 32u
#define CHECKSUM_BYTES 8u
#define WRAPPED_BYTES (SALT_BYTES + DJ_AEAD_KEY_BYTES + DJ_AEAD_TAG_BYTES)

enum { STATE_ALIVE = 1, STATE_DESTROYED = 2 };

static const char magic[4] = {'D', 'J', 'K', '1'};

static_assert(HEAD_BYTES + WRAPPED_BYTES + CHECKSUM_BYTES == DJ_DATA_KEY_BYTES, "the picture");
static_assert(HEAD_BYTES + CHECKSUM_BYTES == DJ_DATA_KEY_DESTROYED_BYTES, "the picture");

static uint64_t number_at(struct deja_slice bytes, size_t offset, unsigned len)
{
    return dj_little_get(bytes.data + offset, len);
}

uint64_t dj_master_key_name(const struct dj_hmac_key *master)
{
    uint8_t digest[DJ_SHA256_BYTES];
    dj_hkdf_expand(master, deja_slice_text("deja master key name"), digest);
    return number_at(deja_slice(digest, sizeof digest), 0, 8);
}

void dj_data_key_name(const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id,
                      char out_name[DJ_DATA_KEY_NAME_BYTES])
{
    char hex[2 * DJ_TENANT_BYTES + 1];
    const uint8_t big[4] = {(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
                            (uint8_t)id};
    char id_hex[2 * sizeof big + 1];
    dj_hex_encode(tenant, DJ_TENANT_BYTES, hex);
    dj_hex_encode(big, sizeof big, id_hex);
    memcpy(out_name, hex, 2 * DJ_TENANT_BYTES);
    out_name[2 * DJ_TENANT_BYTES] = '.';
    memcpy(out_name + 2 * DJ_TENANT_BYTES + 1, id_hex, 2 * sizeof big);
}

bool dj_data_key_name_read(struct deja_slice name, uint8_t out_tenant[DJ_TENANT_BYTES],
                           uint32_t *out_id)
{
    uint8_t big[4];
    uint8_t tenant[DJ_TENANT_BYTES];
    if (name.len != DJ_DATA_KEY_NAME_BYTES || name.data[2 * DJ_TENANT_BYTES] != '.' ||
        dj_hex_decode(deja_slice(name.data, 2 * DJ_TENANT_BYTES), tenant, sizeof tenant) !=
            DEJA_OK ||
        dj_hex_decode(deja_slice(name.data + 2 * DJ_TENANT_BYTES + 1, 2 * sizeof big), big,
                      sizeof big) != DEJA_OK)
        return false;
    memcpy(out_tenant, tenant, sizeof tenant);
    *out_id = (uint32_t)big[0] << 24 | (uint32_t)big[1] << 16 | (uint32_t)big[2] << 8 | big[3];
    return true;
}

static void put_head(uint8_t *out, int state, uint32_t id, int64_t created_ms, uint64_t name)
{
    memset(out, 0, HEAD_BYTES);
    memcpy(out, magic, sizeof magic);
    out[4] = (uint8_t)state;
    dj_little_put(out + 8, id, 4);
    dj_little_put(out + 16, (uint64_t)created_ms, 8);
    dj_little_put(out + 24, name, 8);
}

static void put_checksum(uint8_t *out, size_t len)
{
    dj_little_put(out + len - CHECKSUM_BYTES, dj_hash64(out, len - CHECKSUM_BYTES, 0),
                  CHECKSUM_BYTES);
}

/* The key under which this one is wrapped: of its own, so the nonce may be constant. */
static void derive(const struct dj_hmac_key *master, const char *salt,
                   uint8_t out_key[DJ_SHA256_BYTES])
{
    static const char label[] = "deja data key wrap";
    char info[sizeof label + SALT_BYTES];
    memcpy(info, label, sizeof label);
    memcpy(info + sizeof label, salt, SALT_BYTES);
    dj_hkdf_expand(master, deja_slice(info, sizeof info), out_key);
}

static const uint8_t nonce[DJ_AEAD_NONCE_BYTES] = {0};

enum deja_status dj_data_key_wrap(const struct dj_aead *aead, const struct dj_hmac_key *master,
                                  const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id,
                                  int64_t created_ms, const uint8_t key[DJ_AEAD_KEY_BYTES],
                                  uint8_t out_bytes[DJ_DATA_KEY_BYTES])
{
    uint8_t bytes[DJ_DATA_KEY_BYTES];
    uint8_t own[DJ_SHA256_BYTES];
    put_head(bytes, STATE_ALIVE, id, created_ms, dj_master_key_name(master));
    dj_random_bytes(bytes + HEAD_BYTES, SALT_BYTES);
    derive(master, (const char *)bytes + HEAD_BYTES, own);
    const struct deja_slice bound[] = {deja_slice(bytes, HEAD_BYTES),
                                       deja_slice(tenant, DJ_TENANT_BYTES)};
    const struct dj_aead_call call = {own, nonce, bound, 2};
    enum deja_status status = dj_aead_seal(aead, &call, deja_slice(key, DJ_AEAD_KEY_BYTES),
                                           (char *)bytes + HEAD_BYTES + SALT_BYTES);
    dj_wipe(own, sizeof own);
    if (status != DEJA_OK)
        return status;
    put_checksum(bytes, sizeof bytes);
    memcpy(out_bytes, bytes, sizeof bytes);
    return DEJA_OK;
}

enum deja_status dj_data_key_unwrap(const struct dj_aead *aead, const struct dj_hmac_key *master,
                                    const uint8_t tenant[DJ_TENANT_BYTES],
                                    const struct dj_data_key_document *document,
                                    uint8_t out_key[DJ_AEAD_KEY_BYTES])
{
    uint8_t head[HEAD_BYTES];
    uint8_t own[DJ_SHA256_BYTES];
    char key[DJ_AEAD_KEY_BYTES];
    if (document->master_name != dj_master_key_name(master))
        return DEJA_ERR_DENIED;
    if (document->wrapped.len != WRAPPED_BYTES)
        return DEJA_ERR_CORRUPT;
    put_head(head, STATE_ALIVE, document->id, document->created_ms, document->master_name);
    derive(master, document->wrapped.data, own);
    const struct deja_slice bound[] = {deja_slice(head, sizeof head),
                                       deja_slice(tenant, DJ_TENANT_BYTES)};
    const struct dj_aead_call call = {own, nonce, bound, 2};
    enum deja_status status = dj_aead_open(
        aead, &call,
        deja_slice(document->wrapped.data + SALT_BYTES, DJ_AEAD_KEY_BYTES + DJ_AEAD_TAG_BYTES),
        key);
    if (status == DEJA_OK)
        memcpy(out_key, key, sizeof key);
    dj_wipe(key, sizeof key);
    dj_wipe(own, sizeof own);
    return status;
}

void dj_data_key_destroyed(uint32_t id, int64_t created_ms,
                           uint8_t out_bytes[DJ_DATA_KEY_DESTROYED_BYTES])
{
    put_head(out_bytes, STATE_DESTROYED, id, created_ms, 0);
    put_checksum(out_bytes, DJ_DATA_KEY_DESTROYED_BYTES);
}

enum deja_status dj_data_key_read(struct deja_slice bytes,
                                  struct dj_data_key_document *out_document)
{
    if (bytes.len < DJ_DATA_KEY_DESTROYED_BYTES || memcmp(bytes.data, magic, sizeof magic) != 0)
        return DEJA_ERR_CORRUPT;
    int state = bytes.data[4];
    size_t len = state == STATE_ALIVE ? DJ_DATA_KEY_BYTES : DJ_DATA_KEY_DESTROYED_BYTES;
    if ((state != STATE_ALIVE && state != STATE_DESTROYED) || bytes.len != len ||
        number_at(bytes, 5, 3) || number_at(bytes, 12, 4) ||
        number_at(bytes, len - CHECKSUM_BYTES, 8) != dj_hash64(bytes.data, len - CHECKSUM_BYTES, 0))
        return DEJA_ERR_CORRUPT;
    struct dj_data_key_document document = {.id = (uint32_t)number_at(bytes, 8, 4),
                                            .is_destroyed = state == STATE_DESTROYED,
                                            .created_ms = (int64_t)number_at(bytes, 16, 8),
                                            .master_name = number_at(bytes, 24, 8)};
    if (!document.is_destroyed)
        document.wrapped = deja_slice(bytes.data + HEAD_BYTES, WRAPPED_BYTES);
    *out_document = document;
    return DEJA_OK;
}
