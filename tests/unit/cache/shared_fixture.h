/* shared_fixture.h - engines over tiers that do as they are told, alone or two that share them. */
#ifndef DJ_TEST_CACHE_SHARED_FIXTURE_H
#define DJ_TEST_CACHE_SHARED_FIXTURE_H

#include "disk_fixture.h"
#include "scripted_store.h"

static inline void pull_step(void *ctx)
{
    dj_engine_pull(ctx);
}

/* Until nothing is under way. */
static inline void settle(struct fixture *fixture)
{
    do {
        for (uint32_t i = 0; i < LOOPS; i++)
            drain_loop(fixture->loops.loop[i]);
    } while (dj_engine_pending(fixture->engine) > 0);
}

static inline void pull_now(struct fixture *fixture)
{
    on_loop(fixture->loops.loop[0], pull_step, fixture->engine);
    settle(fixture);
}

static inline void add_tier(struct fixture *fixture, struct scripted *s, const char *level,
                            bool is_authority)
{
    fixture->tiers[fixture->tier_count++] =
        (struct dj_tier){.store = scripted_open(s, level, is_authority)};
}

/* Where it was found; "": nowhere. */
struct answer {
    char level[16];
    uint64_t version;
};
static inline struct answer get_skipping(struct fixture *fixture, struct dj_store_key key,
                                         uint32_t skip)
{
    struct answer answer = {.version = 0};
    struct call call = {.fixture = fixture, .key = key, .skip = skip};
    run_call(&call, start_get);
    snprintf(answer.level, sizeof answer.level, "%s", call.level);
    answer.version = call.value ? dj_value_entry(call.value)->version : 0;
    dj_value_unref(call.value);
    return answer;
}

static inline struct answer get(struct fixture *fixture, const struct dj_entry *entry)
{
    return get_skipping(fixture, key_of(entry), 0);
}

/* An entry that only the levels not named have. */
static inline struct call put_skipping(struct fixture *fixture, struct dj_entry *entry,
                                       uint32_t skip)
{
    struct call call = {
        .fixture = fixture, .entry = entry, .is_semantic = entry->query.len > 0, .skip = skip};
    run_call(&call, start_put);
    return call;
}

#define MEMORY DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)
#define REDIS DJ_LEVEL_BIT(DJ_LEVEL_REDIS)
#define POSTGRES DJ_LEVEL_BIT(DJ_LEVEL_POSTGRES)
#define S3 DJ_LEVEL_BIT(DJ_LEVEL_S3)

#endif
