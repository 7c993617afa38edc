/* cli/cli.c - see cli.h. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "cli/client.h"
#include "cli/output.h"
#include "config/args.h"
#include "config/expand.h"
#include "proto/json.h"

#define PATH_CAP 8000u
#define INPUT_BYTES_MAX (32u << 20)

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_MISS = 3,
    EXIT_UNREACHABLE = 69,
    EXIT_TRY_AGAIN = 75,
    EXIT_DENIED = 77,
};

struct session {
    struct dj_client client;
    char server[512];
    bool wants_json, wants_help, is_plain; /* plain is what we print anyway */
    const char *flag_server, *flag_key;
    const char *ttl, *threshold, *name_space, *query, *request;
    struct dj_arg_values tags;
    struct dj_words words;
};

static const char usage[] =
    "examples:\n"
    "  deja put \"capital of France\" \"Paris\" --ttl 1h --tag geo\n"
    "  deja get \"France's capital?\" || call_llm    exit 3: not known\n"
    "  deja explain \"France's capital?\"\n"
    "  deja explain --request body.json            a whole chat request\n"
    "  deja del --query \"capital of France\"\n"
    "  deja stats --json\n"
    "\n"
    "usage: deja put PROMPT RESPONSE [--ttl 1h] [--tag T]… [--namespace N]   RESPONSE -: stdin\n"
    "       deja get PROMPT [--threshold 0..1] [--namespace N]\n"
    "       deja del ID | --query PROMPT [--namespace N]\n"
    "       deja explain PROMPT | --request FILE [--namespace N]\n"
    "       deja stats\n"
    "       everywhere: [--server URL] [--key KEY] [--json]; also $DEJA_SERVER, $DEJA_KEY\n";

static int usage_error(const char *command, const char *message)
{
    fprintf(stderr, "deja %s: %s; see deja %s --help\n", command, message, command);
    return EXIT_USAGE;
}

static int unreachable(const struct session *session, enum deja_status status, const char *detail)
{
    const char *reason = detail[0] ? detail : deja_status_text(status);
    if (status == DEJA_ERR_NOMEM || status == DEJA_ERR_LIMIT) {
        fprintf(stderr, "deja: %s\n", reason);
        return EXIT_FAILED;
    }
    if (status == DEJA_ERR_TIMEOUT) {
        fprintf(stderr, "deja: %s did not answer in time\n", session->server);
        return EXIT_TRY_AGAIN;
    }
    if (status == DEJA_ERR_INVALID) {
        fprintf(stderr, "deja: --server %s: %s\n", session->server, reason);
        return EXIT_USAGE;
    }
    fprintf(stderr,
            "deja: cannot reach %s: %s\n"
            "start it with \"deja serve\", or name another with --server or DEJA_SERVER\n",
            session->server, reason);
    return EXIT_UNREACHABLE;
}

static int exit_code_of(int http_status)
{
    if (http_status >= 200 && http_status < 300)
        return EXIT_OK;
    if (http_status == 401 || http_status == 403)
        return EXIT_DENIED;
    if (http_status == 429 || http_status == 503)
        return EXIT_TRY_AGAIN;
    return EXIT_FAILED;
}

/* What a problem document (RFC 9457) says, or just the number. */
static void report_problem(int http_status, const struct dj_json *problem)
{
    struct deja_slice detail = dj_json_string(dj_json_get(problem, "detail"));
    if (!detail.len)
        detail = dj_json_string(dj_json_get(problem, "title"));
    fprintf(stderr, "deja: the server answered %d%s", http_status, detail.len ? ": " : "");
    dj_output_text(stderr, detail);
}

/* One call. *out_doc (may come back NULL for an empty answer): the caller's. Returns an exit code;
 * problems are told on stderr. With --json the body goes to stdout as it came. */
