/* tools/doctor_remote.c - what the daemon and the upstream answer. */
#include <stdio.h>
#include <time.h>

#include "base/num.h"
#include "base/slice.h"
#include "loop/loop.h"
#include "net/client.h"
#include "proto/json.h"
#include "tools/doctor_internal.h"

#define TIMEOUT_MS 5000u
#define SKEW_S 5

static enum deja_status get(const struct dj_client *client, const char *path,
                            struct dj_client_answer *out_answer)
{
    return dj_client_call(client, "GET", path, deja_slice_text(""), out_answer);
}

static const char *reason_of(enum deja_status status, const struct dj_client_answer *answer)
{
    return answer->detail[0] ? answer->detail : deja_status_text(status);
}

/* ---- daemon ---- */

static void tell_component(struct dj_findings *findings, struct deja_slice name,
                           const struct dj_json *component)
{
    struct deja_slice status = dj_json_string(dj_json_get(component, "status"));
    struct deja_slice message = dj_json_string(dj_json_get(component, "message"));
    char title[32];
    enum dj_finding_level level = dj_slice_is(status, "healthy")    ? DJ_FINDING_OK
                                  : dj_slice_is(status, "degraded") ? DJ_FINDING_WARN
                                                                    : DJ_FINDING_FAIL;
    if (dj_slice_is(status, "disabled"))
        return;
    snprintf(title, sizeof title, "  %.*s", (int)name.len, name.data);
    dj_findings_add(findings, level, title, "%.*s: %.*s", (int)status.len, status.data,
                    (int)message.len, message.data ? message.data : "");
    if (level != DJ_FINDING_OK)
        dj_findings_advise(findings, "the daemon's log says more; deja stats shows the figures");
}

static void look_at_components(const struct dj_client *client, struct dj_findings *findings)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    enum deja_status status = get(client, "/health/detailed", &answer);
    if (status == DEJA_OK && (answer.http_status == 401 || answer.http_status == 403)) {
        dj_findings_add(findings, DJ_FINDING_SKIP, "health", "only for operators (%d)",
                        answer.http_status);
        dj_findings_advise(findings, "--key with the admin token that the daemon printed");
    } else if (status != DEJA_OK ||
               dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "health", "/health/detailed: %s",
                        status != DEJA_OK ? reason_of(status, &answer) : "not JSON");
        dj_findings_advise(findings, "is it Deja that listens there? --server names another");
    }
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice version = dj_json_string(dj_json_get(root, "version"));
    if (version.len && !dj_slice_is(version, DEJA_VERSION)) {
        dj_findings_add(findings, DJ_FINDING_WARN, "version", "the daemon is %.*s, this is %s",
                        (int)version.len, version.data, DEJA_VERSION);
        dj_findings_advise(findings, "start the daemon again after an update");
    }
    for (struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "components"));
         dj_json_walk_next(&walk);)
        tell_component(findings, walk.key, walk.value);
    dj_json_doc_destroy(doc);
    dj_client_answer_fini(&answer);
}

/* The sum of a family's samples. */
static double sum_of(struct deja_slice metrics, const char *family)
{
    double sum = 0;
    size_t name_len = strlen(family);
    while (metrics.len) {
        const char *end = memchr(metrics.data, '\n', metrics.len);
        size_t len = end ? (size_t)(end - metrics.data) : metrics.len;
        size_t at = len;
        double value = 0;
        while (at && metrics.data[at - 1] != ' ')
            at--;
        if (len > name_len && memcmp(metrics.data, family, name_len) == 0 &&
            dj_num_parse_double(deja_slice(metrics.data + at, len - at), &value) == DEJA_OK)
            sum += value;
        size_t used = len + (end != NULL);
        metrics = deja_slice(metrics.data + used, metrics.len - used);
    }
    return sum;
}

static void look_at_prompts(const struct dj_client *client, struct dj_findings *findings)
{
    struct dj_client_answer answer;
    if (get(client, "/metrics", &answer) == DEJA_OK && answer.http_status == 200) {
        double seen = sum_of(dj_buf_slice(&answer.body), "semantic_cache_volatile_prompts_total");
        if (seen > 0) {
            dj_findings_add(findings, DJ_FINDING_WARN, "prompts",
                            "%.0f misses only because of a time, date or id in the system prompt",
                            seen);
            dj_findings_advise(findings, "scope.fold: [time, uuid, request_id, date] in the "
                                         "configuration keeps those from parting entries");
        } else {
            dj_findings_add(findings, DJ_FINDING_OK, "prompts",
                            "no misses because of a time, date or id in the system prompt");
        }
    }
    dj_client_answer_fini(&answer);
}

static void tell_unreachable(const struct dj_doctor_facts *facts, bool is_held, const char *reason,
                             struct dj_findings *findings)
{
    bool is_expected = is_held || facts->is_server_named;
    dj_findings_add(findings, is_expected ? DJ_FINDING_FAIL : DJ_FINDING_WARN, "daemon",
                    "none answers at %s: %s", facts->server, reason);
    dj_findings_advise(findings, is_held ? "the data directory is in use, so it runs: name its "
                                           "address with --server"
                                         : "start it with deja serve, or name another with "
                                           "--server");
}

