/* cli/tenant.c - tenant: made, listed, shown, configured, suspended, deleted, linked.
 *
 * A tenant is named by its id or by its name. A credential comes from a file or stdin, never from
 * the command line, where every user of the machine could read it.
 */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli_internal.h"
#include "cli/output.h"

#define PATH "/api/v1/tenants"
#define ID_LEN (DJ_TENANT_NAME_ID_BYTES - 1u)
#define PAGE 100u
#define PAGE_MAX 1000u

struct word {
    const char *name;
    size_t words_min;
    size_t words_max; /* after the word itself */
    int (*run)(struct dj_session *session, const char *const *words, size_t count);
};

/* ---- which tenant ---- */

int dj_cli_find_tenant(struct dj_session *session, const char *text,
                       char out_id[DJ_TENANT_NAME_ID_BYTES])
{
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    if (dj_tenant_name_read(text, out_id, &path))
        return DJ_EXIT_OK;
    int code = path.status != DEJA_OK
                   ? DJ_EXIT_FAILED
                   : dj_session_call(session, "GET", path.data, deja_slice_text(""), true, &doc);
    if (code == DJ_EXIT_OK && !dj_tenant_name_found(dj_json_root(doc), text, out_id)) {
        fprintf(stderr, "deja tenant: there is no tenant \"%s\": see deja tenant list\n", text);
        code = DJ_EXIT_FAILED;
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    return code;
}

/* One call below /api/v1/tenants/ID; tail: "", "/suspend". *out_doc may be NULL: not wanted. */
static int call_tenant(struct dj_session *session, const char *method, const char *tenant,
                       const char *tail, struct deja_slice body, struct dj_json_doc **out_doc)
{
    struct dj_json_doc *doc = NULL;
    char id[ID_LEN + 1];
    char path[sizeof PATH + 2 * ID_LEN + 32];
    int code = dj_cli_find_tenant(session, tenant, id);
    if (code != DJ_EXIT_OK)
        return code;
    snprintf(path, sizeof path, PATH "/%s%s", id, tail);
    code = dj_session_call(session, method, path, body, false, &doc);
    if (out_doc)
        *out_doc = doc;
    else
        dj_json_doc_destroy(doc);
    return code;
}

/* ---- what is wanted of one ---- */

/* "limits.burst=5": the part before the dot, or none. */
static struct deja_slice section_of(const char *word)
{
    const char *equals = strchr(word, '=');
    const char *dot = memchr(word, '.', (size_t)(equals - word));
    return deja_slice(word, dot ? (size_t)(dot - word) : 0);
}

/* A value that is not JSON is text: audit=writes, ttl.response=5m. */
static void put_value(struct dj_json_writer *w, const char *word, size_t name_at)
{
    struct dj_json_doc *doc = NULL;
    const char *equals = strchr(word, '=');
    struct deja_slice value = deja_slice_text(equals + 1);
    dj_json_key_slice(w, deja_slice(word + name_at, (size_t)(equals - word) - name_at));
    if (dj_json_parse(value, &doc, NULL) == DEJA_OK)
        dj_json_put_value(w, dj_json_root(doc));
    else
        dj_json_put_string(w, value);
    dj_json_doc_destroy(doc);
}

static bool is_begun(const char *const *words, size_t index)
{
    struct deja_slice section = section_of(words[index]);
    for (size_t i = 0; i < index; i++)
        if (section.len && deja_slice_is_equal(section_of(words[i]), section))
            return true;
    return false;
}

/* KEY=VALUE words as an object; those of one section stand together. */
static void put_words(struct dj_json_writer *w, const char *const *words, size_t count)
{
    dj_json_begin_object(w);
    for (size_t i = 0; i < count; i++) {
        struct deja_slice section = section_of(words[i]);
        if (is_begun(words, i))
            continue;
        if (!section.len) {
            put_value(w, words[i], 0);
            continue;
        }
        dj_json_key_slice(w, section);
        dj_json_begin_object(w);
        for (size_t k = i; k < count; k++)
            if (deja_slice_is_equal(section_of(words[k]), section))
                put_value(w, words[k], section.len + 1);
        dj_json_end_object(w);
    }
    dj_json_end_object(w);
}

static int put_file(struct dj_session *session, struct dj_json_writer *w)
{
    struct deja_error error = {{0}};
    struct dj_json_doc *doc = NULL;
    struct dj_buf text = {0};
    int code = dj_read_input(session->file, &text) == DEJA_OK ? DJ_EXIT_OK : DJ_EXIT_FAILED;
    if (code == DJ_EXIT_OK && dj_json_parse(dj_buf_slice(&text), &doc, &error) != DEJA_OK) {
        fprintf(stderr, "deja tenant: %s: %s\n", session->file, error.message);
        code = DJ_EXIT_FAILED;
    }
    if (code == DJ_EXIT_OK)
        dj_json_put_value(w, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&text);
    return code;
}

static int put_inherits(struct dj_session *session, struct dj_json_writer *w)
{
    char id[ID_LEN + 1];
    bool is_none = strcmp(session->inherits, "none") == 0;
    int code = is_none ? DJ_EXIT_OK : dj_cli_find_tenant(session, session->inherits, id);
    if (code == DJ_EXIT_OK)
        dj_json_member_text(w, "inherits", is_none ? NULL : id);
    return code;
}

/* The body of add and set. */
static int write_body(struct dj_session *session, const char *name, const char *const *words,
                      size_t count, struct dj_buf *body)
{
    struct dj_json_writer w = dj_json_writer(body);
    int code = DJ_EXIT_OK;
    for (size_t i = 0; i < count; i++)
        if (!strchr(words[i], '='))
            return dj_session_misused(session, "expects KEY=VALUE, such as limits.burst=50");
    if (count && session->file)
        return dj_session_misused(session, "takes KEY=VALUE or --file, not both");
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "name", name);
    if (session->inherits)
        code = put_inherits(session, &w);
    if (code == DJ_EXIT_OK && (count || session->file || session->is_replacement)) {
        dj_json_key(&w, "config");
        if (session->file)
            code = put_file(session, &w);
        else
            put_words(&w, words, count);
    }
    dj_session_put_member(&w, "id", session->id);
    dj_json_end_object(&w);
    return code == DJ_EXIT_OK && body->status != DEJA_OK ? DJ_EXIT_FAILED : code;
}

