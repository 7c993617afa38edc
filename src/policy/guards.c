/* policy/guards.c - two texts' features side by side; see guards.h.
 *
 * How strict each rule is was found on the development pairs (docs/accuracy.md): a guard that
 * refuses what one side merely leaves out costs hits on real traffic, so most rules want a
 * contradiction - something on each side that the other lacks - and only numbers, dates,
 * negation and some names (languages, formats) count when they stand on one side alone.
 *
 * (1) Symmetric: compare(a, b) == compare(b, a).
 * (2) Reads only. Words, names, numbers and literals are bounded, so that the worst pair a stranger
 *     can make takes milliseconds; an ordinary pair of questions takes about ten microseconds.
 */
#include "policy/features_internal.h"

#include <assert.h>

enum {
    LENGTH_SLACK = 5, /* words that a longer question may add whatever the ratio */
    LONG_WORDS = 120, /* from here on the vector has not seen all of it */
    STEM_MIN = 4,     /* letters left when un-, in-, dis- is taken off */
};
#define LONG_SHARE_MIN 0.8 /* of the content words of a long text, on both sides */

static const char *const reasons[DJ_GUARD_COUNT] = {
    [DJ_GUARD_NUMBERS] = "guard:numbers",
    [DJ_GUARD_UNITS] = "guard:units",
    [DJ_GUARD_DATES] = "guard:dates",
    [DJ_GUARD_NEGATION] = "guard:negation",
    [DJ_GUARD_QUANTIFIERS] = "guard:quantifiers",
    [DJ_GUARD_OPPOSITES] = "guard:opposites",
    [DJ_GUARD_ENTITIES] = "guard:entities",
    [DJ_GUARD_LITERALS] = "guard:literals",
    [DJ_GUARD_DIRECTION] = "guard:direction",
    [DJ_GUARD_QUESTION_TYPE] = "guard:question_type",
    [DJ_GUARD_LANGUAGE] = "guard:language",
    [DJ_GUARD_LENGTH_RATIO] = "guard:length_ratio",
    [DJ_GUARD_CONTENT] = "guard:content",
};

const char *dj_guard_reason(enum dj_guard guard)
{
    return (unsigned)guard < DJ_GUARD_COUNT ? reasons[guard] : NULL;
}

const char *dj_guard_name(enum dj_guard guard)
{
    const char *reason = dj_guard_reason(guard);
    return reason ? reason + strlen("guard:") : NULL;
}

enum dj_guard dj_guard_first(uint32_t refused)
{
    for (unsigned guard = 0; guard < DJ_GUARD_COUNT; guard++) {
        if (refused & 1u << guard)
            return (enum dj_guard)guard;
    }
    return DJ_GUARD_COUNT;
}

/* ---- words of the other text ---- */

bool dj_guard_has_stem(const struct dj_guard_parts *parts, uint32_t stem)
{
    for (uint32_t i = 0; i < parts->words.count; i++) {
        if (parts->notes[i].stem == stem)
            return true;
    }
    return false;
}

static bool has_lower(const struct dj_guard_parts *parts, uint32_t lower)
{
    for (uint32_t i = 0; i < parts->words.count; i++) {
        if (parts->notes[i].lower == lower)
            return true;
    }
    return false;
}

/* ---- numbers and units ---- */

/* Marks equal numbers off against each other; what stays unmarked is returned as flags. */
struct leftover {
    uint32_t hard_a;
    uint32_t hard_b;
    uint32_t soft_a;
    uint32_t soft_b;
    bool has_other_unit; /* an equal number stands with another unit */
};

static bool is_unit_in(const struct dj_guard_parts *parts, uint32_t unit)
{
    for (uint32_t i = 0; i < parts->units.count; i++) {
        if (parts->units.items[i].key == unit)
            return true;
    }
    for (uint32_t i = 0; i < parts->number_count; i++) {
        if (parts->numbers[i].unit == unit)
            return true;
    }
    return false;
}

/* A unit on one side only must at least be named on the other, unless it is money. */
static bool is_unit_agreed(const struct dj_guard_parts *a, const struct dj_feature_number *x,
                           const struct dj_guard_parts *b, const struct dj_feature_number *y)
{
    if (x->unit == y->unit)
        return true;
    if (x->unit && y->unit)
        return false;
    if (x->is_currency || y->is_currency)
        return true;
    return x->unit ? is_unit_in(b, x->unit) : is_unit_in(a, y->unit);
}

