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
#include "api/kv.h"
#include "api/query.h"
#include "base/list.h"
#include "base/base64.h"
#include "base/slice.h"
#include "proxy/identity.h"

#define TTL_S_MAX 3e9

enum step_kind { STEP_GET, STEP_EXISTS, STEP_TTL, STEP_SET, STEP_DELETE, STEP_EXPIRE, STEP_INCR };
static const char *const step_names[] = {"get", "exists", "ttl", "set", "delete", "expire", "incr"};
#define STEP_KINDS (sizeof step_names / sizeof *step_names)

struct step {
    struct dj_plain_op op;
    struct batch *batch;
    enum step_kind kind;
    struct deja_slice key;
    struct dj_draft draft;
    struct dj_fault fault;
    struct dj_value *value; /* owned: what was found, or is there now */
    bool was_there;
    bool is_stored;
    bool is_outrun;
};

/* In the request's arena. */
struct batch {
    struct dj_request *request;
    struct dj_kv_names names;
    struct step *steps;
    size_t count;
    size_t next; /* of the next round */
    size_t left; /* writes under way, and one for the start */
    size_t round[DJ_PLAIN_MANY_MAX];
    size_t round_count;
    struct dj_draft *drafts_of[DJ_PLAIN_MANY_MAX];
    struct dj_drafts drafts;
};

static void run(struct batch *batch);

static bool is_read(const struct step *step)
{
    return step->kind <= STEP_TTL;
}

/* ---- reading ---- */

/* A member that is text, or its twin in base64; in the arena. false: complained. */
static bool read_bytes(struct dj_request *request, const struct dj_json *object, const char *name,
                       const char *where, struct deja_slice *out_bytes)
{
    const char *twin = dj_request_text(request, "%s_base64", name);
    const struct dj_json *text = dj_json_get(object, name);
    const struct dj_json *coded = dj_json_get(object, twin);
    struct dj_buf bytes = {0};
    if (!coded) {
        *out_bytes = dj_json_string(text);
        return true;
    }
    bool is_fine = !text && dj_json_is(coded, DJ_JSON_STRING) &&
                   dj_base64_decode(dj_json_string(coded), &bytes) == DEJA_OK;
    if (is_fine)
        *out_bytes =
            bytes.len ? dj_arena_copy(request->arena, dj_buf_slice(&bytes)) : deja_slice("", 0);
    dj_buf_fini(&bytes);
    if (!is_fine)
        dj_request_complain(request, "invalid_request",
                            dj_request_text(request, "%s%s", where, twin), "format",
                            "must be standard base64, and stand alone");
    return is_fine;
}

static void complain(struct dj_request *request, const char *where, const char *name,
                     const char *message)
{
    dj_request_complain(request, "invalid_request", dj_request_text(request, "%s%s", where, name),
                        "value", message);
}

static bool read_end(struct step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *ttl = dj_json_get(object, "ttl");
    uint64_t ttl_ms = dj_kv_default_ttl(request, step->key);
    double seconds = dj_json_double(ttl, -1);
    if (dj_json_is(ttl, DJ_JSON_NULL)) {
        ttl_ms = 0;
    } else if (seconds >= 0 && seconds <= TTL_S_MAX) {
        ttl_ms = seconds > 0 && seconds < 0.001 ? 1 : (uint64_t)(seconds * 1000);
    } else if (ttl && !dj_kv_read_ttl(request, dj_json_string(ttl),
                                      dj_request_text(request, "%sttl", where), &ttl_ms)) {
        return false;
    }
    if (!ttl && step->kind == STEP_EXPIRE) {
        complain(request, where, "ttl", "is missing");
        return false;
    }
    step->op.expires_ms = dj_kv_end(request, ttl_ms);
    return dj_query_flag(request, object, "keep_ttl", where, &step->op.is_end_kept);
}

static bool read_condition(struct step *step, const struct dj_json *object, const char *where)
{
    const struct dj_json *wanted = dj_json_get(object, "if");
    struct deja_slice text = dj_json_string(wanted);
    int64_t version = dj_json_i64(wanted, -1);
    if (!wanted)
        return true;
    if (dj_slice_is(text, "absent")) {
        step->op.condition = DJ_PLAIN_IF_ABSENT;
    } else if (dj_slice_is(text, "present")) {
        step->op.condition = DJ_PLAIN_IF_PRESENT;
    } else if (version > 0) {
        step->op.condition = DJ_PLAIN_IF_VERSION;
        step->op.version = (uint64_t)version;
    } else {
        complain(step->batch->request, where, "if", "must be \"absent\", \"present\" or a version");
        return false;
    }
    return true;
}

