/* cache/lines.c - see lines.h. */
#include "cache/lines.h"

#include "base/alloc.h"
#include "proto/entry_json.h"

#define PIECE_BYTES ((size_t)64 << 10)

struct lines {
    struct dj_archive_in in;
    struct dj_archive_out out;
    struct dj_transfer_lane lane;
    struct dj_lines_options options;
    struct dj_transfer_counts *counts;
    struct dj_buf bytes; /* of the line, and what follows it */
    size_t used;         /* of bytes: the last line */
    uint64_t number;     /* of the last line */
    bool is_over;
    struct dj_entry_line line;
};

static void close_lines(void *ctx)
{
    struct lines *lines = ctx;
    if (lines->in.close)
        lines->in.close(lines->in.ctx);
    if (lines->out.close)
        lines->out.close(lines->out.ctx);
    dj_entry_line_fini(&lines->line);
    dj_buf_fini(&lines->bytes);
    dj_free(lines);
}

/* ---- reading ---- */

/* DEJA_ERR_NOT_FOUND: there is none. */
static enum deja_status next_line(struct lines *lines, struct deja_slice *out_line,
                                  struct deja_error *error)
{
    size_t looked = 0;
    dj_buf_consume(&lines->bytes, lines->used);
    lines->used = 0;
    for (;;) {
        const char *end = lines->bytes.len > looked
                              ? memchr(lines->bytes.data + looked, '\n', lines->bytes.len - looked)
                              : NULL;
        if (!end && lines->is_over && lines->bytes.len)
            end = lines->bytes.data + lines->bytes.len;
        if (end) {
            *out_line = deja_slice(lines->bytes.data, (size_t)(end - lines->bytes.data));
            lines->used = out_line->len + 1; /* the last may be without its end: consume knows */
            lines->number++;
            return DEJA_OK;
        }
        if (lines->is_over)
            return DEJA_ERR_NOT_FOUND;
        size_t got = 0;
        looked = lines->bytes.len;
        char *room = dj_buf_reserve(&lines->bytes, PIECE_BYTES);
        if (!room)
            return deja_error_set(error, lines->bytes.status, "line %llu is too long",
                                  (unsigned long long)lines->number + 1);
        enum deja_status status = lines->in.read(lines->in.ctx, room, PIECE_BYTES, &got, error);
        if (status != DEJA_OK)
            return status;
        lines->bytes.len += got;
        lines->is_over = got < PIECE_BYTES;
    }
}

static bool is_blank(struct deja_slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static enum deja_status read_line(struct lines *lines, struct deja_slice text,
                                  struct deja_error *error)
{
    struct deja_error what = {.message = ""};
    dj_entry_line_fini(&lines->line);
    enum deja_status status = dj_entry_json_read(text, dj_clock_now_ms(), &lines->line, &what);
    if (status == DEJA_OK && (!lines->line.has_tenant || !lines->line.has_id))
        status = deja_error_set(&what, DEJA_ERR_INVALID, "\"%s\" is missing",
                                lines->line.has_tenant ? "id" : "tenant");
    if (status == DEJA_OK || status == DEJA_ERR_NOMEM)
        return status;
    if (lines->options.bad)
        lines->options.bad(lines->options.ctx, lines->number, what.message);
    return lines->options.skips_bad
               ? DEJA_ERR_CANCELLED
               : deja_error_set(error, DEJA_ERR_INVALID, "line %llu: %.400s",
                                (unsigned long long)lines->number, what.message);
}

static enum deja_status next_entry(void *ctx, struct dj_archive_item *out_item,
                                   struct deja_error *error)
{
    struct lines *lines = ctx;
    struct deja_slice text;
    for (;;) {
        enum deja_status status = next_line(lines, &text, error);
        if (status != DEJA_OK)
            return status;
        if (is_blank(text))
            continue;
        status = read_line(lines, text, error);
        if (status == DEJA_ERR_CANCELLED)
            continue;
        if (status != DEJA_OK)
            return status;
        struct dj_entry *entry = &lines->line.entry;
        /* Its generations are those of now: an import is a word of today. */
        struct dj_fill fill;
        uint64_t version = entry->version;
        dj_engine_begin_fill(lines->lane.engine, entry, &fill);
        entry->version = version ? version : fill.version;
        *out_item = (struct dj_archive_item){
            .entry = entry, .vector = lines->line.vector, .dim = lines->line.dim};
        return DEJA_OK;
    }
}

enum deja_status dj_transfer_from_lines(const struct dj_archive_in *in,
                                        const struct dj_transfer_lane *lane,
                                        const struct dj_lines_options *options,
                                        struct dj_transfer_source *out_source)
{
    struct lines *lines = dj_alloc_zeroed(1, sizeof *lines);
    if (!lines)
        return DEJA_ERR_NOMEM;
    lines->in = *in;
    lines->lane = *lane;
    lines->options = *options;
    dj_buf_init(&lines->bytes, DJ_LINES_BYTES_MAX);
    *out_source =
        (struct dj_transfer_source){.ctx = lines, .next = next_entry, .close = close_lines};
    return DEJA_OK;
}

/* ---- writing ---- */

static enum deja_status put_line(void *ctx, const struct dj_archive_item *item,
                                 struct deja_error *error)
{
    struct lines *lines = ctx;
    struct dj_json_writer w = dj_json_writer(&lines->bytes);
    if (item->is_document)
        return DEJA_OK;
    dj_buf_clear(&lines->bytes);
    dj_entry_json_write(&w, item->entry, item->vector, item->dim, dj_clock_now_ms());
    dj_buf_append_byte(&lines->bytes, '\n');
    if (lines->bytes.status != DEJA_OK)
        return deja_error_set(error, lines->bytes.status, "an entry is too long for a line");
    enum deja_status status = lines->out.write(lines->out.ctx, dj_buf_slice(&lines->bytes), error);
    if (status == DEJA_OK)
        atomic_fetch_add(&lines->counts->stored, 1);
    return status;
}

static enum deja_status finish_lines(void *ctx, struct deja_error *error)
{
    struct lines *lines = ctx;
    return lines->out.finish(lines->out.ctx, error);
}

enum deja_status dj_transfer_into_lines(const struct dj_archive_out *out,
                                        const struct dj_transfer_lane *lane,
                                        struct dj_transfer_counts *counts,
                                        struct dj_transfer_sink *out_sink)
{
    struct lines *lines = dj_alloc_zeroed(1, sizeof *lines);
    if (!lines)
        return DEJA_ERR_NOMEM;
    lines->out = *out;
    lines->lane = *lane;
    lines->counts = counts;
    dj_buf_init(&lines->bytes, DJ_LINES_BYTES_MAX);
    *out_sink = (struct dj_transfer_sink){
        .ctx = lines, .put = put_line, .finish = finish_lines, .close = close_lines};
    return DEJA_OK;
}
