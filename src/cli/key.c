/* cli/key.c - key: API keys made, listed, rotated, revoked; and the upstream credentials that Deja
 * holds for tenants.
 *
 * The secret of a key goes to stdout, alone, so that it can be piped to where it is kept; whatever
 * else there is to say goes to stderr. A credential comes from a file or stdin, never from the
 * command line, where every user of the machine could read it.
 */
#include <stdio.h>

#include "base/num.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

#define PATH "/api/v1/keys"
#define UPSTREAM_PATH "/api/v1/upstream-credentials/"
#define TENANTS_PATH "/api/v1/tenants?limit=1000"
#define TIME_LEN 16
#define PAGE 100u
#define PAGE_MAX 1000u

struct word {
    const char *name;
    size_t words_min;
    size_t words_max; /* after the word itself */
    int (*run)(struct dj_session *session, const char *const *words, size_t count);
};

static struct deja_slice text_of(const struct dj_json *object, const char *name)
{
    return dj_json_string(dj_json_get(object, name));
}

/* What --tenant says, for the body: the call itself is the administrator's. *out_id "": nothing. */
static int take_tenant(struct dj_session *session, char out_id[DJ_TENANT_NAME_ID_BYTES])
{
    out_id[0] = '\0';
    if (!session->tenant)
        return DJ_EXIT_OK;
    session->client.tenant = NULL;
    return dj_cli_find_tenant(session, session->tenant, out_id);
}

/* ---- keys ---- */

static bool put_number(struct dj_session *session, struct dj_json_writer *w, const char *flag,
                       const char *name, const char *text)
{
    double number = 0;
    if (!text)
        return true;
    if (dj_num_parse_double(deja_slice_text(text), &number) != DEJA_OK || number < 0) {
        char message[96];
        snprintf(message, sizeof message, "%s expects a number", flag);
        dj_session_misused(session, message);
        return false;
    }
    dj_json_member_double(w, name, number);
    return true;
}

static int write_wish(struct dj_session *session, const char *name, struct dj_buf *body)
{
    struct dj_json_writer w = dj_json_writer(body);
    char tenant[DJ_TENANT_NAME_ID_BYTES];
    int code = take_tenant(session, tenant);
    if (code != DJ_EXIT_OK)
        return code;
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "name", name);
    dj_session_put_member(&w, "tenant", tenant[0] ? tenant : NULL);
    dj_session_put_member(&w, "expires_in", session->expires);
    dj_session_put_member(&w, "certificate", session->certificate);
    if (session->roles.count) {
        dj_json_key(&w, "roles");
        dj_json_begin_array(&w);
        for (size_t i = 0; i < session->roles.count; i++)
            dj_json_put_text(&w, session->roles.items[i]);
        dj_json_end_array(&w);
    }
    if (!put_number(session, &w, "--rate", "requests_per_s", session->rate) ||
        !put_number(session, &w, "--burst", "burst", session->burst))
        return DJ_EXIT_USAGE;
    dj_json_end_object(&w);
    return body->status == DEJA_OK ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

static void write_secret(const struct dj_session *session, const struct dj_json *root)
{
    struct deja_slice id = text_of(dj_json_get(root, "key"), "id");
    if (session->wants_json)
        return;
    dj_output_text(stdout, text_of(root, "secret"));
    fprintf(stderr, "key %.*s: this is the only time that it is shown\n", (int)id.len, id.data);
}

