/* proxy/answer.h - what the families of answers share: facts for the write gate, how an answer is
 * to be told, what a stream was made into. Plain data. Threads: any.
 */
#ifndef DJ_PROXY_ANSWER_H
#define DJ_PROXY_ANSWER_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"

/* What the write gate asks about an answer. Slices borrowed from the object. */
struct dj_answer_facts {
    size_t choice_count;
    bool is_every_choice_stopped; /* each ended by itself: stop, end_turn, completed */
    bool has_length;              /* some answer was cut short */
    bool has_content_filter;
    bool has_tool_calls;
    bool has_hosted_tools; /* what it says came from outside the request: a search, say */
    bool has_refusal;
    bool has_content;  /* some text, audio or tool call */
    bool is_moderated; /* a moderation block */
    bool is_signed;    /* some of it is worth nothing once it is changed: signed thinking */
    struct deja_slice model;
    uint32_t input_tokens;
    uint32_t output_tokens;
    uint32_t cached_tokens; /* of the input: had by the provider's own prompt cache */
};

/* A stream made whole. Zeroed before, ended with dj_assembly_fini. */
struct dj_assembly {
    struct dj_buf object; /* the complete object of its API */
    struct dj_buf tape; /* JSON object: what the object cannot tell of the stream; empty: nothing */
    bool is_done;       /* its terminal event was seen */
};
static inline void dj_assembly_fini(struct dj_assembly *assembly)
{
    dj_buf_fini(&assembly->object);
    dj_buf_fini(&assembly->tape);
}

/* How an object is told as a stream. */
struct dj_replay_options {
    bool has_usage;         /* the client asked for the usage chunk */
    struct deja_slice tape; /* as it was recorded; empty: none */
};

/* Counter of usage, 0 where there is none. */
static inline uint32_t dj_answer_tokens(const struct dj_json *usage, const char *name)
{
    int64_t count = dj_json_i64(dj_json_get(usage, name), 0);
    return count < 0 ? 0 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

#endif
