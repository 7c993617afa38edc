/* tools/doctor_smoke.c - a round trip against a running daemon: put, get, reworded get, delete.
 *
 * In a namespace of its own with a short life, so that a run that was cut leaves nothing for long.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/slice.h"
#include "loop/loop.h"
#include "net/client.h"
#include "proto/json.h"
#include "tools/doctor_internal.h"

#define TIMEOUT_MS 10000u
#define VECTOR_WAIT_MS 10000u /* a vector may be made after the put was acknowledged */
#define VECTOR_TURN_MS 20u
#define THRESHOLD 0.9

#define QUESTION "How long is the warranty for a laptop bought in 2023?"
#define REWORDED "Please, how long is the warranty for a laptop bought in 2023?"
#define ANSWER "Two years."

struct smoke {
    struct dj_client client;
    struct dj_findings *findings;
    char name_space[64];
    char id[64];
};

/* A call whose answer is JSON; NULL: told as a failure of that step. */
static struct dj_json_doc *call(struct smoke *smoke, const char *step, const char *method,
                                const char *path, struct deja_slice body)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_client_call(&smoke->client, method, path, body, &answer);
    if (status != DEJA_OK) {
        dj_findings_add(smoke->findings, DJ_FINDING_FAIL, step, "%s: %s", smoke->client.server,
                        answer.detail[0] ? answer.detail : deja_status_text(status));
        dj_findings_advise(smoke->findings,
                           "is it running, and is this its address? deja serve starts one");
    } else if (answer.http_status / 100 != 2) {
        dj_findings_add(smoke->findings, DJ_FINDING_FAIL, step, "the daemon answered %d: %.*s",
                        answer.http_status, (int)(answer.body.len < 200 ? answer.body.len : 200),
                        answer.body.data ? answer.body.data : "");
    } else if (dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK) {
        dj_findings_add(smoke->findings, DJ_FINDING_FAIL, step, "the answer is not JSON");
        dj_findings_advise(smoke->findings, "is it Deja that listens there?");
    }
    dj_client_answer_fini(&answer);
    return doc;
}

static bool put(struct smoke *smoke)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "query", QUESTION);
    dj_json_member_text(&w, "response", ANSWER);
    dj_json_member_text(&w, "namespace", smoke->name_space);
    dj_json_member_u64(&w, "ttl", 60);
    dj_json_end_object(&w);
    struct dj_json_doc *doc = call(smoke, "put", "PUT", "/api/v1/entries", dj_buf_slice(&body));
    struct deja_slice id = dj_json_string(dj_json_get(dj_json_root(doc), "id"));
    bool is_put = id.len > 0 && id.len < sizeof smoke->id;
    if (is_put) {
        snprintf(smoke->id, sizeof smoke->id, "%.*s", (int)id.len, id.data);
        dj_findings_add(smoke->findings, DJ_FINDING_OK, "put", "stored as %s", smoke->id);
    } else if (doc) {
        dj_findings_add(smoke->findings, DJ_FINDING_FAIL, "put", "the answer has no id");
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return is_put;
}

static struct dj_json_doc *look_up(struct smoke *smoke, const char *step, const char *query)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "query", query);
    dj_json_member_text(&w, "namespace", smoke->name_space);
    dj_json_member_double(&w, "threshold", THRESHOLD);
    dj_json_end_object(&w);
    struct dj_json_doc *doc = call(smoke, step, "POST", "/api/v1/lookup", dj_buf_slice(&body));
    dj_buf_fini(&body);
    return doc;
}

static bool is_hit(const struct dj_json_doc *doc)
{
    return dj_json_bool(dj_json_get(dj_json_root(doc), "hit"), false);
}

static bool get(struct smoke *smoke)
{
    struct dj_json_doc *doc = look_up(smoke, "get", QUESTION);
    struct deja_slice response = dj_json_string(dj_json_get(dj_json_root(doc), "response"));
    bool is_right = is_hit(doc) && dj_slice_is(response, ANSWER);
    if (doc)
        dj_findings_add(smoke->findings, is_right ? DJ_FINDING_OK : DJ_FINDING_FAIL, "get",
                        is_right ? "the same words find it" : "what was just stored is not found");
    dj_json_doc_destroy(doc);
    return is_right;
}

/* Without an embedder there is nothing to find by meaning. */
static bool is_exact_only(const struct dj_json_doc *doc)
{
    return dj_slice_is(dj_json_string(dj_json_get(dj_json_root(doc), "reason")), "no-embedder");
}

static bool get_reworded(struct smoke *smoke)
{
    const struct timespec turn = {.tv_nsec = VECTOR_TURN_MS * 1000000L};
    uint64_t end_us = dj_clock_monotonic_us() + VECTOR_WAIT_MS * 1000ull;
    for (;;) {
        struct dj_json_doc *doc = look_up(smoke, "reworded get", REWORDED);
        bool is_over = !doc || is_hit(doc) || is_exact_only(doc);
        if (!is_over && dj_clock_monotonic_us() < end_us) {
            dj_json_doc_destroy(doc);
            nanosleep(&turn, NULL);
            continue;
        }
        bool is_found = is_hit(doc);
        double similarity = dj_json_double(dj_json_get(dj_json_root(doc), "similarity"), 0);
        if (is_found)
            dj_findings_add(smoke->findings, DJ_FINDING_OK, "reworded get",
                            "other words find it, similarity %.3f", similarity);
        else if (is_exact_only(doc))
            dj_findings_add(smoke->findings, DJ_FINDING_SKIP, "reworded get",
                            "the daemon has no embedder: exact hits only");
        else if (doc)
            dj_findings_add(smoke->findings, DJ_FINDING_FAIL, "reworded get",
                            "other words do not find it, similarity %.3f", similarity);
        bool is_right = is_found || is_exact_only(doc);
        dj_json_doc_destroy(doc);
        return is_right;
    }
}

static void remove_entry(struct smoke *smoke)
{
    char path[128];
    snprintf(path, sizeof path, "/api/v1/entries/%s", smoke->id);
    struct dj_json_doc *doc = call(smoke, "delete", "DELETE", path, deja_slice_text(""));
    bool is_told = doc != NULL;
    dj_json_doc_destroy(doc);
    if (!is_told)
        return;
    doc = look_up(smoke, "delete", QUESTION);
    if (doc)
        dj_findings_add(smoke->findings, is_hit(doc) ? DJ_FINDING_FAIL : DJ_FINDING_OK, "delete",
                        is_hit(doc) ? "it is still found" : "it is gone");
    dj_json_doc_destroy(doc);
}

static void run(struct smoke *smoke)
{
    if (!put(smoke))
        return;
    if (get(smoke))
        get_reworded(smoke);
    remove_entry(smoke);
}

void dj_doctor_smoke(const char *server, const char *key, struct dj_findings *findings)
{
    char base[512];
    struct smoke smoke = {.findings = findings};
    size_t len = strlen(server);
    while (len && server[len - 1] == '/')
        len--;
    if (len >= sizeof base) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "put", "the URL is too long");
        return;
    }
    memcpy(base, server, len);
    base[len] = '\0';
    smoke.client = (struct dj_client){.server = base, .key = key, .timeout_ms = TIMEOUT_MS};
    snprintf(smoke.name_space, sizeof smoke.name_space, "deja-smoke-%lld-%d",
             (long long)dj_clock_now_ms(), (int)getpid());
    run(&smoke);
    if (findings->has_failed && !findings->items[findings->count - 1].advice[0])
        dj_findings_advise(findings, "deja doctor --server %.200s looks closer; is it Deja?", base);
}
