/* cache/stale.c - answers whose time is over: found, judged, and asked after once more.
 *
 * Tiers keep an entry until its stale_until (I10); only who brings rules sees it after its end.
 */
#include "cache/engine_internal.h"
#include "store/memory.h"

enum dj_freshness dj_engine_judge(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                                  const struct dj_entry *entry, int64_t now_ms,
                                  const struct dj_fresh_rules *rules)
{
    const struct dj_fresh_times times = {entry->created_ms, entry->expires_ms,
                                         entry->stale_until_ms};
    if (memcmp(entry->tenant, tenant, DJ_ID_BYTES) != 0)
        return DJ_FRESH_OVER;
    enum dj_freshness freshness = dj_fresh_judge(&times, now_ms, rules);
    if (freshness == DJ_FRESH_OVER || !dj_engine_is_current(engine, entry))
        return DJ_FRESH_OVER;
    return freshness;
}

struct dj_value *dj_engine_find_stale(struct dj_engine *engine, struct dj_loop *loop,
                                      const struct dj_store_key *key,
                                      const struct dj_fresh_rules *rules,
                                      enum dj_freshness *out_freshness)
{
    int64_t now_ms = dj_loop_now_ms(loop);
    struct dj_value *value =
        dj_memory_find(engine->options.memory, dj_loop_index(loop), key, now_ms);
    if (!value)
        return NULL;
    enum dj_freshness freshness =
        dj_engine_judge(engine, key->tenant, dj_value_entry(value), now_ms, rules);
    if (freshness == DJ_FRESH_OVER) {
        dj_value_unref(value);
        return NULL;
    }
    *out_freshness = freshness;
    return value;
}

bool dj_engine_may_serve(struct dj_engine *engine, struct dj_loop *loop,
                         const struct dj_value *value)
{
    static const struct dj_fresh_rules any = {.serve_stale_ms = UINT64_MAX};
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    return !dj_tombstones_refuse(engine->tombstones[dj_loop_index(loop)], &key, entry->version) &&
           dj_engine_judge(engine, entry->tenant, entry, dj_loop_now_ms(loop), &any) !=
               DJ_FRESH_OVER;
}
