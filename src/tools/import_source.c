/* tools/import_source.c - which form it is, and lines of deja export. */
#include "tools/import_source.h"

#include <errno.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/alloc.h"
#include "proto/entry_json.h"

#define HEAD_BYTES 16u
#define LINE_BYTES_MAX ((size_t)128 << 20)
#define PIECE_BYTES 65536u

/* ---- which ---- */

static bool is_named(const char *format, const char *name)
{
    return !format || strcmp(format, name) == 0;
}

static enum deja_status mismatch(const char *from, const char *what, struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_INVALID, "%s %s", from, what);
}

enum deja_status dj_import_open(const char *from, const char *format,
                                struct dj_import_source *out_source, struct deja_error *error)
{
    char head[HEAD_BYTES] = "";
    if (strncmp(from, "redis://", 8) == 0 || strncmp(from, "rediss://", 9) == 0)
        return is_named(format, "redis") || is_named(format, "litellm")
                   ? dj_import_redis_open(from, out_source, error)
                   : mismatch(from, "is a Redis: --format redis or litellm", error);
    if (strcmp(from, "-") == 0)
        return is_named(format, "jsonl") ? dj_import_lines_open(from, out_source, error)
                                         : mismatch(from, "(stdin) can only be jsonl", error);
    FILE *file = fopen(from, "rb");
    if (!file)
        return deja_error_set(error, DEJA_ERR_NOT_FOUND, "%s: %s", from, strerror(errno));
    size_t len = fread(head, 1, sizeof head, file);
    fclose(file);
    bool is_sqlite = len == sizeof head && memcmp(head, "SQLite format 3", sizeof head) == 0;
    if (len >= 8 && memcmp(head, "DJBACKUP", 8) == 0)
        return mismatch(from, "is a backup of Deja: deja restore reads it", error);
    if (len >= 5 && memcmp(head, "REDIS", 5) == 0)
        return mismatch(from,
                        "is a dump file of Redis: start a server with it, and give its address, "
                        "as redis://127.0.0.1:6379",
                        error);
    if (is_sqlite)
        return is_named(format, "gptcache")
                   ? dj_import_gptcache_open(from, out_source, error)
                   : mismatch(from, "is a SQLite database: --format gptcache", error);
    if (len && head[0] != '{' && head[0] != '\n' && head[0] != ' ')
        return mismatch(from,
                        "is neither lines of deja export (JSONL) nor a SQLite database of GPTCache",
                        error);
    return is_named(format, "jsonl")
               ? dj_import_lines_open(from, out_source, error)
               : mismatch(from, "is not a SQLite database: lines of JSON are --format jsonl",
                          error);
}

/* ---- lines ---- */

struct lines {
    FILE *file;
    struct dj_buf line;
    uint64_t number;
    uint64_t offset; /* behind the last line */
};

/* DEJA_ERR_NOT_FOUND: the end. */
static enum deja_status read_line(struct lines *lines, struct deja_error *error)
{
    char piece[PIECE_BYTES];
    dj_buf_clear(&lines->line);
    while (fgets(piece, sizeof piece, lines->file)) {
        size_t len = strlen(piece);
        dj_buf_append(&lines->line, piece, len);
        if (lines->line.status != DEJA_OK)
            return deja_error_set(error, lines->line.status, "line %llu is too long",
                                  (unsigned long long)lines->number + 1);
        if (len && piece[len - 1] == '\n')
            break;
    }
    if (ferror(lines->file))
        return deja_error_set(error, DEJA_ERR_IO, "%s", strerror(errno));
    if (!lines->line.len)
        return DEJA_ERR_NOT_FOUND;
    lines->number++;
    lines->offset += lines->line.len;
    return DEJA_OK;
}

static bool is_blank(struct deja_slice line)
{
    while (line.len && strchr(" \t\r\n", line.data[line.len - 1]))
        line.len--;
    return line.len == 0;
}

static enum deja_status next_line(void *ctx, struct dj_buf *out_json, uint64_t *out_number,
                                  struct deja_error *error)
{
    struct lines *lines = ctx;
    struct dj_entry_line line;
    enum deja_status status;
    do {
        status = read_line(lines, error);
    } while (status == DEJA_OK && is_blank(dj_buf_slice(&lines->line)));
    *out_number = lines->number;
    if (status != DEJA_OK)
        return status;
    struct deja_slice text = dj_buf_slice(&lines->line);
    while (text.len && strchr("\r\n", text.data[text.len - 1]))
        text.len--;
    /* Here, so that one bad line does not spoil the call it would go with. */
    status = dj_entry_json_read(text, 1, &line, error);
    dj_entry_line_fini(&line);
    if (status == DEJA_OK)
        dj_buf_append_slice(out_json, text);
    return status == DEJA_ERR_NOMEM || status == DEJA_OK ? status : DEJA_ERR_INVALID;
}

static uint64_t position_of_lines(void *ctx)
{
    return ((const struct lines *)ctx)->offset;
}

/* Line by line, so that their numbers stay right. */
static enum deja_status seek_lines(void *ctx, uint64_t position, struct deja_error *error)
{
    struct lines *lines = ctx;
    while (lines->offset < position) {
        enum deja_status status = read_line(lines, error);
        if (status == DEJA_ERR_NOT_FOUND)
            return deja_error_set(error, DEJA_ERR_INVALID, "it is shorter than it was");
        if (status != DEJA_OK)
            return status;
    }
    return lines->offset == position
               ? DEJA_OK
               : deja_error_set(error, DEJA_ERR_INVALID, "it is not what it was");
}

static void close_lines(void *ctx)
{
    struct lines *lines = ctx;
    if (lines->file != stdin)
        fclose(lines->file);
    dj_buf_fini(&lines->line);
    dj_free(lines);
}

enum deja_status dj_import_lines_open(const char *path, struct dj_import_source *out_source,
                                      struct deja_error *error)
{
    struct lines *lines = dj_alloc_zeroed(1, sizeof *lines);
    if (!lines)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    dj_buf_init(&lines->line, LINE_BYTES_MAX);
    lines->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!lines->file) {
        dj_free(lines);
        return deja_error_set(error, DEJA_ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    *out_source = (struct dj_import_source){.ctx = lines,
                                            .form = "jsonl",
                                            .unit = "line",
                                            .method = "POST",
                                            .path = "/api/v1/import",
                                            .member = "entries",
                                            .next = next_line,
                                            .position = position_of_lines,
                                            .seek = seek_lines,
                                            .close = close_lines};
    return DEJA_OK;
}
