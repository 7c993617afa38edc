/* store/sealed_form.c - see sealed_form.h.
 *
 * A record is bound to id, version outside and 'e', a vector to id, version outside and 'v': moved
 * to another entry, kept beside a newer one or taken for the other kind, they do not open. (The
 * tenant, and the key's id, the keyring binds itself.)
 *
 *   a sealed vector:  version outside 8 | sealed: floats' count 4, embedder bytes 4, floats,
 * embedder
 */
#include "store/sealed_form.h"

#include <math.h>

#include "base/little.h"
#include "store/key_internal.h"

#define VERSION_BITS 55u /* what fits beside the eight bits, and in SQL's signed 64 */
#define VERSION_MAX ((UINT64_C(1) << VERSION_BITS) - 1)
#define RECORD_PAYLOAD_BYTES_MAX ((size_t)64 << 20)
#define VECTOR_VERSION_BYTES 8u
#define VECTOR_HEAD_BYTES 8u
#define DIM_MAX 16384u
#define EMBEDDER_BYTES_MAX 4096u

enum { TYPE_ENTRY = 'e', TYPE_VECTOR = 'v' };

uint64_t dj_sealed_version(uint64_t version)
{
    return (version < VERSION_MAX ? version : VERSION_MAX) << 8;
}

uint64_t dj_sealed_version_max(uint64_t version)
{
    return version == UINT64_MAX ? UINT64_MAX : dj_sealed_version(version) | DJ_SEALED_ANEW_MAX;
}

bool dj_sealed_is_open(const struct dj_entry *entry)
{
    return !entry->key_id && entry->version <= VERSION_MAX;
}

struct bound {
    char bytes[DJ_ID_BYTES + 8 + 1];
};

static struct bound bind(const uint8_t id[DJ_ID_BYTES], uint64_t version, char type)
{
    struct bound bound;
    memcpy(bound.bytes, id, DJ_ID_BYTES);
    dj_little_put(bound.bytes + DJ_ID_BYTES, version, 8);
    bound.bytes[DJ_ID_BYTES + 8] = type;
    return bound;
}

/* ---- sealing ---- */

static enum deja_status seal_vector(const struct dj_seal *seal, uint64_t version,
                                    struct dj_buf *out)
{
    const struct dj_entry *entry = seal->entry;
    struct bound bound = bind(entry->id, version, TYPE_VECTOR);
    struct dj_buf plain = {0};
    char head[VECTOR_HEAD_BYTES];
    dj_little_put(head, seal->dim, 4);
    dj_little_put(head + 4, entry->embedder_id.len, 4);
    dj_buf_append(&plain, head, sizeof head);
    dj_buf_append(&plain, seal->vector, seal->dim * sizeof *seal->vector);
    dj_buf_append_slice(&plain, entry->embedder_id);
    dj_little_put(head, version, VECTOR_VERSION_BYTES);
    dj_buf_append(out, head, VECTOR_VERSION_BYTES);
    enum deja_status status = plain.status != DEJA_OK ? plain.status : out->status;
    if (status == DEJA_OK)
        status =
            dj_keyring_seal(seal->keyring, entry->tenant,
                            deja_slice(bound.bytes, sizeof bound.bytes), dj_buf_slice(&plain), out);
    dj_buf_fini(&plain);
    return status;
}

static enum deja_status seal_record(const struct dj_seal *seal, uint64_t version,
                                    struct dj_buf *out)
{
    const struct dj_entry *entry = seal->entry;
    struct bound bound = bind(entry->id, version, TYPE_ENTRY);
    struct dj_buf record = {0};
    enum deja_status status = dj_record_encode_with(seal->packing, entry, &record);
    if (status == DEJA_OK)
        status = dj_keyring_seal(seal->keyring, entry->tenant,
                                 deja_slice(bound.bytes, sizeof bound.bytes), dj_buf_slice(&record),
                                 out);
    if (status == DEJA_OK && seal->plain_bytes)
        *seal->plain_bytes = dj_record_plain_bytes(dj_buf_slice(&record));
    dj_buf_fini(&record);
    return status;
}

