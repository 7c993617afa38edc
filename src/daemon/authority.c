/* daemon/authority.c - see authority.h.
 *
 * Names in the meta environment have a mark in front, so that no document is taken for what the
 * machine keeps there of its own ("state", "generations", "tenants"): "documents.T" where it is the
 * authority, "copy.T" of PostgreSQL's.
 *
 * (1) A change and the telling of it are one step under `changes`: watchers see one order. (2) The
 * copy follows what is told; what could not be copied is copied by the first pull of the next
 * start, which begins at 0. (3) A database without any document takes over those of this machine:
 * who moves from LMDB to PostgreSQL keeps tenants and keys.
 */
#include "daemon/authority.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/map.h"
#include "store/postgres_authority.h"

#define TABLE_BYTES 64u
#define COPIES_MAX 1000000u

static const char *const copied[] = {"tenants_configured", "links", "api_keys",
                                     "upstream_credentials", "audit_heads"};
static const char *const all[] = {
    "tenants_configured", "links",    "api_keys",  "upstream_credentials",
    "data_keys",          "erasures", "schedules", "spends"};

struct dj_authorities {
    struct dj_authority table;
    struct dj_lmdb_meta *meta;
    struct dj_postgres_authority *postgres; /* NULL: meta is the authority */
    const struct dj_authority *remote;      /* postgres' table */
    pthread_mutex_t changes;
    uint64_t sequence; /* under changes, as is the next: told up to here */
    bool is_begun;     /* everything was told once */
    atomic_bool is_down;
    struct dj_authority_watcher watchers[DJ_AUTHORITY_WATCHERS_MAX];
    size_t watcher_count;
};

struct table_name {
    char text[TABLE_BYTES];
};

static struct table_name name_of(const char *kind, const char *table)
{
    struct table_name name;
    int len = snprintf(name.text, sizeof name.text, "%s.%s", kind, table);
    assert(len > 0 && (size_t)len < sizeof name.text);
    return name;
}

static struct table_name own_name(const char *table)
{
    return name_of("documents", table);
}

static struct table_name copy_name(const char *table)
{
    return name_of("copy", table);
}

static void tell(struct dj_authorities *authorities, const char *table, struct deja_slice key,
                 struct deja_slice value)
{
    for (size_t i = 0; i < authorities->watcher_count; i++)
        authorities->watchers[i].changed(authorities->watchers[i].ctx, table, key, value);
}

/* ---- in the meta environment ---- */

static enum deja_status get_own(void *ctx, const char *table, struct deja_slice key,
                                void *found_ctx, dj_authority_found_fn *found)
{
    struct dj_authorities *authorities = ctx;
    return dj_lmdb_meta_get(authorities->meta, own_name(table).text, key, found_ctx, found);
}

