/* tools/bench_engine.c - the hit path of the daemon's own loop: everything from the body of a chat
 * request to the stored answer, in one thread, without the network.
 *
 *   put 0 -> put 1 -> ... -> put n-1 -> measure -> stop        all on the loop
 */
#include <stdio.h>

#include "base/arena.h"
#include "lib/assemble.h"
#include "loop/loop.h"
#include "store/value.h"
#include "tools/bench_internal.h"

#define POOL_JOBS_MAX 64u
#define MEMORY_BYTES_MAX (UINT64_C(256) << 20)
#define TTL_MS 3600000u
#define SYSTEM_TEXT_BYTES 500u

struct hit_path {
    struct dj_bench *bench;
    struct dj_loop *loop;
    struct dj_loop *loops[1]; /* the same; the engine borrows the list */
    struct dj_pool *pool;
    struct dj_metrics *metrics;
    struct dj_engine *engine;
    struct dj_task task;
    struct dj_arena arena; /* of one request */
    struct dj_fingerprint fingerprint;
    struct dj_buf system;
    struct dj_buf body;
    uint64_t entries;
    uint64_t stored;
    enum deja_status status;
};

/* The index-th chat request. */
static bool write_body(struct hit_path *path, uint64_t index)
{
    char text[DJ_BENCH_TEXT_BYTES];
    dj_buf_clear(&path->body);
    struct dj_json_writer w = dj_json_writer(&path->body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "model");
    dj_json_put_text(&w, "bench");
    dj_json_key(&w, "temperature");
    dj_json_put_i64(&w, 0);
    dj_json_key(&w, "messages");
    dj_json_begin_array(&w);
    for (unsigned i = 0; i < 2; i++) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "role");
        dj_json_put_text(&w, i == 0 ? "system" : "user");
        dj_json_key(&w, "content");
        dj_json_put_string(&w, i == 0 ? dj_buf_slice(&path->system)
                                      : dj_bench_question(index, false, text));
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    return path->body.status == DEJA_OK;
}

/* Parses the body and makes its keys. */
static enum deja_status make_key(struct hit_path *path)
{
    const struct dj_key_prefix prefix = {.tenant = "bench", .family = "chat"};
    struct dj_json_doc *doc = NULL;
    dj_arena_fini(&path->arena);
    enum deja_status status = dj_json_parse(dj_buf_slice(&path->body), &doc, NULL);
    if (status == DEJA_OK)
        status = dj_key_chat(&prefix, dj_json_root(doc), &path->arena, &path->fingerprint);
    dj_json_doc_destroy(doc);
    return status;
}

/* ---- steps ---- */

static bool prepare(void *ctx, uint64_t index)
{
    struct hit_path *path = ctx;
    return write_body(path, (index * 7877 + 11) % path->entries);
}

static bool key(void *ctx, uint64_t index)
{
    (void)index;
    return make_key(ctx) == DEJA_OK;
}

static bool hit(void *ctx, uint64_t index)
{
    struct hit_path *path = ctx;
    if (make_key(path) != DEJA_OK)
        return false;
    struct dj_value *value = dj_engine_find(path->engine, path->loop, &path->fingerprint.key, 0);
    if (!value)
        return false;
    bool is_right =
        dj_engine_hit_kind(value, path->fingerprint.exact) == DJ_HIT_EXACT &&
        dj_bench_is_answer((index * 7877 + 11) % path->entries, dj_value_entry(value)->body);
    dj_value_unref(value);
    return is_right;
}

static void measure(struct hit_path *path)
{
    const struct dj_bench_case items[] = {
        {.name = "exact.engine.key", .ctx = path, .before = prepare, .step = key},
        {.name = "exact.engine.hit",
         .ctx = path,
         .before = prepare,
         .step = hit,
         .entries = path->entries},
    };
    for (size_t i = 0; i < 2 && path->status == DEJA_OK; i++)
        path->status = dj_bench_measure(path->bench, &items[i]);
}

