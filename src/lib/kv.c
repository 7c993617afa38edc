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

/* ---- reading what the caller gave ---- */

static enum deja_status read_key(struct dj_operation *operation, const struct deja_kv *given,
                                 bool is_key)
{
    struct dj_kv_call *kv = operation->kv;
    struct dj_entry *entry = &operation->entry;
    if (given->name_space.len > DEJA_NAME_SPACE_BYTES_MAX)
        return DEJA_ERR_INVALID;
    if (is_key && (given->key.len == 0 || given->key.len > DEJA_KEY_BYTES_MAX))
        return DEJA_ERR_INVALID;
    enum deja_status status =
        dj_operation_copy(operation, given->key, DEJA_KEY_BYTES_MAX, &kv->key);
    if (status == DEJA_OK)
        status = dj_operation_copy(operation, given->name_space, DEJA_NAME_SPACE_BYTES_MAX,
                                   &entry->name_space);
    if (status != DEJA_OK)
        return status;
    uint8_t names[DJ_SHA256_BYTES];
    const uint8_t *tenant = dj_tenant_of(operation->deja, given->tenant);
    dj_name_key(operation->deja, tenant, names);
    dj_plain_space_init(&kv->space, tenant, names, entry->name_space, deja_slice("", 0));
    dj_wipe(names, sizeof names);
    memcpy(operation->fingerprint.key.tenant, tenant, DEJA_TENANT_BYTES);
    return DEJA_OK;
}

static enum deja_status read_value(struct dj_operation *operation, const struct deja_kv *given)
{
    struct dj_plain_op *op = &operation->kv->op;
    enum deja_status status =
        dj_operation_copy(operation, given->body, DEJA_BODY_BYTES_MAX, &op->body);
    if (status == DEJA_OK)
        status =
            dj_operation_copy(operation, given->metadata, DJ_METADATA_BYTES_MAX, &op->metadata);
    if (status == DEJA_OK && given->tag_count > DEJA_TAGS_MAX)
        status = DEJA_ERR_LIMIT;
    struct deja_slice *tags = NULL;
    if (status == DEJA_OK && given->tag_count) {
        tags = dj_arena_alloc(&operation->arena, given->tag_count * sizeof *tags);
        status = tags ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    for (size_t i = 0; i < given->tag_count && status == DEJA_OK; i++)
        status = given->tags[i].len == 0
                     ? DEJA_ERR_INVALID
                     : dj_operation_copy(operation, given->tags[i], DEJA_TAG_BYTES_MAX, &tags[i]);
    op->tags = tags;
    op->tag_count = tags ? given->tag_count : 0;
    return status;
}

static enum deja_status read_condition(struct dj_plain_op *op, const struct deja_kv *given)
{
    static const enum dj_plain_if conditions[] = {
        [DEJA_IF_ANY] = DJ_PLAIN_IF_ANY,
        [DEJA_IF_ABSENT] = DJ_PLAIN_IF_ABSENT,
        [DEJA_IF_PRESENT] = DJ_PLAIN_IF_PRESENT,
        [DEJA_IF_VERSION] = DJ_PLAIN_IF_VERSION,
    };
    if ((unsigned)given->condition > DEJA_IF_VERSION)
        return DEJA_ERR_INVALID;
    op->condition = conditions[given->condition];
    op->version = given->version;
    op->is_end_kept = given->is_ttl_kept;
    return DEJA_OK;
}

enum deja_status dj_kv_begin(struct deja *deja, const struct deja_kv *kv, uint32_t timeout_ms,
                             dj_operation_fn *start, bool is_key,
                             struct dj_operation **out_operation)
{
    struct deja_kv given;
    struct dj_operation *operation = NULL;
    enum deja_status status = dj_read_struct(
        kv, kv->struct_bytes, offsetof(struct deja_kv, on_event), &given, sizeof given);
    if (status == DEJA_OK)
        status = dj_operation_create(deja, given.timeout_ms ? given.timeout_ms : timeout_ms, start,
                                     &operation);
    if (status != DEJA_OK)
        return status;
    struct dj_kv_call *call = dj_arena_alloc(&operation->arena, sizeof *call);
    if (call) {
        *call = (struct dj_kv_call){.count = 0};
        operation->kv = call;
        operation->on_event = given.on_event;
        operation->event_ctx = given.event_ctx;
        operation->ttl_ms = given.ttl_ms;
    }
    status = call ? read_key(operation, &given, is_key) : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = read_value(operation, &given);
    if (status == DEJA_OK)
        status = read_condition(&call->op, &given);
    if (status != DEJA_OK) {
        dj_operation_destroy(operation);
        return status;
    }
    *out_operation = operation;
    return DEJA_OK;
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

static void start_read(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    struct dj_value *value = dj_plain_find(deja->plain, deja->loop, &kv->space, kv->key);
    if (value) {
        answer_read(operation, value, dj_level_text(DJ_LEVEL_MEMORY));
        dj_value_unref(value);
        return;
    }
    enum deja_status status =
        dj_plain_get(deja->plain, deja->loop, &kv->space, kv->key, 0, operation, on_got);
    if (status == DEJA_OK)
        return;
    if (operation->on_done)
        dj_operation_done(operation, status, 0);
    else
        dj_operation_answer(operation, status, NULL);
    dj_operation_destroy(operation);
}

/* The columns of what is computed. */
static void begin_entry(struct dj_operation *operation)
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
}

static enum deja_status ask(struct deja *deja, const struct deja_kv *given,
                            struct dj_waiter *waiter, const struct dj_operation *template)
{
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_kv_begin(deja, given, template->compute ? COMPUTE_TIMEOUT_MS : READ_TIMEOUT_MS,
                    start_read, true, &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = template->ctx;
    operation->on_answer = template->on_answer;
    operation->compute = template->compute;
    operation->compute_ctx = template->compute_ctx;
    operation->waiter = waiter;
    if (operation->compute)
        begin_entry(operation);
    return dj_operation_finish(operation, DEJA_OK);
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
