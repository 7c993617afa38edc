/* tools/audit_tool.c - see audit_tool.h. */
#include "tools/audit_tool.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "proto/json.h"
#include "security/audit.h"
#include "security/audit_search.h"

#define PATH_BYTES 4200u
#define TAIL_DEFAULT 10u
#define TAIL_MAX 100000u

struct request {
    const char *from;
    const char *to;
    const char *tenant;
    const char *type;
    const char *public_key;
    const char *limit;
    bool wants_json;
};

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--from", DJ_COMMAND_TEXT, "TIME",
     "export, tail: not before; UTC: 2026-02-03, 2026-02-03T04:05", offsetof(struct request, from)},
    {"--to", DJ_COMMAND_TEXT, "TIME", "Likewise: not after; a day or an hour is meant whole",
     offsetof(struct request, to)},
    {"--tenant", DJ_COMMAND_TEXT, "TENANT", "Likewise: of that tenant, by its name or id",
     offsetof(struct request, tenant)},
    {"--type", DJ_COMMAND_TEXT, "TYPE",
     "Likewise: admin, key, erasure, access, cache_operation, audit",
     offsetof(struct request, type)},
    {"--limit", DJ_COMMAND_TEXT, "N", "tail: the last N; 10", offsetof(struct request, limit)},
    {"--public-key", DJ_COMMAND_TEXT, "FILE",
     "verify: the log's audit.pub, kept elsewhere; else the one in the data directory",
     offsetof(struct request, public_key)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct request, wants_json)},
};
/* clang-format on */

const struct dj_command dj_audit_command = {
    .name = "audit",
    .summary = "check, export and read the audit log",
    .synopsis =
        "verify [FILE...]\nexport [--from TIME] [--to TIME] [--tenant TENANT]\ntail [--limit N]",
    .examples = "deja audit verify\texit 1: something was changed; which line, and how\n"
                "deja audit export --from 2026-02 --tenant TENANT > feb.jsonl\n"
                "deja audit verify --public-key audit.pub feb.jsonl\tanywhere\n"
                "deja audit tail --limit 100 --type erasure",
    .description = "Works on the data directory, whether a daemon runs there or not. An export "
                   "keeps the place of each line that it leaves out, so that it can be checked as "
                   "the whole log can.",
    .first_words = "verify|export|tail",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

/* ---- verify ---- */

struct check {
    const struct dj_audit_facts *facts;
    struct dj_audit_chain chain;
    struct dj_audit_head head;
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    bool is_key_given;
    struct dj_audit_fault fault;
    char path[PATH_BYTES]; /* of the fault */
};

static bool read_public(const char *path, uint8_t out_public[DJ_SIGN_PUBLIC_BYTES])
{
    struct deja_slice text = {0};
    bool is_read = dj_audit_map(path, &text) == DEJA_OK && text.len >= 2 * DJ_SIGN_PUBLIC_BYTES &&
                   dj_hex_decode(deja_slice(text.data, 2 * DJ_SIGN_PUBLIC_BYTES), out_public,
                                 DJ_SIGN_PUBLIC_BYTES) == DEJA_OK;
    dj_audit_unmap(text);
    return is_read;
}

/* The node's name is on its first line. */
static void find_head(struct check *check, struct deja_slice text)
{
    struct dj_audit_line line;
    uint8_t known[DJ_SIGN_PUBLIC_BYTES];
    const char *end = text.len ? memchr(text.data, '\n', text.len) : NULL;
    if (!end || !check->facts->head ||
        dj_audit_line_read(deja_slice(text.data, (size_t)(end - text.data)), &line) != DEJA_OK ||
        check->facts->head(check->facts->ctx, line.node, &check->head, known) != DEJA_OK)
        return;
    check->chain.head = &check->head;
    /* Who changed the log could have changed the key beside it. */
    if (!check->is_key_given)
        memcpy(check->public_key, known, sizeof known);
    check->chain.public_key = check->public_key;
}

static enum deja_status check_file(struct check *check, const char *path, const char *next)
{
    struct deja_slice text = {0};
    struct deja_slice rest = {0};
    enum deja_status status = dj_audit_map(path, &text);
    if (status == DEJA_OK && next && dj_audit_map(next, &rest) != DEJA_OK)
        rest = deja_slice(NULL, 0);
    if (status == DEJA_OK)
        dj_audit_chain_check(&check->chain, text, rest, &check->fault);
    if (check->fault.verdict != DJ_AUDIT_INTACT)
        snprintf(check->path, sizeof check->path, "%s", path);
    dj_audit_unmap(rest);
    dj_audit_unmap(text);
    return status;
}

static enum deja_status check_directory(struct check *check, const char *directory,
                                        struct deja_error *error)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    char path[PATH_BYTES];
    char next[PATH_BYTES];
    struct deja_slice first = {0};
    enum deja_status status = dj_audit_files(directory, &numbers, &count);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "%s: %s", directory,
                              status == DEJA_ERR_NOT_FOUND ? "there is no audit log here"
                                                           : deja_status_text(status));
    for (size_t i = 0; i < count && !first.len; i++)
        if (dj_audit_file_path(directory, numbers[i], path, sizeof path) &&
            dj_audit_map(path, &first) != DEJA_OK)
            first = deja_slice(NULL, 0);
    find_head(check, first);
    dj_audit_unmap(first);
    for (size_t i = 0; i < count && status == DEJA_OK && check->fault.verdict == DJ_AUDIT_INTACT;
         i++) {
        bool has_next =
            i + 1 < count && dj_audit_file_path(directory, numbers[i + 1], next, sizeof next);
        status = dj_audit_file_path(directory, numbers[i], path, sizeof path)
                     ? check_file(check, path, has_next ? next : NULL)
                     : DEJA_ERR_CONFIG;
    }
    dj_free(numbers);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "%s: %s", path, deja_status_text(status));
    return DEJA_OK;
}

