/* policy/guards_names.c - do two texts name the same things?
 *
 * A name is matched by the lexicon's synonyms (France, French), by the other text's words in any
 * case, by its initials (NASA), joined or apart (huggingface), or but for one letter of an
 * unlisted name (Mamta, Mamata). What then is left over on both sides is a contradiction when it
 * is of one class (rice, cheese) or proper on both (Tesla, Apple). Languages and formats count
 * when one side alone names one.
 */
#include "policy/features_internal.h"

enum {
    SPELLING_LEN_MIN = 6, /* letters of names that may differ in one */
    INITIALS_MAX = 8,
};

static struct deja_slice lower_of(const struct dj_guard_parts *parts, uint32_t index)
{
    return dj_feature_base(parts->words.items[index].lower);
}

/* At most one letter changed, added or left out. */
static bool is_one_letter_off(struct deja_slice x, struct deja_slice y)
{
    if (x.len > y.len) {
        struct deja_slice swap = x;
        x = y;
        y = swap;
    }
    if (y.len < SPELLING_LEN_MIN || y.len - x.len > 1)
        return false;
    size_t i = 0;
    while (i < x.len && x.data[i] == y.data[i])
        i++;
    size_t skip_x = x.len == y.len ? 1 : 0;
    if (i + skip_x >= x.len)
        return true;
    return memcmp(x.data + i + skip_x, y.data + i + 1, x.len - i - skip_x) == 0;
}

/* The letters of word are the initials of words of parts that follow each other. */
static bool is_spelt_out(struct deja_slice word, const struct dj_guard_parts *parts)
{
    if (word.len < 2 || word.len > INITIALS_MAX)
        return false;
    for (uint32_t i = 0; i < parts->words.count; i++) {
        size_t matched = 0;
        for (uint32_t j = i; j < parts->words.count && matched < word.len; j++) {
            char c = parts->words.items[j].lower.data[0];
            if (c == word.data[matched] && parts->words.items[j].lower.len > 1)
                matched++;
            else if (j == i || !parts->notes[j].is_stop)
                break;
        }
        if (matched == word.len)
            return true;
    }
    return false;
}

/* A word of a that is one of the initials of an acronym of b. */
static bool is_initial_in(const struct dj_guard_parts *a, uint32_t index,
                          const struct dj_guard_parts *b)
{
    for (uint32_t j = 0; j < b->words.count; j++) {
        struct deja_slice word = lower_of(b, j);
        bool can_be = b->words.items[j].is_acronym || b->notes[j].is_name;
        if (can_be && memchr(word.data, a->words.items[index].lower.data[0], word.len) &&
            is_spelt_out(word, a))
            return true;
    }
    return false;
}

/* "hugging face" for "huggingface", either way round. */
bool dj_guard_is_joined_in(struct deja_slice word, const struct dj_guard_parts *parts)
{
    for (uint32_t i = 0; i + 1 < parts->words.count; i++) {
        struct deja_slice first = parts->words.items[i].lower;
        struct deja_slice second = parts->words.items[i + 1].lower;
        if (first.len + second.len == word.len && memcmp(word.data, first.data, first.len) == 0 &&
            memcmp(word.data + first.len, second.data, second.len) == 0)
            return true;
    }
    return false;
}

/* The words at first and first + 1 of a are one word of b. */
static bool is_pair_in(const struct dj_guard_parts *a, uint32_t first,
                       const struct dj_guard_parts *b)
{
    if (first + 1 >= a->words.count)
        return false;
    struct deja_slice x = a->words.items[first].lower;
    struct deja_slice y = a->words.items[first + 1].lower;
    for (uint32_t j = 0; j < b->words.count; j++) {
        struct deja_slice word = b->words.items[j].lower;
        if (word.len == x.len + y.len && memcmp(word.data, x.data, x.len) == 0 &&
            memcmp(word.data + x.len, y.data, y.len) == 0)
            return true;
    }
    return false;
}

static bool is_joined_either_way(const struct dj_guard_parts *a, uint32_t index,
                                 const struct dj_guard_parts *b)
{
    return dj_guard_is_joined_in(lower_of(a, index), b) || is_pair_in(a, index, b) ||
           (index && is_pair_in(a, index - 1, b));
}

/* The name at item of a is in b, in this or another form. */
static bool is_name_in(const struct dj_guard_parts *a, const struct dj_feature_item *item,
                       const struct dj_guard_parts *b)
{
    for (uint32_t i = 0; i < a->names.count; i++) {
        if (a->names.items[i].word != item->word)
            continue;
        for (uint32_t j = 0; j < b->names.count; j++) {
            if (a->names.items[i].key == b->names.items[j].key)
                return true;
        }
    }
    if (item->words > 1)
        return false;
    uint32_t index = item->word;
    struct deja_slice word = lower_of(a, index);
    if (dj_guard_has_stem(b, a->notes[index].stem) || is_spelt_out(word, b) ||
        is_initial_in(a, index, b) || is_joined_either_way(a, index, b))
        return true;
    for (uint32_t j = 0; item->group == 0 && j < b->words.count; j++) {
        if (is_one_letter_off(word, lower_of(b, j)))
            return true;
    }
    return false;
}

struct unmatched {
    struct dj_feature_item items[DJ_FEATURE_ITEMS_MAX];
    uint32_t count;
};

static void find_unmatched(const struct dj_guard_parts *a, const struct dj_guard_parts *b,
                           struct unmatched *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < a->names.count; i++) {
        if (!is_name_in(a, &a->names.items[i], b))
            out->items[out->count++] = a->names.items[i];
    }
}

static bool is_proper(const struct dj_guard_parts *parts, const struct dj_feature_item *item)
{
    const struct dj_word *word = &parts->words.items[item->word];
    return item->group == 0 || item->flags & DJ_LEX_PROPER ||
           (word->is_capitalised && !word->is_sentence_head);
}

static bool has_class(const struct dj_guard_parts *parts, uint32_t group)
{
    for (uint32_t i = 0; i < parts->names.count; i++) {
        if (parts->names.items[i].group == group)
            return true;
    }
    return false;
}

static bool is_alone(const struct unmatched *of_a, const struct dj_guard_parts *b)
{
    for (uint32_t i = 0; i < of_a->count; i++) {
        if (of_a->items[i].flags & DJ_LEX_ALONE && !has_class(b, of_a->items[i].group))
            return true;
    }
    return false;
}

uint32_t dj_guard_compare_names(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    struct unmatched ua;
    struct unmatched ub;
    find_unmatched(a, b, &ua);
    find_unmatched(b, a, &ub);
    bool is_refused = is_alone(&ua, b) || is_alone(&ub, a);
    for (uint32_t i = 0; i < ua.count && !is_refused; i++) {
        for (uint32_t j = 0; j < ub.count && !is_refused; j++) {
            const struct dj_feature_item *x = &ua.items[i];
            const struct dj_feature_item *y = &ub.items[j];
            is_refused = (x->group && x->group == y->group) || (is_proper(a, x) && is_proper(b, y));
        }
    }
    return is_refused ? 1u << DJ_GUARD_ENTITIES : 0;
}
