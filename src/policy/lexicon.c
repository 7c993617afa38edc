/* policy/lexicon.c - see lexicon.h. Open addressing, at most half full, 0xffff is an empty slot. */
#include "policy/lexicon.h"

#define SLOT_EMPTY 0xffffu

uint32_t dj_lex_hash(struct deja_slice bytes)
{
    uint32_t hash = 0x811c9dc5u;
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ (unsigned char)bytes.data[i]) * 0x01000193u;
    return hash;
}

static bool is_word_of(const struct dj_lex_row *row, struct deja_slice word)
{
    return memcmp(row->word, word.data, word.len) == 0 && row->word[word.len] == '\0';
}

struct dj_lex_span dj_lex_find(struct deja_slice word)
{
    struct dj_lex_span span = {0};
    if (word.len == 0 || word.len >= DJ_LEX_WORD_BYTES)
        return span;
    uint32_t mask = dj_lex_slot_count - 1;
    for (uint32_t slot = dj_lex_hash(word) & mask; dj_lex_slots[slot] != SLOT_EMPTY;
         slot = (slot + 1) & mask) {
        const struct dj_lex_row *row = &dj_lex_rows[dj_lex_slots[slot]];
        if (!is_word_of(row, word))
            continue;
        span.rows = row;
        const struct dj_lex_row *end = dj_lex_rows + dj_lex_row_count;
        while (row < end && is_word_of(row, word))
            row++;
        span.count = (uint32_t)(row - span.rows);
        break;
    }
    return span;
}

const struct dj_lex_row *dj_lex_sense(struct dj_lex_span span, enum dj_lex_kind kind)
{
    for (uint32_t i = 0; i < span.count; i++) {
        if (span.rows[i].kind == kind)
            return &span.rows[i];
    }
    return NULL;
}

const char *dj_lex_class_name(double class_number)
{
    return dj_lex_class_names[(size_t)class_number];
}