static void print_check(const struct check *check, bool wants_json)
{
    const struct dj_audit_chain *chain = &check->chain;
    const struct dj_audit_fault *fault = &check->fault;
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    if (!wants_json && fault->verdict != DJ_AUDIT_INTACT)
        printf("%s%s%llu: %s: %s\n", check->path, check->path[0] ? ":" : "line ",
               (unsigned long long)fault->line, dj_audit_verdict_text(fault->verdict),
               fault->reason.message);
    if (!wants_json) {
        printf("%llu lines read, %llu left out of the export, %llu signatures right, signed up to "
               "line %llu of %llu%s\n",
               (unsigned long long)chain->lines, (unsigned long long)chain->skipped,
               (unsigned long long)chain->signatures, (unsigned long long)chain->signed_seq,
               (unsigned long long)chain->seq,
               chain->head ? "" : "; whether lines are missing at its end is not known here");
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "ok", fault->verdict == DJ_AUDIT_INTACT);
    dj_json_member_text(&w, "verdict", dj_audit_verdict_text(fault->verdict));
    dj_json_member_text(&w, "file", check->path[0] ? check->path : NULL);
    dj_json_member_u64(&w, "line", fault->line);
    dj_json_member_text(&w, "reason", fault->reason.message[0] ? fault->reason.message : NULL);
    dj_json_member_u64(&w, "lines", chain->lines);
    dj_json_member_u64(&w, "skipped", chain->skipped);
    dj_json_member_u64(&w, "first_seq", chain->first_seq);
    dj_json_member_u64(&w, "last_seq", chain->seq);
    dj_json_member_u64(&w, "signatures", chain->signatures);
    dj_json_member_u64(&w, "signed_seq", chain->signed_seq);
    dj_json_member_bool(&w, "end_known", chain->head != NULL);
    dj_json_member_text(&w, "node", chain->node);
    dj_json_end_object(&w);
    if (text.status == DEJA_OK)
        printf("%.*s\n", (int)text.len, text.data);
    dj_buf_fini(&text);
}

