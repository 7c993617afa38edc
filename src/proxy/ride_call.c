/* proxy/ride_call.c - see ride_internal.h; what a call is told by the ride that makes it. */
#include "base/buf.h"
#include "crypto/digest.h"
#include "proxy/identity.h"
#include "proxy/ride_internal.h"

void ride_flight_key(const struct ride *ride, const struct dj_fingerprint *fingerprint,
                     uint8_t out_key[DJ_SHA256_BYTES])
{
    struct {
        uint8_t id[DJ_ID_BYTES];
        uint8_t tenant[DJ_ID_BYTES];
        uint64_t max_age_ms;
        uint64_t ttl_ms;
        uint64_t skip;
        uint64_t min_fresh_ms;
        uint64_t serve_stale_ms;
        uint64_t error_stale_ms;
        double threshold;
        uint64_t flags;
    } parts;
    memset(&parts, 0, sizeof parts);
    memcpy(parts.id, fingerprint->key.id, sizeof parts.id);
    memcpy(parts.tenant, fingerprint->key.tenant, sizeof parts.tenant);
    parts.max_age_ms = ride->knobs.max_age_ms;
    parts.ttl_ms = ride->knobs.ttl_ms;
    parts.skip = ride->knobs.skip;
    parts.min_fresh_ms = ride->fresh.min_fresh_ms;
    parts.serve_stale_ms = ride->fresh.serve_stale_ms;
    parts.error_stale_ms = ride->fresh.error_stale_ms;
    parts.threshold = ride->knobs.threshold;
    parts.flags = (ride->knobs.is_exact_only ? 1u : 0u) | (ride->knobs.is_only_if_cached ? 2u : 0u);
    const struct deja_slice slices[] = {deja_slice(&parts, sizeof parts), ride->knobs.tags};
    dj_hmac(ride->prefix.fingerprint_key, slices, 2, out_key);
}

/* Of its client, and of the request; slices in the arena. False: out of memory. */
static bool take_tags(const struct ride *ride, struct dj_arena *arena, struct dj_entry *entry)
{
    struct deja_slice list = ride->knobs.tags;
    struct deja_slice tag;
    if (!dj_identity_tag(&ride->who, arena, entry))
        return false;
    if (ride->is_inner && entry->tag_count == 0) /* provenance, which no client can name */
        entry->tags[entry->tag_count++].name = deja_slice_text(RIDE_WARMED_TAG);
    while (entry->tag_count < DJ_TAGS_MAX && dj_http_list_next(&list, &tag)) {
        struct deja_slice copy = dj_arena_copy(arena, tag);
        if (copy.data)
            entry->tags[entry->tag_count++].name = copy;
    }
    return true;
}

/* {"metadata":{…}}, as entries put through the cache API have theirs. */
static bool take_labels(const struct ride *ride, struct dj_call *call)
{
    struct dj_buf text = {0};
    if (!ride->knobs.labels.len)
        return true;
    dj_buf_append_text(&text, "{\"metadata\":");
    dj_buf_append_slice(&text, ride->knobs.labels);
    dj_buf_append_byte(&text, '}');
    if (text.status == DEJA_OK)
        call->labels = dj_arena_copy(&call->arena, dj_buf_slice(&text));
    dj_buf_fini(&text);
    call->entry.metadata = call->labels;
    return call->labels.data != NULL;
}

bool ride_introduce(const struct ride *ride, struct dj_call *call)
{
    const struct deja_slice none = deja_slice(NULL, 0);
    call->rules = dj_rules_ref(ride->who.rules);
    call->knobs = ride->knobs;
    call->knobs.name_space = dj_arena_copy(&call->arena, ride->knobs.name_space);
    call->knobs.tags = call->knobs.ignored = call->knobs.trace_id = call->knobs.labels = none;
    memcpy(call->entry.tenant, ride->tenant, sizeof call->entry.tenant);
    call->entry.name_space = call->knobs.name_space;
    return (call->knobs.name_space.data || !ride->knobs.name_space.len) &&
           take_tags(ride, &call->arena, &call->entry) && take_labels(ride, call);
}
