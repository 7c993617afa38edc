/* lib/kv.c - the calls of deja/kv.h for one key; those for many are kv_many.c. Trust as calls.c. */
#include "base/alloc.h"
#include "lib/kv_internal.h"

#define READ_TIMEOUT_MS 1000u
#define WRITE_TIMEOUT_MS 2000u
#define COMPUTE_TIMEOUT_MS 30000u

enum { READ_VALUE, READ_EXISTS, READ_TTL };

int64_t dj_kv_end(const struct deja *deja, uint64_t ttl_ms)
{
    int64_t now_ms = dj_loop_now_ms(deja->loop);
    if (ttl_ms == 0)
        ttl_ms = DJ_PLAIN_TTL_DEFAULT_MS;
    return ttl_ms >= (uint64_t)(INT64_MAX - now_ms) ? 0 : now_ms + (int64_t)ttl_ms;
}

void dj_kv_done(struct dj_operation *operation, enum deja_status status, uint64_t count)
{
    dj_operation_done(operation, status, count);
    dj_operation_destroy(operation);
}

/* ---- reads ---- */

static uint64_t number_of(const struct dj_operation *operation, const struct dj_value *value)
{
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    if (!entry || entry->kind == DJ_ENTRY_NEGATIVE)
        return 0;
    if (operation->kv->read == READ_EXISTS)
        return 1;
    int64_t now_ms = dj_loop_now_ms(operation->deja->loop);
    if (!entry->expires_ms)
        return DEJA_TTL_NEVER;
    return entry->expires_ms > now_ms ? (uint64_t)(entry->expires_ms - now_ms) : 1;
}

static void answer_read(struct dj_operation *operation, struct dj_value *value, const char *level)
{
    dj_event_got(operation, operation->kv->key, value, level);
    if (operation->on_done) {
        dj_kv_done(operation, DEJA_OK, number_of(operation, value));
        return;
    }
    if (!value && operation->compute) {
        dj_computation_enter(operation);
        return;
    }
    struct deja_answer *answer = dj_answer_create(value ? DEJA_HIT_EXACT : DEJA_MISS, value,
                                                  value ? 1 : 0, value ? level : "not-stored");
    dj_operation_answer(operation, answer ? DEJA_OK : DEJA_ERR_NOMEM, answer);
    dj_operation_destroy(operation);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    answer_read(ctx, value, level);
    dj_value_unref(value);
}

static void on_got_version(void *ctx, struct dj_value *value, const char *level, bool has_other)
{
    (void)has_other;
    on_got(ctx, value, level);
}

static void start_read(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    enum deja_status status = DEJA_OK;
    struct dj_value *value = NULL;
    if (!kv->version.len)
        value = dj_plain_find(deja->plain, deja->loop, &kv->space, kv->key);
    if (value) {
        answer_read(operation, value, dj_level_text(DJ_LEVEL_MEMORY));
        dj_value_unref(value);
        return;
    }
    if (kv->version.len)
        status = dj_plain_version_get(deja->plain, deja->loop, &kv->space, kv->key, kv->version, 0,
                                      operation, on_got_version);
    else
        status = dj_plain_get(deja->plain, deja->loop, &kv->space, kv->key, 0, operation, on_got);
    if (status == DEJA_OK)
        return;
    if (operation->on_done)
        dj_operation_done(operation, status, 0);
    else
        dj_operation_answer(operation, status, NULL);
    dj_operation_destroy(operation);
}

/* The tags that the key's kind gives, and its life where none was said. */
static enum deja_status take_kind(struct dj_operation *operation)
{
    struct dj_entry *entry = &operation->entry;
    struct dj_kind_match match;
    const struct dj_kind *kind =
        dj_kinds_match(operation->deja->kind_table, operation->kv->key, &match);
    if (!kind)
        return DEJA_OK;
    if (operation->ttl_ms == 0)
        operation->ttl_ms = dj_kind_ttl_ms(kind, operation->kv->key);
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    struct dj_buf bytes = {0};
    size_t count = dj_kind_tags(kind, match.fields, match.field_count, &bytes, tags);
    enum deja_status status = bytes.status;
    for (size_t i = 0; i < count && status == DEJA_OK && entry->tag_count < DJ_TAGS_MAX; i++)
        status = dj_operation_copy(operation, tags[i], DJ_KIND_TAG_BYTES,
                                   &entry->tags[entry->tag_count++].name);
    dj_buf_fini(&bytes);
    return status;
}

