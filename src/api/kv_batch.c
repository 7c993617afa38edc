/* api/kv_batch.c - POST /api/v1/kv:batch: many operations on plain keys, in their order.
 *
 *   read every step -> look at what is set for sensitive data -> rounds -> answer
 *
 * A round is all reads that follow one another (one question to each tier for what the one above
 * lacks), or all writes (those of one key take effect in their order). So a get after a set of the
 * same key sees it. A step that cannot be done has its error in its place, the others are done.
 */
#include "api/as_of.h"
#include "api/handlers.h"
#include "api/kv_batch_internal.h"
#include "api/query.h"
#include "base/list.h"
#include "cache/notices.h"

static void run(struct dj_kv_batch *batch);

/* ---- answering ---- */

static void write_found(struct dj_json_writer *w, struct dj_kv_step *step, int64_t now_ms)
{
    struct dj_request *request = step->batch->request;
    const struct dj_entry *entry = step->value ? dj_value_entry(step->value) : NULL;
    dj_json_member_bool(w, step->kind == DJ_KV_STEP_EXISTS ? "exists" : "found", entry != NULL);
    if (!entry && step->kind == DJ_KV_STEP_GET)
        dj_json_member_u64(w, "as_of", dj_as_of_now(request));
    if (!entry || step->kind == DJ_KV_STEP_EXISTS)
        return;
    if (step->kind == DJ_KV_STEP_GET) {
        dj_kv_write_value(w, request, entry);
        dj_json_member_u64(w, "version", entry->version);
    }
    dj_kv_write_ttl(w, entry, now_ms);
}

static void write_changed(struct dj_json_writer *w, const struct dj_kv_step *step, int64_t now_ms)
{
    const struct dj_entry *entry = step->value ? dj_value_entry(step->value) : NULL;
    if (step->kind == DJ_KV_STEP_DELETE) {
        dj_json_member_u64(w, "removed", step->was_there ? 1 : 0);
        return;
    }
    dj_json_member_bool(w, "stored", entry && step->is_stored);
    if (step->is_outrun)
        dj_json_member_text(w, "reason", "outrun");
    if (step->kind == DJ_KV_STEP_INCR) {
        dj_json_key(w, "value");
        dj_json_put_i64(w, step->op.number);
    }
    if (!entry)
        return;
    dj_json_member_u64(w, "version", entry->version);
    dj_kv_write_ttl(w, entry, now_ms);
    dj_draft_put_verdict(w, &step->draft);
}

static void end_step(struct dj_kv_step *step)
{
    dj_value_unref(step->value);
    step->value = NULL;
    dj_plain_op_fini(&step->op);
    dj_draft_fini(&step->draft);
}

static void answer(struct dj_kv_batch *batch)
{
    struct dj_request *request = batch->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    size_t failed = 0;
    dj_json_begin_object(&w);
    dj_json_key(&w, "results");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < batch->count; i++) {
        struct dj_kv_step *step = &batch->steps[i];
        dj_json_begin_object(&w);
        if (step->fault.problem.status)
            dj_request_put_fault(&w, &step->fault);
        else if (dj_kv_step_is_read(step))
            write_found(&w, step, now_ms);
        else
            write_changed(&w, step, now_ms);
        failed += step->fault.problem.status != 0;
        dj_json_end_object(&w);
        end_step(step);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, failed ? 207 : 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- rounds ---- */

static void end_one(struct dj_kv_batch *batch)
{
    if (--batch->left == 0)
        run(batch);
}

static void take_found(struct dj_kv_step *step, struct dj_value *value, const char *level)
{
    step->value = value;
    dj_kv_note(step->batch->request, "get", level ? level : "none", value ? "ok" : "miss");
}

static void on_got_version(void *ctx, struct dj_value *value, const char *level, bool has_other)
{
    struct dj_kv_step *step = ctx;
    (void)has_other;
    take_found(step, value, level);
    end_one(step->batch);
}

/* Of those without a version, in their order. */
static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct dj_kv_batch *batch = ctx;
    for (size_t i = 0, at = 0; i < batch->round_count && at < count; i++) {
        struct dj_kv_step *step = &batch->steps[batch->round[i]];
        if (!step->version.data) {
            take_found(step, values[at], levels[at]);
            at++;
        }
    }
    end_one(batch);
}

static void fail_step(struct dj_kv_step *step, enum deja_status status)
{
    step->fault.problem = dj_problem_of(status);
    step->batch->left--;
}

static void start_reads(struct dj_kv_batch *batch)
{
    struct dj_request *request = batch->request;
    struct dj_plain *plain = request->api->proxy->plain;
    struct dj_plain_space space;
    enum deja_status status = DEJA_OK;
    size_t count = 0;
    struct deja_slice *keys =
        dj_arena_alloc(request->arena, batch->round_count * sizeof(struct deja_slice));
    dj_kv_space(request, &batch->names, &space);
    batch->left = 1;
    for (size_t i = 0; i < batch->round_count; i++) {
        struct dj_kv_step *step = &batch->steps[batch->round[i]];
        if (!step->version.data && keys)
            keys[count++] = step->key;
        if (!step->version.data)
            continue;
        batch->left++;
        status = dj_plain_version_get(plain, request->loop, &space, step->key, step->version,
                                      request->skip, step, on_got_version);
        if (status != DEJA_OK)
            fail_step(step, status);
    }
    status = keys ? DEJA_OK : DEJA_ERR_NOMEM;
    if (count) {
        batch->left++;
        status = dj_plain_get_many(plain, request->loop, &space, keys, count, request->skip, batch,
                                   on_got_many);
        batch->left -= status != DEJA_OK;
    }
    for (size_t i = 0; status != DEJA_OK && i < batch->round_count; i++) {
        struct dj_kv_step *step = &batch->steps[batch->round[i]];
        if (!step->version.data)
            step->fault.problem = dj_problem_of(status);
    }
    dj_plain_space_fini(&space);
    end_one(batch);
}

