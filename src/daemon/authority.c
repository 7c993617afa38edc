/* daemon/authority.c - see authority.h.
 *
 * A table's name in the meta environment has a mark in front, so that no document is taken for what
 * the machine keeps there of its own ("state", "generations", "tenants").
 */
#include "daemon/authority.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"

#define TABLE_BYTES 64u

struct dj_authorities {
    struct dj_authority table;
    struct dj_lmdb_meta *meta;
    pthread_mutex_t changes; /* around a change and the telling of it */
    struct dj_authority_watcher watchers[DJ_AUTHORITY_WATCHERS_MAX];
    size_t watcher_count;
};

struct table_name {
    char text[TABLE_BYTES];
};

static struct table_name name_of(const char *table)
{
    struct table_name name;
    int len = snprintf(name.text, sizeof name.text, "documents.%s", table);
    assert(len > 0 && (size_t)len < sizeof name.text);
    return name;
}

static void tell(struct dj_authorities *authorities, const char *table, struct deja_slice key,
                 struct deja_slice value)
{
    for (size_t i = 0; i < authorities->watcher_count; i++)
        authorities->watchers[i].changed(authorities->watchers[i].ctx, table, key, value);
}

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct dj_authorities *authorities = ctx;
    return dj_lmdb_meta_get(authorities->meta, name_of(table).text, key, found_ctx, found);
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    struct dj_authorities *authorities = ctx;
    if (key.len > DJ_AUTHORITY_KEY_BYTES_MAX || value.len > DJ_AUTHORITY_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status =
        is_new ? dj_lmdb_meta_add(authorities->meta, name_of(table).text, key, value)
               : dj_lmdb_meta_put(authorities->meta, name_of(table).text, key, value);
    if (status == DEJA_OK)
        tell(authorities, table, key, value);
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

static enum deja_status remove_document(void *ctx, const char *table, struct deja_slice key)
{
    struct dj_authorities *authorities = ctx;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status = dj_lmdb_meta_remove(authorities->meta, name_of(table).text, key);
    if (status == DEJA_OK)
        tell(authorities, table, key, deja_slice(NULL, 0));
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    struct dj_authorities *authorities = ctx;
    return dj_lmdb_meta_walk(authorities->meta, name_of(table).text, each_ctx, each);
}

enum deja_status dj_authorities_create(struct dj_lmdb_meta *meta,
                                       struct dj_authorities **out_authorities)
{
    struct dj_authorities *authorities = dj_alloc_zeroed(1, sizeof *authorities);
    if (!authorities)
        return DEJA_ERR_NOMEM;
    authorities->meta = meta;
    authorities->table = (struct dj_authority){.ctx = authorities,
                                               .name = "lmdb",
                                               .get = get,
                                               .put = put,
                                               .remove = remove_document,
                                               .walk = walk};
    pthread_mutex_init(&authorities->changes, NULL);
    *out_authorities = authorities;
    return DEJA_OK;
}

void dj_authorities_destroy(struct dj_authorities *authorities)
{
    if (!authorities)
        return;
    pthread_mutex_destroy(&authorities->changes);
    dj_free(authorities);
}

const struct dj_authority *dj_authorities_table(struct dj_authorities *authorities)
{
    return &authorities->table;
}

void dj_authorities_watch(struct dj_authorities *authorities,
                          const struct dj_authority_watcher *watcher)
{
    assert(authorities->watcher_count < DJ_AUTHORITY_WATCHERS_MAX);
    authorities->watchers[authorities->watcher_count++] = *watcher;
}

enum deja_status dj_authority_peek(const char *directory, const char *table, struct deja_slice key,
                                   void *found_ctx, dj_authority_found_fn *found)
{
    return dj_lmdb_meta_peek(directory, name_of(table).text, key, found_ctx, found);
}
