/* cli/kv.c - kv: plain keys, one of them or by pattern. Values go to stdout as they are.
 *
 * A key stands in the path where its value travels as bytes (get, set); whatever else is done to
 * named keys is a batch: kv_batch.c.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/kv_internal.h"
#include "cli/output.h"

#define PATH DJ_CLI_KV_PATH
#define LIMIT_MAX 1000000000u
#define PIECE_MAX 1000u
#define KEY_BYTES_MAX 4096u

static const char *word_at(const struct dj_session *session, size_t index)
{
    return index < session->words.count ? session->words.items[index] : NULL;
}

void dj_cli_kv_append(struct dj_buf *path, const char *name, const char *value)
{
    bool is_first = !memchr(path->data, '?', path->len);
    if (!value)
        return;
    dj_buf_append_byte(path, is_first ? '?' : '&');
    dj_buf_append_text(path, name);
    dj_buf_append_byte(path, '=');
    dj_percent_encode(path, value);
}

bool dj_cli_kv_is_key(const struct dj_session *session, const char *key)
{
    size_t len = strlen(key);
    if (len && len <= KEY_BYTES_MAX)
        return true;
    dj_session_misused(session, "a key has 1 to 4096 bytes");
    return false;
}

/* A path that ends in dots alone is another one. */
static bool is_path(const struct dj_session *session, const char *key)
{
    if (!dj_cli_kv_is_key(session, key))
        return false;
    if (strcmp(key, ".") != 0 && strcmp(key, "..") != 0)
        return true;
    dj_session_misused(session, "a key of dots alone goes with mget and mset");
    return false;
}

static void append_key(const struct dj_session *session, const char *key, struct dj_buf *path)
{
    dj_buf_append_text(path, PATH "/");
    dj_percent_encode(path, key);
    dj_cli_kv_append(path, "namespace", session->name_space);
}

int dj_cli_kv_call(const struct dj_session *session, const char *method, struct dj_buf *path,
                   struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc)
{
    int code = DJ_EXIT_FAILED;
    dj_buf_append_byte(path, '\0');
    if (path->status == DEJA_OK)
        code = dj_session_call(session, method, path->data, body, is_quiet, out_doc);
    else
        fprintf(stderr, "deja: %s\n", deja_status_text(path->status));
    dj_buf_fini(path);
    return code;
}

/* ---- get ---- */

