/* lib/assemble.c - see assemble.h. */
#include "lib/assemble.h"

static void close_store(struct dj_store *store)
{
    if (store)
        store->ops->close(store);
}

static enum deja_status wrap(const struct dj_assembly *assembly, struct dj_store **store,
                             struct deja_error *error)
{
    enum deja_status status = DEJA_OK;
    if (*store && assembly->wrap)
        status = assembly->wrap(assembly->wrap_ctx, *store, store);
    return status == DEJA_OK
               ? status
               : deja_error_set(error, status, "the embedded tier: %s", deja_status_text(status));
}

static enum deja_status open_stores(const struct dj_assembly *assembly,
                                    struct dj_engine_options *options, bool *out_discarded,
                                    struct deja_error *error)
{
    enum deja_status status = dj_memory_open(&assembly->memory, options->loops, &options->memory);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "the memory tier: %s", deja_status_text(status));
    if (!assembly->lmdb.directory)
        return wrap(assembly, &options->lmdb, error);
    status = dj_lmdb_open(&assembly->lmdb, &options->lmdb, out_discarded, error);
    if (status == DEJA_OK && !options->meta)
        options->meta = dj_lmdb_meta_of(options->lmdb);
    return status == DEJA_OK ? wrap(assembly, &options->lmdb, error) : status;
}

enum deja_status dj_assemble(const struct dj_assembly *assembly, struct dj_engine **out_engine,
                             struct dj_store **out_lmdb, bool *out_discarded,
                             struct deja_error *error)
{
    struct dj_engine_options options = assembly->engine;
    struct dj_engine *engine = NULL;
    bool is_discarded = false;
    enum deja_status status = open_stores(assembly, &options, &is_discarded, error);
    if (status == DEJA_OK) {
        status = dj_engine_create(&options, &engine);
        if (status == DEJA_OK)
            status = dj_engine_load_generations(engine);
        if (status != DEJA_OK)
            deja_error_set(error, status, "the engine: %s", deja_status_text(status));
    }
    if (status == DEJA_OK) {
        *out_engine = engine;
        *out_lmdb = options.lmdb;
        *out_discarded = is_discarded;
        return DEJA_OK;
    }
    if (engine) {
        dj_engine_destroy(engine); /* what it was given is its own by now */
        return status;
    }
    close_store(options.memory);
    close_store(options.lmdb);
    for (uint32_t i = 0; i < options.tier_count; i++)
        close_store(options.tiers[i].store);
    dj_embedder_destroy(options.embedder);
    return status;
}