/* What a tier may see of it. */
static struct dj_entry outside(const struct dj_entry *entry, uint64_t version)
{
    struct dj_entry seen = {.version = version,
                            .created_ms = entry->created_ms,
                            .expires_ms = entry->expires_ms,
                            .stale_until_ms = entry->stale_until_ms,
                            .kind = entry->kind};
    memcpy(seen.tenant, entry->tenant, sizeof seen.tenant);
    memcpy(seen.id, entry->id, sizeof seen.id);
    memcpy(seen.scope, entry->scope, sizeof seen.scope);
    return seen;
}

/* Tiers end what is over by what they see. */
static void end_stay(struct dj_entry *seen, int64_t until_ms)
{
    seen->stay_until_ms = until_ms;
    if (until_ms <= 0 || until_ms == INT64_MAX)
        return;
    if (!seen->expires_ms || seen->expires_ms > until_ms)
        seen->expires_ms = until_ms;
    if (seen->stale_until_ms > until_ms)
        seen->stale_until_ms = until_ms;
}

static enum deja_status seal_as(const struct dj_seal *seal, uint64_t version,
                                struct dj_value **out_value)
{
    struct dj_buf body = {0};
    struct dj_buf vector = {0};
    struct dj_entry seen = outside(seal->entry, version);
    enum deja_status status = seal_record(seal, version, &body);
    if (status == DEJA_OK && seal->vector)
        status = seal_vector(seal, version, &vector);
    if (status == DEJA_OK) {
        seen.key_id = dj_keyring_id_of(dj_buf_slice(&body));
        seen.body = dj_buf_slice(&body);
        seen.vector = dj_buf_slice(&vector);
        if (seal->has_embedder)
            seen.embedder_id = seal->entry->embedder_id;
        end_stay(&seen, seal->stay_until_ms);
        status = dj_value_create(&seen, out_value);
    }
    dj_buf_fini(&body);
    dj_buf_fini(&vector);
    return status;
}

enum deja_status dj_seal_entry(const struct dj_seal *seal, struct dj_value **out_value)
{
    uint64_t version = dj_sealed_version(seal->entry->version);
    if (seal->keyring)
        return seal_as(seal, version, out_value);
    struct dj_entry plain = *seal->entry;
    plain.version = version;
    end_stay(&plain, seal->stay_until_ms);
    return dj_value_create(&plain, out_value);
}

/* ---- opening ---- */

/* The same answer under the version it was put with. */
static enum deja_status restore(const struct dj_entry *kept, struct dj_value **out_value)
{
    struct dj_entry plain = *kept;
    if (plain.version > VERSION_MAX)
        plain.version >>= 8;
    return dj_value_create(&plain, out_value);
}

static bool is_same(const struct dj_entry *inside, const struct dj_entry *kept)
{
    return memcmp(inside->tenant, kept->tenant, DJ_ID_BYTES) == 0 &&
           memcmp(inside->id, kept->id, DJ_ID_BYTES) == 0 &&
           memcmp(inside->scope, kept->scope, DJ_ID_BYTES) == 0 && !inside->key_id &&
           dj_sealed_version(inside->version) >> 8 == kept->version >> 8;
}

enum deja_status dj_unseal_entry(struct dj_keyring *keyring, struct dj_unpacker *unpacker,
                                 const struct dj_entry *kept, struct dj_value **out_value)
{
    struct dj_value *value = NULL;
    if (!kept->key_id)
        return restore(kept, out_value);
    if (!keyring)
        return DEJA_ERR_DENIED;
    struct bound bound = bind(kept->id, kept->version, TYPE_ENTRY);
    struct dj_buf record = {.bytes_max = RECORD_PAYLOAD_BYTES_MAX};
    enum deja_status status = DEJA_ERR_CORRUPT;
    if (dj_keyring_id_of(kept->body) == kept->key_id)
        status = dj_keyring_open(keyring, kept->tenant, deja_slice(bound.bytes, sizeof bound.bytes),
                                 kept->body, &record);
    if (status == DEJA_OK) {
        status = dj_value_from_record_with(unpacker, dj_buf_slice(&record), &value);
        if (status != DEJA_OK && status != DEJA_ERR_NOMEM)
            status = DEJA_ERR_CORRUPT;
    }
    dj_buf_fini(&record);
    if (status == DEJA_OK && !is_same(dj_value_entry(value), kept)) {
        dj_value_unref(value);
        status = DEJA_ERR_CORRUPT;
    }
    if (status == DEJA_OK)
        *out_value = value;
    return status;
}