static int call(const struct session *session, const char *method, const char *path,
                struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_client_call(&session->client, method, path, body, &answer);
    int code;
    if (status != DEJA_OK) {
        code = unreachable(session, status, answer.detail);
        goto done;
    }
    code = exit_code_of(answer.http_status);
    if (answer.body.len && dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK &&
        code == EXIT_OK) {
        fprintf(stderr, "deja: %s gave an answer that is not JSON: is it Deja?\n", session->server);
        code = EXIT_FAILED;
    }
    if (session->wants_json && doc && !is_quiet) {
        fwrite(answer.body.data, 1, answer.body.len, stdout);
        if (answer.body.data[answer.body.len - 1] != '\n')
            putchar('\n');
    }
    if (answer.http_status < 200 || answer.http_status >= 300)
        report_problem(answer.http_status, dj_json_root(doc));
done:
    dj_client_answer_fini(&answer);
    *out_doc = doc;
    return code;
}

static void percent_encode(struct dj_buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || (c && strchr("-._~", c));
        if (is_plain) {
            dj_buf_append_byte(out, (char)c);
        } else {
            dj_buf_append_byte(out, '%');
            dj_buf_append_byte(out, hex[c >> 4]);
            dj_buf_append_byte(out, hex[c & 15]);
        }
    }
}

/* The whole of a file, or of stdin for "-". */
static enum deja_status read_input(const char *path, struct dj_buf *out)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "r");
    enum deja_status status = DEJA_ERR_IO;
    dj_buf_init(out, INPUT_BYTES_MAX);
    if (!file) {
        fprintf(stderr, "deja: %s: %s\n", path, strerror(errno));
        return status;
    }
    for (;;) {
        char *room = dj_buf_reserve(out, 65536);
        if (!room) {
            fprintf(stderr, "deja: %s: %s\n", path, deja_status_text(out->status));
            status = out->status;
            break;
        }
        size_t got = fread(room, 1, 65536, file);
        out->len += got;
        if (!got) {
            status = ferror(file) ? DEJA_ERR_IO : DEJA_OK;
            break;
        }
    }
    if (!is_stdin)
        fclose(file);
    return status;
}

static void put_member(struct dj_json_writer *w, const char *name, const char *text)
{
    if (!text)
        return;
    dj_json_key(w, name);
    dj_json_put_text(w, text);
}

static int run_put(struct session *session)
{
    struct dj_buf body = {0};
    struct dj_buf input = {0};
    struct dj_json_doc *doc = NULL;
    struct dj_json_writer w = dj_json_writer(&body);
    uint64_t ttl_ms = 0;
    int code = EXIT_FAILED;
    if (session->words.count != 2)
        return usage_error("put", "expects PROMPT and RESPONSE");
    if (session->ttl &&
        (dj_num_parse_duration(deja_slice_text(session->ttl), &ttl_ms) != DEJA_OK || !ttl_ms))
        return usage_error("put", "--ttl expects a duration like 30s, 5m, 1h or 2d");
    struct deja_slice response = deja_slice_text(session->words.items[1]);
    if (deja_slice_is_equal(response, deja_slice_text("-"))) {
        if (read_input("-", &input) != DEJA_OK)
            goto done;
        response = dj_buf_slice(&input);
    }
    dj_json_begin_object(&w);
    put_member(&w, "query", session->words.items[0]);
    dj_json_key(&w, "response");
    dj_json_put_string(&w, response);
    if (ttl_ms) {
        dj_json_key(&w, "ttl");
        dj_json_put_u64(&w, (ttl_ms + 999) / 1000);
    }
    if (session->tags.count) {
        dj_json_key(&w, "tags");
        dj_json_begin_array(&w);
        for (size_t i = 0; i < session->tags.count; i++)
            dj_json_put_text(&w, session->tags.items[i]);
        dj_json_end_array(&w);
    }
    put_member(&w, "namespace", session->name_space);
    dj_json_end_object(&w);
    if (body.status != DEJA_OK)
        goto done;
    code = call(session, "PUT", "/api/v1/entries", dj_buf_slice(&body), false, &doc);
    if (code == EXIT_OK && !session->wants_json)
        dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_root(doc), "id")));
