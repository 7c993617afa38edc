/* cli/kv.c - kv: plain keys. Values go to stdout as they are. */
#include <stdio.h>

#include "base/num.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

#define PATH "/api/v1/kv"
#define LIMIT_MAX 1000000000u
#define PIECE_MAX 1000u

static const char *word_at(const struct dj_session *session, size_t index)
{
    return index < session->words.count ? session->words.items[index] : NULL;
}

static void append_member(struct dj_buf *path, const char *name, const char *value)
{
    bool is_first = !memchr(path->data, '?', path->len);
    if (!value)
        return;
    dj_buf_append_byte(path, is_first ? '?' : '&');
    dj_buf_append_text(path, name);
    dj_buf_append_byte(path, '=');
    dj_percent_encode(path, value);
}

static void append_key(const struct dj_session *session, const char *key, struct dj_buf *path)
{
    dj_buf_append_text(path, PATH "/");
    dj_percent_encode(path, key);
    append_member(path, "namespace", session->name_space);
}

/* The body is JSON. Terminates path, and ends it. */
static int call(const struct dj_session *session, const char *method, struct dj_buf *path,
                struct deja_slice body, struct dj_json_doc **out_doc)
{
    int code = DJ_EXIT_FAILED;
    dj_buf_append_byte(path, '\0');
    if (path->status == DEJA_OK)
        code = dj_session_call(session, method, path->data, body, false, out_doc);
    else
        fprintf(stderr, "deja: %s\n", deja_status_text(path->status));
    dj_buf_fini(path);
    return code;
}

/* ---- get ---- */

static int tell_answer(const struct dj_session *session, const struct dj_client_answer *answer)
{
    if (answer->http_status == 404) {
        fputs("miss\n", stderr);
        return DJ_EXIT_MISS;
    }
    if (answer->http_status == 200) {
        fwrite(answer->body.data, 1, answer->body.len, stdout);
        return DJ_EXIT_OK;
    }
    fprintf(stderr, "deja: %s answered %d\n", session->server, answer->http_status);
    return answer->http_status == 401 || answer->http_status == 403 ? DJ_EXIT_DENIED
                                                                    : DJ_EXIT_FAILED;
}

/* Any bytes: not through dj_session_call, which wants JSON. */
static int get(const struct dj_session *session, const char *key)
{
    struct dj_client_answer answer;
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    append_key(session, key, &path);
    dj_buf_append_byte(&path, '\0');
    if (path.status != DEJA_OK) {
        dj_buf_fini(&path);
        return DJ_EXIT_FAILED;
    }
    enum deja_status status =
        dj_client_call(&session->client, "GET", path.data, deja_slice_text(""), &answer);
    int code = status == DEJA_OK ? tell_answer(session, &answer)
                                 : dj_session_call(session, "GET", path.data, deja_slice_text(""),
                                                   true, &doc); /* says what is wrong */
    dj_client_answer_fini(&answer);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    return code;
}

/* ---- one operation of a batch ---- */

static int operate(const struct dj_session *session, const char *op, const char *key,
                   const char *by, struct dj_json_doc **out_doc)
{
    struct dj_buf body = {0};
    struct dj_buf path = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "operations");
    dj_json_begin_array(&w);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "op", op);
    dj_json_member_text(&w, "key", key);
    if (by) {
        dj_json_key(&w, "by");
        dj_json_put_raw(&w, deja_slice_text(by));
    }
    dj_json_end_object(&w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_buf_append_text(&path, PATH ":batch");
    append_member(&path, "namespace", session->name_space);
    int code = body.status == DEJA_OK ? call(session, "POST", &path, dj_buf_slice(&body), out_doc)
                                      : DJ_EXIT_FAILED;
    dj_buf_fini(&body);
    return code;
}

static const struct dj_json *result_of(const struct dj_json_doc *doc)
{
    return dj_json_at(dj_json_get(dj_json_root(doc), "results"), 0);
}

static int report_error(const struct dj_json *result)
{
    const struct dj_json *error = dj_json_get(result, "error");
    if (!error)
        return DJ_EXIT_OK;
    fputs("deja: ", stderr);
    dj_output_text(stderr, dj_json_string(dj_json_get(error, "detail")));
    return DJ_EXIT_FAILED;
}

