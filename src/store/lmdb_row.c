/* store/lmdb_row.c - see lmdb_row.h. Trust: our own files, checksummed. */
#include "store/lmdb_row.h"

#include "crypto/digest.h"

static void write_u32(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(value >> (24 - 8 * i));
}

static void write_u64(char *out, uint64_t value)
{
    write_u32(out, (uint32_t)(value >> 32));
    write_u32(out + 4, (uint32_t)value);
}

static uint32_t read_u32(const char *bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 8 | (uint8_t)bytes[i];
    return value;
}

static uint64_t read_u64(const char *bytes)
{
    return (uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4);
}

uint64_t dj_row_order(const struct dj_entry *entry)
{
    int64_t gone_ms = dj_store_gone_ms(entry);
    if (gone_ms != 0)
        return gone_ms > 0 && (uint64_t)gone_ms < DJ_ROW_ORDER_NEVER ? (uint64_t)gone_ms : 1;
    return DJ_ROW_ORDER_NEVER + (entry->created_ms > 0 ? (uint64_t)entry->created_ms : 0);
}

/* LMDB: a row above half a page takes whole pages of its own; smaller ones share leaves that random
 * inserts fill to about 2/3. */
static size_t row_cost(size_t key_bytes, size_t value_bytes)
{
    const size_t page = 4096;
    const size_t node_max = 2038;
    size_t node = key_bytes + value_bytes + 8;
    if (node <= node_max)
        return node + node / 2;
    size_t leaf = key_bytes + 16;
    return (value_bytes + 16 + page - 1) / page * page + leaf + leaf / 2;
}

uint32_t dj_row_cost(size_t record_bytes, size_t vector_bytes)
{
    size_t cost = row_cost(sizeof(struct dj_store_key), DJ_ROW_HEAD_BYTES + record_bytes) +
                  row_cost(DJ_ROW_EXPIRY_KEY_BYTES, DJ_ROW_EXPIRY_BYTES);
    if (vector_bytes > 0)
        cost += row_cost(DJ_ROW_VECTOR_KEY_BYTES, vector_bytes);
    return cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
}

void dj_row_head_write(const struct dj_row_head *head, char out[DJ_ROW_HEAD_BYTES])
{
    write_u64(out, head->version);
    write_u64(out + 8, head->order);
    memcpy(out + 16, head->scope, DJ_ID_BYTES);
    write_u32(out + 32, head->cost);
    write_u32(out + 36, head->has_vector);
}

bool dj_row_head_read(struct deja_slice bytes, struct dj_row_head *out_head)
{
    if (bytes.len < DJ_ROW_HEAD_BYTES || read_u32(bytes.data + 36) > 1)
        return false;
    out_head->version = read_u64(bytes.data);
    out_head->order = read_u64(bytes.data + 8);
    memcpy(out_head->scope, bytes.data + 16, DJ_ID_BYTES);
    out_head->cost = read_u32(bytes.data + 32);
    out_head->has_vector = read_u32(bytes.data + 36) == 1;
    return true;
}

void dj_row_expiry_key_write(uint64_t order, const struct dj_store_key *key,
                             char out[DJ_ROW_EXPIRY_KEY_BYTES])
{
    write_u64(out, order);
    memcpy(out + 8, key, sizeof *key);
}

bool dj_row_expiry_key_read(struct deja_slice bytes, uint64_t *out_order,
                            struct dj_store_key *out_key)
{
    if (bytes.len != DJ_ROW_EXPIRY_KEY_BYTES)
        return false;
    *out_order = read_u64(bytes.data);
    memcpy(out_key, bytes.data + 8, sizeof *out_key);
    return true;
}

void dj_row_cost_write(uint32_t cost, char out[DJ_ROW_EXPIRY_BYTES])
{
    write_u32(out, cost);
}

bool dj_row_cost_read(struct deja_slice bytes, uint32_t *out_cost)
{
    if (bytes.len != DJ_ROW_EXPIRY_BYTES)
        return false;
    *out_cost = read_u32(bytes.data);
    return true;
}

void dj_row_vector_key_write(const struct dj_store_key *key, const uint8_t scope[DJ_ID_BYTES],
                             char out[DJ_ROW_VECTOR_KEY_BYTES])
{
    memcpy(out, key->tenant, DJ_ID_BYTES);
    memcpy(out + DJ_ID_BYTES, scope, DJ_ID_BYTES);
    memcpy(out + 2 * DJ_ID_BYTES, key->id, DJ_ID_BYTES);
}

size_t dj_row_vector_bytes(size_t embedder_len, uint32_t dim)
{
    return DJ_ROW_VECTOR_HEAD_BYTES + embedder_len + dim * sizeof(float);
}

size_t dj_row_vector_size(const struct dj_entry *entry, uint32_t dim)
{
    if (dim)
        return dj_row_vector_bytes(entry->embedder_id.len, dim);
    return entry->vector.len ? DJ_ROW_VECTOR_HEAD_BYTES + entry->vector.len : 0;
}

void dj_row_vector_write(const struct dj_entry *entry, uint64_t order, const float *vector,
                         uint32_t dim, char *out)
{
    size_t len = dj_row_vector_size(entry, dim);
    size_t embedder_len = dim ? entry->embedder_id.len : 0;
    write_u64(out + 8, order);
    write_u32(out + 16, dim);
    write_u32(out + 20, (uint32_t)embedder_len);
    if (embedder_len > 0)
        memcpy(out + 24, entry->embedder_id.data, embedder_len);
    if (dim)
        memcpy(out + 24 + embedder_len, vector, dim * sizeof *vector);
    else
        memcpy(out + 24, entry->vector.data, entry->vector.len);
    write_u64(out, dj_siphash(entry->id, deja_slice(out + 8, len - 8)));
}

bool dj_row_vector_read(struct deja_slice key, struct deja_slice value,
                        struct dj_row_vector *out_vector)
{
    if (key.len != DJ_ROW_VECTOR_KEY_BYTES || value.len < DJ_ROW_VECTOR_HEAD_BYTES)
        return false;
    uint32_t dim = read_u32(value.data + 16);
    uint32_t embedder_len = read_u32(value.data + 20);
    bool is_sealed = dim == 0 && embedder_len == 0 && value.len > DJ_ROW_VECTOR_HEAD_BYTES;
    if (!is_sealed && (dim == 0 || dim > DJ_ROW_DIM_MAX || embedder_len > value.len ||
                       dj_row_vector_bytes(embedder_len, dim) != value.len))
        return false;
    struct dj_row_vector vector = {.order = read_u64(value.data + 8), .dim = dim};
    memcpy(vector.key.tenant, key.data, DJ_ID_BYTES);
    memcpy(vector.scope, key.data + DJ_ID_BYTES, DJ_ID_BYTES);
    memcpy(vector.key.id, key.data + 2 * DJ_ID_BYTES, DJ_ID_BYTES);
    if (dj_siphash(vector.key.id, deja_slice(value.data + 8, value.len - 8)) !=
        read_u64(value.data))
        return false;
    vector.embedder_id = deja_slice(value.data + DJ_ROW_VECTOR_HEAD_BYTES, embedder_len);
    vector.floats = value.data + DJ_ROW_VECTOR_HEAD_BYTES + embedder_len;
    if (is_sealed)
        vector.sealed = deja_slice(vector.floats, value.len - DJ_ROW_VECTOR_HEAD_BYTES);
    *out_vector = vector;
    return true;
}