/* One pass of marking off; with_unit: only pairs that have the unit too. */
static void mark_pairs(const struct dj_guard_parts *a, const struct dj_guard_parts *b,
                       bool with_unit, uint64_t taken[2])
{
    for (uint32_t i = 0; i < a->number_count; i++) {
        for (uint32_t j = 0; j < b->number_count && !(taken[0] >> i & 1); j++) {
            const struct dj_feature_number *x = &a->numbers[i];
            const struct dj_feature_number *y = &b->numbers[j];
            if ((taken[1] >> j & 1) || x->key != y->key || (with_unit && x->unit != y->unit))
                continue;
            taken[0] |= UINT64_C(1) << i;
            taken[1] |= UINT64_C(1) << j;
        }
    }
}

/* Equal numbers left over by the first pass differ in their units: does it matter? */
static bool has_unit_conflict(const struct dj_guard_parts *a, const struct dj_guard_parts *b,
                              const uint64_t taken[2])
{
    for (uint32_t i = 0; i < a->number_count; i++) {
        for (uint32_t j = 0; j < b->number_count; j++) {
            if ((taken[0] >> i & 1) || (taken[1] >> j & 1))
                continue;
            if (a->numbers[i].key == b->numbers[j].key &&
                !is_unit_agreed(a, &a->numbers[i], b, &b->numbers[j]))
                return true;
        }
    }
    return false;
}

static struct leftover match_numbers(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    static_assert(DJ_FEATURE_NUMBERS_MAX <= 64, "a bit per number");
    struct leftover left = {0};
    uint64_t taken[2] = {0};
    mark_pairs(a, b, true, taken);
    left.has_other_unit = has_unit_conflict(a, b, taken);
    mark_pairs(a, b, false, taken);
    for (uint32_t i = 0; i < a->number_count; i++) {
        left.hard_a += !(taken[0] >> i & 1) && !a->numbers[i].is_soft;
        left.soft_a += !(taken[0] >> i & 1) && a->numbers[i].is_soft;
    }
    for (uint32_t j = 0; j < b->number_count; j++) {
        left.hard_b += !(taken[1] >> j & 1) && !b->numbers[j].is_soft;
        left.soft_b += !(taken[1] >> j & 1) && b->numbers[j].is_soft;
    }
    return left;
}

static bool has_unmatched_unit(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    for (uint32_t i = 0; i < a->units.count; i++) {
        if (!is_unit_in(b, a->units.items[i].key))
            return true;
    }
    return false;
}

static uint32_t compare_numbers(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t refused = 0;
    struct leftover left = match_numbers(a, b);
    if (left.hard_a || left.hard_b || (left.soft_a && left.soft_b))
        refused |= 1u << DJ_GUARD_NUMBERS;
    if (left.has_other_unit || (has_unmatched_unit(a, b) && has_unmatched_unit(b, a)))
        refused |= 1u << DJ_GUARD_UNITS;
    return refused;
}

/* ---- dates ---- */

static void unmatched_dates(const struct dj_guard_parts *a, const struct dj_guard_parts *b,
                            uint32_t *out_hard, uint32_t *out_soft)
{
    for (uint32_t i = 0; i < a->dates.count; i++) {
        bool is_there = false;
        for (uint32_t j = 0; j < b->dates.count; j++)
            is_there |= a->dates.items[i].key == b->dates.items[j].key;
        if (is_there)
            continue;
        *out_hard += !a->dates.items[i].is_soft;
        *out_soft += a->dates.items[i].is_soft;
    }
}

static uint32_t compare_dates(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t hard_a = 0;
    uint32_t hard_b = 0;
    uint32_t soft_a = 0;
    uint32_t soft_b = 0;
    unmatched_dates(a, b, &hard_a, &soft_a);
    unmatched_dates(b, a, &hard_b, &soft_b);
    return hard_a || hard_b || (soft_a && soft_b) ? 1u << DJ_GUARD_DATES : 0;
}

/* ---- negation and opposites ---- */

