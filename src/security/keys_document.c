/* security/keys_document.c - a key as it is stored: one JSON object. Trust: our own documents; what
 * is missing has its default, so that later versions may add members. */
#include "base/num.h"
#include "proto/json.h"
#include "security/keys.h"
#include "security/roles.h"

static void put_hex(struct dj_json_writer *w, const char *name,
                    const uint8_t bytes[DJ_SHA256_BYTES])
{
    char text[2 * DJ_SHA256_BYTES + 1];
    dj_hex_encode(bytes, DJ_SHA256_BYTES, text);
    dj_json_member_text(w, name, text);
}

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    if (ms)
        dj_json_member_u64(w, name, (uint64_t)ms);
}

void dj_key_document_write(const struct dj_key_record *record, struct dj_buf *out)
{
    const struct dj_key *key = &record->key;
    struct dj_json_writer w = dj_json_writer(out);
    char tenant[DJ_TENANT_TEXT_BYTES];
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "version", 1);
    dj_json_member_u64(&w, "revision", record->revision);
    dj_json_member_text(&w, "id", key->id);
    dj_json_member_text(&w, "name", key->name);
    if (key->has_tenant) {
        dj_tenant_text(key->tenant, tenant);
        dj_json_member_text(&w, "tenant", tenant);
    }
    dj_json_key(&w, "roles");
    dj_json_begin_array(&w);
    for (unsigned role = 1; role <= DJ_ROLES_ALL; role <<= 1)
        if (key->roles & role)
            dj_json_put_text(&w, dj_role_text(role));
    dj_json_end_array(&w);
    put_hex(&w, "digest", record->digest);
    if (key->overlap_until_ms)
        put_hex(&w, "digest_before", record->digest_before);
    put_time(&w, "overlap_until_ms", key->overlap_until_ms);
    put_time(&w, "created_ms", key->created_ms);
    put_time(&w, "expires_ms", key->expires_ms);
    put_time(&w, "revoked_ms", key->revoked_ms);
    put_time(&w, "rotated_ms", key->rotated_ms);
    if (key->requests_per_s > 0) {
        dj_json_member_double(&w, "requests_per_s", key->requests_per_s);
        dj_json_member_u64(&w, "burst", key->burst);
    }
    if (key->certificate[0])
        dj_json_member_text(&w, "certificate", key->certificate);
    dj_json_end_object(&w);
}

/* False: there, and longer than the room. */
static bool take_text(const struct dj_json *root, const char *name, char *out, size_t room)
{
    struct deja_slice text = dj_json_string(dj_json_get(root, name));
    if (text.len >= room)
        return false;
    if (text.len)
        memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

static int64_t take_time(const struct dj_json *root, const char *name)
{
    int64_t ms = dj_json_i64(dj_json_get(root, name), 0);
    return ms > 0 ? ms : 0;
}

static bool take_digest(const struct dj_json *root, const char *name,
                        uint8_t out_digest[DJ_SHA256_BYTES])
{
    return dj_hex_decode(dj_json_string(dj_json_get(root, name)), out_digest, DJ_SHA256_BYTES) ==
           DEJA_OK;
}

static bool read_record(const struct dj_json *root, struct dj_key_record *record)
{
    struct dj_key *key = &record->key;
    const struct dj_json *tenant = dj_json_get(root, "tenant");
    double burst = dj_json_double(dj_json_get(root, "burst"), 0);
    for (struct dj_json_walk w = dj_json_walk(dj_json_get(root, "roles")); dj_json_walk_next(&w);)
        key->roles |= dj_role_of(dj_json_string(w.value));
    int64_t revision = dj_json_i64(dj_json_get(root, "revision"), 0);
    record->revision = revision > 0 ? (uint64_t)revision : 0;
    key->has_tenant = tenant != NULL;
    key->requests_per_s = dj_json_double(dj_json_get(root, "requests_per_s"), 0);
    key->burst = burst > 0 && burst <= UINT32_MAX ? (uint32_t)burst : 0;
    key->created_ms = take_time(root, "created_ms");
    key->expires_ms = take_time(root, "expires_ms");
    key->revoked_ms = take_time(root, "revoked_ms");
    key->rotated_ms = take_time(root, "rotated_ms");
    key->overlap_until_ms = take_time(root, "overlap_until_ms");
    return take_text(root, "id", key->id, sizeof key->id) && strlen(key->id) == DJ_KEY_ID_BYTES &&
           take_text(root, "name", key->name, sizeof key->name) &&
           take_text(root, "certificate", key->certificate, sizeof key->certificate) &&
           (!tenant || dj_tenant_parse(dj_json_string(tenant), key->tenant) == DEJA_OK) &&
           take_digest(root, "digest", record->digest) &&
           (!key->overlap_until_ms || take_digest(root, "digest_before", record->digest_before));
}

enum deja_status dj_key_document_read(struct deja_slice bytes, struct dj_key_record *out_record)
{
    struct dj_json_doc *doc = NULL;
    struct dj_key_record record = {.key = {.id = ""}};
    enum deja_status status = dj_json_parse(bytes, &doc, NULL);
    if (status == DEJA_OK && !read_record(dj_json_root(doc), &record))
        status = DEJA_ERR_CORRUPT;
    dj_json_doc_destroy(doc);
    if (status == DEJA_OK)
        *out_record = record;
    return status == DEJA_OK || status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
}
