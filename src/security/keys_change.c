/* security/keys_change.c - keys made, rotated, revoked, removed; see keys.h and the invariants of
 * keys.c.
 */
#include "base/alloc.h"
#include "base/map.h"
#include "base/num.h"
#include "proto/json.h"
#include "security/keys_internal.h"

#define DOCUMENT_BYTES_MAX 4096u

/* Under `writing`: durable, then seen. */
static enum deja_status keep(struct dj_keys *keys, struct dj_key_record *record, bool is_new)
{
    const struct dj_authority *authority = keys->authority;
    struct dj_buf document;
    record->revision++;
    dj_buf_init(&document, DOCUMENT_BYTES_MAX);
    dj_key_document_write(record, &document);
    enum deja_status status = document.status;
    if (status == DEJA_OK && authority)
        status = authority->put(authority->ctx, DJ_KEYS_TABLE, dj_key_id(&record->key),
                                dj_buf_slice(&document), is_new);
    dj_buf_fini(&document);
    if (status != DEJA_OK)
        return status;
    pthread_rwlock_wrlock(&keys->lock);
    status = dj_keys_place(keys, record);
    pthread_rwlock_unlock(&keys->lock);
    return status;
}

/* A new secret for the record, and the text to show. */
static void draw(const struct dj_keys *keys, struct dj_key_record *record,
                 char out_text[DJ_KEY_TEXT_BYTES])
{
    uint8_t secret[DJ_KEY_SECRET_BYTES];
    dj_random_bytes(secret, sizeof secret);
    dj_keys_digest(keys, dj_key_id(&record->key), secret, record->digest);
    memcpy(out_text, DJ_KEY_PREFIX, DJ_KEY_PREFIX_LEN);
    memcpy(out_text + DJ_KEY_PREFIX_LEN, record->key.id, DJ_KEY_ID_BYTES);
    out_text[DJ_KEY_PREFIX_LEN + DJ_KEY_ID_BYTES] = '_';
    dj_hex_encode(secret, sizeof secret, out_text + DJ_KEY_PREFIX_LEN + DJ_KEY_ID_BYTES + 1);
    dj_wipe(secret, sizeof secret);
}

/* Room for it, and nobody else has its certificate. */
static enum deja_status admit(struct dj_keys *keys, const struct dj_key *wish)
{
    struct deja_slice certificate = deja_slice_text(wish->certificate);
    enum deja_status status = DEJA_OK;
    pthread_rwlock_rdlock(&keys->lock);
    if (dj_map_count(keys->members) >= keys->keys_max)
        status = DEJA_ERR_LIMIT;
    else if (certificate.len && dj_map_find(keys->certificates, certificate))
        status = DEJA_ERR_BUSY;
    pthread_rwlock_unlock(&keys->lock);
    return status;
}

enum deja_status dj_keys_make(struct dj_keys *keys, const struct dj_key *wish, int64_t now_ms,
                              char out_text[DJ_KEY_TEXT_BYTES], struct dj_key *out_key)
{
    struct dj_key_record record = {.key = *wish};
    uint8_t id[DJ_KEY_ID_BYTES / 2];
    char text[DJ_KEY_TEXT_BYTES];
    dj_random_bytes(id, sizeof id);
    dj_hex_encode(id, sizeof id, record.key.id);
    record.key.created_ms = now_ms;
    record.key.revoked_ms = 0;
    record.key.rotated_ms = 0;
    record.key.overlap_until_ms = 0;
    record.key.used_ms = 0;
    pthread_mutex_lock(&keys->writing);
    draw(keys, &record, text);
    enum deja_status status = admit(keys, wish);
    if (status == DEJA_OK)
        status = keep(keys, &record, true);
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK) {
        memcpy(out_text, text, sizeof text);
        *out_key = record.key;
    }
    dj_wipe(text, sizeof text);
    dj_wipe(&record, sizeof record);
    return status;
}