/* ---- filling ---- */

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome);

static enum deja_status put_next(struct hit_path *path)
{
    char body[DJ_BENCH_ANSWER_BYTES];
    struct dj_fill fill;
    if (!write_body(path, path->stored))
        return path->body.status;
    enum deja_status status = make_key(path);
    if (status != DEJA_OK)
        return status;
    const struct dj_fingerprint *fingerprint = &path->fingerprint;
    dj_bench_answer(path->stored, body);
    struct dj_entry entry = {.kind = DJ_ENTRY_CHAT,
                             .created_ms = dj_loop_now_ms(path->loop),
                             .expires_ms =
                                 dj_engine_expiry(path->engine, path->loop, TTL_MS, TTL_MS),
                             .query = fingerprint->text,
                             .model = deja_slice_text("bench"),
                             .body = deja_slice(body, sizeof body)};
    memcpy(entry.tenant, fingerprint->key.tenant, sizeof entry.tenant);
    memcpy(entry.id, fingerprint->key.id, sizeof entry.id);
    memcpy(entry.exact, fingerprint->exact, sizeof entry.exact);
    dj_engine_begin_fill(path->engine, &entry, &fill);
    return dj_engine_put(path->engine, path->loop, &entry, NULL, path, on_put);
}

/* The last entry is there, or one could not be put. */
static void on_filled(void *ctx)
{
    struct hit_path *path = ctx;
    if (path->status == DEJA_OK)
        measure(path);
    dj_loop_stop(path->loop);
}

static void go_on(void *ctx)
{
    struct hit_path *path = ctx;
    if (path->status == DEJA_OK && path->stored < path->entries) {
        path->status = put_next(path);
        if (path->status == DEJA_OK)
            return;
    }
    path->task = (struct dj_task){.run = on_filled, .ctx = path};
    dj_loop_post(path->loop, &path->task);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct hit_path *path = ctx;
    path->status = status == DEJA_OK && !outcome->is_stored ? DEJA_ERR_LIMIT : status;
    path->stored++;
    go_on(path);
}

/* ---- the group ---- */

static enum deja_status open_engine(struct hit_path *path)
{
    struct dj_store *kept = NULL;
    bool is_discarded = false;
    enum deja_status status = dj_loop_create(0, &path->loop);
    if (status == DEJA_OK)
        status = dj_pool_create("bench", 1, POOL_JOBS_MAX, &path->pool);
    if (status == DEJA_OK)
        status = dj_metrics_create(&path->metrics);
    if (status != DEJA_OK)
        return status;
    path->loops[0] = path->loop;
    const struct dj_assembly assembly = {
        .memory = {.bytes_max = MEMORY_BYTES_MAX,
                   .entries_max = 2 * path->entries,
                   .tenant_entries_max = 2 * path->entries,
                   .loop_count = 1},
        .engine = {.loops = path->loops,
                   .loop_count = 1,
                   .pool = path->pool,
                   .metrics = path->metrics},
    };
    return dj_assemble(&assembly, &path->engine, &kept, &is_discarded, &path->bench->error);
}

enum deja_status dj_bench_engine_group(struct dj_bench *bench)
{
    struct hit_path path = {.bench = bench, .entries = bench->entries};
    dj_bench_progress(bench, "exact.engine: filling");
    dj_bench_text(DJ_BENCH_PROSE, 0, SYSTEM_TEXT_BYTES, &path.system);
    enum deja_status status = open_engine(&path);
    if (status == DEJA_OK) {
        path.task = (struct dj_task){.run = go_on, .ctx = &path};
        dj_loop_post(path.loop, &path.task);
        dj_loop_run(path.loop);
        status = path.status;
    }
    dj_pool_destroy(path.pool);
    dj_engine_destroy(path.engine);
    dj_loop_destroy(path.loop);
    dj_metrics_destroy(path.metrics);
    dj_arena_fini(&path.arena);
    dj_buf_fini(&path.system);
    dj_buf_fini(&path.body);
    return status;
}
