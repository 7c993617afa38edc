/* cli/kinds.c - kinds, patterns, key-name: what kinds there are, what is kept of each, and the name
 * of a key. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

/* ---- kinds ---- */

/* "6h", "15m", "30s", "-": no such. */
static void put_life(const struct dj_json *seconds, char out[24])
{
    double s = dj_json_double(seconds, 0);
    if (dj_json_is(seconds, DJ_JSON_BOOL))
        snprintf(out, 24, "off");
    else if (!dj_json_is(seconds, DJ_JSON_NUMBER))
        snprintf(out, 24, "-");
    else if (s >= 172800)
        snprintf(out, 24, "%.4gd", s / 86400);
    else if (s >= 3600)
        snprintf(out, 24, "%.4gh", s / 3600);
    else if (s >= 60)
        snprintf(out, 24, "%.4gm", s / 60);
    else
        snprintf(out, 24, "%.4gs", s);
}

static void write_kind(const struct dj_json *kind)
{
    static const char *const levels[] = {"l1", "disk", "l2", "postgres", "s3"};
    struct deja_slice name = dj_json_string(dj_json_get(kind, "name"));
    const struct dj_json *patterns = dj_json_get(kind, "patterns");
    double rate = dj_json_double(dj_json_get(kind, "hit_rate"), 0);
    long long asked = (long long)(dj_json_i64(dj_json_get(dj_json_get(kind, "hits"), "total"), 0) +
                                  dj_json_i64(dj_json_get(kind, "misses"), 0));
    char life[24];
    put_life(dj_json_get(kind, "ttl_s"), life);
    printf("%-20.*s %6s", (int)name.len, name.data, life);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        put_life(dj_json_get(dj_json_get(kind, "levels"), levels[i]), life);
        printf(" %8s", life);
    }
    printf(" %8lld", (long long)dj_json_i64(dj_json_get(kind, "puts"), 0));
    if (asked)
        printf(" %5.1f%%  ", rate * 100);
    else
        printf(" %6s  ", "-");
    dj_output_line(stdout, dj_json_string(dj_json_at(patterns, 0)));
}

int dj_cli_kinds(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    int code = dj_session_call(session, "GET", "/api/v1/kinds", deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json) {
        printf("%-20s %6s %8s %8s %8s %8s %8s %8s %6s  %s\n", "KIND", "TTL", "L1", "DISK", "L2",
               "POSTGRES", "S3", "PUTS", "HITS", "PATTERN");
        struct dj_json_walk walk = dj_json_walk(dj_json_get(dj_json_root(doc), "kinds"));
        while (dj_json_walk_next(&walk))
            write_kind(walk.value);
    }
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- patterns ---- */

static void write_pattern(const struct dj_json *pattern)
{
    const struct dj_json *rate = dj_json_get(pattern, "hit_rate");
    printf("%10lld  ", (long long)dj_json_i64(dj_json_get(pattern, "keys"), 0));
    if (dj_json_is(rate, DJ_JSON_NUMBER))
        printf("%5.1f%%  ", dj_json_double(rate, 0) * 100);
    else
        printf("%6s  ", "-");
    dj_session_write_bytes(dj_json_double(dj_json_get(pattern, "estimated_bytes"), 0));
    printf("  ");
    dj_output_line(stdout, dj_json_string(dj_json_get(pattern, "pattern")));
}

int dj_cli_patterns(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf path = {0};
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    dj_buf_append_text(&path, "/api/v1/patterns");
    if (session->name_space) {
        dj_buf_append_text(&path, "?namespace=");
        dj_percent_encode(&path, session->name_space);
    }
    char *target = dj_buf_take_text(&path);
    int code = target ? dj_session_call(session, "GET", target, deja_slice_text(""), false, &doc)
                      : DJ_EXIT_FAILED;
    if (code == DJ_EXIT_OK && !session->wants_json) {
        printf("%10s  %6s  %s\n", "KEYS", "HITS", "SIZE (ESTIMATED)  PATTERN");
        struct dj_json_walk walk = dj_json_walk(dj_json_get(dj_json_root(doc), "patterns"));
        while (dj_json_walk_next(&walk))
            write_pattern(walk.value);
        if (!dj_json_bool(dj_json_get(dj_json_root(doc), "complete"), true))
            fputs("there are more: only a part was looked at\n", stderr);
    }
    dj_json_doc_destroy(doc);
    dj_free(target);
    return code;
}

/* ---- key-name ---- */

/* FIELD=VALUE; false: told on stderr. */
static bool put_fields(struct dj_session *session, struct dj_json_writer *w)
{
    dj_json_key(w, "fields");
    dj_json_begin_object(w);
    for (size_t i = 1; i < session->words.count; i++) {
        const char *word = session->words.items[i];
        const char *sign = strchr(word, '=');
        if (!sign || sign == word)
            return false;
        dj_json_key_slice(w, deja_slice(word, (size_t)(sign - word)));
        dj_json_put_text(w, sign + 1);
    }
    dj_json_end_object(w);
    return true;
}

int dj_cli_key_name(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0}, text = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (!session->words.count)
        return dj_session_misused(session, "expects a kind; `deja kinds` lists them");
    if (session->file && dj_read_input(session->file, &text) != DEJA_OK)
        return DJ_EXIT_FAILED;
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "kind", session->words.items[0]);
    dj_session_put_member(&w, "namespace", session->name_space);
    dj_session_put_member(&w, "id", session->id);
    dj_session_put_member(&w, "sql", session->query);
    if (session->file) {
        dj_json_key(&w, "text");
        dj_json_put_string(&w, dj_buf_slice(&text));
    }
    bool is_read = put_fields(session, &w);
    dj_json_end_object(&w);
    int code = !is_read ? dj_session_misused(session, "expects fields as NAME=VALUE")
               : body.status != DEJA_OK ? DJ_EXIT_FAILED
                                        : dj_session_call(session, "POST", "/api/v1/kv:key",
                                                          dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_root(doc), "key")));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    dj_buf_fini(&text);
    return code;
}
