/* security/memory_authority.h - documents in memory, for tests: one thread. */
#ifndef DJ_TEST_SECURITY_MEMORY_AUTHORITY_H
#define DJ_TEST_SECURITY_MEMORY_AUTHORITY_H

#include <stdlib.h>

#include "security/authority.h"

#define MEMORY_DOCUMENTS_MAX 64u

struct memory_document {
    const char *table;
    size_t key_len, value_len;
    char key[DJ_AUTHORITY_KEY_BYTES_MAX];
    char value[4096];
};

struct memory_authority {
    struct dj_authority ops; /* give this to who wants one */
    struct memory_document documents[MEMORY_DOCUMENTS_MAX];
    size_t count;
    enum deja_status failure; /* of every call, unless DEJA_OK */
};

static inline struct memory_document *memory_find(struct memory_authority *memory,
                                                  const char *table, struct deja_slice key)
{
    for (size_t i = 0; i < memory->count; i++)
        if (strcmp(memory->documents[i].table, table) == 0 &&
            deja_slice_is_equal(deja_slice(memory->documents[i].key, memory->documents[i].key_len),
                                key))
            return &memory->documents[i];
    return NULL;
}

static inline enum deja_status memory_get(void *ctx, const char *table, struct deja_slice key,
                                          void *found_ctx, dj_authority_found_fn *found)
{
    struct memory_authority *memory = ctx;
    const struct memory_document *document = memory_find(memory, table, key);
    if (memory->failure != DEJA_OK)
        return memory->failure;
    if (!document)
        return DEJA_ERR_NOT_FOUND;
    found(found_ctx, deja_slice(document->value, document->value_len));
    return DEJA_OK;
}

static inline enum deja_status memory_put(void *ctx, const char *table, struct deja_slice key,
                                          struct deja_slice value, bool is_new)
{
    struct memory_authority *memory = ctx;
    struct memory_document *document = memory_find(memory, table, key);
    if (memory->failure != DEJA_OK)
        return memory->failure;
    if (document && is_new)
        return DEJA_ERR_BUSY;
    if (!document && memory->count == MEMORY_DOCUMENTS_MAX)
        return DEJA_ERR_LIMIT;
    if (!document)
        document = &memory->documents[memory->count++];
    document->table = table;
    document->key_len = key.len;
    document->value_len = value.len;
    memcpy(document->key, key.data, key.len);
    memcpy(document->value, value.data, value.len);
    return DEJA_OK;
}

static inline enum deja_status memory_remove(void *ctx, const char *table, struct deja_slice key)
{
    struct memory_authority *memory = ctx;
    struct memory_document *document = memory_find(memory, table, key);
    if (memory->failure != DEJA_OK)
        return memory->failure;
    if (!document)
        return DEJA_ERR_NOT_FOUND;
    *document = memory->documents[--memory->count];
    return DEJA_OK;
}

static inline enum deja_status memory_walk(void *ctx, const char *table, void *each_ctx,
                                           dj_authority_each_fn *each)
{
    struct memory_authority *memory = ctx;
    if (memory->failure != DEJA_OK)
        return memory->failure;
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_document *document = &memory->documents[i];
        if (strcmp(document->table, table) == 0 &&
            !each(each_ctx, deja_slice(document->key, document->key_len),
                  deja_slice(document->value, document->value_len)))
            break;
    }
    return DEJA_OK;
}

/* Only that there is one makes the difference. */
static inline enum deja_status memory_pull(void *ctx, uint64_t since, void *change_ctx,
                                           dj_authority_change_fn *change, uint64_t *out_sequence)
{
    (void)change_ctx;
    (void)change;
    *out_sequence = since;
    return ((struct memory_authority *)ctx)->failure;
}

static inline struct memory_authority *memory_authority_create(void)
{
    struct memory_authority *memory = calloc(1, sizeof *memory);
    if (!memory)
        abort();
    memory->ops = (struct dj_authority){.ctx = memory,
                                        .name = "memory",
                                        .get = memory_get,
                                        .put = memory_put,
                                        .remove = memory_remove,
                                        .walk = memory_walk};
    return memory;
}

#endif
