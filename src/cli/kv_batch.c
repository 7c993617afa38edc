/* cli/kv_batch.c - the verbs of kv that are operations of POST /api/v1/kv:batch.
 *
 *   words -> one operation for each key -> results in their order -> a line each, and one exit code
 *
 * Keys go as base64, so that any bytes of the command line arrive. An operation that failed is told
 * as an answer of that status would be; the first one's code is the command's.
 */
#include <stdio.h>

#include "base/base64.h"
#include "base/num.h"
#include "cli/kv_internal.h"
#include "cli/output.h"

struct verb {
    const char *name;
    const char *op;
    size_t words_min;
    size_t words_max; /* behind the verb */
    size_t step;      /* words of one operation at most */
    bool can_miss;    /* exit 3 when nothing was there */
    const char *done; /* "stored": what became of so many keys, on stderr; or NULL */
    /* One result without an error, for people; NULL: done says it. */
    void (*write)(const char *key, const struct dj_json *result);
};

/* ---- results ---- */

static bool is_said(const struct dj_json *result, const char *name)
{
    return dj_json_bool(dj_json_get(result, name), false);
}

/* It was there, or is stored now. */
static bool is_there(const struct dj_json *result)
{
    return is_said(result, "found") || is_said(result, "exists") || is_said(result, "stored") ||
           dj_json_i64(dj_json_get(result, "removed"), 0) > 0;
}

static void write_value(const char *key, const struct dj_json *result)
{
    const struct dj_json *value = dj_json_get(result, "value");
    if (!is_there(result)) {
        fprintf(stderr, "%s: miss\n", key);
        return;
    }
    printf(value ? "%s\t" : "%s\tbase64:", key);
    dj_output_value(stdout, value ? value : dj_json_get(result, "value_base64"));
}

static void write_exists(const char *key, const struct dj_json *result)
{
    printf("%s\t%s\n", key, is_there(result) ? "yes" : "no");
}

static void write_ttl(const char *key, const struct dj_json *result)
{
    const struct dj_json *left = dj_json_get(result, "ttl");
    (void)key;
    if (!is_there(result))
        fputs("miss\n", stderr);
    else if (dj_json_is(left, DJ_JSON_NUMBER))
        printf("%lld\n", (long long)dj_json_i64(left, 0));
    else
        puts("never");
}

static void write_stored(const char *key, const struct dj_json *result)
{
    if (!is_there(result))
        fprintf(stderr, "%s is there already, and stays as it was\n", key);
}

static void write_sum(const char *key, const struct dj_json *result)
{
    (void)key;
    printf("%lld\n", (long long)dj_json_i64(dj_json_get(result, "value"), 0));
}

static const struct verb verbs[] = {
    {"get", "get", 1, 1, 1, true, NULL, write_value}, /* with --json; without it: kv.c */
    {"mget", "get", 1, DJ_ARGS_WORDS_MAX, 1, true, NULL, write_value},
    {"mset", "set", 2, DJ_ARGS_WORDS_MAX, 2, false, "stored", write_stored},
    {"exists", "exists", 1, DJ_ARGS_WORDS_MAX, 1, true, NULL, write_exists},
    {"del", "delete", 1, DJ_ARGS_WORDS_MAX, 1, true, "deleted", NULL},
    {"ttl", "ttl", 1, 1, 1, true, NULL, write_ttl},
    {"incr", "incr", 1, 2, 2, false, NULL, write_sum},
};

/* ---- operations ---- */

static void put_base64(struct dj_json_writer *w, const char *name, const char *text)
{
    struct dj_buf coded = {0};
    dj_base64_encode(deja_slice_text(text), &coded);
    if (coded.status != DEJA_OK)
        w->buf->status = coded.status;
    dj_json_key(w, name);
    dj_json_put_string(w, dj_buf_slice(&coded));
    dj_buf_fini(&coded);
}

static void put_names(struct dj_json_writer *w, const char *name, const struct dj_arg_values *names)
{
    if (!names->count)
        return;
    dj_json_key(w, name);
    dj_json_begin_array(w);
    for (size_t i = 0; i < names->count; i++)
        dj_json_put_text(w, names->items[i]);
    dj_json_end_array(w);
}