static int verify(const struct dj_audit_facts *facts, const struct request *request,
                  const char *directory, const struct dj_words *words)
{
    struct check check = {.facts = facts, .is_key_given = request->public_key != NULL};
    struct deja_error error = {""};
    enum deja_status status = DEJA_OK;
    if (request->public_key && !read_public(request->public_key, check.public_key)) {
        fprintf(stderr, "deja audit: %s is no public key of an audit log (64 hex digits)\n",
                request->public_key);
        return DJ_EXIT_FAILED;
    }
    if (request->public_key || dj_audit_read_public(directory, check.public_key) == DEJA_OK)
        check.chain.public_key = check.public_key;
    if (words->count == 1)
        status = check_directory(&check, directory, &error);
    for (size_t i = 1; i < words->count && check.fault.verdict == DJ_AUDIT_INTACT; i++) {
        status =
            check_file(&check, words->items[i], i + 1 < words->count ? words->items[i + 1] : NULL);
        if (status != DEJA_OK) {
            deja_error_set(&error, status, "%s: %s", words->items[i], deja_status_text(status));
            break;
        }
    }
    if (status != DEJA_OK) {
        fprintf(stderr, "deja audit: %s\n", error.message);
        return status == DEJA_ERR_NOT_FOUND ? DJ_EXIT_MISS : DJ_EXIT_FAILED;
    }
    if (check.fault.verdict == DJ_AUDIT_INTACT) {
        check.fault.verdict = dj_audit_chain_end(&check.chain, &check.fault.reason);
        check.fault.line = check.fault.verdict == DJ_AUDIT_INTACT ? 0 : check.chain.lines + 1;
    }
    print_check(&check, request->wants_json);
    return check.fault.verdict == DJ_AUDIT_INTACT ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

/* ---- export ---- */

struct printing {
    bool has_begun;        /* a line has been printed */
    struct dj_buf skipped; /* since the last line that was: printed when another one follows */
    bool is_failed;
};

static bool on_export(void *ctx, const struct dj_audit_line *line, struct deja_slice text,
                      bool is_match)
{
    struct printing *printing = ctx;
    if (!is_match && !printing->has_begun)
        return true;
    if (!is_match) {
        dj_audit_line_skip(line, &printing->skipped);
        dj_buf_append_byte(&printing->skipped, '\n');
        /* Those that a signature covers bind what was printed before them. */
        if (!line->is_signed)
            return printing->skipped.status == DEJA_OK;
    }
    printing->has_begun = true;
    printing->is_failed =
        fwrite(printing->skipped.data ? printing->skipped.data : "", 1, printing->skipped.len,
               stdout) != printing->skipped.len ||
        (is_match && (fwrite(text.data, 1, text.len, stdout) != text.len || putchar('\n') == EOF));
    dj_buf_clear(&printing->skipped);
    return !printing->is_failed;
}

/* ---- tail ---- */

struct tail {
    struct deja_slice *lines; /* newest first; copies */
    size_t count;
    size_t limit;
};

static bool on_tail(void *ctx, const struct dj_audit_line *line, struct deja_slice text,
                    bool is_match)
{
    struct tail *tail = ctx;
    (void)line;
    if (!is_match)
        return true;
    char *copy = dj_strdup(text);
    if (!copy)
        return false;
    tail->lines[tail->count++] = deja_slice(copy, text.len);
    return tail->count < tail->limit;
}

static void print_event(struct deja_slice text)
{
    static const char *const members[] = {"actor", "key_id", "tenant_id", "resource", "metadata"};
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return;
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice time = dj_json_string(dj_json_get(root, "time"));
    struct deja_slice operation = dj_json_string(dj_json_get(root, "operation"));
    struct deja_slice result = dj_json_string(dj_json_get(root, "result"));
    printf("%.*s  %-7.*s  %.*s", (int)time.len, time.data, (int)result.len, result.data,
           (int)operation.len, operation.data);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct dj_buf value = {0};
        struct dj_json_writer w = dj_json_writer(&value);
        const struct dj_json *member = dj_json_get(root, members[i]);
        if (member)
            dj_json_put_value(&w, member);
        if (value.len && value.status == DEJA_OK)
            printf("  %s=%.*s", members[i], (int)value.len, value.data);
        dj_buf_fini(&value);
    }
    putchar('\n');
    dj_json_doc_destroy(doc);
}