/* ---- the words ---- */

static int add(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_buf body = {0};
    struct dj_json_doc *doc = NULL;
    int code = write_body(session, words[0], words + 1, count - 1, &body);
    if (code == DJ_EXIT_OK)
        code = dj_session_call(session, "POST", PATH, dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_root(doc), "id")));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

static int set(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_buf body = {0};
    if (session->id)
        return dj_session_misused(session, "a tenant keeps its id");
    if (count == 1 && !session->name && !session->inherits && !session->file &&
        !session->is_replacement)
        return dj_session_misused(session, "set what? KEY=VALUE, --file, --name or --inherits");
    int code = write_body(session, session->name, words + 1, count - 1, &body);
    if (code == DJ_EXIT_OK)
        code = call_tenant(session, session->is_replacement ? "PUT" : "PATCH", words[0], "",
                           dj_buf_slice(&body), NULL);
    dj_buf_fini(&body);
    return code;
}

static void write_row(const struct dj_json *tenant)
{
    struct deja_slice id = dj_json_string(dj_json_get(tenant, "id"));
    struct deja_slice state = dj_json_string(dj_json_get(tenant, "state"));
    bool is_broken = dj_json_bool(dj_json_get(tenant, "broken"), false);
    printf("%.*s  %-9.*s  ", (int)id.len, id.data, is_broken ? 6 : (int)state.len,
           is_broken ? "broken" : state.data);
    dj_output_line(stdout, dj_json_string(dj_json_get(tenant, "name")));
}

static int list(struct dj_session *session, const char *const *words, size_t count)
{
    uint64_t limit = PAGE;
    char path[64];
    struct dj_json_doc *doc = NULL;
    (void)words;
    (void)count;
    if (!dj_session_limit(session, PAGE, PAGE_MAX, &limit))
        return DJ_EXIT_USAGE;
    snprintf(path, sizeof path, PATH "?limit=%llu", (unsigned long long)limit);
    int code = dj_session_call(session, "GET", path, deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json) {
        struct dj_json_walk walk = dj_json_walk(dj_json_get(dj_json_root(doc), "tenants"));
        while (dj_json_walk_next(&walk))
            write_row(walk.value);
        if (dj_json_is(dj_json_get(dj_json_root(doc), "next"), DJ_JSON_STRING))
            fprintf(stderr, "there are %lld: see --limit\n",
                    (long long)dj_json_i64(dj_json_get(dj_json_root(doc), "count"), 0));
    }
    dj_json_doc_destroy(doc);
    return code;
}

