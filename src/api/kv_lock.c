/* api/kv_lock.c - POST /api/v1/kv:lock and kv:unlock: one of many clients computes a value.
 *
 *   lock  [get: is the value there? answer it]  nobody has the lock -> it is the caller's, a token
 *   unlock                                       the token's holder gives it back
 *
 * A lock is a plain key beside the others: its name is the key's, in a namespace that no client can
 * name, its value the token, its end the lease. So it is one lock in all programs of a shared tier,
 * it ends by itself, and it is gone with its tenant.
 */
#include "api/as_of.h"
#include "api/handlers.h"
#include "api/kv.h"
#include "api/query.h"
#include "base/list.h"
#include "base/num.h"

#define TOKEN_BYTES 16u
#define TOKEN_TEXT_BYTES (2 * TOKEN_BYTES + 1)
#define LEASE_DEFAULT_MS 30000u
#define LEASE_MAX_MS 3600000u
#define LOCKS "\x02locks:" /* in front of the namespace; names have no control characters */

/* In the request's arena. */
struct lock {
    struct dj_plain_op op;
    struct dj_request *request;
    struct dj_kv_names names;
    struct dj_kv_names locks; /* of the locks of these */
    struct deja_slice key;
    bool is_getting;
    uint64_t lease_ms;
    char token[TOKEN_TEXT_BYTES];
};

static bool read_token(struct lock *lock)
{
    struct dj_request *request = lock->request;
    uint8_t bytes[TOKEN_BYTES];
    struct deja_slice text = {0};
    if (!dj_query_label(request, request->body, "token", "", DJ_LABEL_BYTES_MAX, &text))
        return false;
    if (!text.data)
        return true;
    if (dj_hex_decode(text, bytes, sizeof bytes) != DEJA_OK) {
        dj_request_complain(request, "invalid_request", "token", "format",
                            "must be the 32 hex digits that the lock was answered with");
        return false;
    }
    dj_hex_encode(bytes, sizeof bytes, lock->token);
    return true;
}

static bool name_locks(struct lock *lock)
{
    static const char front[] = LOCKS;
    struct deja_slice name = lock->names.name_space;
    char *text = dj_arena_alloc(lock->request->arena, sizeof front + name.len);
    if (!text)
        return false;
    memcpy(text, front, sizeof front - 1);
    if (name.len)
        memcpy(text + sizeof front - 1, name.data, name.len);
    lock->locks = lock->names;
    lock->locks.name_space = deja_slice(text, sizeof front - 1 + name.len);
    return true;
}

/* NULL: the request was answered. */
static struct lock *begin(struct dj_request *request)
{
    static const char *const members[] = {"key", "lease", "token", "get", NULL};
    struct lock *lock = dj_arena_alloc(request->arena, sizeof *lock);
    if (!lock) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *lock = (struct lock){.request = request, .lease_ms = LEASE_DEFAULT_MS};
    lock->key = dj_json_string(dj_json_get(request->body, "key"));
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_kv_check_key(request, lock->key, "") && dj_kv_read_names(request, &lock->names) &&
        dj_query_duration(request, request->body, "lease", "", &lock->lease_ms) &&
        dj_query_flag(request, request->body, "get", "", &lock->is_getting) && read_token(lock)) {
        dj_kv_name_resource(request, &lock->names, lock->key);
        if (lock->lease_ms > LEASE_MAX_MS)
            dj_request_complain(request, "invalid_request", "lease", "range",
                                "must be at most an hour");
        else if (name_locks(lock))
            return lock;
        else
            dj_request_complain(request, "cache_unavailable", "key", "memory", "out of memory");
    }
    dj_request_has_complaints(request);
    return NULL;
}

/* ---- lock ---- */

static void on_locked(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct lock *lock = DJ_CONTAINER((struct dj_plain_op *)ctx, struct lock, op);
    struct dj_request *request = lock->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    bool is_held = status == DEJA_OK && outcome->verdict == DJ_PLAIN_PUT && outcome->is_stored;
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_json_begin_object(&w);
    if (lock->is_getting)
        dj_json_member_bool(&w, "found", false);
    dj_json_member_bool(&w, "locked", is_held);
    if (is_held) {
        dj_json_member_text(&w, "token", lock->token);
        dj_request_put_time(&w, "expires_at", lock->op.expires_ms);
        dj_json_member_u64(&w, "as_of", dj_as_of_now(request));
    } else if (outcome->after) { /* whose it is, and no longer than this */
        dj_kv_write_ttl(&w, dj_value_entry(outcome->after), now_ms);
    }
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void ask(struct lock *lock)
{
    uint8_t bytes[TOKEN_BYTES];
    lock->request->skip = 0; /* a lock is everybody's, in every tier */
    lock->op.kind = DJ_PLAIN_OP_SET;
    lock->op.condition = lock->token[0] ? DJ_PLAIN_IF_BODY : DJ_PLAIN_IF_ABSENT;
    if (!lock->token[0]) {
        dj_random_bytes(bytes, sizeof bytes);
        dj_hex_encode(bytes, sizeof bytes, lock->token);
    }
    lock->op.body = deja_slice_text(lock->token);
    lock->op.expected = lock->op.body;
    lock->op.expires_ms = dj_kv_end(lock->request, lock->lease_ms);
    enum deja_status status =
        dj_kv_change(lock->request, &lock->locks, lock->key, &lock->op, on_locked);
    if (status != DEJA_OK)
        dj_request_refuse(lock->request, status);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct lock *lock = ctx;
    struct dj_request *request = lock->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_kv_note(request, "get", level ? level : "none", value ? "ok" : "miss");
    if (!value) {
        ask(lock);
        return;
    }
    const struct dj_entry *entry = dj_value_entry(value);
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "found", true);
    dj_json_member_bool(&w, "locked", false);
    dj_kv_write_value(&w, request, entry);
    dj_json_member_u64(&w, "version", entry->version);
    dj_kv_write_ttl(&w, entry, dj_loop_now_ms(request->loop));
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
    dj_value_unref(value);
}

static void on_lock(struct dj_request *request)
{
    struct dj_plain_space space;
    struct lock *lock = begin(request);
    if (!lock)
        return;
    if (!lock->is_getting) {
        ask(lock);
        return;
    }
    dj_kv_space(request, &lock->names, &space);
    enum deja_status status = dj_plain_get(request->api->proxy->plain, request->loop, &space,
                                           lock->key, request->skip, lock, on_got);
    dj_plain_space_fini(&space);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_kv_lock(struct dj_request *request)
{
    dj_request_read(request, on_lock);
}

/* ---- unlock ---- */

static void on_unlocked(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct lock *lock = DJ_CONTAINER((struct dj_plain_op *)ctx, struct lock, op);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(lock->request, status);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "unlocked", outcome->was_there);
    dj_json_end_object(&w);
    dj_request_answer(lock->request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_unlock(struct dj_request *request)
{
    struct lock *lock = begin(request);
    if (!lock)
        return;
    if (!lock->token[0]) {
        dj_request_complain(request, "invalid_request", "token", "required", "is missing");
        dj_request_has_complaints(request);
        return;
    }
    lock->op.kind = DJ_PLAIN_OP_REMOVE;
    lock->op.condition = DJ_PLAIN_IF_BODY;
    lock->op.expected = deja_slice_text(lock->token);
    enum deja_status status =
        dj_kv_change(request, &lock->locks, lock->key, &lock->op, on_unlocked);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_kv_unlock(struct dj_request *request)
{
    dj_request_read(request, on_unlock);
}