/* "tags" or "depends_on"; in the arena. */
static bool read_names(struct step *step, const struct dj_json *object, const char *name,
                       const char *where, const struct deja_slice **out_tags, size_t *out_count)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *list = dj_json_get(object, name);
    size_t count = dj_json_count(list);
    *out_tags = NULL;
    *out_count = 0;
    if (!list)
        return true;
    struct deja_slice *tags = dj_arena_alloc(request->arena, (count + 1) * sizeof *tags);
    bool is_fine = tags && dj_json_is(list, DJ_JSON_ARRAY) && count <= DJ_PLAIN_TAGS_MAX;
    for (struct dj_json_walk w = dj_json_walk(list); is_fine && dj_json_walk_next(&w);) {
        const struct deja_slice *read = NULL;
        size_t one = 0;
        struct deja_slice tag = dj_json_string(w.value);
        is_fine = tag.len && !memchr(tag.data, ',', tag.len) &&
                  dj_kv_read_tags(request, tag, &read, &one) && one == 1;
        if (is_fine)
            tags[w.index] = tag;
    }
    if (!is_fine) {
        complain(request, where, name, "must be an array of at most 32 texts without commas");
        return false;
    }
    *out_tags = tags;
    *out_count = count;
    return true;
}

static bool read_tags(struct step *step, const struct dj_json *object, const char *where)
{
    const struct deja_slice *names = NULL;
    size_t count = 0;
    return read_names(step, object, "tags", where, &step->op.tags, &step->op.tag_count) &&
           read_names(step, object, "depends_on", where, &names, &count) &&
           dj_kv_add_depends(step->batch->request, names, count, &step->op);
}

/* Text is put as it is, other JSON as JSON. */
static bool read_value(struct step *step, const struct dj_json *object, const char *where)
{
    struct dj_request *request = step->batch->request;
    const struct dj_json *value = dj_json_get(object, "value");
    struct deja_slice media = deja_slice_text("text/plain; charset=utf-8");
    struct deja_slice bytes = {0};
    struct dj_buf json = {0};
    if (!value && !dj_json_get(object, "value_base64")) {
        complain(request, where, "value", "is missing");
        return false;
    }
    if (!read_bytes(request, object, "value", where, &bytes))
        return false;
    if (!value)
        media = deja_slice_text("application/octet-stream");
    if (value && !dj_json_is(value, DJ_JSON_STRING)) {
        struct dj_json_writer w = dj_json_writer(&json);
        dj_json_put_value(&w, value);
        bytes = dj_buf_slice(&json);
        media = deja_slice_text("application/json");
    }
    bool is_kept = bytes.len <= DJ_PLAIN_VALUE_BYTES_MAX && dj_request_keeps(request, bytes.len);
    if (is_kept)
        dj_kv_draft(request, &step->batch->names, step->key, bytes, media, &step->op, &step->draft);
    if (json.status != DEJA_OK)
        step->draft.status = json.status;
    dj_buf_fini(&json);
    if (!is_kept)
        complain(request, where, "value", "is longer than this tenant may keep");
    return is_kept;
}

static bool read_by(struct step *step, const struct dj_json *object, const char *where)
{
    const struct dj_json *by = dj_json_get(object, "by");
    step->op.by = dj_json_i64(by, 1);
    if (!by || (dj_json_is(by, DJ_JSON_NUMBER) &&
                dj_json_i64(by, 1) == dj_json_i64(by, 2))) /* it is an integer */
        return true;
    complain(step->batch->request, where, "by", "must be an integer of 64 bits");
    return false;
}