/* un-able against able, il-legal against legal: words of a that negate a word of b. */
static uint32_t prefixed_negations(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    static const char *const prefixes[] = {"un", "in", "im", "il", "ir", "dis", "non"};
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->words.count; i++) {
        struct deja_slice word = dj_feature_base(a->words.items[i].lower);
        if (a->words.items[i].kind != DJ_WORD_PLAIN || a->notes[i].is_negation ||
            has_lower(b, a->notes[i].lower))
            continue;
        for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
            size_t len = strlen(prefixes[p]);
            if (word.len < len + STEM_MIN || memcmp(word.data, prefixes[p], len) != 0)
                continue;
            struct deja_slice rest = deja_slice(word.data + len, word.len - len);
            if (has_lower(b, dj_lex_hash(rest))) {
                count++;
                break;
            }
        }
    }
    return count;
}

/* "avoid investing" against "invest": avoiding negates what the other side does. */
static uint32_t avoidances(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    static const char *const verbs[] = {"avoid", "avoiding", "prevent", "stop", "stopping", "quit"};
    uint32_t count = 0;
    for (uint32_t i = 0; i + 1 < a->words.count; i++) {
        bool is_verb = false;
        for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++)
            is_verb |= dj_feature_is(a, i, verbs[v]);
        count += is_verb && !has_lower(b, a->notes[i].lower) && !a->notes[i + 1].is_stop &&
                 dj_guard_has_stem(b, a->notes[i + 1].stem);
    }
    return count;
}

static uint32_t compare_negation(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t in_a = a->negations + prefixed_negations(a, b) + avoidances(a, b);
    uint32_t in_b = b->negations + prefixed_negations(b, a) + avoidances(b, a);
    /* Two negations need not cancel out: "is it illegal not to" is not "is it legal to". */
    bool is_doubled = (in_a == 0 && in_b > 1) || (in_b == 0 && in_a > 1);
    return is_doubled || ((in_a ^ in_b) & 1) ? 1u << DJ_GUARD_NEGATION : 0;
}

struct poles {
    bool has_plus;
    bool has_minus;
};

static struct poles poles_of(const struct dj_guard_parts *parts, uint32_t axis)
{
    struct poles poles = {0};
    for (uint32_t i = 0; i < parts->axes.count; i++) {
        if (parts->axes.items[i].key != axis)
            continue;
        poles.has_plus |= parts->axes.items[i].pole > 0;
        poles.has_minus |= parts->axes.items[i].pole < 0;
    }
    return poles;
}

/* "cheapest" against "fastest": superlatives of different things. */
static bool has_other_superlative(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    if (!a->superlatives.count || !b->superlatives.count)
        return false;
    for (uint32_t i = 0; i < a->superlatives.count; i++) {
        for (uint32_t j = 0; j < b->superlatives.count; j++) {
            if (a->superlatives.items[i].key == b->superlatives.items[j].key)
                return false;
        }
    }
    return true;
}

static uint32_t compare_axes(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t refused = has_other_superlative(a, b) ? 1u << DJ_GUARD_QUANTIFIERS : 0;
    for (uint32_t i = 0; i < a->axes.count; i++) {
        const struct dj_feature_item *item = &a->axes.items[i];
        struct poles pa = poles_of(a, item->key);
        struct poles pb = poles_of(b, item->key);
        bool is_opposite = (pa.has_plus && !pa.has_minus && pb.has_minus && !pb.has_plus) ||
                           (pa.has_minus && !pa.has_plus && pb.has_plus && !pb.has_minus);
        if (is_opposite)
            refused |=
                1u << (item->flags & DJ_LEX_QUANTITY ? DJ_GUARD_QUANTIFIERS : DJ_GUARD_OPPOSITES);
    }
    return refused;
}

/* ---- literals ---- */

static struct deja_slice literal_of(struct deja_slice word)
{
    if (word.len > 2 && memcmp(word.data + word.len - 2, "()", 2) == 0)
        word.len -= 2;
    return word;
}

/* Equal, or one is the other with a module in front: dataset.take, take. */
static bool is_same_literal(struct deja_slice x, struct deja_slice y)
{
    x = literal_of(x);
    y = literal_of(y);
    if (x.len < y.len) {
        struct deja_slice swap = x;
        x = y;
        y = swap;
    }
    if (y.len == 0 || memcmp(x.data + x.len - y.len, y.data, y.len) != 0)
        return false;
    return x.len == y.len || x.data[x.len - y.len - 1] == '.';
}

