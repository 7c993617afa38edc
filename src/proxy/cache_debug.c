/* proxy/cache_debug.c - see cache_debug.h. The object is not read: the member goes before the brace
 * that closes it, which is the last one of the body, or of the last event that has an object. */
#include "proxy/cache_debug.h"

#include "base/num.h"
#include "proto/json.h"

static const char data[] = "data: {";

/* Where the last event with an object ends; 0: there is none. */
static size_t end_of_last_object(struct deja_slice events)
{
    size_t len = sizeof data - 1;
    for (size_t at = events.len; at-- > 0;) {
        bool is_line = at == 0 || events.data[at - 1] == '\n';
        if (!is_line || events.len - at < len || memcmp(events.data + at, data, len) != 0)
            continue;
        const char *end = memchr(events.data + at, '\n', events.len - at);
        return end ? (size_t)(end - events.data) : events.len;
    }
    return 0;
}

static void write_debug(struct dj_json_writer *w, const struct dj_outcome *outcome,
                        double threshold)
{
    const struct dj_entry *entry = outcome->entry;
    bool is_by_meaning = outcome->kind == DJ_HIT_SEMANTIC;
    char id[2 * DJ_ID_BYTES + 1];
    dj_hex_encode(entry->id, DJ_ID_BYTES, id);
    dj_json_begin_object(w);
    dj_json_key(w, "cache_debug");
    dj_json_begin_object(w);
    dj_json_member_bool(w, "cache_hit", true);
    dj_json_member_text(w, "cache_id", id);
    dj_json_member_text(w, "hit_type", is_by_meaning ? "semantic" : "direct");
    if (is_by_meaning) {
        dj_json_member_double(w, "threshold", threshold);
        dj_json_member_double(w, "similarity", (double)outcome->similarity);
        dj_json_member_u64(w, "input_tokens", entry->input_tokens);
    }
    dj_json_key(w, "provider_used");
    dj_json_put_string(w, entry->provider);
    dj_json_key(w, "model_used");
    dj_json_put_string(w, entry->model);
    dj_json_end_object(w);
    dj_json_end_object(w);
}

void dj_cache_debug_put(struct deja_slice body, bool is_stream, const struct dj_outcome *outcome,
                        double threshold, struct dj_buf *out)
{
    size_t end = is_stream ? end_of_last_object(body) : body.len;
    while (end > 0 && body.data[end - 1] != '}')
        end--;
    size_t before = end ? end - 1 : 0; /* what is in front of the brace */
    while (before > 0 && memchr(" \t\r\n", body.data[before - 1], 4))
        before--;
    if (!before) {
        dj_buf_append_slice(out, body);
        return;
    }
    bool is_empty = body.data[before - 1] == '{';
    dj_buf_append_slice(out, deja_slice(body.data, end - 1));
    dj_buf_append_text(out, is_empty ? "\"extra_fields\":" : ",\"extra_fields\":");
    struct dj_json_writer w = dj_json_writer(out);
    write_debug(&w, outcome, threshold);
    dj_buf_append_slice(out, deja_slice(body.data + end - 1, body.len - (end - 1)));
}