static void on_previous_kept(void *ctx)
{
    struct dj_kv_step *step = ctx;
    end_one(step->batch);
}

/* Was something put in the place of another version? */
static bool keeps_before(struct dj_kv_step *step, const struct dj_plain_outcome *outcome)
{
    struct dj_kv_batch *batch = step->batch;
    return step->version.data && outcome->before && outcome->is_stored &&
           dj_kv_keep_previous(batch->request, &batch->names, step->key, step->version,
                               outcome->before, step, on_previous_kept) == DEJA_OK;
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct dj_kv_step *step = DJ_CONTAINER((struct dj_plain_op *)ctx, struct dj_kv_step, op);
    struct dj_problem problem = dj_kv_problem(&step->op, status);
    step->was_there = outcome->was_there;
    step->is_stored = outcome->is_stored;
    step->is_outrun = outcome->is_outrun;
    if (outcome->after)
        step->value = dj_value_ref(outcome->after);
    /* A condition that does not hold is an answer: nothing was stored, or removed. */
    if (!step->op.is_refused)
        step->fault.problem = problem;
    dj_kv_note(step->batch->request, step->kind == DJ_KV_STEP_DELETE ? "delete" : "set", "none",
               step->fault.problem.status ? "error" : "ok");
    if (!keeps_before(step, outcome))
        end_one(step->batch);
}

static void start_writes(struct dj_kv_batch *batch)
{
    batch->left = 1;
    for (size_t i = 0; i < batch->round_count; i++) {
        struct dj_kv_step *step = &batch->steps[batch->round[i]];
        batch->left++;
        enum deja_status status =
            dj_kv_change(batch->request, &batch->names, step->key, &step->op, on_changed);
        if (status == DEJA_OK)
            continue;
        step->fault.problem = dj_kv_problem(&step->op, status);
        batch->left--;
    }
    end_one(batch);
}

static void run(struct dj_kv_batch *batch)
{
    bool is_reading = false;
    batch->round_count = 0;
    for (; batch->next < batch->count; batch->next++) {
        const struct dj_kv_step *step = &batch->steps[batch->next];
        if (step->fault.problem.status)
            continue;
        if (batch->round_count && dj_kv_step_is_read(step) != is_reading)
            break;
        is_reading = dj_kv_step_is_read(step);
        batch->round[batch->round_count++] = batch->next;
    }
    if (!batch->round_count) {
        answer(batch);
        return;
    }
    if (is_reading)
        start_reads(batch);
    else
        start_writes(batch);
}

static void on_judged(void *ctx)
{
    struct dj_kv_batch *batch = ctx;
    for (size_t i = 0; i < batch->count; i++) {
        struct dj_kv_step *step = &batch->steps[i];
        if (!batch->drafts_of[i])
            continue;
        step->fault.problem = dj_draft_problem(&step->draft);
        if (!step->fault.problem.status)
            dj_kv_apply(batch->request, &step->draft, &step->op);
        step->op.is_metadata_new = step->kind == DJ_KV_STEP_MERGE && step->draft.verdict.classes;
    }
    run(batch);
}

static void begin(struct dj_kv_batch *batch, const struct dj_json *list)
{
    struct dj_request *request = batch->request;
    for (struct dj_json_walk w = dj_json_walk(list); dj_json_walk_next(&w);) {
        struct dj_kv_step *step = &batch->steps[w.index];
        *step = (struct dj_kv_step){.batch = batch};
        if (!dj_kv_step_read(step, w.value, dj_request_text(request, "operations[%zu].", w.index)))
            dj_request_take_fault(request, &step->fault);
        bool is_looked_at = (step->kind == DJ_KV_STEP_SET || step->kind == DJ_KV_STEP_INCR ||
                             step->kind == DJ_KV_STEP_MERGE) &&
                            !step->fault.problem.status;
        batch->drafts_of[w.index] = is_looked_at ? &step->draft : NULL;
    }
    batch->drafts = (struct dj_drafts){.request = request,
                                       .items = batch->drafts_of,
                                       .count = batch->count,
                                       .ctx = batch,
                                       .judged = on_judged};
    dj_drafts_judge(&batch->drafts);
}

static void on_body(struct dj_request *request)
{
    static const char *const members[] = {"operations", "reason", NULL};
    const struct dj_json *list = dj_json_get(request->body, "operations");
    size_t count = dj_json_count(list);
    struct dj_kv_names names;
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count == 0 || count > DJ_PLAIN_MANY_MAX)
        dj_request_complain(
            request, "invalid_request", "operations", "type",
            dj_request_text(request, "must be an array of 1 to %u operations", DJ_PLAIN_MANY_MAX));
    else if (dj_query_check_members(request, request->body, "", members) &&
             dj_query_label(request, request->body, "reason", "", DJ_NOTICE_REASON_BYTES_MAX,
                            &request->reason) &&
             dj_kv_read_names(request, &names)) {
        struct dj_kv_batch *batch = dj_arena_alloc(request->arena, sizeof *batch);
        struct dj_kv_step *steps = dj_arena_alloc(request->arena, count * sizeof *steps);
        if (!batch || !steps) {
            dj_request_refuse(request, DEJA_ERR_NOMEM);
            return;
        }
        batch->request = request;
        batch->names = names;
        batch->steps = steps;
        batch->count = count;
        batch->next = 0;
        begin(batch, list);
        return;
    }
    dj_request_has_complaints(request);
}

void dj_kv_batch(struct dj_request *request)
{
    dj_request_read_once(request, on_body);
}