static int show(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_json_doc *doc = NULL;
    (void)count;
    int code = call_tenant(session, "GET", words[0], "", deja_slice_text(""), &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}

static int suspend(struct dj_session *session, const char *const *words, size_t count)
{
    (void)count;
    return call_tenant(session, "POST", words[0], "/suspend", deja_slice_text(""), NULL);
}

static int resume(struct dj_session *session, const char *const *words, size_t count)
{
    (void)count;
    return call_tenant(session, "POST", words[0], "/resume", deja_slice_text(""), NULL);
}

static int delete_one(struct dj_session *session, const char *const *words, size_t count)
{
    (void)count;
    if (!session->is_agreed && isatty(STDIN_FILENO) != 1)
        return dj_session_misused(session, "the tenant and its links would go: say --yes");
    if (!session->is_agreed) {
        fprintf(stderr, "%s and its links would be removed, its entries not served any more.",
                words[0]);
        if (!dj_session_is_agreed())
            return DJ_EXIT_FAILED;
    }
    return call_tenant(session, "DELETE", words[0], "", deja_slice_text(""), NULL);
}

/* Without the line's end that an editor or echo left. */
static struct deja_slice trim(struct deja_slice text)
{
    while (text.len && (unsigned char)text.data[text.len - 1] <= ' ')
        text.len--;
    return text;
}

static int link_one(struct dj_session *session, const char *const *words, size_t count)
{
    struct dj_buf secret = {0};
    struct dj_buf body = {0};
    struct dj_json_doc *doc = NULL;
    struct dj_json_writer w = dj_json_writer(&body);
    int code = DJ_EXIT_OK;
    (void)count;
    if (session->id && session->credential)
        return dj_session_misused(session, "takes --id or --credential, not both");
    if (!session->id &&
        dj_read_input(session->credential ? session->credential : "-", &secret) != DEJA_OK)
        code = DJ_EXIT_FAILED;
    if (code == DJ_EXIT_OK && !session->id && !trim(dj_buf_slice(&secret)).len)
        code = dj_session_misused(session, "the credential is empty");
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "id", session->id);
    if (!session->id) {
        dj_json_key(&w, "credential");
        dj_json_put_string(&w, trim(dj_buf_slice(&secret)));
    }
    dj_session_put_member(&w, "name", session->name);
    dj_json_end_object(&w);
    if (code == DJ_EXIT_OK && body.status != DEJA_OK)
        code = DJ_EXIT_FAILED;
    if (code == DJ_EXIT_OK)
        code = call_tenant(session, "POST", words[0], "/links", dj_buf_slice(&body), &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_root(doc), "id")));
    dj_json_doc_destroy(doc);
    if (secret.data)
        explicit_bzero(secret.data, secret.len);
    if (body.data)
        explicit_bzero(body.data, body.len);
    dj_buf_fini(&secret);
    dj_buf_fini(&body);
    return code;
}

static int unlink_one(struct dj_session *session, const char *const *words, size_t count)
{
    char tail[ID_LEN + 16];
    (void)count;
    if (!dj_tenant_name_is_id(words[1]))
        return dj_session_misused(session, "a link is named by its id: see deja tenant show");
    snprintf(tail, sizeof tail, "/links/%s", words[1]);
    return call_tenant(session, "DELETE", words[0], tail, deja_slice_text(""), NULL);
}

int dj_cli_tenant(struct dj_session *session)
{
    static const struct word words[] = {
        {"add", 1, 64, add},          {"list", 0, 0, list},       {"show", 1, 1, show},
        {"set", 1, 64, set},          {"suspend", 1, 1, suspend}, {"resume", 1, 1, resume},
        {"delete", 1, 1, delete_one}, {"link", 1, 1, link_one},   {"unlink", 2, 2, unlink_one},
    };
    const char *first = session->words.count ? session->words.items[0] : "";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t count = session->words.count - 1;
        if (strcmp(first, words[i].name) != 0)
            continue;
        if (count < words[i].words_min || count > words[i].words_max)
            return dj_session_misused(session, words[i].words_min
                                                   ? "expects the name or the id of a tenant"
                                                   : "list takes no words");
        return words[i].run(session, (const char *const *)session->words.items + 1, count);
    }
    return dj_session_misused(session, "expects add, list, show, set, suspend, resume, delete, "
                                       "link or unlink");
}
