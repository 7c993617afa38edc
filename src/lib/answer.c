/* lib/answer.c - what a lookup found: a pinned value and how it was found. */
#include "base/alloc.h"
#include "lib/lib_internal.h"

struct deja_answer {
    enum deja_outcome outcome;
    struct dj_value *value; /* owned; NULL: a miss */
    double similarity;
    const char *reason; /* constant */
};

static const struct dj_entry empty;

static const struct dj_entry *entry_of(const struct deja_answer *answer)
{
    return answer->value ? dj_value_entry(answer->value) : &empty;
}

struct deja_answer *dj_answer_create(enum deja_outcome outcome, struct dj_value *value,
                                     double similarity, const char *reason)
{
    struct deja_answer *answer = dj_alloc_zeroed(1, sizeof *answer);
    if (!answer)
        return NULL;
    *answer = (struct deja_answer){.outcome = outcome,
                                   .value = value ? dj_value_ref(value) : NULL,
                                   .similarity = similarity,
                                   .reason = reason ? reason : "not-stored"};
    return answer;
}

void deja_answer_release(struct deja_answer *answer)
{
    if (!answer)
        return;
    dj_value_unref(answer->value);
    dj_free(answer);
}

enum deja_outcome deja_answer_outcome(const struct deja_answer *answer)
{
    return answer->outcome;
}

struct deja_slice deja_answer_body(const struct deja_answer *answer)
{
    return entry_of(answer)->body;
}

struct deja_slice deja_answer_text(const struct deja_answer *answer)
{
    return entry_of(answer)->query;
}

struct deja_slice deja_answer_model(const struct deja_answer *answer)
{
    return entry_of(answer)->model;
}

struct deja_slice deja_answer_metadata(const struct deja_answer *answer)
{
    return entry_of(answer)->metadata;
}

bool deja_answer_is_nothing(const struct deja_answer *answer)
{
    return entry_of(answer)->kind == DJ_ENTRY_NEGATIVE;
}

double deja_answer_similarity(const struct deja_answer *answer)
{
    return answer->similarity;
}

const char *deja_answer_reason(const struct deja_answer *answer)
{
    return answer->reason;
}

int64_t deja_answer_created_ms(const struct deja_answer *answer)
{
    return entry_of(answer)->created_ms;
}

int64_t deja_answer_expires_ms(const struct deja_answer *answer)
{
    return entry_of(answer)->expires_ms;
}

uint64_t deja_answer_version(const struct deja_answer *answer)
{
    return entry_of(answer)->version;
}

void deja_answer_id(const struct deja_answer *answer, uint8_t out_id[DEJA_ID_BYTES])
{
    memcpy(out_id, entry_of(answer)->id, DEJA_ID_BYTES);
}
