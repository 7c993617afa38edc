/* daemon/tiers.c - which tiers there are below memory, and what may go through each.
 *
 *   settings ── tier_<name>.c: the store, if it is configured ── guards.c ──> the engine
 *
 * A tier is shared if it keeps generations: a bucket alone is this program's own cold storage.
 * Beside a shared tier the embedded one is off unless the settings say otherwise, and begins anew:
 * nothing tells this program yet what others have deleted while it did not run. The same holds the
 * first time after it was alone again; a mark in the data directory remembers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "daemon/daemon_internal.h"

/* An entry of `entries` may be older than what shared tiers know. */
#define MARK "entries-are-old"

typedef enum deja_status open_fn(struct dj_daemon *daemon, struct dj_store **out_store,
                                 struct deja_error *error);

static uint32_t kinds_of(const struct dj_text_list *texts)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } kinds[] = {{"chat", DJ_TIER_KIND(DJ_ENTRY_CHAT)},
                 {"embedding", DJ_TIER_KIND(DJ_ENTRY_EMBEDDING)},
                 {"api", DJ_TIER_KIND(DJ_ENTRY_API)},
                 {"bytes", DJ_TIER_KIND(DJ_ENTRY_BYTES)},
                 {"plain", DJ_TIER_KIND(DJ_ENTRY_PLAIN)}};
    uint32_t bits = 0;
    for (size_t i = 0; i < texts->count; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (strcmp(texts->items[i], kinds[k].name) == 0)
                bits |= kinds[k].bits;
    return bits; /* 0: everything */
}

/* After all are open: a shared one may have brought the secret that the master key comes from. */
static enum deja_status seal_tiers(struct dj_daemon *daemon, struct dj_engine_options *options,
                                   struct deja_error *error)
{
    struct dj_store *stores[DJ_TIERS_MAX];
    for (uint32_t i = 0; i < options->tier_count; i++)
        stores[i] = options->tiers[i].store;
    enum deja_status status = dj_encryption_create(daemon, stores, options->tier_count, error);
    for (uint32_t i = 0; status == DEJA_OK && i < options->tier_count; i++) {
        struct dj_tier *tier = &options->tiers[i];
        bool is_searched = tier->store->ops->search && daemon->settings->postgres.is_searched;
        status =
            dj_encryption_wrap(daemon->encryption, tier->store,
                               is_searched ? DJ_SEALED_VECTORS_READABLE : DJ_SEALED_VECTORS_NONE,
                               !tier->is_read_only, &tier->store);
        if (status != DEJA_OK)
            deja_error_set(error, status, "a tier's sealing: %s", deja_status_text(status));
    }
    return status;
}

enum deja_status dj_daemon_open_tiers(struct dj_daemon *daemon, struct dj_engine_options *options,
                                      struct deja_error *error)
{
    const struct dj_settings_paths *paths = &daemon->settings->paths;
    const struct {
        open_fn *open;
        const struct dj_settings_path *path;
        const struct dj_text_list *kinds;
    } tiers[] = {{dj_tier_open_redis, &paths->redis, &paths->redis.kind_texts},
                 {dj_tier_open_postgres, &paths->postgres, &daemon->settings->postgres.kinds},
                 {dj_tier_open_s3, &paths->s3, &paths->s3.kind_texts}};
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
        struct dj_store *store = NULL;
        enum deja_status status = tiers[i].open(daemon, &store, error);
        if (status != DEJA_OK)
            return status;
        if (!store)
            continue;
        status = dj_guards_wrap(daemon, store, &store);
        if (status != DEJA_OK) {
            store->ops->close(store);
            return deja_error_set(error, status, "a tier's breaker: %s", deja_status_text(status));
        }
        options->tiers[options->tier_count++] =
            (struct dj_tier){.store = store,
                             .is_journaled = true,
                             .is_read_only = tiers[i].path->is_read_only,
                             .is_behind = tiers[i].path->write == DJ_TIER_WRITE_BEHIND,
                             .soft_timeout_ms = (uint32_t)tiers[i].path->soft_timeout_ms,
                             .kinds = kinds_of(tiers[i].kinds)};
    }
    return seal_tiers(daemon, options, error);
}

void dj_daemon_describe_tier(void *daemon, const char *component, struct dj_json_writer *w)
{
    dj_tier_describe_redis(daemon, component, w);
    dj_tier_describe_s3(daemon, component, w);
}

/* The caller's; NULL: no memory. */
static char *mark_path(const struct dj_daemon *daemon)
{
    struct dj_buf path = {0};
    dj_buf_append_format(&path, "%s/" MARK, daemon->settings->data_dir);
    return dj_buf_take_text(&path);
}

bool dj_daemon_is_shared(const struct dj_engine_options *options)
{
    for (uint32_t i = 0; i < options->tier_count; i++)
        if (options->tiers[i].store->ops->raise)
            return true;
    return false;
}

enum deja_status dj_daemon_place_lmdb(struct dj_daemon *daemon, bool is_shared,
                                      struct dj_lmdb_options *options, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    bool is_wanted = settings->lmdb.is_enabled && (!is_shared || settings->lmdb.is_chosen);
    char *path = mark_path(daemon);
    enum deja_status status = path ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK && is_shared) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            status = DEJA_ERR_IO;
        else
            close(fd);
    }
    if (status != DEJA_OK) {
        dj_free(path);
        return deja_error_set(error, status, "%s cannot be written: %s", settings->data_dir,
                              status == DEJA_ERR_IO ? strerror(errno) : deja_status_text(status));
    }
    options->directory = is_wanted ? settings->data_dir : NULL;
    options->packing = dj_settings_packing(&settings->compression);
    options->is_fresh = access(path, F_OK) == 0;
    dj_free(path);
    return DEJA_OK;
}

void dj_daemon_lmdb_begun(struct dj_daemon *daemon, bool is_shared)
{
    char *path = is_shared ? NULL : mark_path(daemon);
    if (path && unlink(path) != 0 && errno != ENOENT) {
        /* It begins anew once more at the next start. */
    }
    dj_free(path);
}