void dj_doctor_look_at_daemon(const struct dj_doctor_facts *facts, bool is_held,
                              struct dj_findings *findings)
{
    const struct dj_client client = {
        .server = facts->server, .key = facts->key, .timeout_ms = TIMEOUT_MS};
    struct dj_client_answer answer;
    enum deja_status status = get(&client, "/livez", &answer);
    bool is_alive = status == DEJA_OK && answer.http_status == 200;
    if (status != DEJA_OK)
        tell_unreachable(facts, is_held, reason_of(status, &answer), findings);
    else if (!is_alive) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "daemon", "%s answers %d to /livez",
                        facts->server, answer.http_status);
        dj_findings_advise(findings, "something else may listen there: --server names another");
    }
    dj_client_answer_fini(&answer);
    if (!is_alive)
        return;
    status = get(&client, "/readyz", &answer);
    bool is_ready = status == DEJA_OK && answer.http_status == 200;
    dj_findings_add(findings, is_ready ? DJ_FINDING_OK : DJ_FINDING_FAIL, "daemon", "%s %s",
                    facts->server, is_ready ? "is alive and ready" : "is alive and not ready");
    if (!is_ready)
        dj_findings_advise(findings, "it is starting or stopping: try again in a few seconds");
    dj_client_answer_fini(&answer);
    look_at_components(&client, findings);
    look_at_prompts(&client, findings);
}

/* ---- upstream ---- */

static bool number_at(struct deja_slice text, size_t at, size_t len, int *out_number)
{
    uint64_t value = 0;
    if (at + len > text.len ||
        dj_num_parse_u64(deja_slice(text.data + at, len), &value) != DEJA_OK || value > 9999)
        return false;
    *out_number = (int)value;
    return true;
}

/* "Sat, 21 Nov 2026 06:18:11 GMT" */
static bool parse_date(struct deja_slice text, int64_t *out_s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm date = {.tm_isdst = 0};
    if (text.len != 29 || memcmp(text.data + 25, " GMT", 4) != 0 ||
        !number_at(text, 5, 2, &date.tm_mday) || !number_at(text, 12, 4, &date.tm_year) ||
        !number_at(text, 17, 2, &date.tm_hour) || !number_at(text, 20, 2, &date.tm_min) ||
        !number_at(text, 23, 2, &date.tm_sec))
        return false;
    date.tm_mon = 12;
    for (int i = 0; i < 12; i++)
        if (memcmp(months + (ptrdiff_t)i * 3, text.data + 8, 3) == 0)
            date.tm_mon = i;
    if (date.tm_mon == 12)
        return false;
    date.tm_year -= 1900;
    *out_s = (int64_t)timegm(&date);
    return true;
}

static void look_at_clock(const struct dj_client_answer *answer, struct dj_findings *findings)
{
    int64_t theirs = 0;
    if (!parse_date(dj_client_answer_header(answer, "Date"), &theirs)) {
        dj_findings_add(findings, DJ_FINDING_SKIP, "clock", "the upstream does not say the time");
        return;
    }
    int64_t skew = dj_clock_now_ms() / 1000 - theirs;
    bool is_sane = skew <= SKEW_S && skew >= -SKEW_S;
    dj_findings_add(findings, is_sane ? DJ_FINDING_OK : DJ_FINDING_WARN, "clock",
                    is_sane ? "agrees with the upstream's (%lld s)"
                            : "differs from the upstream's by %lld s",
                    (long long)skew);
    if (!is_sane)
        dj_findings_advise(findings, "entries would end at the wrong time: synchronise the clock "
                                     "(systemd-timesyncd, chrony)");
}

/* Only the first is needed by everybody. */
static void look_at_one(const struct dj_doctor_facts *facts, const char *name, const char *url,
                        struct dj_findings *findings)
{
    const struct dj_client client = {
        .server = url, .timeout_ms = TIMEOUT_MS, .ca_file = facts->ca_file};
    struct dj_client_answer answer;
    enum deja_status status = get(&client, "/v1/models", &answer);
    bool is_main = url == facts->upstream_url;
    if (status != DEJA_OK) {
        dj_findings_add(findings, is_main ? DJ_FINDING_FAIL : DJ_FINDING_WARN, name, "%s: %s", url,
                        reason_of(status, &answer));
        dj_findings_advise(findings,
                           status == DEJA_ERR_DENIED
                               ? "its certificate does not verify: upstream.ca_file "
                                 "names another authority"
                               : "check its address (--upstream URL, upstream.anthropic.url) and "
                                 "the network; --offline skips this");
    } else if (answer.http_status >= 500) {
        dj_findings_add(findings, DJ_FINDING_WARN, name, "%s answers %d", url, answer.http_status);
        dj_findings_advise(findings, "it can be reached, and is not well itself");
    } else {
        bool wants_key = answer.http_status == 401 || answer.http_status == 403;
        dj_findings_add(findings, DJ_FINDING_OK, name, "%s answers %d%s", url, answer.http_status,
                        wants_key ? ": it wants a key, which clients bring" : "");
    }
    if (status == DEJA_OK && is_main)
        look_at_clock(&answer, findings);
    dj_client_answer_fini(&answer);
}

void dj_doctor_look_at_upstream(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    look_at_one(facts, "upstream", facts->upstream_url, findings);
    if (facts->anthropic_url)
        look_at_one(facts, "anthropic", facts->anthropic_url, findings);
}

void dj_doctor_look_at_tiers(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    for (size_t i = 0; i < facts->tier_count; i++) {
        const struct dj_doctor_tier *tier = &facts->tiers[i];
        struct deja_error text = {""};
        bool is_fine = tier->look(tier->ctx, &text) == DEJA_OK;
        dj_findings_add(findings, is_fine ? DJ_FINDING_OK : DJ_FINDING_FAIL, tier->name, "%s",
                        text.message);
        if (!is_fine)
            dj_findings_advise(findings, "Deja goes on without this tier, and misses what it "
                                         "holds; --offline skips this");
    }
}