static int tell_answer(const struct dj_session *session, const struct dj_client_answer *answer)
{
    struct dj_json_doc *doc = NULL;
    if (answer->http_status == 404) {
        fputs("miss\n", stderr);
        return DJ_EXIT_MISS;
    }
    if (answer->http_status == 200) {
        fwrite(answer->body.data, 1, answer->body.len, stdout);
        return DJ_EXIT_OK;
    }
    if (dj_json_parse(dj_buf_slice(&answer->body), &doc, NULL) != DEJA_OK)
        doc = NULL; /* the number says enough */
    int code = dj_session_report(session, answer->http_status, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}

/* Any bytes: not through dj_session_call, which wants JSON. */
static int get(const struct dj_session *session, const char *key)
{
    struct dj_client_answer answer;
    struct dj_buf path = {0};
    if (!is_path(session, key))
        return DJ_EXIT_USAGE;
    append_key(session, key, &path);
    dj_cli_kv_append(&path, "version", session->version);
    dj_buf_append_byte(&path, '\0');
    if (path.status != DEJA_OK) {
        dj_buf_fini(&path);
        return DJ_EXIT_FAILED;
    }
    int code = dj_session_fetch(session, "GET", path.data, deja_slice_text(""), &answer);
    if (code == DJ_EXIT_OK)
        code = tell_answer(session, &answer);
    dj_client_answer_fini(&answer);
    dj_buf_fini(&path);
    return code;
}

/* ---- set ---- */

static void append_names(const struct dj_arg_values *names, const char *member, struct dj_buf *path)
{
    struct dj_buf list = {0};
    for (size_t i = 0; i < names->count; i++) {
        if (i)
            dj_buf_append_byte(&list, ',');
        dj_buf_append_text(&list, names->items[i]);
    }
    dj_buf_append_byte(&list, '\0');
    if (list.status != DEJA_OK)
        path->status = list.status;
    else if (names->count)
        dj_cli_kv_append(path, member, list.data);
    dj_buf_fini(&list);
}

static int set(struct dj_session *session, const char *key, const char *value)
{
    const char *headers[2 * DJ_CLIENT_HEADERS_MAX + 1] = {NULL};
    size_t count = 0;
    struct dj_buf path = {0};
    struct dj_buf input = {0};
    struct dj_json_doc *doc = NULL;
    bool is_stdin = strcmp(value, "-") == 0;
    if (!is_path(session, key))
        return DJ_EXIT_USAGE;
    if (is_stdin && dj_read_input("-", &input) != DEJA_OK) {
        dj_buf_fini(&input);
        return DJ_EXIT_FAILED;
    }
    if (session->is_if_absent) {
        headers[count++] = "If-None-Match";
        headers[count++] = "*";
    }
    if (session->kind) {
        headers[count++] = "X-Deja-Kind";
        headers[count++] = session->kind;
    }
    session->client.headers = headers;
    session->client.media = is_stdin ? "application/octet-stream" : "text/plain; charset=utf-8";
    append_key(session, key, &path);
    dj_cli_kv_append(&path, "ttl", session->ttl);
    dj_cli_kv_append(&path, "version", session->version);
    append_names(&session->tags, "tags", &path);
    append_names(&session->depends, "depends_on", &path);
    int code =
        dj_cli_kv_call(session, "PUT", &path,
                       is_stdin ? dj_buf_slice(&input) : deja_slice_text(value), false, &doc);
    session->client.headers = NULL;
    if (code == DJ_EXIT_OK && !session->wants_json)
        fputs("stored\n", stderr);
    if (dj_json_i64(dj_json_get(dj_json_root(doc), "status"), 0) == 412)
        fputs("it is there already, and stays as it was\n", stderr);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&input);
    return code;
}

/* ---- keys, clear, stats ---- */

static void write_key(const struct dj_json *entry)
{
    const struct dj_json *key = dj_json_get(entry, "key");
    if (!key) {
        fputs("base64:", stdout);
        key = dj_json_get(entry, "key_base64");
    }
    dj_output_text(stdout, dj_json_string(key));
}

/* At most *left of a piece; *left counts down. As JSON the pieces are one document. */
static void write_keys(const struct dj_session *session, const struct dj_json *keys,
                       bool is_first_piece, uint64_t *left)
{
    for (struct dj_json_walk w = dj_json_walk(keys); *left > 0 && dj_json_walk_next(&w);) {
        (*left)--;
        if (!session->wants_json) {
            write_key(w.value);
            continue;
        }
        if (!is_first_piece || w.index)
            fputs(",\n ", stdout);
        dj_output_json(stdout, w.value);
    }
}

static int list_piece(const struct dj_session *session, const char *pattern, const char *cursor,
                      uint64_t limit, struct dj_json_doc **out_doc)
{
    char piece[24];
    struct dj_buf path = {0};
    snprintf(piece, sizeof piece, "%llu",
             limit < PIECE_MAX ? (unsigned long long)(limit ? limit : 1) : PIECE_MAX);
    dj_buf_append_text(&path, PATH);
    dj_cli_kv_append(&path, "pattern", pattern);
    dj_cli_kv_append(&path, "namespace", session->name_space);
    dj_cli_kv_append(&path, "cursor", cursor[0] ? cursor : NULL);
    dj_cli_kv_append(&path, "limit", piece);
    return dj_cli_kv_call(session, "GET", &path, deja_slice_text(""), true, out_doc);
}

