/* base/suggest.h - "did you mean": the nearest of the names that are offered one by one. */
#ifndef DJ_BASE_SUGGEST_H
#define DJ_BASE_SUGGEST_H

#include <deja/base.h>

#define DJ_SUGGEST_WORD_MAX 64u

struct dj_suggest {
    const char *word; /* borrowed; longer than DJ_SUGGEST_WORD_MAX: nothing is ever near */
    const char *best; /* borrowed from who offered it; NULL: nothing near enough */
    size_t distance;
};

struct dj_suggest dj_suggest(const char *word);
void dj_suggest_offer(struct dj_suggest *suggest, const char *candidate);

/* Letters inserted, removed, exchanged or swapped with their neighbour. Both at most
 * DJ_SUGGEST_WORD_MAX long, otherwise SIZE_MAX. */
size_t dj_edit_distance(const char *a, const char *b);

#endif
