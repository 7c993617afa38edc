/* cache/key_sql.c - see key_sql.h. No parser of SQL: words and quotes are enough to tell statements
 * apart, and a table that is guessed wrongly costs hits of its neighbours, never a wrong row. */
#include "cache/key_sql.h"

#define WORD_MAX 128u

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '$' || (unsigned char)c >= 0x80;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Where a blank may mean more than it does between words, or a quote does not end where it seems
 * to: comments, escapes, $tag$. Such a statement is only the same as itself. */
static bool is_intricate(struct deja_slice statement)
{
    for (size_t i = 0; i < statement.len; i++) {
        char c = statement.data[i];
        char next = i + 1 < statement.len ? statement.data[i + 1] : '\0';
        bool is_digit = next >= '0' && next <= '9';
        if (c == '\\' || c == '#' || (c == '-' && next == '-') || (c == '/' && next == '*') ||
            (c == '$' && !is_digit))
            return true;
    }
    return false;
}

void dj_key_sql_form(struct deja_slice statement, struct dj_buf *out)
{
    size_t start = out->len;
    if (is_intricate(statement)) {
        dj_buf_append_slice(out, statement);
        return;
    }
    char quote = '\0';
    bool has_blank = false;
    for (size_t i = 0; i < statement.len; i++) {
        char c = statement.data[i];
        if (!quote && is_blank(c)) {
            has_blank = out->len > start;
            continue;
        }
        if (has_blank)
            dj_buf_append_byte(out, ' ');
        has_blank = false;
        dj_buf_append_byte(out, c);
        if (quote)
            quote = c == quote ? '\0' : quote;
        else if (c == '\'' || c == '"' || c == '`')
            quote = c;
    }
    while (out->status == DEJA_OK && !quote && out->len > start &&
           (out->data[out->len - 1] == ';' || out->data[out->len - 1] == ' '))
        out->len--;
}

/* The next word outside of '…', in lower case; one in "…" or `…` counts as a word. false: the end.
 */
static bool next_word(struct deja_slice text, size_t *at, char out[WORD_MAX], size_t *out_len)
{
    size_t i = *at, len = 0;
    while (i < text.len && !is_word(text.data[i])) {
        bool is_text = text.data[i++] == '\'';
        while (is_text && i < text.len && text.data[i++] != '\'') {
        }
    }
    while (i < text.len && (is_word(text.data[i]) || text.data[i] == '"' || text.data[i] == '`')) {
        char c = text.data[i++];
        if (len < WORD_MAX && is_word(c))
            out[len++] = lower(c);
    }
    *at = i;
    *out_len = len;
    return len > 0;
}

static bool is_one_of(const char *word, size_t len, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == len && memcmp(word, *words, len) == 0)
            return true;
    return false;
}

void dj_key_sql_about(struct deja_slice statement, struct dj_buf *out_verb,
                      struct dj_buf *out_table)
{
    static const char *const before[] = {"from", "into", "update", "table", "join", NULL};
    static const char *const between[] = {"only", "if", "not", "exists", NULL};
    char word[WORD_MAX];
    size_t at = 0, len = 0;
    bool is_first = true, is_next = false, is_found = false;
    while (!is_found && next_word(statement, &at, word, &len)) {
        if (is_first)
            dj_buf_append(out_verb, word, len);
        if (is_next && !is_one_of(word, len, between)) {
            dj_buf_append(out_table, word, len);
            is_found = true;
        }
        is_next = is_next ? !is_found : is_one_of(word, len, before);
        is_first = false;
    }
    if (is_first)
        dj_buf_append_text(out_verb, "none");
    if (!is_found)
        dj_buf_append_text(out_table, "none");
}
