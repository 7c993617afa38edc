/* cli/output.c - see output.h. */
#include "cli/output.h"

#include "config/terminal.h"

#define NAME_MAX_LEN 200u

void dj_output_text(FILE *out, struct deja_slice text)
{
    dj_terminal_write(out, text);
    putc('\n', out);
}

void dj_output_line(FILE *out, struct deja_slice text)
{
    char line[DJ_OUTPUT_LINE_BYTES + 4];
    size_t len = text.len < DJ_OUTPUT_LINE_BYTES ? text.len : DJ_OUTPUT_LINE_BYTES;
    /* not within a character */
    while (len < text.len && len && ((unsigned char)text.data[len] & 0xc0) == 0x80)
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        line[i] = c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
    }
    if (len < text.len) {
        memcpy(line + len, "...", 3);
        len += 3;
    }
    dj_output_text(out, deja_slice(line, len));
}

void dj_output_json(FILE *out, const struct dj_json *value)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_put_value(&w, value);
    fwrite(text.data ? text.data : "", 1, text.len, out);
    dj_buf_fini(&text);
}

void dj_output_value(FILE *out, const struct dj_json *value)
{
    if (dj_json_is(value, DJ_JSON_STRING)) {
        dj_output_text(out, dj_json_string(value));
        return;
    }
    dj_output_json(out, value);
    putc('\n', out);
}

static void write_leaf(FILE *out, const char *name, const struct dj_json *value)
{
    fprintf(out, "%-36s ", name);
    switch (dj_json_type(value)) {
    case DJ_JSON_NULL:
        fputs("-\n", out);
        break;
    case DJ_JSON_BOOL:
        fputs(dj_json_bool(value, false) ? "yes\n" : "no\n", out);
        break;
    case DJ_JSON_NUMBER:
        dj_output_text(out, dj_json_number_text(value));
        break;
    case DJ_JSON_STRING:
        dj_output_text(out, dj_json_string(value));
        break;
    default:
        fputs("(empty)\n", out);
        break;
    }
}

/* Depth is the parser's, at most DJ_JSON_DEPTH_MAX. */
static void write_flat(FILE *out, char name[NAME_MAX_LEN], size_t len, const struct dj_json *value)
{
    bool is_container = dj_json_is(value, DJ_JSON_OBJECT) || dj_json_is(value, DJ_JSON_ARRAY);
    if (!is_container || !dj_json_count(value)) {
        write_leaf(out, name, value);
        return;
    }
    struct dj_json_walk walk = dj_json_walk(value);
    while (dj_json_walk_next(&walk)) {
        int added =
            dj_json_is(value, DJ_JSON_ARRAY)
                ? snprintf(name + len, NAME_MAX_LEN - len, "%s%zu", len ? "." : "", walk.index)
                : snprintf(name + len, NAME_MAX_LEN - len, "%s%.*s", len ? "." : "",
                           (int)(walk.key.len < 64 ? walk.key.len : 64), walk.key.data);
        size_t used = added < 0 ? 0 : (size_t)added;
        size_t next = len + used < NAME_MAX_LEN ? len + used : NAME_MAX_LEN - 1;
        for (size_t i = len; i < next; i++)
            if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] >= 0x7f)
                name[i] = '?';
        write_flat(out, name, next, walk.value);
        name[len] = '\0';
    }
}

void dj_output_flat(FILE *out, const struct dj_json *value)
{
    char name[NAME_MAX_LEN] = "";
    write_flat(out, name, 0, value);
}