/* words: the key and what belongs to it. */
static void put_operation(const struct dj_session *session, const struct verb *verb,
                          const char *const *words, size_t count, struct dj_json_writer *w)
{
    bool is_set = strcmp(verb->op, "set") == 0;
    bool is_sum = strcmp(verb->op, "incr") == 0;
    dj_json_begin_object(w);
    dj_json_member_text(w, "op", verb->op);
    put_base64(w, "key_base64", words[0]);
    if (is_set)
        dj_json_member_text(w, "value", words[1]);
    if (is_sum && count > 1) {
        dj_json_key(w, "by");
        dj_json_put_raw(w, deja_slice_text(words[1]));
    }
    if (is_set || is_sum) {
        dj_session_put_member(w, "ttl", session->ttl);
        put_names(w, "tags", &session->tags);
        put_names(w, "depends_on", &session->depends);
    }
    if (is_set && session->is_if_absent)
        dj_json_member_text(w, "if", "absent");
    dj_json_end_object(w);
}

static int ask(const struct dj_session *session, const struct verb *verb, const char *const *words,
               size_t count, struct dj_json_doc **out_doc)
{
    struct dj_buf body = {0};
    struct dj_buf path = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "operations");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < count; i += verb->step)
        put_operation(session, verb, words + i, count - i, &w);
    dj_json_end_array(&w);
    dj_session_put_member(&w, "reason", session->reason);
    dj_json_end_object(&w);
    dj_buf_append_text(&path, DJ_CLI_KV_PATH ":batch");
    dj_cli_kv_append(&path, "namespace", session->name_space);
    if (body.status != DEJA_OK)
        path.status = body.status;
    int code = dj_cli_kv_call(session, "POST", &path, dj_buf_slice(&body), false, out_doc);
    dj_buf_fini(&body);
    return code;
}

static int tell(const struct dj_session *session, const struct verb *verb, const char *const *words,
                const struct dj_json *results)
{
    size_t count = dj_json_count(results);
    size_t there = 0;
    size_t failed = 0;
    int code = DJ_EXIT_OK;
    for (struct dj_json_walk walk = dj_json_walk(results); dj_json_walk_next(&walk);) {
        const struct dj_json *error = dj_json_get(walk.value, "error");
        if (error && failed++ == 0)
            code = dj_session_report(session, (int)dj_json_i64(dj_json_get(error, "status"), 0),
                                     error);
        there += is_there(walk.value);
        if (!error && verb->write && !session->wants_json)
            verb->write(words[walk.index * verb->step], walk.value);
    }
    if (verb->done && !session->wants_json && (there || !failed))
        fprintf(stderr, "%zu %s\n", there, verb->done);
    if (failed && count > 1)
        fprintf(stderr, "deja kv: %zu of %zu keys failed\n", failed, count);
    if (code != DJ_EXIT_OK)
        return code;
    if (verb->can_miss && !there)
        return DJ_EXIT_MISS;
    return !verb->can_miss && there < count ? DJ_EXIT_FAILED : DJ_EXIT_OK;
}

static int check(const struct dj_session *session, const struct verb *verb,
                 const char *const *words, size_t count)
{
    int64_t by = 0;
    bool is_sum = strcmp(verb->op, "incr") == 0;
    if (count < verb->words_min || count > verb->words_max ||
        (strcmp(verb->op, "set") == 0 && count % 2))
        return dj_command_misplaced(session->command, verb->name);
    if (is_sum && count == 2 && dj_num_parse_i64(deja_slice_text(words[1]), &by) != DEJA_OK)
        return dj_session_misused(session, "incr expects an integer, such as 5 or -7");
    for (size_t i = 0; i < count; i += verb->step)
        if (!dj_cli_kv_is_key(session, words[i]))
            return DJ_EXIT_USAGE;
    return DJ_EXIT_OK;
}

int dj_cli_kv_batch(const struct dj_session *session)
{
    const char *const *words = session->words.items;
    const char *what = session->words.count ? words[0] : "";
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        struct dj_json_doc *doc = NULL;
        size_t count = session->words.count - 1;
        if (strcmp(what, verbs[i].name) != 0)
            continue;
        int code = check(session, &verbs[i], words + 1, count);
        if (code == DJ_EXIT_OK)
            code = ask(session, &verbs[i], words + 1, count, &doc);
        if (code == DJ_EXIT_OK)
            code = tell(session, &verbs[i], words + 1, dj_json_get(dj_json_root(doc), "results"));
        dj_json_doc_destroy(doc);
        return code;
    }
    return dj_command_misplaced(session->command, what);
}
