/* store/value.c - one allocation: the count, the entry, then every byte its slices point to.
 *
 *   | refs | bytes | entry … tags[0..n) | body (aligned) | query | names … |
 *                             ^ the bytes begin where the unused tags would be
 *
 * dj_entry ends in room for 32 tags (768 bytes) and nearly every answer has a few or none, so the
 * bytes start right behind the last used tag. The block is never smaller than the whole struct:
 * copying *dj_value_entry() stays inside it (tags at and after tag_count are then meaningless).
 */
#include "store/value.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/alloc.h"

/* A body is at most 32 MB (DESIGN §4); the rest of the payload fits in what is left. */
#define RECORD_PAYLOAD_BYTES_MAX ((size_t)64 << 20)
/* Embeddings are read as floats, and kernels like whole vectors. */
#define BODY_ALIGN 16u

struct dj_value {
    atomic_uint ref_count;
    size_t bytes;
    struct dj_entry entry; /* last: the bytes follow its used tags */
};

struct cursor {
    char *at;
};

static struct deja_slice copy(struct cursor *cursor, struct deja_slice bytes)
{
    if (bytes.len == 0)
        return deja_slice(NULL, 0);
    memcpy(cursor->at, bytes.data, bytes.len);
    struct deja_slice copied = deja_slice(cursor->at, bytes.len);
    cursor->at += bytes.len;
    return copied;
}

static size_t text_bytes(const struct dj_entry *entry)
{
    size_t sum = entry->query.len + entry->name_space.len + entry->model.len + entry->provider.len +
                 entry->embedder_id.len + entry->metadata.len + entry->vector.len;
    for (size_t i = 0; i < entry->tag_count; i++)
        sum += entry->tags[i].name.len;
    return sum;
}

enum deja_status dj_value_create(const struct dj_entry *entry, struct dj_value **out_value)
{
    assert(entry->tag_count <= DJ_ENTRY_TAGS_MAX);
    size_t fixed = offsetof(struct dj_value, entry) + offsetof(struct dj_entry, tags) +
                   entry->tag_count * sizeof entry->tags[0];
    size_t body_offset = (fixed + BODY_ALIGN - 1) & ~(size_t)(BODY_ALIGN - 1);
    size_t size = body_offset + entry->body.len + text_bytes(entry);
    if (size < sizeof(struct dj_value))
        size = sizeof(struct dj_value);
    struct dj_value *value = dj_alloc(size);
    if (!value)
        return DEJA_ERR_NOMEM;
    struct cursor cursor = {(char *)value + body_offset};
    memcpy(&value->entry, entry, fixed - offsetof(struct dj_value, entry));
    struct dj_entry *mine = &value->entry;
    mine->body = copy(&cursor, entry->body);
    mine->query = copy(&cursor, entry->query);
    mine->name_space = copy(&cursor, entry->name_space);
    mine->model = copy(&cursor, entry->model);
    mine->provider = copy(&cursor, entry->provider);
    mine->embedder_id = copy(&cursor, entry->embedder_id);
    mine->metadata = copy(&cursor, entry->metadata);
    mine->vector = copy(&cursor, entry->vector);
    for (size_t i = 0; i < entry->tag_count; i++)
        mine->tags[i].name = copy(&cursor, entry->tags[i].name);
    value->bytes = size;
    atomic_init(&value->ref_count, 1);
    *out_value = value;
    return DEJA_OK;
}

enum deja_status dj_value_from_record(struct deja_slice record, struct dj_value **out_value)
{
    return dj_value_from_record_with(NULL, record, out_value);
}

enum deja_status dj_value_from_record_with(struct dj_unpacker *unpacker, struct deja_slice record,
                                           struct dj_value **out_value)
{
    struct dj_buf scratch;
    dj_buf_init(&scratch, 0);
    struct dj_entry entry;
    enum deja_status status =
        dj_record_decode_with(unpacker, record, RECORD_PAYLOAD_BYTES_MAX, &scratch, &entry);
    if (status == DEJA_OK)
        status = dj_value_create(&entry, out_value);
    dj_buf_fini(&scratch);
    return status;
}

struct dj_value *dj_value_ref(struct dj_value *value)
{
    /* Whoever refs already holds or is shown a counted value, so no order is needed. */
    atomic_fetch_add_explicit(&value->ref_count, 1, memory_order_relaxed);
    return value;
}

void dj_value_unref(struct dj_value *value)
{
    if (!value)
        return;
    /* acq_rel: the one that frees sees everything the others did before they let go. */
    if (atomic_fetch_sub_explicit(&value->ref_count, 1, memory_order_acq_rel) == 1)
        dj_free(value);
}

const struct dj_entry *dj_value_entry(const struct dj_value *value)
{
    return &value->entry;
}

size_t dj_value_bytes(const struct dj_value *value)
{
    return value->bytes;
}
