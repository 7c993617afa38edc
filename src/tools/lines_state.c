/* tools/lines_state.c - see lines_internal.h. */
#include <errno.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "tools/file.h"
#include "tools/lines_internal.h"

#define STATE_BYTES_MAX (1u << 20)
#define PIECE_BYTES 65536u
#define TAIL_BYTES 1048576u /* the rest was compared when it was the tail */

static void copy_text(char *out, size_t size, struct deja_slice text)
{
    size_t len = text.len < size ? text.len : size - 1;
    if (len)
        memcpy(out, text.data, len);
    out[len] = '\0';
}

enum deja_status lines_state_read(const char *path, struct lines_state *out_state,
                                  struct deja_error *error)
{
    struct dj_buf text;
    struct dj_json_doc *doc = NULL;
    if (access(path, F_OK) != 0)
        return DEJA_ERR_NOT_FOUND;
    dj_buf_init(&text, STATE_BYTES_MAX);
    enum deja_status status = dj_tool_read_file(path, &text, error);
    if (status == DEJA_OK && dj_json_parse(dj_buf_slice(&text), &doc, NULL) != DEJA_OK)
        status = deja_error_set(error, DEJA_ERR_INVALID, "%s is no state of deja", path);
    const struct dj_json *root = doc ? dj_json_root(doc) : NULL;
    if (status == DEJA_OK && dj_json_i64(dj_json_get(root, "deja_state"), 0) != 1)
        status = deja_error_set(error, DEJA_ERR_INVALID, "%s is no state of deja", path);
    if (status == DEJA_OK) {
        *out_state = (struct lines_state){
            .position = (uint64_t)dj_json_i64(dj_json_get(root, "position"), 0),
            .units = (uint64_t)dj_json_i64(dj_json_get(root, "units"), 0),
            .stored = (uint64_t)dj_json_i64(dj_json_get(root, "stored"), 0),
            .bad = (uint64_t)dj_json_i64(dj_json_get(root, "bad"), 0),
            .is_done = dj_json_bool(dj_json_get(root, "done"), false)};
        copy_text(out_state->cursor, sizeof out_state->cursor,
                  dj_json_string(dj_json_get(root, "cursor")));
        copy_text(out_state->digest, sizeof out_state->digest,
                  dj_json_string(dj_json_get(root, "digest")));
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&text);
    return status;
}

enum deja_status lines_state_write(const char *path, const struct lines_state *state,
                                   struct deja_error *error)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "deja_state", 1);
    dj_json_member_u64(&w, "position", state->position);
    dj_json_member_u64(&w, "units", state->units);
    dj_json_member_u64(&w, "stored", state->stored);
    dj_json_member_u64(&w, "bad", state->bad);
    dj_json_member_text(&w, "cursor", state->cursor);
    dj_json_member_text(&w, "digest", state->digest);
    dj_json_member_bool(&w, "done", state->is_done);
    dj_json_end_object(&w);
    enum deja_status status = text.status;
    if (status == DEJA_OK)
        status = dj_tool_replace_file(path, dj_buf_slice(&text), error);
    else
        deja_error_set(error, status, "%s: no memory", path);
    dj_buf_fini(&text);
    return status;
}

enum deja_status lines_digest(const char *path, uint64_t len, char out_hex[2 * DJ_SHA256_BYTES + 1],
                              struct deja_error *error)
{
    char piece[PIECE_BYTES];
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_sha256_state *state = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s: %s", path, strerror(errno));
    uint64_t begin = len > TAIL_BYTES ? len - TAIL_BYTES : 0;
    len -= begin;
    enum deja_status status = dj_sha256_create(&state);
    if (status == DEJA_OK && fseeko(file, (off_t)begin, SEEK_SET) != 0)
        status = deja_error_set(error, DEJA_ERR_INVALID, "%s: %s", path, strerror(errno));
    while (status == DEJA_OK && len) {
        size_t got = fread(piece, 1, len < sizeof piece ? (size_t)len : sizeof piece, file);
        if (!got)
            status = deja_error_set(error, DEJA_ERR_INVALID, "%s is shorter than it was", path);
        else
            dj_sha256_update(state, deja_slice(piece, got));
        len -= got;
    }
    if (status == DEJA_OK) {
        dj_sha256_finish(state, digest);
        dj_hex_encode(digest, sizeof digest, out_hex);
    }
    dj_sha256_destroy(state);
    fclose(file);
    return status;
}

/* ---- calls ---- */

int lines_begin(struct lines_call *call)
{
    const struct dj_lines_facts *facts = call->facts;
    call->caller = (struct dj_tool_caller){.client = {.server = facts->server,
                                                      .key = facts->key,
                                                      .token = facts->token,
                                                      .timeout_ms = 600000,
                                                      .ca_file = facts->ca_file},
                                           .command = call->command,
                                           .without = facts->is_named ? NULL : "--offline"};
    int code = dj_tool_find_tenant(&call->caller, call->flags->tenant, call->tenant);
    call->caller.client.tenant = call->tenant[0] ? call->tenant : NULL;
    return code;
}

int lines_ask(struct lines_call *call, const char *method, const char *path, struct deja_slice body)
{
    return dj_tool_call(&call->caller, method, path, body, &call->answer, NULL);
}

void lines_show(const char *what, uint64_t units)
{
    if (isatty(STDERR_FILENO) != 1)
        return;
    fprintf(stderr, "\r\033[K%llu %s", (unsigned long long)units, what);
    fflush(stderr);
}

void lines_show_end(void)
{
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
}