/* The columns of what is computed. */
static enum deja_status begin_entry(struct dj_operation *operation)
{
    struct dj_kv_call *kv = operation->kv;
    struct dj_entry *entry = &operation->entry;
    struct dj_fingerprint *fingerprint = &operation->fingerprint;
    dj_plain_digest(&kv->space, kv->key, fingerprint->exact);
    memcpy(fingerprint->key.id, fingerprint->exact, sizeof fingerprint->key.id);
    entry->kind = DJ_ENTRY_PLAIN;
    entry->query = kv->key;
    entry->metadata = kv->op.metadata;
    memcpy(entry->tenant, fingerprint->key.tenant, sizeof entry->tenant);
    memcpy(entry->id, fingerprint->key.id, sizeof entry->id);
    memcpy(entry->exact, fingerprint->exact, sizeof entry->exact);
    for (size_t i = 0; i < kv->op.tag_count; i++)
        entry->tags[entry->tag_count++].name = kv->op.tags[i];
    return take_kind(operation);
}

static enum deja_status ask(struct deja *deja, const struct deja_kv *given,
                            struct dj_waiter *waiter, const struct dj_operation *template)
{
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_kv_begin(deja, given, template->compute ? COMPUTE_TIMEOUT_MS : READ_TIMEOUT_MS,
                    start_read, true, &operation);
    if (status == DEJA_OK && template->compute && operation->kv->version.len) {
        dj_operation_destroy(operation);
        status = DEJA_ERR_INVALID;
    }
    if (status != DEJA_OK)
        return status;
    operation->ctx = template->ctx;
    operation->on_answer = template->on_answer;
    operation->compute = template->compute;
    operation->compute_ctx = template->compute_ctx;
    operation->waiter = waiter;
    return dj_operation_finish(operation, operation->compute ? begin_entry(operation) : DEJA_OK);
}

enum deja_status deja_kv_get_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                   deja_answer_fn *done)
{
    const struct dj_operation template = {.ctx = ctx, .on_answer = done};
    return ask(deja, kv, NULL, &template);
}

enum deja_status deja_kv_get_or_compute_async(struct deja *deja, const struct deja_kv *kv,
                                              void *compute_ctx, deja_compute_fn *compute,
                                              void *ctx, deja_answer_fn *done)
{
    const struct dj_operation template = {
        .ctx = ctx, .on_answer = done, .compute = compute, .compute_ctx = compute_ctx};
    return ask(deja, kv, NULL, &template);
}

static enum deja_status ask_and_wait(struct deja *deja, const struct deja_kv *kv,
                                     struct dj_operation *template, struct deja_answer **out_answer)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    template->ctx = &waiter;
    template->on_answer = dj_waiter_on_answer;
    status = dj_waiter_wait(&waiter, ask(deja, kv, &waiter, template));
    if (status == DEJA_OK)
        *out_answer = waiter.answer;
    return status;
}

enum deja_status deja_kv_get(struct deja *deja, const struct deja_kv *kv,
                             struct deja_answer **out_answer)
{
    struct dj_operation template = {.ctx = NULL};
    return ask_and_wait(deja, kv, &template, out_answer);
}

enum deja_status deja_kv_get_or_compute(struct deja *deja, const struct deja_kv *kv,
                                        void *compute_ctx, deja_compute_fn *compute,
                                        struct deja_answer **out_answer)
{
    struct dj_operation template = {.compute = compute, .compute_ctx = compute_ctx};
    return ask_and_wait(deja, kv, &template, out_answer);
}

static enum deja_status read_number(struct deja *deja, const struct deja_kv *kv, int read,
                                    void *ctx, deja_done_fn *done)
{
    struct dj_operation *operation = NULL;
    enum deja_status status = dj_kv_begin(deja, kv, READ_TIMEOUT_MS, start_read, true, &operation);
    if (status != DEJA_OK)
        return status;
    operation->kv->read = read;
    operation->ctx = ctx;
    operation->on_done = done ? done : dj_kv_ignore;
    return dj_operation_finish(operation, DEJA_OK);
}