struct reading {
    struct dj_key_record *record;
    enum deja_status status;
};

static void on_document(void *ctx, struct deja_slice value)
{
    struct reading *reading = ctx;
    reading->status = dj_key_document_read(value, reading->record);
}

/* Under `writing`: as it is now, wherever it was changed last. */
static enum deja_status read_again(struct dj_keys *keys, struct deja_slice id,
                                   struct dj_key_record *out_record)
{
    const struct dj_authority *authority = keys->authority;
    struct reading reading = {.record = out_record, .status = DEJA_ERR_NOT_FOUND};
    if (id.len != DJ_KEY_ID_BYTES)
        return DEJA_ERR_NOT_FOUND;
    if (authority) {
        enum deja_status status =
            authority->get(authority->ctx, DJ_KEYS_TABLE, id, &reading, on_document);
        return status == DEJA_OK ? reading.status : status;
    }
    pthread_rwlock_rdlock(&keys->lock);
    const struct dj_key_member *member = dj_map_find(keys->members, id);
    if (member)
        *out_record = member->record;
    pthread_rwlock_unlock(&keys->lock);
    return member ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

enum deja_status dj_keys_rotate(struct dj_keys *keys, struct deja_slice id, uint64_t overlap_ms,
                                int64_t now_ms, char out_text[DJ_KEY_TEXT_BYTES],
                                struct dj_key *out_key)
{
    struct dj_key_record record = {.key = {.id = ""}};
    char text[DJ_KEY_TEXT_BYTES];
    pthread_mutex_lock(&keys->writing);
    enum deja_status status = read_again(keys, id, &record);
    if (status == DEJA_OK && dj_key_judge(&record.key, true, false, now_ms) != DJ_KEY_GOOD)
        status = DEJA_ERR_DENIED;
    if (status == DEJA_OK) {
        memcpy(record.digest_before, record.digest, sizeof record.digest);
        record.key.rotated_ms = now_ms;
        record.key.overlap_until_ms = now_ms + (int64_t)overlap_ms;
        draw(keys, &record, text);
        status = keep(keys, &record, false);
    }
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK) {
        memcpy(out_text, text, sizeof text);
        *out_key = record.key;
    }
    dj_wipe(text, sizeof text);
    dj_wipe(&record, sizeof record);
    return status;
}

enum deja_status dj_keys_revoke(struct dj_keys *keys, struct deja_slice id, int64_t now_ms,
                                struct dj_key *out_key)
{
    struct dj_key_record record = {.key = {.id = ""}};
    pthread_mutex_lock(&keys->writing);
    enum deja_status status = read_again(keys, id, &record);
    if (status == DEJA_OK && !record.key.revoked_ms) {
        record.key.revoked_ms = now_ms;
        status = keep(keys, &record, false);
    }
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK)
        *out_key = record.key;
    dj_wipe(&record, sizeof record);
    return status;
}

static enum deja_status remove_one(struct dj_keys *keys, struct deja_slice id)
{
    const struct dj_authority *authority = keys->authority;
    enum deja_status status =
        authority ? authority->remove(authority->ctx, DJ_KEYS_TABLE, id) : DEJA_OK;
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    pthread_rwlock_wrlock(&keys->lock);
    dj_keys_drop(keys, id);
    pthread_rwlock_unlock(&keys->lock);
    return DEJA_OK;
}

enum deja_status dj_keys_remove_tenant(struct dj_keys *keys, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct dj_key *found = NULL;
    size_t count = 0;
    pthread_mutex_lock(&keys->writing);
    enum deja_status status =
        dj_keys_list(keys, tenant, deja_slice(NULL, 0), SIZE_MAX, &found, &count);
    for (size_t i = 0; i < count && status == DEJA_OK; i++)
        status = remove_one(keys, dj_key_id(&found[i]));
    pthread_mutex_unlock(&keys->writing);
    dj_free(found);
    return status;
}
