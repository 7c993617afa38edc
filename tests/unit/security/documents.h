/* memory_authority.h - documents in memory, told to one watcher as the daemon does. */
#ifndef DJ_TEST_SECURITY_DOCUMENTS_H
#define DJ_TEST_SECURITY_DOCUMENTS_H

#include "check.h"

#include "security/authority.h"

enum { DOCUMENTS_MAX = 64 };

/* Fixed room: a test that lets allocations fail means those of the code it tests. */
struct memory_document {
    char table[32];
    char key[128];
    size_t key_len;
    char value[4096];
    size_t value_len;
    bool is_there;
};

struct memory_authority {
    struct dj_authority table;
    struct memory_document documents[DOCUMENTS_MAX];
    dj_authority_change_fn *changed; /* NULL: nobody */
    void *changed_ctx;
    enum deja_status fault; /* answered instead, while it is not DEJA_OK */
    unsigned walks;
};

static inline struct memory_document *memory_find(struct memory_authority *authority,
                                                  const char *table, struct deja_slice key)
{
    for (size_t i = 0; i < DOCUMENTS_MAX; i++) {
        struct memory_document *document = &authority->documents[i];
        if (document->is_there && strcmp(document->table, table) == 0 &&
            deja_slice_is_equal(deja_slice(document->key, document->key_len), key))
            return document;
    }
    return NULL;
}

static inline enum deja_status memory_get(void *ctx, const char *table, struct deja_slice key,
                                          void *found_ctx, dj_authority_found_fn *found)
{
    struct memory_authority *authority = ctx;
    struct memory_document *document = memory_find(authority, table, key);
    if (authority->fault != DEJA_OK)
        return authority->fault;
    if (!document)
        return DEJA_ERR_NOT_FOUND;
    found(found_ctx, deja_slice(document->value, document->value_len));
    return DEJA_OK;
}

static inline enum deja_status memory_put(void *ctx, const char *table, struct deja_slice key,
                                          struct deja_slice value, bool is_new)
{
    struct memory_authority *authority = ctx;
    struct memory_document *document = memory_find(authority, table, key);
    if (authority->fault != DEJA_OK)
        return authority->fault;
    if (document && is_new)
        return DEJA_ERR_BUSY;
    for (size_t i = 0; !document && i < DOCUMENTS_MAX; i++)
        if (!authority->documents[i].is_there)
            document = &authority->documents[i];
    assert_non_null(document);
    assert_in_range(value.len, 1, sizeof document->value);
    assert_in_range(key.len, 1, sizeof document->key);
    assert_true(strlen(table) < sizeof document->table);
    memcpy(document->table, table, strlen(table) + 1);
    memcpy(document->key, key.data, key.len);
    memcpy(document->value, value.data, value.len);
    document->key_len = key.len;
    document->value_len = value.len;
    document->is_there = true;
    if (authority->changed)
        authority->changed(authority->changed_ctx, table, key, value);
    return DEJA_OK;
}

static inline enum deja_status memory_remove(void *ctx, const char *table, struct deja_slice key)
{
    struct memory_authority *authority = ctx;
    struct memory_document *document = memory_find(authority, table, key);
    if (authority->fault != DEJA_OK)
        return authority->fault;
    if (!document)
        return DEJA_ERR_NOT_FOUND;
    document->is_there = false;
    if (authority->changed)
        authority->changed(authority->changed_ctx, table, key, deja_slice(NULL, 0));
    return DEJA_OK;
}

static inline enum deja_status memory_walk(void *ctx, const char *table, void *each_ctx,
                                           dj_authority_each_fn *each)
{
    struct memory_authority *authority = ctx;
    authority->walks++;
    if (authority->fault != DEJA_OK)
        return authority->fault;
    for (size_t i = 0; i < DOCUMENTS_MAX; i++) {
        struct memory_document *document = &authority->documents[i];
        if (document->is_there && strcmp(document->table, table) == 0 &&
            !each(each_ctx, deja_slice(document->key, document->key_len),
                  deja_slice(document->value, document->value_len)))
            break;
    }
    return DEJA_OK;
}

static inline void memory_authority_init(struct memory_authority *authority)
{
    *authority = (struct memory_authority){.table = {.ctx = authority,
                                                     .name = "memory",
                                                     .get = memory_get,
                                                     .put = memory_put,
                                                     .remove = memory_remove,
                                                     .walk = memory_walk}};
}

#endif