static int create(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_buf body = {0};
    struct dj_json_doc *doc = NULL;
    int code = write_wish(session, count ? words[0] : NULL, &body);
    if (code == DJ_EXIT_OK)
        code = dj_session_call(session, "POST", PATH, dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK)
        write_secret(session, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

static void write_roles(const struct dj_json *key)
{
    char roles[64] = "";
    size_t len = 0;
    for (struct dj_json_walk w = dj_json_walk(dj_json_get(key, "roles")); dj_json_walk_next(&w);) {
        struct deja_slice role = dj_json_string(w.value);
        int more = snprintf(roles + len, sizeof roles - len, "%s%.*s", len ? "," : "",
                            (int)role.len, role.data);
        len += more > 0 && (size_t)more < sizeof roles - len ? (size_t)more : 0;
    }
    printf("%-22s  ", roles);
}

/* The name of a tenant, else its id. */
static struct deja_slice tenant_of(const struct dj_json *tenants, struct deja_slice id)
{
    for (struct dj_json_walk w = dj_json_walk(tenants); dj_json_walk_next(&w);)
        if (deja_slice_is_equal(text_of(w.value, "id"), id))
            return text_of(w.value, "name");
    return id;
}

/* "until 2026-02-03T04:05" */
static void write_time(const char *label, struct deja_slice time, const char *never)
{
    char text[40];
    if (time.len > TIME_LEN)
        snprintf(text, sizeof text, "%s %.*s", label, TIME_LEN, time.data);
    else
        snprintf(text, sizeof text, "%s", never);
    printf("%-22s  ", text);
}

static void write_row(const struct dj_json *key, const struct dj_json *tenants)
{
    struct deja_slice id = text_of(key, "id");
    struct deja_slice state = text_of(key, "state");
    struct deja_slice tenant = tenant_of(tenants, text_of(key, "tenant"));
    printf("%.*s  %-7.*s  %-36.*s  ", (int)id.len, id.data, (int)state.len, state.data,
           tenant.len ? (int)tenant.len : 1, tenant.len ? tenant.data : "-");
    write_roles(key);
    write_time("until", text_of(key, "expires"), "for ever");
    write_time("used", text_of(key, "last_used"), "not used here");
    dj_output_line(stdout, text_of(key, "name"));
}

/* For the names of the list; who may not see them gets ids. NULL: none. */
static struct dj_json_doc *read_tenants(const struct dj_session *session)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    if (dj_client_call(&session->client, "GET", TENANTS_PATH, deja_slice_text(""), &answer) !=
            DEJA_OK ||
        answer.http_status != 200 ||
        dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK)
        doc = NULL;
    dj_client_answer_fini(&answer);
    return doc;
}

static int list(struct dj_session *session, const char *const *words, size_t count)
{
    uint64_t limit = PAGE;
    char tenant[DJ_TENANT_NAME_ID_BYTES];
    char path[256];
    struct dj_json_doc *doc = NULL;
    (void)words;
    (void)count;
    if (!dj_session_limit(session, PAGE, PAGE_MAX, &limit))
        return DJ_EXIT_USAGE;
    int code = take_tenant(session, tenant);
    if (code != DJ_EXIT_OK)
        return code;
    snprintf(path, sizeof path, PATH "?limit=%llu%s%s", (unsigned long long)limit,
             tenant[0] ? "&tenant=" : "", tenant);
    code = dj_session_call(session, "GET", path, deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json) {
        struct dj_json_doc *tenants = read_tenants(session);
        struct dj_json_walk walk = dj_json_walk(dj_json_get(dj_json_root(doc), "keys"));
        while (dj_json_walk_next(&walk))
            write_row(walk.value, dj_json_get(dj_json_root(tenants), "tenants"));
        dj_json_doc_destroy(tenants);
        if (dj_json_is(dj_json_get(dj_json_root(doc), "next"), DJ_JSON_STRING))
            fputs("there are more: see --limit\n", stderr);
    }
    dj_json_doc_destroy(doc);
    return code;
}

/* One call below /api/v1/keys/ID. */
static int call_key(struct dj_session *session, const char *method, const char *id,
                    const char *tail, struct deja_slice body, struct dj_json_doc **out_doc)
{
    struct dj_buf path = {0};
    dj_buf_append_text(&path, PATH "/");
    dj_percent_encode(&path, id);
    dj_buf_append_text(&path, tail);
    dj_buf_append_byte(&path, '\0');
    session->client.tenant = NULL;
    int code = path.status != DEJA_OK
                   ? DJ_EXIT_FAILED
                   : dj_session_call(session, method, path.data, body, false, out_doc);
    dj_buf_fini(&path);
    return code;
}

static int show(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_json_doc *doc = NULL;
    (void)count;
    int code = call_key(session, "GET", words[0], "", deja_slice_text(""), &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_get(dj_json_root(doc), "key"));
    dj_json_doc_destroy(doc);
    return code;
}

static int rotate(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_buf body = {0};
    struct dj_json_doc *doc = NULL;
    struct dj_json_writer w = dj_json_writer(&body);
    bool is_at_once = session->overlap && strcmp(session->overlap, "0") == 0;
    (void)count;
    dj_json_begin_object(&w);
    if (is_at_once)
        dj_json_member_u64(&w, "overlap", 0);
    else
        dj_session_put_member(&w, "overlap", session->overlap);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK
                   ? DJ_EXIT_FAILED
                   : call_key(session, "POST", words[0], "/rotate", dj_buf_slice(&body), &doc);
    if (code == DJ_EXIT_OK)
        write_secret(session, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

static int revoke(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_json_doc *doc = NULL;
    (void)count;
    int code = call_key(session, "DELETE", words[0], "", deja_slice_text(""), &doc);
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- upstream credentials ---- */

/* Without the line's end that an editor or echo left. */
static struct deja_slice trim(struct deja_slice text)
{
    while (text.len && (unsigned char)text.data[text.len - 1] <= ' ')
        text.len--;
    return text;
}

static int write_credential(struct dj_session *session, struct dj_buf *body)
{
    struct dj_buf secret = {0};
    struct dj_json_writer w = dj_json_writer(body);
    int code = DJ_EXIT_OK;
    if (dj_read_input(session->credential ? session->credential : "-", &secret) != DEJA_OK)
        code = DJ_EXIT_FAILED;
    else if (!trim(dj_buf_slice(&secret)).len)
        code = dj_session_misused(session, "the credential is empty");
    dj_json_begin_object(&w);
    dj_json_key(&w, "value");
    dj_json_put_string(&w, trim(dj_buf_slice(&secret)));
    dj_session_put_member(&w, "scheme", session->scheme);
    dj_json_end_object(&w);
    if (secret.data)
        explicit_bzero(secret.data, secret.len);
    dj_buf_fini(&secret);
    return code == DJ_EXIT_OK && body->status != DEJA_OK ? DJ_EXIT_FAILED : code;
}

static int upstream(struct dj_session *session, const char *const *words, size_t count)
{
    char path[sizeof UPSTREAM_PATH + DJ_TENANT_NAME_ID_BYTES];
    char tenant[DJ_TENANT_NAME_ID_BYTES];
    struct dj_buf body = {0};
    struct dj_json_doc *doc = NULL;
    bool is_set = strcmp(words[0], "set") == 0;
    bool is_show = strcmp(words[0], "show") == 0;
    if ((!is_set && !is_show && strcmp(words[0], "remove") != 0) || count != 2)
        return dj_session_misused(session, "upstream expects set, show or remove, and a tenant");
    session->client.tenant = NULL;
    int code = dj_cli_find_tenant(session, words[1], tenant);
    if (code == DJ_EXIT_OK && is_set)
        code = write_credential(session, &body);
    snprintf(path, sizeof path, UPSTREAM_PATH "%s", tenant);
    if (code == DJ_EXIT_OK)
        code = dj_session_call(session,
                               is_set    ? "PUT"
                               : is_show ? "GET"
                                         : "DELETE",
                               path, dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && is_show && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    if (body.data)
        explicit_bzero(body.data, body.len);
    dj_buf_fini(&body);
    return code;
}

int dj_cli_key(struct dj_session *session)
{
    static const struct word words[] = {
        {"create", 0, 1, create}, {"list", 0, 0, list},     {"show", 1, 1, show},
        {"rotate", 1, 1, rotate}, {"revoke", 1, 1, revoke}, {"upstream", 1, 2, upstream},
    };
    const char *first = session->words.count ? session->words.items[0] : "";
    if (session->is_data)
        return session->words.count == 1 && strcmp(first, "rotate") == 0
                   ? dj_cli_rotate_data_keys(session)
                   : dj_session_misused(session, "--data goes with rotate alone");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t count = session->words.count - 1;
        if (strcmp(first, words[i].name) != 0)
            continue;
        if (count < words[i].words_min || count > words[i].words_max)
            return dj_session_misused(session, words[i].words_min ? "expects the id of a key"
                                                                  : "takes a name at most");
        return words[i].run(session, (const char *const *)session->words.items + 1, count);
    }
    return dj_session_misused(session, "expects create, list, show, rotate, revoke or upstream");
}