static bool read_kind(struct step *step, const struct dj_json *object, const char *where)
{
    static const enum dj_plain_op_kind kinds[STEP_KINDS] = {
        [STEP_SET] = DJ_PLAIN_OP_SET,
        [STEP_DELETE] = DJ_PLAIN_OP_REMOVE,
        [STEP_EXPIRE] = DJ_PLAIN_OP_EXPIRE,
        [STEP_INCR] = DJ_PLAIN_OP_INCREMENT,
    };
    struct dj_request *request = step->batch->request;
    struct deja_slice name = dj_json_string(dj_json_get(object, "op"));
    for (size_t i = 0; i < STEP_KINDS; i++) {
        if (!dj_slice_is(name, step_names[i]))
            continue;
        step->kind = (enum step_kind)i;
        step->op.kind = kinds[i];
        if (is_read(step) || dj_identity_may(&request->who, DJ_ROLE_WRITE))
            return true;
        dj_request_complain(request, "forbidden", dj_request_text(request, "%sop", where), "role",
                            "needs a key with the role write");
        return false;
    }
    complain(request, where, "op", "must be get, exists, ttl, set, delete, expire or incr");
    return false;
}

static bool read_step(struct step *step, const struct dj_json *object, const char *where)
{
    static const char *const members[] = {
        "op",   "key",        "key_base64", "value", "value_base64", "ttl", "keep_ttl",
        "tags", "depends_on", "if",         "by",    "as_of",        NULL};
    struct dj_request *request = step->batch->request;
    if (!dj_query_check_members(request, object, where, members) ||
        !read_kind(step, object, where) || !read_bytes(request, object, "key", where, &step->key) ||
        !dj_kv_check_key(request, step->key, where))
        return false;
    if (is_read(step))
        return true;
    if (!read_condition(step, object, where) ||
        (step->kind != STEP_DELETE && !read_end(step, object, where)) ||
        !read_tags(step, object, where) || !read_by(step, object, where))
        return false;
    if (step->kind == STEP_INCR) /* for the key: a number is not looked at */
        dj_kv_draft(request, &step->batch->names, step->key, deja_slice("", 0), deja_slice("", 0),
                    &step->op, &step->draft);
    return step->kind != STEP_SET || (dj_as_of_member(request, object, where, &step->op.as_of) &&
                                      read_value(step, object, where));
}

/* ---- answering ---- */

static void write_found(struct dj_json_writer *w, struct step *step, int64_t now_ms)
{
    struct dj_request *request = step->batch->request;
    const struct dj_entry *entry = step->value ? dj_value_entry(step->value) : NULL;
    dj_json_member_bool(w, step->kind == STEP_EXISTS ? "exists" : "found", entry != NULL);
    if (!entry && step->kind == STEP_GET)
        dj_json_member_u64(w, "as_of", dj_as_of_now(request));
    if (!entry || step->kind == STEP_EXISTS)
        return;
    if (step->kind == STEP_GET) {
        dj_kv_write_value(w, request, entry);
        dj_json_member_u64(w, "version", entry->version);
    }
    dj_kv_write_ttl(w, entry, now_ms);
}

static void write_changed(struct dj_json_writer *w, const struct step *step, int64_t now_ms)
{
    const struct dj_entry *entry = step->value ? dj_value_entry(step->value) : NULL;
    if (step->kind == STEP_DELETE) {
        dj_json_member_u64(w, "removed", step->was_there ? 1 : 0);
        return;
    }
    dj_json_member_bool(w, "stored", entry && step->is_stored);
    if (step->is_outrun)
        dj_json_member_text(w, "reason", "outrun");
    if (step->kind == STEP_INCR) {
        dj_json_key(w, "value");
        dj_json_put_i64(w, step->op.number);
    }
    if (!entry)
        return;
    dj_json_member_u64(w, "version", entry->version);
    dj_kv_write_ttl(w, entry, now_ms);
    dj_draft_put_verdict(w, &step->draft);
}

static void end_step(struct step *step)
{
    dj_value_unref(step->value);
    step->value = NULL;
    dj_plain_op_fini(&step->op);
    dj_draft_fini(&step->draft);
}

static void answer(struct batch *batch)
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
        struct step *step = &batch->steps[i];
        dj_json_begin_object(&w);
        if (step->fault.problem.status)
            dj_request_put_fault(&w, &step->fault);
        else if (is_read(step))
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

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct batch *batch = ctx;
    for (size_t i = 0; i < count; i++) {
        batch->steps[batch->round[i]].value = values[i];
        dj_kv_note(batch->request, "get", levels[i] ? levels[i] : "none",
                   values[i] ? "ok" : "miss");
    }
    run(batch);
}