static enum deja_status put_own(void *ctx, const char *table, struct deja_slice key,
                                struct deja_slice value, bool is_new)
{
    struct dj_authorities *authorities = ctx;
    if (key.len > DJ_AUTHORITY_KEY_BYTES_MAX || value.len > DJ_AUTHORITY_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status =
        is_new ? dj_lmdb_meta_add(authorities->meta, own_name(table).text, key, value)
               : dj_lmdb_meta_put(authorities->meta, own_name(table).text, key, value);
    if (status == DEJA_OK)
        tell(authorities, table, key, value);
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

static enum deja_status remove_own(void *ctx, const char *table, struct deja_slice key)
{
    struct dj_authorities *authorities = ctx;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status = dj_lmdb_meta_remove(authorities->meta, own_name(table).text, key);
    if (status == DEJA_OK)
        tell(authorities, table, key, deja_slice(NULL, 0));
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

static enum deja_status walk_own(void *ctx, const char *table, void *each_ctx,
                                 dj_authority_each_fn *each)
{
    struct dj_authorities *authorities = ctx;
    return dj_lmdb_meta_walk(authorities->meta, own_name(table).text, each_ctx, each);
}

/* ---- the copy ---- */

static bool is_copied(const char *table)
{
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        if (strcmp(copied[i], table) == 0)
            return true;
    return false;
}

struct comparison {
    struct deja_slice wanted;
    bool is_equal;
};

static void on_copy(void *ctx, struct deja_slice value)
{
    struct comparison *comparison = ctx;
    comparison->is_equal = deja_slice_is_equal(comparison->wanted, value);
}

/* A write is two syncs, and after a start nearly everything is there already. */
static void copy(struct dj_authorities *authorities, const char *table, struct deja_slice key,
                 struct deja_slice value)
{
    struct comparison comparison = {.wanted = value};
    enum deja_status status = DEJA_OK;
    if (!is_copied(table))
        return;
    struct table_name name = copy_name(table);
    if (!value.data)
        status = dj_lmdb_meta_remove(authorities->meta, name.text, key);
    else if (dj_lmdb_meta_get(authorities->meta, name.text, key, &comparison, on_copy) != DEJA_OK ||
             !comparison.is_equal)
        status = dj_lmdb_meta_put(authorities->meta, name.text, key, value);
    if (status != DEJA_OK) {
        /* The next start without PostgreSQL knows an older one. */
    }
}

/* ---- in PostgreSQL ---- */

static bool is_unanswered(enum deja_status status)
{
    return status == DEJA_ERR_IO || status == DEJA_ERR_TIMEOUT || status == DEJA_ERR_CANCELLED;
}

static enum deja_status get_remote(void *ctx, const char *table, struct deja_slice key,
                                   void *found_ctx, dj_authority_found_fn *found)
{
    struct dj_authorities *authorities = ctx;
    enum deja_status status = DEJA_ERR_IO;
    if (!atomic_load(&authorities->is_down))
        status = authorities->remote->get(authorities->remote->ctx, table, key, found_ctx, found);
    if (!is_unanswered(status) || !is_copied(table))
        return status;
    /* What is not in the copy may be there all the same: not "not found". */
    return dj_lmdb_meta_get(authorities->meta, copy_name(table).text, key, found_ctx, found) ==
                   DEJA_OK
               ? DEJA_OK
               : status;
}

static enum deja_status put_remote(void *ctx, const char *table, struct deja_slice key,
                                   struct deja_slice value, bool is_new)
{
    struct dj_authorities *authorities = ctx;
    const struct dj_authority *remote = authorities->remote;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status = remote->put(remote->ctx, table, key, value, is_new);
    if (status == DEJA_OK) {
        copy(authorities, table, key, value);
        tell(authorities, table, key, value);
    }
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

static enum deja_status remove_remote(void *ctx, const char *table, struct deja_slice key)
{
    struct dj_authorities *authorities = ctx;
    const struct dj_authority *remote = authorities->remote;
    pthread_mutex_lock(&authorities->changes);
    enum deja_status status = remote->remove(remote->ctx, table, key);
    if (status == DEJA_OK) {
        copy(authorities, table, key, deja_slice(NULL, 0));
        tell(authorities, table, key, deja_slice(NULL, 0));
    }
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

struct walk {
    void *ctx;
    dj_authority_each_fn *each;
    bool is_begun;
};

static bool on_walked(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct walk *walk = ctx;
    walk->is_begun = true;
    return walk->each(walk->ctx, key, value);
}

static enum deja_status walk_remote(void *ctx, const char *table, void *each_ctx,
                                    dj_authority_each_fn *each)
{
    struct dj_authorities *authorities = ctx;
    struct walk walk = {.ctx = each_ctx, .each = each};
    enum deja_status status = DEJA_ERR_IO;
    if (!atomic_load(&authorities->is_down))
        status = authorities->remote->walk(authorities->remote->ctx, table, &walk, on_walked);
    if (!is_unanswered(status) || walk.is_begun || !is_copied(table))
        return status;
    return dj_lmdb_meta_walk(authorities->meta, copy_name(table).text, each_ctx, each);
}

static enum deja_status pull_remote(void *ctx, uint64_t since, void *change_ctx,
                                    dj_authority_change_fn *change, uint64_t *out_sequence)
{
    const struct dj_authorities *authorities = ctx;
    return authorities->remote->pull(authorities->remote->ctx, since, change_ctx, change,
                                     out_sequence);
}

/* ---- what others changed ---- */

static void on_pulled(void *ctx, const char *table, struct deja_slice key, struct deja_slice value)
{
    struct dj_authorities *authorities = ctx;
    copy(authorities, table, key, value);
    tell(authorities, table, key, value);
}

/* A pull from 0: what is told is noted, so that copies of what is gone can go. */
struct whole {
    struct dj_authorities *authorities;
    struct dj_map *told; /* "copy.T", 0, key -> itself */
    struct dj_buf gone;  /* keys of one table, each behind its length in one byte */
    const char *table;
    bool is_lived_in; /* administrators have been there */
    enum deja_status status;
};

static void note_name(struct dj_buf *name, const char *table, struct deja_slice key)
{
    dj_buf_append_text(name, table);
    dj_buf_append_byte(name, '\0');
    dj_buf_append_slice(name, key);
}

static void on_whole(void *ctx, const char *table, struct deja_slice key, struct deja_slice value)
{
    struct whole *whole = ctx;
    struct dj_buf name = {0};
    on_pulled(whole->authorities, table, key, value);
    /* This program itself may have kept its audit log's head and data keys there by now. */
    if (is_copied(table) && strcmp(table, "audit_heads") != 0)
        whole->is_lived_in = true;
    if (!is_copied(table) || whole->status != DEJA_OK)
        return;
    note_name(&name, table, key);
    whole->status = name.status;
    if (whole->status == DEJA_OK)
        whole->status = dj_map_put(whole->told, dj_buf_slice(&name), whole->told, NULL);
    dj_buf_fini(&name);
}

static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct whole *whole = ctx;
    struct dj_buf name = {0};
    (void)value;
    note_name(&name, whole->table, key);
    if (name.status == DEJA_OK && !dj_map_find(whole->told, dj_buf_slice(&name)) &&
        key.len <= DJ_AUTHORITY_KEY_BYTES_MAX) {
        dj_buf_append_byte(&whole->gone, (char)key.len);
        dj_buf_append_slice(&whole->gone, key);
    }
    dj_buf_fini(&name);
    return true;
}

static void drop_gone(struct whole *whole)
{
    struct dj_lmdb_meta *meta = whole->authorities->meta;
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        whole->table = copied[i];
        dj_buf_clear(&whole->gone);
        if (dj_lmdb_meta_walk(meta, copy_name(copied[i]).text, whole, on_kept) != DEJA_OK ||
            whole->gone.status != DEJA_OK)
            continue;
        for (size_t at = 0; at < whole->gone.len;) {
            size_t len = (unsigned char)whole->gone.data[at];
            copy(whole->authorities, copied[i], deja_slice(whole->gone.data + at + 1, len),
                 deja_slice(NULL, 0));
            at += 1 + len;
        }
    }
    dj_buf_fini(&whole->gone);
}

static uint64_t hash_name(void *ctx, struct deja_slice name)
{
    (void)ctx;
    return dj_hash64(name.data, name.len, 0); /* administrators' names, and digests */
}

static enum deja_status pull_whole(struct dj_authorities *authorities, uint64_t *out_sequence,
                                   bool *out_is_lived_in)
{
    const struct dj_authority *remote = authorities->remote;
    struct whole whole = {.authorities = authorities};
    enum deja_status status = dj_map_create(COPIES_MAX, hash_name, NULL, &whole.told);
    if (status != DEJA_OK)
        return status;
    status = remote->pull(remote->ctx, 0, &whole, on_whole, out_sequence);
    if (status == DEJA_OK && whole.status == DEJA_OK)
        drop_gone(&whole);
    dj_map_destroy(whole.told);
    *out_is_lived_in = whole.is_lived_in;
    for (size_t i = 0; status == DEJA_OK && i < authorities->watcher_count; i++)
        if (authorities->watchers[i].anew)
            authorities->watchers[i].anew(authorities->watchers[i].ctx);
    return status;
}

/* ---- moving in ---- */

struct move {
    const struct dj_authority *remote;
    const char *table;
    enum deja_status status;
};

static bool on_moved(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct move *move = ctx;
    move->status = move->remote->put(move->remote->ctx, move->table, key, value, true);
    if (move->status == DEJA_ERR_BUSY) /* another program moves in, too */
        move->status = DEJA_OK;
    return move->status == DEJA_OK;
}

static enum deja_status move_in(struct dj_authorities *authorities)
{
    struct move move = {.remote = authorities->remote};
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == DEJA_OK; i++) {
        move.table = all[i];
        status = walk_own(authorities, all[i], &move, on_moved);
        if (status == DEJA_OK)
            status = move.status;
    }
    return status;
}

enum deja_status dj_authorities_pull(struct dj_authorities *authorities)
{
    const struct dj_authority *remote = authorities->remote;
    uint64_t sequence = 0;
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    if (!remote)
        return DEJA_OK;
    pthread_mutex_lock(&authorities->changes);
    if (authorities->is_begun)
        status =
            remote->pull(remote->ctx, authorities->sequence, authorities, on_pulled, &sequence);
    if (status == DEJA_ERR_NOT_FOUND) {
        bool is_lived_in = false;
        status = pull_whole(authorities, &sequence, &is_lived_in);
        if (status == DEJA_OK && !is_lived_in && !authorities->is_begun)
            status = move_in(authorities); /* the next pull finds it */
    }
    if (status == DEJA_OK) {
        authorities->sequence = sequence;
        authorities->is_begun = true;
    }
    atomic_store(&authorities->is_down, status != DEJA_OK);
    pthread_mutex_unlock(&authorities->changes);
    return status;
}

bool dj_authorities_is_down(const struct dj_authorities *authorities)
{
    return atomic_load(&authorities->is_down);
}

/* ---- life ---- */

static enum deja_status make_table(struct dj_authorities *authorities,
                                   const struct dj_postgres_options *postgres,
                                   struct deja_error *error)
{
    authorities->table = (struct dj_authority){.ctx = authorities,
                                               .name = "lmdb",
                                               .get = get_own,
                                               .put = put_own,
                                               .remove = remove_own,
                                               .walk = walk_own};
    if (!postgres)
        return DEJA_OK;
    enum deja_status status = dj_postgres_authority_create(postgres, &authorities->postgres, error);
    if (status != DEJA_OK)
        return status;
    authorities->remote = dj_postgres_authority_table(authorities->postgres);
    authorities->table = (struct dj_authority){.ctx = authorities,
                                               .name = authorities->remote->name,
                                               .get = get_remote,
                                               .put = put_remote,
                                               .remove = remove_remote,
                                               .walk = walk_remote,
                                               .pull = pull_remote};
    return DEJA_OK;
}

enum deja_status dj_authorities_create(struct dj_lmdb_meta *meta,
                                       const struct dj_postgres_options *postgres, bool is_down,
                                       struct dj_authorities **out_authorities,
                                       struct deja_error *error)
{
    struct dj_authorities *authorities = dj_alloc_zeroed(1, sizeof *authorities);
    if (!authorities)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    authorities->meta = meta;
    atomic_init(&authorities->is_down, is_down);
    pthread_mutex_init(&authorities->changes, NULL);
    enum deja_status status = make_table(authorities, postgres, error);
    if (status != DEJA_OK) {
        dj_authorities_destroy(authorities);
        return status;
    }
    *out_authorities = authorities;
    return DEJA_OK;
}

void dj_authorities_destroy(struct dj_authorities *authorities)
{
    if (!authorities)
        return;
    dj_postgres_authority_destroy(authorities->postgres);
    pthread_mutex_destroy(&authorities->changes);
    dj_free(authorities);
}

void dj_authorities_stop(struct dj_authorities *authorities)
{
    if (authorities)
        dj_postgres_authority_stop(authorities->postgres);
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
    enum deja_status status =
        dj_lmdb_meta_peek(directory, own_name(table).text, key, found_ctx, found);
    return status == DEJA_ERR_NOT_FOUND
               ? dj_lmdb_meta_peek(directory, copy_name(table).text, key, found_ctx, found)
               : status;
}

enum deja_status dj_authority_peek_all(const char *directory, const char *table, void *ctx,
                                       bool (*each)(void *ctx, struct deja_slice key,
                                                    struct deja_slice value))
{
    enum deja_status status = dj_lmdb_meta_peek_all(directory, own_name(table).text, ctx, each);
    return status == DEJA_OK ? dj_lmdb_meta_peek_all(directory, copy_name(table).text, ctx, each)
                             : status;
}