static int list(const struct dj_session *session, const char *pattern)
{
    char cursor[32] = "";
    uint64_t left = 0;
    bool is_first = true;
    int code = DJ_EXIT_OK;
    if (!dj_session_limit(session, LIMIT_MAX, LIMIT_MAX, &left))
        return DJ_EXIT_USAGE;
    do {
        struct dj_json_doc *doc = NULL;
        code = list_piece(session, pattern, cursor, left, &doc);
        if (code == DJ_EXIT_OK) {
            struct deja_slice next = dj_json_string(dj_json_get(dj_json_root(doc), "cursor"));
            snprintf(cursor, sizeof cursor, "%.*s", (int)next.len, next.data ? next.data : "");
            if (session->wants_json && is_first)
                fputs("{\"keys\":[", stdout);
            write_keys(session, dj_json_get(dj_json_root(doc), "keys"), is_first, &left);
            is_first = false;
        } else if (session->wants_json && is_first && doc) {
            dj_output_json(stdout, dj_json_root(doc));
            putchar('\n');
        }
        dj_json_doc_destroy(doc);
    } while (code == DJ_EXIT_OK && cursor[0] && left > 0);
    if (session->wants_json && !is_first && cursor[0])
        printf("],\"cursor\":\"%s\"}\n", cursor);
    else if (session->wants_json && !is_first)
        puts("],\"cursor\":null}");
    return code;
}

/* *out_count is set when the code is DJ_EXIT_OK. */
static int ask_clear(const struct dj_session *session, const char *pattern, bool is_dry_run,
                     bool is_quiet, uint64_t *out_count)
{
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    dj_buf_append_text(&path, PATH);
    dj_cli_kv_append(&path, "pattern", pattern);
    dj_cli_kv_append(&path, "all", pattern ? NULL : "true");
    dj_cli_kv_append(&path, "dry_run", is_dry_run ? "true" : NULL);
    dj_cli_kv_append(&path, "namespace", session->name_space);
    dj_cli_kv_append(&path, "reason", session->reason);
    int code = dj_cli_kv_call(session, "DELETE", &path, deja_slice_text(""), is_quiet, &doc);
    if (code == DJ_EXIT_OK)
        *out_count = (uint64_t)dj_json_i64(
            dj_json_get(dj_json_root(doc), is_dry_run ? "would_remove" : "removed"), 0);
    dj_json_doc_destroy(doc);
    return code;
}

/* As invalidate: a terminal is asked, elsewhere everything needs --yes. */
static int clear(const struct dj_session *session, const char *pattern)
{
    uint64_t count = 0;
    int code = DJ_EXIT_OK;
    bool is_asked = !session->is_agreed && !session->is_dry_run && isatty(STDIN_FILENO) == 1;
    if (pattern && !*pattern)
        return dj_session_misused(session, "the pattern is empty: 'user:*', or none for all keys");
    if (!session->is_agreed && !session->is_dry_run && !is_asked && !pattern)
        return dj_session_misused(session, "every key would go: say --yes");
    if (is_asked) {
        code = ask_clear(session, pattern, true, true, &count);
        if (code != DJ_EXIT_OK)
            return code;
        fprintf(stderr, "%llu %s would be removed from %s.", (unsigned long long)count,
                count == 1 ? "key" : "keys", session->server);
        if (!dj_session_is_agreed())
            return DJ_EXIT_FAILED;
    }
    code = ask_clear(session, pattern, session->is_dry_run, false, &count);
    if (code == DJ_EXIT_OK && !session->wants_json)
        printf("%llu %s\n", (unsigned long long)count,
               session->is_dry_run ? "would be removed" : "removed");
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
    dj_cli_kv_append(&path, "namespace", session->name_space);
    int code = dj_cli_kv_call(session, "GET", &path, deja_slice_text(""), false, &doc);
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
    if (session->kind && strcmp(what, "set") != 0)
        return dj_session_misused(session, "--kind goes with set");
    if (session->version && strcmp(what, "set") != 0 &&
        (strcmp(what, "get") != 0 || session->wants_json))
        return dj_session_misused(session, "--version goes with set, and with get without --json");
    if (strcmp(what, "get") == 0 && count == 2 && !session->wants_json)
        return get(session, word_at(session, 1));
    if (strcmp(what, "set") == 0 && count == 3)
        return set(session, word_at(session, 1), word_at(session, 2));
    if (strcmp(what, "keys") == 0 && count <= 2)
        return list(session, word_at(session, 1));
    if (strcmp(what, "clear") == 0 && count <= 2)
        return clear(session, word_at(session, 1));
    if (strcmp(what, "stats") == 0 && count == 1)
        return stats(session);
    return dj_cli_kv_batch(session);
}