static enum deja_status start_reads(struct batch *batch)
{
    struct dj_request *request = batch->request;
    struct dj_plain_space space;
    struct deja_slice *keys =
        dj_arena_alloc(request->arena, batch->round_count * sizeof(struct deja_slice));
    if (!keys)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < batch->round_count; i++)
        keys[i] = batch->steps[batch->round[i]].key;
    dj_kv_space(request, &batch->names, &space);
    enum deja_status status =
        dj_plain_get_many(request->api->proxy->plain, request->loop, &space, keys,
                          batch->round_count, request->skip, batch, on_got_many);
    dj_plain_space_fini(&space);
    return status;
}

static void end_write(struct batch *batch)
{
    if (--batch->left == 0)
        run(batch);
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct step *step = DJ_CONTAINER((struct dj_plain_op *)ctx, struct step, op);
    struct dj_problem problem = dj_kv_problem(&step->op, status);
    step->was_there = outcome->was_there;
    step->is_stored = outcome->is_stored;
    step->is_outrun = outcome->is_outrun;
    if (outcome->after)
        step->value = dj_value_ref(outcome->after);
    /* A condition that does not hold is an answer: nothing was stored, or removed. */
    if (!step->op.is_refused)
        step->fault.problem = problem;
    dj_kv_note(step->batch->request, step->kind == STEP_DELETE ? "delete" : "set", "none",
               step->fault.problem.status ? "error" : "ok");
    end_write(step->batch);
}

static void start_writes(struct batch *batch)
{
    batch->left = 1;
    for (size_t i = 0; i < batch->round_count; i++) {
        struct step *step = &batch->steps[batch->round[i]];
        batch->left++;
        enum deja_status status =
            dj_kv_change(batch->request, &batch->names, step->key, &step->op, on_changed);
        if (status == DEJA_OK)
            continue;
        step->fault.problem = dj_kv_problem(&step->op, status);
        batch->left--;
    }
    end_write(batch);
}

static void run(struct batch *batch)
{
    bool is_reading = false;
    batch->round_count = 0;
    for (; batch->next < batch->count; batch->next++) {
        const struct step *step = &batch->steps[batch->next];
        if (step->fault.problem.status)
            continue;
        if (batch->round_count && is_read(step) != is_reading)
            break;
        is_reading = is_read(step);
        batch->round[batch->round_count++] = batch->next;
    }
    if (!batch->round_count) {
        answer(batch);
        return;
    }
    if (!is_reading) {
        start_writes(batch);
        return;
    }
    enum deja_status status = start_reads(batch);
    for (size_t i = 0; status != DEJA_OK && i < batch->round_count; i++)
        batch->steps[batch->round[i]].fault.problem = dj_problem_of(status);
    if (status != DEJA_OK)
        run(batch); /* goes on: batch->next has moved */
}

static void on_judged(void *ctx)
{
    struct batch *batch = ctx;
    for (size_t i = 0; i < batch->count; i++) {
        struct step *step = &batch->steps[i];
        if (!batch->drafts_of[i])
            continue;
        step->fault.problem = dj_draft_problem(&step->draft);
        if (!step->fault.problem.status)
            dj_kv_apply(batch->request, &step->draft, &step->op);
    }
    run(batch);
}

static void begin(struct batch *batch, const struct dj_json *list)
{
    struct dj_request *request = batch->request;
    for (struct dj_json_walk w = dj_json_walk(list); dj_json_walk_next(&w);) {
        struct step *step = &batch->steps[w.index];
        *step = (struct step){.batch = batch};
        if (!read_step(step, w.value, dj_request_text(request, "operations[%zu].", w.index)))
            dj_request_take_fault(request, &step->fault);
        bool is_looked_at =
            (step->kind == STEP_SET || step->kind == STEP_INCR) && !step->fault.problem.status;
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
    static const char *const members[] = {"operations", NULL};
    const struct dj_json *list = dj_json_get(request->body, "operations");
    size_t count = dj_json_count(list);
    struct dj_kv_names names;
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count == 0 || count > DJ_PLAIN_MANY_MAX)
        dj_request_complain(
            request, "invalid_request", "operations", "type",
            dj_request_text(request, "must be an array of 1 to %u operations", DJ_PLAIN_MANY_MAX));
    else if (dj_query_check_members(request, request->body, "", members) &&
             dj_kv_read_names(request, &names)) {
        struct batch *batch = dj_arena_alloc(request->arena, sizeof *batch);
        struct step *steps = dj_arena_alloc(request->arena, count * sizeof *steps);
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
