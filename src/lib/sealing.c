/* lib/sealing.c - see sealing.h. The table's name is the one a daemon gives it, so that a directory
 * may be used by the one and the other in turn. */
#include "lib/sealing.h"

#include "base/alloc.h"
#include "security/secret.h"

#define TABLE "documents." DJ_KEYRING_TABLE

struct dj_sealing {
    struct dj_lmdb_meta *meta;
    struct dj_pool *pool;
    struct dj_authority authority;
    struct dj_keyring *keyring;
    struct dj_stay stay;
};

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct dj_sealing *sealing = ctx;
    (void)table;
    return dj_lmdb_meta_get(sealing->meta, TABLE, key, found_ctx, found);
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    struct dj_sealing *sealing = ctx;
    (void)table;
    return is_new ? dj_lmdb_meta_add(sealing->meta, TABLE, key, value)
                  : dj_lmdb_meta_put(sealing->meta, TABLE, key, value);
}

static enum deja_status remove_document(void *ctx, const char *table, struct deja_slice key)
{
    struct dj_sealing *sealing = ctx;
    (void)table;
    return dj_lmdb_meta_remove(sealing->meta, TABLE, key);
}

static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    struct dj_sealing *sealing = ctx;
    (void)table;
    return dj_lmdb_meta_walk(sealing->meta, TABLE, each_ctx, each);
}

enum deja_status dj_sealing_create(const char *directory, struct dj_lmdb_meta *meta,
                                   struct dj_pool *pool, struct dj_sealing **out_sealing,
                                   struct deja_error *error)
{
    struct dj_secret master;
    struct dj_sealing *sealing = dj_alloc_zeroed(1, sizeof *sealing);
    if (!sealing)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    sealing->meta = meta;
    sealing->pool = pool;
    sealing->authority = (struct dj_authority){.ctx = sealing,
                                               .name = "lmdb",
                                               .get = get,
                                               .put = put,
                                               .remove = remove_document,
                                               .walk = walk};
    enum deja_status status = dj_secret_load_named(
        directory, "master.key", "makes what is stored unreadable", &master, error);
    if (status == DEJA_OK) {
        const struct dj_keyring_options options = {
            .master = master.bytes, .authority = &sealing->authority, .now_ms = dj_clock_now_ms};
        status = dj_keyring_create(&options, &sealing->keyring);
        dj_secret_fini(&master);
        if (status != DEJA_OK)
            deja_error_set(error, status, "data keys: %s", deja_status_text(status));
    }
    if (status == DEJA_OK)
        *out_sealing = sealing;
    else
        dj_free(sealing);
    return status;
}

void dj_sealing_destroy(struct dj_sealing *sealing)
{
    if (!sealing)
        return;
    dj_keyring_destroy(sealing->keyring);
    dj_free(sealing);
}

void dj_sealing_set_stay(struct dj_sealing *sealing, struct dj_stay stay)
{
    sealing->stay = stay;
}

enum deja_status dj_sealing_wrap(void *ctx, struct dj_store *store, struct dj_store **out_store)
{
    struct dj_sealing *sealing = ctx;
    const struct dj_sealed_options options = {.keyring = sealing->keyring,
                                              .pool = sealing->pool,
                                              .vectors = DJ_SEALED_VECTORS_SEALED,
                                              .stay = sealing->stay};
    return dj_sealed_store_open(store, &options, out_store);
}
