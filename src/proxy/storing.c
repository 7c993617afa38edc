/* proxy/storing.c - see storing.h. */
#include "proxy/storing.h"

#include "base/alloc.h"
#include "proxy/audit_note.h"

/* Freed by its own end. */
struct storing {
    struct dj_proxy_context *context;
    struct dj_loop *home;
    uint64_t started_us;
    uint64_t bytes;         /* in context->store_bytes */
    struct dj_turn *turn;   /* owned; NULL: not this one's to end */
    struct dj_rules *rules; /* one reference; NULL: none */
    struct dj_store_key key;
};

static void release(struct storing *storing)
{
    atomic_fetch_sub(&storing->context->stores, 1);
    atomic_fetch_sub(&storing->context->store_bytes, storing->bytes);
    dj_turn_end(storing->turn);
    dj_rules_unref(storing->rules);
    dj_free(storing);
}

static void on_stored(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct storing *storing = ctx;
    struct dj_telemetry *telemetry = storing->context->telemetry;
    double seconds = (double)(dj_loop_monotonic_us(storing->home) - storing->started_us) / 1e6;
    dj_telemetry_stage(telemetry, DJ_STAGE_STORE, seconds);
    dj_telemetry_operation(telemetry, "set", "all",
                           status != DEJA_OK    ? "error"
                           : outcome->is_stored ? "ok"
                                                : "outrun",
                           seconds);
    dj_audit_note_store(storing->context->audit,
                        &(struct dj_store_note){.rules = storing->rules,
                                                .key = storing->key,
                                                .status = status,
                                                .is_stored = outcome->is_stored,
                                                .duration_us = (uint64_t)(seconds * 1e6),
                                                .now_ms = dj_loop_now_ms(storing->home)});
    /* The client has its answer; only the next one asks again. */
    dj_telemetry_contained(telemetry, "store", status);
    dj_telemetry_slow(telemetry,
                      &(struct dj_slow){.operation = "store", .level = "all", .seconds = seconds});
    release(storing);
}

static struct storing *create(struct dj_call *call, const struct dj_entry *entry)
{
    struct storing *storing = dj_alloc(sizeof *storing);
    if (!storing)
        return NULL;
    *storing = (struct storing){.context = call->context,
                                .home = call->home,
                                .started_us = dj_loop_monotonic_us(call->home),
                                .bytes = sizeof *entry + entry->body.len + entry->query.len +
                                         entry->metadata.len,
                                .rules = call->rules ? dj_rules_ref(call->rules) : NULL,
                                .key = call->fingerprint.key};
    memcpy(storing->key.id, entry->id, sizeof storing->key.id); /* of an item, not of the call */
    return storing;
}

/* Whether or not there is room, it is on its way now. */
static bool has_room(struct storing *storing)
{
    struct dj_proxy_context *context = storing->context;
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    uint32_t others = atomic_fetch_add(&context->stores, 1);
    uint64_t bytes = atomic_fetch_add(&context->store_bytes, storing->bytes);
    return others < policy->stores_max && bytes + storing->bytes <= policy->store_bytes_max;
}

bool dj_storing_begin(struct dj_call *call, const struct dj_entry *entry,
                      const struct dj_put_options *options, bool is_last)
{
    struct storing *storing = create(call, entry);
    struct dj_put_options put = *options;
    put.skip |= call->knobs.skip;
    put.as_of = entry->version;
    if (!storing)
        return false;
    if (!has_room(storing)) {
        put.skip |= ~DJ_LEVEL_BIT(DJ_LEVEL_MEMORY);
        dj_telemetry_dropped(call->context->telemetry, "queue");
    }
    if (dj_engine_put(call->context->engine, call->home, entry, &put, storing, on_stored) !=
        DEJA_OK) {
        dj_telemetry_dropped(call->context->telemetry, "memory");
        release(storing);
        return false;
    }
    if (is_last) {
        storing->turn = call->turn;
        call->turn = NULL;
    }
    return true;
}
