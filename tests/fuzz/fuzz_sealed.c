/* No bytes that a store hands back break what opens them: with a sealed body or vector of
 * strangers' making nothing opens, and every length is checked. */
#include "fuzz.h"

#include "base/buf.h"
#include "security/data_key.h"
#include "store/sealed_form.h"

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    (void)ctx, (void)table, (void)key, (void)found_ctx, (void)found;
    return DEJA_ERR_NOT_FOUND;
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    (void)ctx, (void)table, (void)key, (void)value, (void)is_new;
    return DEJA_OK;
}

static int64_t now_ms(void)
{
    return 1;
}

static void check_entry(struct dj_keyring *keyring, struct deja_slice bytes)
{
    struct dj_buf scratch = {0};
    struct dj_value *value = NULL;
    struct dj_entry entry = {.key_id = 1, .version = 256, .kind = DJ_ENTRY_CHAT, .body = bytes};
    struct dj_store_vector vector = {.scope = entry.scope, .sealed = bytes};
    FUZZ_CHECK(dj_unseal_entry(keyring, NULL, &entry, &value) != DEJA_OK);
    FUZZ_CHECK(dj_unseal_vector(keyring, &vector, &scratch, &vector) != DEJA_OK);
    if (dj_keyring_id_of(bytes))
        FUZZ_CHECK(bytes.len >= DJ_SEALED_BYTES);
    dj_buf_fini(&scratch);
}

static void check_document(struct deja_slice bytes)
{
    struct dj_data_key_document document;
    uint8_t tenant[DJ_TENANT_BYTES];
    uint32_t id;
    if (dj_data_key_read(bytes, &document) == DEJA_OK && !document.is_destroyed)
        FUZZ_CHECK(document.wrapped.data > bytes.data &&
                   document.wrapped.data + document.wrapped.len <= bytes.data + bytes.len);
    if (dj_data_key_name_read(bytes, tenant, &id))
        FUZZ_CHECK(bytes.len == DJ_DATA_KEY_NAME_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t master[32] = "a master key of thirty-two bytes";
    const struct dj_authority authority = {.name = "none", .get = get, .put = put};
    const struct dj_keyring_options options = {
        .master = master, .authority = &authority, .now_ms = now_ms, .tenants_max = 1};
    struct dj_keyring *keyring = NULL;
    struct deja_slice bytes = deja_slice(data, len);
    if (dj_keyring_create(&options, &keyring) != DEJA_OK)
        return 0;
    check_entry(keyring, bytes);
    check_document(bytes);
    dj_keyring_destroy(keyring);
    return 0;
}