static enum deja_status print_tail(const char *directory, const struct dj_audit_query *query,
                                   uint64_t limit, bool wants_json)
{
    struct tail tail = {.limit = limit};
    tail.lines = dj_alloc_zeroed(limit, sizeof *tail.lines);
    enum deja_status status =
        tail.lines ? dj_audit_search(directory, query, true, &tail, on_tail) : DEJA_ERR_NOMEM;
    for (size_t i = tail.count; i > 0; i--) {
        if (wants_json)
            printf("%.*s\n", (int)tail.lines[i - 1].len, tail.lines[i - 1].data);
        else
            print_event(tail.lines[i - 1]);
        dj_free((void *)(uintptr_t)tail.lines[i - 1].data);
    }
    dj_free(tail.lines);
    return status;
}

/* ---- the command ---- */

static bool take_time(const char *text, char out_time[DJ_DATE_RFC3339_BYTES])
{
    if (!text)
        return true;
    if (!dj_audit_is_time(deja_slice_text(text)))
        return false;
    snprintf(out_time, DJ_DATE_RFC3339_BYTES, "%s", text);
    return true;
}

static const char *read_query(const struct dj_audit_facts *facts, const struct request *request,
                              struct dj_audit_query *out_query, uint64_t *out_limit)
{
    uint8_t tenant[DJ_TENANT_BYTES];
    *out_limit = TAIL_DEFAULT;
    if (!take_time(request->from, out_query->from) || !take_time(request->to, out_query->to))
        return "a time is 2026-02-03, 2026-02-03T04:05 or 2026-02-03T04:05:06.789Z, in UTC";
    if (request->tenant && dj_tenant_parse(deja_slice_text(request->tenant), tenant) == DEJA_OK)
        dj_tenant_text(tenant, out_query->tenant);
    else if (request->tenant && !facts->tenant(facts->ctx, request->tenant, out_query->tenant))
        return "--tenant expects a tenant's id, or a name that this machine knows";
    if (request->limit &&
        (dj_num_parse_u64(deja_slice_text(request->limit), out_limit) != DEJA_OK ||
         *out_limit < 1 || *out_limit > TAIL_MAX))
        return "--limit expects a number from 1 to 100000";
    out_query->type = deja_slice_text(request->type);
    return NULL;
}

int dj_audit_run(const struct dj_audit_facts *facts, int argc, char *const *argv)
{
    struct request request = {.from = NULL};
    struct dj_audit_query query = {.before_seq = 0};
    struct dj_words words;
    struct deja_error error = {""};
    char directory[PATH_BYTES];
    uint64_t limit = 0;
    if (dj_command_parse(&dj_audit_command, argc, argv, &request, &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_audit_command, error.message);
    const char *word = words.count ? words.items[0] : "";
    bool is_verify = strcmp(word, "verify") == 0;
    bool is_export = strcmp(word, "export") == 0;
    if ((!is_verify && !is_export && strcmp(word, "tail") != 0) || (!is_verify && words.count > 1))
        return dj_command_misplaced(&dj_audit_command, word);
    const char *complaint = read_query(facts, &request, &query, &limit);
    if (complaint)
        return dj_command_misused(&dj_audit_command, complaint);
    snprintf(directory, sizeof directory, "%s/audit", facts->data_dir);
    if (is_verify)
        return verify(facts, &request, directory, &words);
    struct printing printing = {.has_begun = false};
    enum deja_status status = is_export
                                  ? dj_audit_search(directory, &query, false, &printing, on_export)
                                  : print_tail(directory, &query, limit, request.wants_json);
    if (printing.skipped.status != DEJA_OK && status == DEJA_OK)
        status = printing.skipped.status;
    dj_buf_fini(&printing.skipped);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja audit: %s: %s\n", directory,
                status == DEJA_ERR_NOT_FOUND ? "there is no audit log here"
                                             : deja_status_text(status));
        return status == DEJA_ERR_NOT_FOUND ? DJ_EXIT_MISS : DJ_EXIT_FAILED;
    }
    return fflush(stdout) == 0 && !printing.is_failed ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}
