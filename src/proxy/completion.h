/* proxy/completion.h - one chat answer in its two shapes: the complete object and the event stream.
 *
 * The canonical form is the complete `chat.completion` object with every field that came, unknown
 * ones too; a stream is assembled into it and replayed from it. Assembling a replay gives the
 * object back. Trust: upstream bytes, untrusted; parsed in proto/. Threads: any.
 */
#ifndef DJ_PROXY_COMPLETION_H
#define DJ_PROXY_COMPLETION_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"

/* Appends the object. is_done: the terminal event was seen.
 * DEJA_ERR_INVALID: an event is not JSON, carries an error, or no chunk came; DEJA_ERR_LIMIT,
 * DEJA_ERR_NOMEM. */
enum deja_status dj_completion_assemble(struct deja_slice sse, struct dj_buf *out_json,
                                        bool *out_is_done) DEJA_NODISCARD;

/* Appends the events of object, the terminal one included. */
enum deja_status dj_completion_replay(const struct dj_json *object, bool has_usage,
                                      struct dj_buf *out_sse) DEJA_NODISCARD;

/* Appends object with changes for a hit: usage counters zero, id and created new. */
void dj_completion_rewrite(const struct dj_json *object, bool is_usage_zero, const char *new_id,
                           int64_t new_created_s, struct dj_buf *out_json);

/* What the write gate asks about an answer. Slices borrowed from object. */
struct dj_completion_facts {
    size_t choice_count;
    bool is_every_choice_stopped; /* finish_reason stop for all (tool_calls counts apart) */
    bool has_length;              /* some finish_reason is length */
    bool has_content_filter;
    bool has_tool_calls; /* tool_calls or function_call in a message */
    bool has_refusal;
    bool has_content;  /* some text, audio or tool call */
    bool is_moderated; /* a moderation block */
    struct deja_slice model;
    uint32_t input_tokens;
    uint32_t output_tokens;
};
void dj_completion_inspect(const struct dj_json *object, struct dj_completion_facts *out_facts);

/* True for an event that only carries usage: "choices" is empty. */
bool dj_completion_is_usage_only(struct deja_slice event_data);

#endif