static int ttl(const struct dj_session *session, const char *key)
{
    struct dj_json_doc *doc = NULL;
    int code = operate(session, "ttl", key, NULL, &doc);
    const struct dj_json *result = result_of(doc);
    const struct dj_json *left = dj_json_get(result, "ttl");
    if (code == DJ_EXIT_OK)
        code = report_error(result);
    if (code == DJ_EXIT_OK && !dj_json_bool(dj_json_get(result, "found"), false))
        code = DJ_EXIT_MISS;
    if (code == DJ_EXIT_MISS)
        fputs("miss\n", stderr);
    else if (code == DJ_EXIT_OK && !session->wants_json && dj_json_is(left, DJ_JSON_NUMBER))
        printf("%lld\n", (long long)dj_json_i64(left, 0));
    else if (code == DJ_EXIT_OK && !session->wants_json)
        puts("never");
    dj_json_doc_destroy(doc);
    return code;
}

static int increment(const struct dj_session *session, const char *key, const char *by)
{
    struct dj_json_doc *doc = NULL;
    char text[32];
    int64_t number = 1;
    if (by && dj_num_parse_i64(deja_slice_text(by), &number) != DEJA_OK)
        return dj_session_misused(session, "incr expects a key and an integer");
    snprintf(text, sizeof text, "%lld", (long long)number);
    int code = operate(session, "incr", key, text, &doc);
    const struct dj_json *result = result_of(doc);
    if (code == DJ_EXIT_OK)
        code = report_error(result);
    if (code == DJ_EXIT_OK && !session->wants_json)
        printf("%lld\n", (long long)dj_json_i64(dj_json_get(result, "value"), 0));
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- set, del ---- */

static void append_tags(const struct dj_session *session, struct dj_buf *path)
{
    struct dj_buf tags = {0};
    for (size_t i = 0; i < session->tags.count; i++) {
        if (i)
            dj_buf_append_byte(&tags, ',');
        dj_buf_append_text(&tags, session->tags.items[i]);
    }
    dj_buf_append_byte(&tags, '\0');
    if (tags.status != DEJA_OK)
        path->status = tags.status;
    else if (session->tags.count)
        append_member(path, "tags", tags.data);
    dj_buf_fini(&tags);
}

static int set(struct dj_session *session, const char *key, const char *value)
{
    struct dj_buf path = {0};
    struct dj_buf input = {0};
    struct dj_json_doc *doc = NULL;
    bool is_stdin = strcmp(value, "-") == 0;
    if (is_stdin && dj_read_input("-", &input) != DEJA_OK) {
        dj_buf_fini(&input);
        return DJ_EXIT_FAILED;
    }
    session->client.media = is_stdin ? "application/octet-stream" : "text/plain; charset=utf-8";
    append_key(session, key, &path);
    append_member(&path, "ttl", session->ttl);
    append_tags(session, &path);
    int code =
        call(session, "PUT", &path, is_stdin ? dj_buf_slice(&input) : deja_slice_text(value), &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        fputs("stored\n", stderr);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&input);
    return code;
}

static int remove_keys(const struct dj_session *session)
{
    int64_t removed = 0;
    int code = DJ_EXIT_OK;
    for (size_t i = 1; i < session->words.count && code == DJ_EXIT_OK; i++) {
        struct dj_buf path = {0};
        struct dj_json_doc *doc = NULL;
        append_key(session, session->words.items[i], &path);
        code = call(session, "DELETE", &path, deja_slice_text(""), &doc);
        removed += dj_json_i64(dj_json_get(dj_json_root(doc), "removed"), 0);
        dj_json_doc_destroy(doc);
    }
    if (code == DJ_EXIT_OK && !session->wants_json)
        fprintf(stderr, "%lld deleted\n", (long long)removed);
    return code == DJ_EXIT_OK && removed == 0 ? DJ_EXIT_MISS : code;
}

/* ---- keys, stats ---- */

static void write_keys(const struct dj_json *keys, uint64_t *left)
{
    for (struct dj_json_walk w = dj_json_walk(keys); *left > 0 && dj_json_walk_next(&w);) {
        const struct dj_json *key = dj_json_get(w.value, "key");
        if (!key) {
            fputs("base64:", stdout);
            key = dj_json_get(w.value, "key_base64");
        }
        dj_output_text(stdout, dj_json_string(key));
        (*left)--;
    }
}

static int list(const struct dj_session *session, const char *pattern)
{
    char cursor[32] = "";
    char piece[16];
    uint64_t left = 0;
    int code = DJ_EXIT_OK;
    if (!dj_session_limit(session, LIMIT_MAX, LIMIT_MAX, &left))
        return DJ_EXIT_USAGE;
    do {
        struct dj_buf path = {0};
        struct dj_json_doc *doc = NULL;
        snprintf(piece, sizeof piece, "%u",
                 left < PIECE_MAX ? (unsigned)(left ? left : 1) : PIECE_MAX);
        dj_buf_append_text(&path, PATH);
        append_member(&path, "pattern", pattern);
        append_member(&path, "namespace", session->name_space);
        append_member(&path, "cursor", cursor[0] ? cursor : NULL);
        append_member(&path, "limit", piece);
        code = call(session, "GET", &path, deja_slice_text(""), &doc);
        struct deja_slice next = dj_json_string(dj_json_get(dj_json_root(doc), "cursor"));
        snprintf(cursor, sizeof cursor, "%.*s", (int)next.len, next.data ? next.data : "");
        if (code == DJ_EXIT_OK && !session->wants_json)
            write_keys(dj_json_get(dj_json_root(doc), "keys"), &left);
        dj_json_doc_destroy(doc);
    } while (code == DJ_EXIT_OK && cursor[0] && left > 0);
    return code;
}

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static int stats(const struct dj_session *session)
{
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    dj_buf_append_text(&path, PATH ":stats");
    append_member(&path, "namespace", session->name_space);
    int code = call(session, "GET", &path, deja_slice_text(""), &doc);
    const struct dj_json *root = dj_json_root(doc);
    if (code == DJ_EXIT_OK && !session->wants_json) {
        printf("keys      %lld, ", count_of(root, "keys"));
        dj_session_write_bytes((double)count_of(root, "bytes"));
        printf("\nhits      ");
        for (struct dj_json_walk w = dj_json_walk(dj_json_get(root, "hits"));
             dj_json_walk_next(&w);)
            if (dj_json_i64(w.value, 0) || w.index == 0)
                printf("%s%lld %.*s", w.index ? ", " : "", (long long)dj_json_i64(w.value, 0),
                       (int)w.key.len, w.key.data);
        printf("\nmisses    %lld\nputs      %lld, %lld removed\nmemory    %lld entries, ",
               count_of(root, "misses"), count_of(root, "puts"), count_of(root, "removals"),
               count_of(dj_json_get(root, "memory"), "entries"));
        dj_session_write_bytes((double)count_of(dj_json_get(root, "memory"), "bytes"));
        putchar('\n');
    }
    dj_json_doc_destroy(doc);
    return code;
}

int dj_cli_kv(struct dj_session *session)
{
    const char *what = session->words.count ? session->words.items[0] : "";
    size_t count = session->words.count;
    if (strcmp(what, "get") == 0 && count == 2)
        return get(session, word_at(session, 1));
    if (strcmp(what, "set") == 0 && count == 3)
        return set(session, word_at(session, 1), word_at(session, 2));
    if (strcmp(what, "del") == 0 && count >= 2)
        return remove_keys(session);
    if (strcmp(what, "keys") == 0 && count <= 2)
        return list(session, word_at(session, 1));
    if (strcmp(what, "ttl") == 0 && count == 2)
        return ttl(session, word_at(session, 1));
    if (strcmp(what, "incr") == 0 && (count == 2 || count == 3))
        return increment(session, word_at(session, 1), word_at(session, 2));
    if (strcmp(what, "stats") == 0 && count == 1)
        return stats(session);
    return dj_session_misused(session, "expects get KEY, set KEY VALUE, del KEY..., keys "
                                       "[PATTERN], ttl KEY, incr KEY [BY] or stats");
}