enum deja_status deja_kv_exists_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                      deja_done_fn *done)
{
    return read_number(deja, kv, READ_EXISTS, ctx, done);
}

enum deja_status deja_kv_ttl_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                   deja_done_fn *done)
{
    return read_number(deja, kv, READ_TTL, ctx, done);
}

/* ---- writes ---- */

void dj_kv_ignore(void *ctx, enum deja_status status, uint64_t count)
{
    (void)ctx;
    (void)status;
    (void)count;
}

static void tell_change(struct dj_operation *operation, const struct dj_plain_outcome *outcome)
{
    struct deja *deja = operation->deja;
    if (outcome->verdict == DJ_PLAIN_PUT && outcome->is_stored) {
        atomic_fetch_add(&deja->counters.puts, 1);
        dj_event_stored(deja, operation, dj_value_entry(outcome->after));
    } else if (outcome->verdict == DJ_PLAIN_REMOVE && outcome->was_there) {
        atomic_fetch_add(&deja->counters.removes, 1);
        dj_event_removed(operation, operation->kv->key, 1);
    }
}

static void end_change(void *ctx)
{
    struct dj_operation *operation = ctx;
    dj_kv_done(operation, DEJA_OK, 1);
}

/* Was something of a version put in the place of another value? Then that is kept before the caller
 * is told. */
static bool keeps_before(struct dj_operation *operation, const struct dj_plain_outcome *outcome)
{
    const struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    return kv->version.len && outcome->is_stored && outcome->before &&
           dj_plain_version_keep(deja->plain, deja->loop, &kv->space, kv->key, kv->version,
                                 outcome->before, 0, operation, end_change) == DEJA_OK;
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct dj_kv_call *kv = DJ_CONTAINER((struct dj_plain_op *)ctx, struct dj_kv_call, op);
    struct dj_operation *operation = kv->operation;
    bool is_done = outcome->verdict == DJ_PLAIN_PUT ? outcome->is_stored : outcome->was_there;
    uint64_t count = is_done ? 1 : 0;
    if (status == DEJA_ERR_BUSY)
        status = DEJA_ERR_RATE_LIMITED;
    status = kv->op.status != DEJA_OK ? kv->op.status : dj_tier_status(status);
    if (status == DEJA_OK || is_done)
        tell_change(operation, outcome);
    if (kv->op.kind == DJ_PLAIN_OP_INCREMENT)
        count = (uint64_t)kv->op.number;
    if (status == DEJA_OK && keeps_before(operation, outcome))
        return;
    dj_kv_done(operation, status, count);
}

/* What the verdict said of what is written is noted of what comes of it. */
static enum dj_plain_verdict on_change(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    struct dj_kv_call *kv = DJ_CONTAINER((struct dj_plain_op *)ctx, struct dj_kv_call, op);
    const struct dj_sensitive_verdict *found = &kv->operation->verdict;
    enum dj_plain_verdict verdict = dj_plain_op_change(ctx, now, now_ms, out_new);
    if (verdict == DJ_PLAIN_PUT)
        kv->op.status = dj_sensitive_mark(&kv->operation->arena, found->is_redacted,
                                          found->is_sealed_only, &out_new->metadata);
    return kv->op.status == DEJA_OK ? verdict : DJ_PLAIN_KEEP;
}

static void start_change(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    const struct dj_plain_change change = {
        .mode = dj_plain_op_mode(&kv->op), .change = on_change, .done = on_changed, .ctx = &kv->op};
    uint64_t ttl_ms = operation->ttl_ms ? operation->ttl_ms : dj_plain_ttl_ms(deja->plain, kv->key);
    kv->op.expires_ms = dj_kv_end(deja, ttl_ms);
    dj_plain_key(&kv->space, kv->key, &operation->fingerprint.key);
    if (kv->op.kind == DJ_PLAIN_OP_REMOVE)
        dj_computation_detach(deja, &operation->fingerprint.key);
    enum deja_status status =
        dj_plain_change(deja->plain, deja->loop, &kv->space, kv->key, &change);
    if (status != DEJA_OK)
        dj_kv_done(operation, status, 0);
}