done:
    dj_json_doc_destroy(doc);
    dj_buf_fini(&input);
    dj_buf_fini(&body);
    return code;
}

/* POST /api/v1/lookup; the body of the question is made here. */
static int lookup(const struct session *session, const char *query, const char *threshold,
                  bool is_quiet, struct dj_json_doc **out_doc)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    put_member(&w, "query", query);
    if (threshold) {
        dj_json_key(&w, "threshold");
        dj_json_put_raw(&w, deja_slice_text(threshold));
    }
    put_member(&w, "namespace", session->name_space);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK ? EXIT_FAILED
                                      : call(session, "POST", "/api/v1/lookup", dj_buf_slice(&body),
                                             is_quiet, out_doc);
    dj_buf_fini(&body);
    return code;
}

static void write_response(const struct dj_json *response)
{
    struct dj_buf text = {0};
    if (dj_json_is(response, DJ_JSON_STRING)) {
        dj_output_text(stdout, dj_json_string(response));
        return;
    }
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_put_value(&w, response);
    dj_output_text(stdout, dj_buf_slice(&text));
    dj_buf_fini(&text);
}

static int run_get(struct session *session)
{
    struct dj_json_doc *doc = NULL;
    double threshold = 0;
    if (session->words.count != 1)
        return usage_error("get", "expects one PROMPT");
    if (session->threshold &&
        (dj_num_parse_double(deja_slice_text(session->threshold), &threshold) != DEJA_OK ||
         threshold < 0 || threshold > 1 || session->threshold[0] < '0' ||
         session->threshold[0] > '9'))
        return usage_error("get", "--threshold expects a number from 0 to 1");
    char text[32];
    snprintf(text, sizeof text, "%.10g", threshold);
    int code =
        lookup(session, session->words.items[0], session->threshold ? text : NULL, false, &doc);
    const struct dj_json *root = dj_json_root(doc);
    if (code == EXIT_OK && !dj_json_bool(dj_json_get(root, "hit"), false)) {
        if (!session->wants_json)
            fputs("miss\n", stderr);
        code = EXIT_MISS;
    } else if (code == EXIT_OK && !session->wants_json) {
        write_response(dj_json_get(root, "response"));
    }
    dj_json_doc_destroy(doc);
    return code;
}

static int delete_id(const struct session *session, const char *id)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf path = {0};
    dj_buf_append_text(&path, "/api/v1/entries/");
    percent_encode(&path, id);
    dj_buf_append_byte(&path, '\0');
    int code = path.status != DEJA_OK
                   ? EXIT_FAILED
                   : call(session, "DELETE", path.data, deja_slice_text(""), false, &doc);
    if (code == EXIT_OK && !session->wants_json)
        fputs("deleted\n", stderr);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    return code;
}

/* The entry stored under this very query: found by a lookup, deleted by its id. */
static int delete_query(const struct session *session)
{
    struct dj_json_doc *doc = NULL;
    char id[128] = "";
    int code = lookup(session, session->query, "1", true, &doc);
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice kind = dj_json_string(dj_json_get(root, "kind"));
    struct deja_slice found = dj_json_string(dj_json_get(root, "id"));
    bool is_that = dj_json_bool(dj_json_get(root, "hit"), false) &&
                   !deja_slice_is_equal(kind, deja_slice_text("semantic"));
    if (code == EXIT_OK && is_that && found.len && found.len < sizeof id) {
        memcpy(id, found.data, found.len);
        code = delete_id(session, id);
    } else if (code == EXIT_OK) {
        fputs("deja: nothing is stored under that query\n", stderr);
        code = EXIT_MISS;
    }
    dj_json_doc_destroy(doc);
    return code;
}

static int run_del(struct session *session)
{
    if (session->words.count != (session->query ? 0u : 1u))
        return usage_error("del", "expects an ID, or --query PROMPT");
    return session->query ? delete_query(session) : delete_id(session, session->words.items[0]);
}