static bool is_literal_in(struct deja_slice word, const struct dj_guard_parts *parts)
{
    for (uint32_t i = 0; i < parts->words.count; i++) {
        if (is_same_literal(word, parts->words.items[i].lower))
            return true;
    }
    return dj_guard_is_joined_in(word, parts);
}

static bool has_unmatched_literal(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    for (uint32_t i = 0; i < a->words.count; i++) {
        const struct dj_word *word = &a->words.items[i];
        if ((word->kind == DJ_WORD_CODE || word->is_backticked) && !is_literal_in(word->lower, b))
            return true;
    }
    return false;
}

static bool has_unmatched_quote(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    for (uint32_t i = 0; i < a->words.count; i++) {
        if (a->words.items[i].is_quoted && !a->notes[i].is_stop &&
            !dj_guard_has_stem(b, a->notes[i].stem))
            return true;
    }
    return false;
}

/* 7 - 3 and 3 - 7: in arithmetic the order of the numbers counts. */
static bool is_same_arithmetic(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    if (a->operators != b->operators || a->number_count != b->number_count)
        return false;
    for (uint32_t i = 0; i < a->number_count; i++) {
        if (a->numbers[i].key != b->numbers[i].key)
            return false;
    }
    return true;
}

static uint32_t compare_literals(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    bool is_refused = (has_unmatched_literal(a, b) && has_unmatched_literal(b, a)) ||
                      (has_unmatched_quote(a, b) && has_unmatched_quote(b, a)) ||
                      (a->operators && b->operators && !is_same_arithmetic(a, b));
    return is_refused ? 1u << DJ_GUARD_LITERALS : 0;
}

/* ---- the rest ---- */

static uint32_t compare_question(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    bool is_refused = a->question != DJ_QUESTION_OTHER && b->question != DJ_QUESTION_OTHER &&
                      a->question != b->question;
    return is_refused ? 1u << DJ_GUARD_QUESTION_TYPE : 0;
}

static uint32_t compare_length(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t longer = a->words.count > b->words.count ? a->words.count : b->words.count;
    uint32_t shorter = a->words.count + b->words.count - longer;
    return longer > 2 * shorter + LENGTH_SLACK ? 1u << DJ_GUARD_LENGTH_RATIO : 0;
}

static double shared_content(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    uint32_t shared = 0;
    for (uint32_t i = 0; i < a->words.count; i++) {
        if (!a->notes[i].is_stop && !a->notes[i].is_filler)
            shared += dj_guard_has_stem(b, a->notes[i].stem);
    }
    return a->content ? (double)shared / a->content : 1;
}

static uint32_t compare_content(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    bool is_long = a->words.count > LONG_WORDS || b->words.count > LONG_WORDS;
    bool is_refused = a->is_overfull || b->is_overfull ||
                      (is_long && (shared_content(a, b) < LONG_SHARE_MIN ||
                                   shared_content(b, a) < LONG_SHARE_MIN));
    return is_refused ? 1u << DJ_GUARD_CONTENT : 0;
}

void dj_guards_compare(const struct dj_guard_features *features_a,
                       const struct dj_guard_features *features_b,
                       struct dj_guard_verdict *out_verdict)
{
    static const struct dj_guard_parts empty;
    const struct dj_guard_parts *a = features_a->parts ? features_a->parts : &empty;
    const struct dj_guard_parts *b = features_b->parts ? features_b->parts : &empty;
    uint32_t refused = compare_length(a, b);
    /* Quadratic in the words: not for texts that are refused anyway. */
    if (!refused)
        refused |= compare_content(a, b);
    if (!refused)
        refused |= compare_numbers(a, b) | compare_dates(a, b) | compare_negation(a, b) |
                   compare_axes(a, b) | dj_guard_compare_names(a, b) | compare_literals(a, b) |
                   compare_question(a, b);
    if (!refused && dj_guard_is_turned_round(a, b))
        refused |= 1u << DJ_GUARD_DIRECTION;
    if (a->tongue && b->tongue && a->tongue != b->tongue)
        refused |= 1u << DJ_GUARD_LANGUAGE;
    *out_verdict = (struct dj_guard_verdict){.refused = refused};
}