/* A number is not a card, and what is there already was looked at. */
static enum deja_status look_at(struct dj_operation *operation)
{
    struct dj_plain_op *op = &operation->kv->op;
    struct dj_put_options unused = {.skip = 0}; /* what metadata says is obeyed */
    struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN,
                             .query = operation->kv->key,
                             .name_space = operation->entry.name_space,
                             .body = op->body,
                             .metadata = op->metadata};
    if (op->kind == DJ_PLAIN_OP_REMOVE || op->kind == DJ_PLAIN_OP_EXPIRE)
        return DEJA_OK;
    for (size_t i = 0; i < op->tag_count; i++)
        entry.tags[entry.tag_count++].name = op->tags[i];
    enum deja_status status = dj_look(operation->deja, &entry, &operation->verdict);
    if (status == DEJA_OK)
        dj_sensitive_apply(&operation->verdict, 0, &entry, &unused);
    op->body = entry.body;
    op->metadata = entry.metadata;
    return status;
}

static enum deja_status change(struct deja *deja, const struct deja_kv *kv,
                               enum dj_plain_op_kind kind, int64_t by, void *ctx,
                               deja_done_fn *done)
{
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_kv_begin(deja, kv, WRITE_TIMEOUT_MS, start_change, true, &operation);
    if (status != DEJA_OK)
        return status;
    struct dj_plain_op *op = &operation->kv->op;
    op->kind = kind;
    op->by = by;
    if (kind != DJ_PLAIN_OP_SET)
        operation->kv->version.len = 0;
    op->is_before_wanted = operation->kv->version.len > 0;
    if (kind == DJ_PLAIN_OP_MERGE && op->condition == DJ_PLAIN_IF_ANY)
        op->condition = DJ_PLAIN_IF_PRESENT;
    if (kind == DJ_PLAIN_OP_MERGE && operation->ttl_ms == 0)
        op->is_end_kept = true;
    operation->kv->operation = operation;
    operation->ctx = ctx;
    operation->on_done = done;
    return dj_operation_finish(operation, look_at(operation));
}

enum deja_status deja_kv_set_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                   deja_done_fn *done)
{
    return change(deja, kv, DJ_PLAIN_OP_SET, 0, ctx, done);
}

enum deja_status deja_kv_delete_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                      deja_done_fn *done)
{
    return change(deja, kv, DJ_PLAIN_OP_REMOVE, 0, ctx, done);
}

enum deja_status deja_kv_expire_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                      deja_done_fn *done)
{
    return change(deja, kv, DJ_PLAIN_OP_EXPIRE, 0, ctx, done);
}

enum deja_status deja_kv_increment_async(struct deja *deja, const struct deja_kv *kv, int64_t by,
                                         void *ctx, deja_done_fn *done)
{
    return change(deja, kv, DJ_PLAIN_OP_INCREMENT, by, ctx, done);
}

enum deja_status deja_kv_merge_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                     deja_done_fn *done)
{
    return change(deja, kv, DJ_PLAIN_OP_MERGE, 0, ctx, done);
}

/* ---- the blocking twins ---- */

enum deja_status dj_kv_wait(struct deja *deja, const struct deja_kv *kv, dj_kv_async_fn *async,
                            uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    return dj_waiter_count(&waiter, async(deja, kv, &waiter, dj_waiter_on_done), out_count);
}

enum deja_status deja_kv_set(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_set_async, out_count);
}

enum deja_status deja_kv_delete(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_delete_async, out_count);
}

enum deja_status deja_kv_exists(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_exists_async, out_count);
}

enum deja_status deja_kv_ttl(struct deja *deja, const struct deja_kv *kv, uint64_t *out_ttl_ms)
{
    return dj_kv_wait(deja, kv, deja_kv_ttl_async, out_ttl_ms);
}

enum deja_status deja_kv_expire(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_expire_async, out_count);
}

enum deja_status deja_kv_merge(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_merge_async, out_count);
}

enum deja_status deja_kv_increment(struct deja *deja, const struct deja_kv *kv, int64_t by,
                                   int64_t *out_number)
{
    struct dj_waiter waiter;
    uint64_t number = 0;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_kv_increment_async(deja, kv, by, &waiter, dj_waiter_on_done);
    status = dj_waiter_count(&waiter, status, &number);
    if (status == DEJA_OK && out_number)
        *out_number = (int64_t)number;
    return status;
}
