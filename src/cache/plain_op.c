/* cache/plain_op.c - see plain_op.h. */
#include "cache/plain_op.h"

#include "base/num.h"
#include "base/slice.h"
#include "proto/json.h"
#include "security/user.h"

enum dj_plain_mode dj_plain_op_mode(const struct dj_plain_op *op)
{
    bool is_blind = (op->kind == DJ_PLAIN_OP_SET || op->kind == DJ_PLAIN_OP_REMOVE) &&
                    op->condition == DJ_PLAIN_IF_ANY && !op->is_end_kept && !op->is_before_wanted;
    return is_blind ? DJ_PLAIN_BLIND : DJ_PLAIN_LOOKING;
}

void dj_plain_op_fini(struct dj_plain_op *op)
{
    dj_buf_fini(&op->made);
}

static bool holds(const struct dj_plain_op *op, const struct dj_entry *now)
{
    switch (op->condition) {
    case DJ_PLAIN_IF_ABSENT:
        return !now;
    case DJ_PLAIN_IF_PRESENT:
        return now;
    case DJ_PLAIN_IF_VERSION:
        return now && now->version == op->version;
    case DJ_PLAIN_IF_OTHER:
        return !now || now->version != op->version;
    case DJ_PLAIN_IF_BODY:
        return now && deja_slice_is_equal(now->body, op->expected);
    default:
        return true;
    }
}

/* What was said of it stays said, that it is kept only where it is sealed above all: the change may
 * leave what it was said for. The user's own tag is added again by who puts. */
static void keep_facts(struct dj_plain_op *op, const struct dj_entry *now,
                       struct dj_plain_new *out_new)
{
    bool is_freed = dj_slice_contains(now->metadata, DJ_PLAIN_SEALED_ONLY) &&
                    !dj_slice_contains(op->metadata, DJ_PLAIN_SEALED_ONLY);
    out_new->metadata = op->is_metadata_new && !is_freed ? op->metadata : now->metadata;
    out_new->expires_ms = now->expires_ms;
    out_new->make_ms = now->make_ms;
    out_new->tags = op->kept_tags;
    for (size_t i = 0; i < now->tag_count && out_new->tag_count < DJ_PLAIN_TAGS_MAX; i++)
        if (!dj_tag_is_of_user(now->tags[i].name))
            op->kept_tags[out_new->tag_count++] = now->tags[i].name;
}

static void new_facts(const struct dj_plain_op *op, struct dj_plain_new *out_new)
{
    out_new->metadata = op->metadata;
    out_new->expires_ms = op->expires_ms;
    out_new->make_ms = op->make_ms;
    out_new->tags = op->tags;
    out_new->tag_count = op->tag_count;
}

static enum dj_plain_verdict fail(struct dj_plain_op *op, enum deja_status status)
{
    op->status = status;
    return DJ_PLAIN_KEEP;
}

static enum dj_plain_verdict increment(struct dj_plain_op *op, const struct dj_entry *now,
                                       struct dj_plain_new *out_new)
{
    int64_t number = 0;
    if (now && dj_num_parse_i64(now->body, &number) != DEJA_OK)
        return fail(op, DEJA_ERR_INVALID);
    if (__builtin_add_overflow(number, op->by, &number))
        return fail(op, DEJA_ERR_LIMIT);
    if (now)
        keep_facts(op, now, out_new);
    else
        new_facts(op, out_new);
    dj_buf_clear(&op->made);
    dj_buf_append_format(&op->made, "%lld", (long long)number);
    if (op->made.status != DEJA_OK)
        return fail(op, op->made.status);
    op->number = number;
    out_new->body = dj_buf_slice(&op->made);
    return DJ_PLAIN_PUT;
}

static size_t count_members(const struct dj_json *value)
{
    size_t count = 0;
    struct dj_json_walk walk = dj_json_walk(dj_json_is(value, DJ_JSON_OBJECT) ? value : NULL);
    while (dj_json_walk_next(&walk))
        count += 1 + count_members(walk.value);
    return count;
}

static enum deja_status write_merged(struct dj_plain_op *op, const struct dj_json *target,
                                     const struct dj_json *patch)
{
    struct dj_json_writer w = dj_json_writer(&op->made);
    if (!dj_json_is(patch, DJ_JSON_OBJECT) || (target && !dj_json_is(target, DJ_JSON_OBJECT)))
        return DEJA_ERR_INVALID;
    if (count_members(patch) > DJ_PLAIN_MERGE_MEMBERS_MAX)
        return DEJA_ERR_LIMIT;
    dj_buf_clear(&op->made);
    dj_json_merge(&w, target, patch);
    return op->made.status;
}

static enum dj_plain_verdict merge(struct dj_plain_op *op, const struct dj_entry *now,
                                   struct dj_plain_new *out_new)
{
    struct dj_json_doc *target = NULL;
    struct dj_json_doc *patch = NULL;
    enum deja_status status = DEJA_OK;
    if ((now && now->body.len > DJ_PLAIN_MERGE_BYTES_MAX) ||
        op->body.len > DJ_PLAIN_MERGE_BYTES_MAX)
        return fail(op, DEJA_ERR_LIMIT);
    if (now)
        status = dj_json_parse(now->body, &target, NULL);
    if (status == DEJA_OK)
        status = dj_json_parse(op->body, &patch, NULL);
    if (status == DEJA_OK)
        status = write_merged(op, target ? dj_json_root(target) : NULL, dj_json_root(patch));
    dj_json_doc_destroy(target);
    dj_json_doc_destroy(patch);
    if (status != DEJA_OK)
        return fail(op, status);
    if (now)
        keep_facts(op, now, out_new);
    else
        new_facts(op, out_new);
    if (!op->is_end_kept)
        out_new->expires_ms = op->expires_ms;
    out_new->body = dj_buf_slice(&op->made);
    return DJ_PLAIN_PUT;
}

enum dj_plain_verdict dj_plain_op_change(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                         struct dj_plain_new *out_new)
{
    struct dj_plain_op *op = ctx;
    (void)now_ms;
    op->status = DEJA_OK;
    op->is_refused = !holds(op, now);
    out_new->skip = op->skip;
    out_new->is_through = op->is_through;
    out_new->as_of = op->as_of;
    if (op->is_refused)
        return DJ_PLAIN_KEEP;
    switch (op->kind) {
    case DJ_PLAIN_OP_REMOVE:
        return DJ_PLAIN_REMOVE;
    case DJ_PLAIN_OP_INCREMENT:
        return increment(op, now, out_new);
    case DJ_PLAIN_OP_MERGE:
        return merge(op, now, out_new);
    case DJ_PLAIN_OP_EXPIRE:
        if (!now)
            return DJ_PLAIN_KEEP;
        keep_facts(op, now, out_new);
        out_new->expires_ms = op->expires_ms;
        out_new->body = now->body;
        return DJ_PLAIN_PUT;
    default:
        break;
    }
    new_facts(op, out_new);
    if (op->is_end_kept && now)
        out_new->expires_ms = now->expires_ms;
    out_new->body = op->body;
    return DJ_PLAIN_PUT;
}
