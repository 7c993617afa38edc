/* cache/transfer.h - entries from one place to another, one after the other: out of a cache, a
 * backup or lines of JSON, into a cache, a backup or lines of JSON.
 *
 *   source ── next ──> item ── put ──> sink        on a thread of the caller's that may wait
 *
 * What the cache does is asked of its loops and waited for; at most DJ_TRANSFER_PUTS_MAX puts are
 * under way. Threads: a source and a sink belong to one thread, which is not a loop. Time: the
 * loop's. Tenants: as the items say; who may do this to whom is the caller's business.
 */
#ifndef DJ_CACHE_TRANSFER_H
#define DJ_CACHE_TRANSFER_H

#include <stdatomic.h>

#include "cache/engine.h"
#include "store/archive.h"

#define DJ_TRANSFER_PUTS_MAX 256u
#define DJ_TRANSFER_TENANTS_MAX 1000000u

struct dj_transfer_source {
    void *ctx;
    /* out_item is borrowed until the next call. DEJA_ERR_NOT_FOUND: there are no more. */
    enum deja_status (*next)(void *ctx, struct dj_archive_item *out_item, struct deja_error *error);
    void (*close)(void *ctx);
};
struct dj_transfer_sink {
    void *ctx;
    /* An item that is not taken is counted by the sink, and no failure. */
    enum deja_status (*put)(void *ctx, const struct dj_archive_item *item,
                            struct deja_error *error);
    enum deja_status (*finish)(void *ctx, struct deja_error *error); /* all are where they belong */
    void (*close)(void *ctx);
};

/* The way from a thread that may wait to the loops. Both may be looked at by any thread. */
struct dj_transfer_lane {
    struct dj_engine *engine;
    struct dj_loop *loop;             /* it runs */
    const _Atomic bool *is_cancelled; /* true: what waits ends with DEJA_ERR_CANCELLED */
};

/* ---- out of a cache ---- */

struct dj_transfer_tenants {
    uint8_t (*ids)[DJ_ID_BYTES]; /* owned */
    size_t count;
    size_t room;
    enum deja_status status; /* the first failure of an add */
};
/* A dj_store_tenant_fn; each is kept once. */
void dj_transfer_add_tenant(void *tenants, const uint8_t tenant[DJ_ID_BYTES]);
void dj_transfer_sort_tenants(struct dj_transfer_tenants *tenants); /* after the last add */
void dj_transfer_tenants_fini(struct dj_transfer_tenants *tenants);

struct dj_transfer_from {
    struct dj_transfer_lane lane;
    const struct dj_transfer_tenants *tenants; /* borrowed until close */
    uint32_t levels;                           /* bits; 0: all, each entry once */
    bool is_whole;                             /* as in cache/listing.h */
    struct dj_transfer_at *at;                 /* NULL, or kept up to date: for who goes on later */
};
/* Behind the last item: tenant and piece. Plain data. */
struct dj_transfer_at {
    uint64_t tenant; /* index into tenants */
    char listing[64];
    uint64_t passed_over; /* expired or void */
};
enum deja_status dj_transfer_from_cache(const struct dj_transfer_from *options,
                                        struct dj_transfer_source *out_source) DEJA_NODISCARD;

/* ---- into a cache ---- */

/* What became of the items; any thread may look. */
struct dj_transfer_counts {
    _Atomic uint64_t items;   /* taken from the source */
    _Atomic uint64_t bytes;   /* of their bodies */
    _Atomic uint64_t stored;  /* given to a sink, and kept */
    _Atomic uint64_t expired; /* over by now */
    _Atomic uint64_t voided;  /* invalidated since, or erased */
    _Atomic uint64_t refused; /* something newer is there, or no tier keeps such an entry */
    _Atomic uint64_t failed;  /* a tier could not take it */
};

struct dj_transfer_into {
    struct dj_transfer_lane lane;
    uint32_t levels;                   /* bits; 0: every tier; memory alone where there is none */
    struct dj_transfer_counts *counts; /* borrowed */
    /* NULL: none. False: the item is left out, and counted as voided: who was erased stays so. */
    bool (*is_wanted)(void *ctx, const struct dj_entry *entry);
    void *wanted_ctx;
};
/* Entries keep their version: what is there and newer stays. Documents are passed over. */
enum deja_status dj_transfer_into_cache(const struct dj_transfer_into *options,
                                        struct dj_transfer_sink *out_sink) DEJA_NODISCARD;

/* On the loop: one entry as such a sink puts it, into those levels (0: every tier). Adopted before,
 * or stamped. As dj_engine_put. */
enum deja_status dj_transfer_put(struct dj_engine *engine, struct dj_loop *loop,
                                 const struct dj_entry *entry, const float *vector, uint32_t dim,
                                 uint32_t levels, void *ctx, dj_put_done_fn *done) DEJA_NODISCARD;

/* One entry out of the cache as it is there now; *out_value the caller's, NULL: not there.
 * Blocking. levels: bits, 0: any. */
enum deja_status dj_transfer_get(const struct dj_transfer_lane *lane,
                                 const struct dj_store_key *key, uint32_t levels,
                                 struct dj_value **out_value) DEJA_NODISCARD;
/* Removes it from those levels alone, up to that version. Blocking. */
enum deja_status dj_transfer_remove(const struct dj_transfer_lane *lane,
                                    const struct dj_store_key *key, uint32_t levels,
                                    uint64_t version_max) DEJA_NODISCARD;

/* ---- a backup ---- */

enum deja_status dj_transfer_from_archive(struct dj_archive_reader *reader, /* taken */
                                          struct dj_transfer_source *out_source) DEJA_NODISCARD;
enum deja_status dj_transfer_into_archive(struct dj_archive_writer *writer, /* taken */
                                          struct dj_transfer_sink *out_sink) DEJA_NODISCARD;

/* Everything, then finish. DEJA_ERR_CANCELLED, and what source and sink say. */
enum deja_status dj_transfer_run(struct dj_transfer_source *source, struct dj_transfer_sink *sink,
                                 const _Atomic bool *is_cancelled,
                                 struct dj_transfer_counts *counts,
                                 struct deja_error *error) DEJA_NODISCARD;

#endif
