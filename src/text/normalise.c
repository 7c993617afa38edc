/* text/normalise.c - see normalise.h.
 *
 * Nearly all questions are ASCII without double spaces: one pass finds that out and one copy ends
 * it. Only the rest is decomposed and composed.
 */
#include "text/normalise.h"

#include "text/utf8.h"

static bool has_text_at(struct deja_slice text, size_t offset, const char *what)
{
    size_t len = strlen(what);
    return text.len - offset >= len && memcmp(text.data + offset, what, len) == 0;
}

bool dj_text_is_preformatted(struct deja_slice text)
{
    bool is_first_indented = text.len && text.data[0] == ' ';
    for (size_t i = 0; i < text.len; i++) {
        switch (text.data[i]) {
        case '\t':
            return true;
        case '\n':
            /* Leading blanks of a single line are carelessness, of one among several a layout. */
            if (is_first_indented || has_text_at(text, i, "\n "))
                return true;
            break;
        case '`':
            if (has_text_at(text, i, "```"))
                return true;
            break;
        case '~':
            if (has_text_at(text, i, "~~~"))
                return true;
            break;
        default:
            break;
        }
    }
    return false;
}

/* ASCII, no white space but single spaces between words. */
static bool is_plain_and_normal(struct deja_slice text)
{
    char previous = ' ';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if ((unsigned char)c >= 0x80 || c == '\n' || c == '\r' || (c == ' ' && previous == ' '))
            return false;
        previous = c;
    }
    return text.len == 0 || previous != ' ';
}

/* Appends composed with runs of white space as one space; composed is valid UTF-8. */
static void append_single_spaced(struct deja_slice composed, struct dj_buf *out)
{
    bool is_gap = false;
    bool is_empty = true;
    for (size_t offset = 0; offset < composed.len;) {
        size_t start = offset;
        int32_t c = dj_utf8_next(composed, &offset);
        if (dj_char_class(c) == DJ_CHAR_SPACE) {
            is_gap = true;
            continue;
        }
        if (is_gap && !is_empty)
            dj_buf_append_byte(out, ' ');
        is_gap = false;
        is_empty = false;
        dj_buf_append(out, composed.data + start, offset - start);
    }
}

enum deja_status dj_text_normalise(struct deja_slice text, struct dj_buf *out)
{
    size_t len_before = out->len;
    struct dj_buf composed = {0};
    enum deja_status status = DEJA_OK;

    if (!dj_utf8_is_valid(text))
        return DEJA_ERR_INVALID;
    if (dj_text_is_preformatted(text) || is_plain_and_normal(text)) {
        dj_buf_append_slice(out, text);
    } else {
        status = dj_utf8_nfc(text, &composed);
        if (status != DEJA_OK)
            goto done;
        append_single_spaced(dj_buf_slice(&composed), out);
    }
    status = out->status;
done:
    if (status != DEJA_OK)
        out->len = len_before;
    dj_buf_fini(&composed);
    return status;
}
