/* api/kv_batch_internal.h - what the files of kv:batch share: one of its operations, and all. */
#ifndef DJ_API_KV_BATCH_INTERNAL_H
#define DJ_API_KV_BATCH_INTERNAL_H

#include "api/kv.h"

enum dj_kv_step_kind {
    DJ_KV_STEP_GET,
    DJ_KV_STEP_EXISTS,
    DJ_KV_STEP_TTL,
    DJ_KV_STEP_SET,
    DJ_KV_STEP_DELETE,
    DJ_KV_STEP_EXPIRE,
    DJ_KV_STEP_INCR,
    DJ_KV_STEP_MERGE,
};
struct dj_kv_step {
    struct dj_plain_op op;
    struct dj_kv_batch *batch;
    enum dj_kv_step_kind kind;
    struct deja_slice key;
    struct deja_slice version; /* of a get or a set; data NULL: not said */
    struct dj_draft draft;
    struct dj_fault fault;
    struct dj_value *value; /* owned: what was found, or is there now */
    bool was_there;
    bool is_stored;
    bool is_outrun;
};

/* In the request's arena. */
struct dj_kv_batch {
    struct dj_request *request;
    struct dj_kv_names names;
    struct dj_kv_step *steps;
    size_t count;
    size_t next; /* of the next round */
    size_t left; /* of the round under way, and one for the start */
    size_t round[DJ_PLAIN_MANY_MAX];
    size_t round_count;
    struct dj_draft *drafts_of[DJ_PLAIN_MANY_MAX];
    struct dj_drafts drafts;
};

static inline bool dj_kv_step_is_read(const struct dj_kv_step *step)
{
    return step->kind <= DJ_KV_STEP_TTL;
}

/* Fills a zeroed step but for its batch. where: "operations[3].". False: complained. */
bool dj_kv_step_read(struct dj_kv_step *step, const struct dj_json *object, const char *where);

#endif
