/* cli/upkeep.c - evict and index: room made, indexes made anew. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

#define POLL_MS 100

/* ---- evict ---- */

static void write_evicted(const struct dj_json *root)
{
    struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "levels"));
    while (dj_json_walk_next(&walk)) {
        struct deja_slice error = dj_json_string(dj_json_get(walk.value, "error"));
        printf("%-10.*s  %lld evicted, asked for ", (int)walk.key.len, walk.key.data,
               (long long)dj_json_i64(dj_json_get(walk.value, "removed"), 0));
        dj_session_write_bytes(dj_json_double(dj_json_get(walk.value, "bytes"), 0));
        if (error.len)
            printf(": %.*s", (int)error.len, error.data);
        putchar('\n');
    }
}

int dj_cli_evict(struct dj_session *session)
{
    uint64_t bytes = 0;
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    if (session->tenant && session->is_all)
        return dj_session_misused(session, "--tenant goes without --all");
    if (session->bytes && (dj_num_parse_size(deja_slice_text(session->bytes), &bytes) != DEJA_OK ||
                           !bytes || bytes > (uint64_t)1 << 53))
        return dj_session_misused(session, "--bytes expects a size like 512kb, 10mb or 1gb");
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "tenant", session->tenant);
    if (bytes)
        dj_json_member_u64(&w, "bytes", bytes);
    if (session->is_all)
        dj_json_member_bool(&w, "all", true);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "POST", "/api/v1/evict",
                                                        dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_evicted(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

/* ---- index ---- */

static int get_index(struct dj_session *session, bool is_quiet, struct dj_json_doc **out_doc)
{
    return dj_session_call(session, "GET",
                           session->is_all ? "/api/v1/index?all=true" : "/api/v1/index",
                           deja_slice_text(""), is_quiet, out_doc);
}

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static void write_optimised(const struct dj_json *optimise)
{
    struct deja_slice error = dj_json_string(dj_json_get(optimise, "error"));
    printf("optimise    %lld of %lld indexes, %lld expired vectors, ",
           count_of(optimise, "indexes_done"), count_of(optimise, "indexes_total"),
           count_of(optimise, "expired"));
    dj_session_write_bytes(dj_json_double(dj_json_get(optimise, "freed_bytes"), 0));
    puts(" given back");
    if (error.len)
        printf("  failed    %.*s\n", (int)error.len, error.data);
}

static void write_index(const struct dj_json *root)
{
    const struct dj_json *optimise = dj_json_get(root, "optimise");
    printf("indexes     %lld\nvectors     %lld, ", count_of(root, "indexes"),
           count_of(root, "vectors"));
    dj_session_write_bytes(dj_json_double(dj_json_get(root, "bytes"), 0));
    printf("\nfree        %lld slots\nevicted     %lld vectors\n", count_of(root, "free_slots"),
           count_of(root, "evictions"));
    if (dj_json_is(optimise, DJ_JSON_OBJECT))
        write_optimised(optimise);
}

/* Shows how far it is on a terminal's stderr until it has ended. */
static int follow(struct dj_session *session)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    for (;;) {
        struct dj_json_doc *doc = NULL;
        int code = get_index(session, true, &doc);
        const struct dj_json *optimise = dj_json_get(dj_json_root(doc), "optimise");
        bool is_running = dj_slice_is(dj_json_string(dj_json_get(optimise, "status")), "running");
        if (code == DJ_EXIT_OK && is_running) {
            fprintf(stderr, "%lld of %lld ", count_of(optimise, "indexes_done"),
                    count_of(optimise, "indexes_total"));
            dj_output_text(stderr, dj_json_string(dj_json_get(optimise, "running")));
        }
        bool is_failed = dj_json_is(dj_json_get(optimise, "error"), DJ_JSON_STRING);
        if (code == DJ_EXIT_OK && !is_running && session->wants_json) {
            dj_json_doc_destroy(doc);
            code = get_index(session, false, &doc);
        } else if (code == DJ_EXIT_OK && !is_running) {
            write_optimised(optimise);
        }
        dj_json_doc_destroy(doc);
        if (code != DJ_EXIT_OK || !is_running)
            return code == DJ_EXIT_OK && is_failed ? DJ_EXIT_FAILED : code;
        nanosleep(&pause, NULL);
    }
}

static int optimise(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct deja_slice body = deja_slice_text(
        session->is_all ? "{\"action\":\"optimise\",\"all\":true}" : "{\"action\":\"optimise\"}");
    int code = dj_session_call(session, "POST", "/api/v1/index", body, true, &doc);
    dj_json_doc_destroy(doc);
    return code == DJ_EXIT_OK ? follow(session) : code;
}

int dj_cli_index(struct dj_session *session)
{
    const char *word = session->words.count == 1 ? session->words.items[0] : "";
    bool is_stats = strcmp(word, "stats") == 0;
    if (!is_stats && strcmp(word, "optimise") != 0)
        return dj_session_misused(session, "expects stats or optimise");
    if (!is_stats)
        return optimise(session);
    struct dj_json_doc *doc = NULL;
    int code = get_index(session, false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_index(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}
