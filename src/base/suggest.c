/* base/suggest.c - see suggest.h.
 *
 * Optimal string alignment over three rows: a swap of neighbours, the commonest slip, costs one.
 */
#include "base/suggest.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t dj_edit_distance(const char *a, const char *b)
{
    size_t rows[3][DJ_SUGGEST_WORD_MAX + 1];
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > DJ_SUGGEST_WORD_MAX || b_len > DJ_SUGGEST_WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t exchanged = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(exchanged, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

struct dj_suggest dj_suggest(const char *word)
{
    return (struct dj_suggest){.word = word};
}

void dj_suggest_offer(struct dj_suggest *suggest, const char *candidate)
{
    size_t distance = dj_edit_distance(suggest->word, candidate);
    /* A third of the word may be wrong: beyond that a suggestion is noise. */
    size_t near = strlen(suggest->word) / 3 + 1;
    if (distance > near || (suggest->best && distance >= suggest->distance))
        return;
    suggest->best = candidate;
    suggest->distance = distance;
}