static enum deja_status read_vector(struct deja_slice plain, struct dj_store_vector *out_vector)
{
    if (plain.len < VECTOR_HEAD_BYTES)
        return DEJA_ERR_CORRUPT;
    uint64_t dim = dj_little_get(plain.data, 4);
    uint64_t embedder_len = dj_little_get(plain.data + 4, 4);
    if (dim == 0 || dim > DIM_MAX || embedder_len > EMBEDDER_BYTES_MAX ||
        plain.len != VECTOR_HEAD_BYTES + dim * sizeof(float) + embedder_len)
        return DEJA_ERR_CORRUPT;
    /* Aligned: a buffer's bytes are malloc's, and the head has eight. */
    const float *floats = (const float *)(const void *)(plain.data + VECTOR_HEAD_BYTES);
    for (uint64_t i = 0; i < dim; i++)
        if (!isfinite(floats[i]))
            return DEJA_ERR_CORRUPT;
    out_vector->dim = (uint32_t)dim;
    out_vector->floats = floats;
    out_vector->embedder_id =
        deja_slice(plain.data + VECTOR_HEAD_BYTES + dim * sizeof(float), embedder_len);
    out_vector->sealed = deja_slice(NULL, 0);
    return DEJA_OK;
}

enum deja_status dj_unseal_vector(struct dj_keyring *keyring, const struct dj_store_vector *kept,
                                  struct dj_buf *scratch, struct dj_store_vector *out_vector)
{
    struct dj_store_vector vector = *kept;
    if (kept->sealed.len < VECTOR_VERSION_BYTES)
        return DEJA_ERR_CORRUPT;
    if (!keyring)
        return DEJA_ERR_DENIED;
    struct bound bound =
        bind(kept->key.id, dj_little_get(kept->sealed.data, VECTOR_VERSION_BYTES), TYPE_VECTOR);
    dj_buf_clear(scratch);
    enum deja_status status =
        dj_keyring_open(keyring, kept->key.tenant, deja_slice(bound.bytes, sizeof bound.bytes),
                        deja_slice(kept->sealed.data + VECTOR_VERSION_BYTES,
                                   kept->sealed.len - VECTOR_VERSION_BYTES),
                        scratch);
    if (status == DEJA_OK)
        status = read_vector(dj_buf_slice(scratch), &vector);
    if (status == DEJA_OK)
        *out_vector = vector;
    return status;
}

/* ---- anew ---- */

enum deja_status dj_seal_anew(struct dj_keyring *keyring, const struct dj_entry *kept,
                              struct dj_value **out_value)
{
    struct dj_value *value = NULL;
    struct dj_buf scratch = {0};
    struct dj_store_vector vector = {.key = dj_store_key_of(kept), .sealed = kept->vector};
    if ((kept->version & DJ_SEALED_ANEW_MAX) == DJ_SEALED_ANEW_MAX)
        return DEJA_ERR_LIMIT;
    enum deja_status status = dj_unseal_entry(keyring, NULL, kept, &value);
    /* A vector that does not open is made anew when its entry is put again. */
    if (status == DEJA_OK && kept->vector.len &&
        dj_unseal_vector(keyring, &vector, &scratch, &vector) == DEJA_ERR_NOMEM)
        status = DEJA_ERR_NOMEM;
    if (status == DEJA_OK) {
        struct dj_entry entry = *dj_value_entry(value);
        if (vector.floats)
            entry.embedder_id = vector.embedder_id;
        const struct dj_seal seal = {.keyring = keyring,
                                     .entry = &entry,
                                     .vector = vector.floats,
                                     .dim = vector.dim,
                                     .has_embedder = kept->embedder_id.len > 0};
        status = seal_as(&seal, kept->version + 1, out_value);
    }
    dj_value_unref(value);
    dj_buf_fini(&scratch);
    return status;
}