static int run_explain(struct session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf path = {0};
    struct dj_buf body = {0};
    int code = EXIT_FAILED;
    if (session->words.count != (session->request ? 0u : 1u))
        return usage_error("explain", "expects a PROMPT, or --request FILE");
    dj_buf_init(&path, PATH_CAP);
    dj_buf_append_text(&path, "/api/v1/explain");
    if (session->request && read_input(session->request, &body) != DEJA_OK)
        goto done;
    if (!session->request) {
        dj_buf_append_text(&path, "?query=");
        percent_encode(&path, session->words.items[0]);
    }
    if (session->name_space) {
        dj_buf_append_text(&path, session->request ? "?namespace=" : "&namespace=");
        percent_encode(&path, session->name_space);
    }
    dj_buf_append_byte(&path, '\0');
    if (path.status != DEJA_OK) {
        code = usage_error("explain", "the prompt is too long; put it into a --request file");
        goto done;
    }
    code = call(session, session->request ? "POST" : "GET", path.data, dj_buf_slice(&body), false,
                &doc);
    if (code == EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
done:
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    dj_buf_fini(&body);
    return code;
}

static int run_stats(struct session *session)
{
    struct dj_json_doc *doc = NULL;
    if (session->words.count)
        return usage_error("stats", "takes no words");
    int code = call(session, "GET", "/api/v1/stats", deja_slice_text(""), false, &doc);
    if (code == EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}

static int find_server(struct session *session, const char *const *environment)
{
    const char *server = session->flag_server;
    if (!server)
        server = dj_environment_find(environment, deja_slice_text("DEJA_SERVER"));
    if (!server || !*server)
        server = "http://127.0.0.1:7070";
    session->client.key = session->flag_key;
    if (!session->client.key)
        session->client.key = dj_environment_find(environment, deja_slice_text("DEJA_KEY"));
    if (session->client.key && !*session->client.key)
        session->client.key = NULL;
    size_t len = strlen(server);
    if (len >= sizeof session->server) {
        fputs("deja: --server is too long\n", stderr);
        return EXIT_USAGE;
    }
    while (len && server[len - 1] == '/')
        len--;
    memcpy(session->server, server, len);
    session->server[len] = '\0';
    session->client.server = session->server;
    return EXIT_OK;
}

int dj_cli_run(int argc, char *const *argv, const char *const *environment)
{
    static const struct {
        const char *name;
        int (*run)(struct session *session);
    } commands[] = {{"put", run_put},
                    {"get", run_get},
                    {"del", run_del},
                    {"explain", run_explain},
                    {"stats", run_stats}};
    struct session session = {.wants_json = false};
    const struct dj_arg args[] = {
        {.name = "--server", .out_value = &session.flag_server},
        {.name = "--key", .out_value = &session.flag_key},
        {.name = "--json", .out_switch = &session.wants_json},
        {.name = "--plain", .out_switch = &session.is_plain},
        {.name = "--no-color", .out_switch = &session.is_plain},
        {.name = "--help", .out_switch = &session.wants_help},
        {.name = "-h", .out_switch = &session.wants_help},
        {.name = "--ttl", .out_value = &session.ttl},
        {.name = "--tag", .out_values = &session.tags},
        {.name = "--namespace", .out_value = &session.name_space},
        {.name = "--threshold", .out_value = &session.threshold},
        {.name = "--query", .out_value = &session.query},
        {.name = "--request", .out_value = &session.request},
    };
    struct deja_error error;
    if (dj_args_parse(argc - 1, argv + 1, args, sizeof args / sizeof *args, &session.words,
                      &error) != DEJA_OK)
        return usage_error(argv[0], error.message);
    if (session.wants_help) {
        fputs(usage, stdout);
        return EXIT_OK;
    }
    int code = find_server(&session, environment);
    if (code != EXIT_OK)
        return code;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, argv[0]) == 0)
            return commands[i].run(&session);
    return usage_error(argv[0], "unknown command");
}
