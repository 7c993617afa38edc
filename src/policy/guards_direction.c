/* policy/guards_direction.c - who does it to whom, from where to where.
 *
 *   "email from Bob to Carlos"            Bob -> Carlos
 *   "the email Carlos should send Bob"    Carlos -> Bob
 *   "to Oslo from Rome"                   Rome -> Oslo     a preposition outranks the order
 *   "Norway was invaded by Germany"       Germany -> Norway
 *
 * Two names (or numbers, or the words behind from and to) that both texts share have an order in
 * each: source before target, agent before patient, otherwise as they stand. The orders must
 * agree, unless the names merely stand side by side ("Java and Python", "Rome or Oslo") or one of
 * them is only the setting ("in Rome", "with Redis"), which may move about freely.
 */
#include "policy/features_internal.h"

enum {
    ANCHORS_MAX = 32,
    LOOK_BACK = 3, /* words between a preposition and its name: "to the city of" */
};

#define GROUP_MOVED UINT32_MAX

enum role {
    ROLE_PLAIN,   /* subject or object */
    ROLE_SOURCE,  /* from, leaving */
    ROLE_TARGET,  /* to, into, for after leaving */
    ROLE_AGENT,   /* by, after a passive */
    ROLE_SETTING, /* in, on, at, with, for, of ... */
};

/* Something that both texts name. */
struct anchor {
    uint32_t key;
    uint32_t word;
    uint32_t group; /* class number; 0: a name by its capital letter; GROUP_MOVED: from, to */
    enum role role;
};

struct anchors {
    struct anchor items[ANCHORS_MAX];
    uint32_t count;
};

static bool is_one_of(const struct dj_guard_parts *parts, uint32_t index, const char *const *words)
{
    for (; *words; words++) {
        if (dj_feature_is(parts, index, *words))
            return true;
    }
    return false;
}

static bool is_passive(const struct dj_guard_parts *parts)
{
    static const char *const forms[] = {"is",    "are", "was", "were", "be", "been",
                                        "being", "get", "got", "gets", NULL};
    for (uint32_t i = 0; i < parts->words.count; i++) {
        if (is_one_of(parts, i, forms))
            return true;
    }
    return false;
}

/* The preposition in front of the word at index, articles and one adjective between. */
static enum role role_at(const struct dj_guard_parts *parts, uint32_t index)
{
    static const char *const source[] = {"from", "leaving", "departing", NULL};
    static const char *const target[] = {"to", "into", "toward", "towards", NULL};
    static const char *const setting[] = {"in",      "on",     "at",     "with", "using", "of",
                                          "about",   "under",  "within", "via",  "on",    "as",
                                          "through", "during", "inside", NULL};
    static const char *const between[] = {"the", "a", "an", "my", "our", "your", "some", NULL};
    for (uint32_t back = 1; back <= LOOK_BACK && back <= index; back++) {
        uint32_t i = index - back;
        if (is_one_of(parts, i, source))
            return ROLE_SOURCE;
        if (dj_feature_is(parts, i, "by"))
            return is_passive(parts) ? ROLE_AGENT : ROLE_SETTING;
        if (is_one_of(parts, i, target))
            return ROLE_TARGET;
        if (dj_feature_is(parts, i, "for"))
            return parts->has_from ? ROLE_TARGET : ROLE_SETTING;
        if (is_one_of(parts, i, setting))
            return ROLE_SETTING;
        if (!is_one_of(parts, i, between) && !parts->notes[i].is_name)
            return ROLE_PLAIN;
    }
    return ROLE_PLAIN;
}

static void add_anchor(struct anchors *anchors, const struct dj_guard_parts *parts, uint32_t group,
                       uint32_t word)
{
    uint32_t key = parts->notes[word].stem;
    for (uint32_t i = 0; i < anchors->count; i++) {
        if (anchors->items[i].key == key)
            return; /* its first place counts */
    }
    if (anchors->count < ANCHORS_MAX)
        anchors->items[anchors->count++] =
            (struct anchor){.key = key, .word = word, .group = group, .role = role_at(parts, word)};
}

static void collect(const struct dj_guard_parts *parts, struct anchors *out)
{
    out->count = 0;
    /* First, for a name behind from or to may be turned round with any other: "from PDF to Word".
     */
    for (uint32_t i = 1; i < parts->words.count && parts->has_from; i++) {
        enum role role = role_at(parts, i);
        if (!parts->notes[i].is_stop && (role == ROLE_SOURCE || role == ROLE_TARGET))
            add_anchor(out, parts, GROUP_MOVED, i);
    }
    for (uint32_t i = 0; i < parts->names.count; i++)
        add_anchor(out, parts, parts->names.items[i].group, parts->names.items[i].word);
}

static const struct anchor *find_anchor(const struct anchors *anchors, uint32_t key)
{
    for (uint32_t i = 0; i < anchors->count; i++) {
        if (anchors->items[i].key == key)
            return &anchors->items[i];
    }
    return NULL;
}

/* "x and y", "x or y", "x vs y", "x, y", "between x and y". */
static bool is_side_by_side(const struct dj_guard_parts *parts, uint32_t first, uint32_t second)
{
    static const char *const joins[] = {"and", "or", "vs", "versus", "nor", NULL};
    if (first > second) {
        uint32_t swap = first;
        first = second;
        second = swap;
    }
    for (uint32_t i = first + 1; i <= second; i++) {
        if (is_one_of(parts, i, joins) || parts->words.items[i].has_comma_before)
            return true;
    }
    return false;
}

/* -1: x comes first in meaning, +1: y does, 0: cannot be told. */
static int order_of(const struct dj_guard_parts *parts, const struct anchor *x,
                    const struct anchor *y)
{
    bool is_compound = x->role == ROLE_PLAIN && y->role == ROLE_PLAIN &&
                       (x->word + 1 == y->word || y->word + 1 == x->word);
    if (x->role == ROLE_SETTING || y->role == ROLE_SETTING || is_compound ||
        is_side_by_side(parts, x->word, y->word))
        return 0;
    if (x->role != y->role) {
        if (x->role == ROLE_SOURCE || x->role == ROLE_AGENT || y->role == ROLE_TARGET)
            return -1;
        if (y->role == ROLE_SOURCE || y->role == ROLE_AGENT || x->role == ROLE_TARGET)
            return 1;
    }
    return x->word < y->word ? -1 : 1;
}

/* "x is older than y". */
static bool is_compared(const struct dj_guard_parts *parts, uint32_t first, uint32_t second)
{
    for (uint32_t i = first + 1; i < second; i++)
        if (dj_feature_is(parts, i, "than"))
            return true;
    return false;
}

/* Things of a kind change places: two cities, two people, two animals; and others where the words
 * give them places: "older than", "lent it to". */
static bool is_comparable(const struct dj_guard_parts *parts, const struct anchor *x,
                          const struct anchor *y)
{
    bool is_moved = x->group == GROUP_MOVED || y->group == GROUP_MOVED;
    bool is_placed = (x->role == ROLE_PLAIN) != (y->role == ROLE_PLAIN);
    return x->group == y->group || is_moved || is_placed ||
           is_compared(parts, x->word < y->word ? x->word : y->word,
                       x->word < y->word ? y->word : x->word);
}

/* From a small thing to a large one, or from a large one to a small one: +1, -1, else 0. */
static int slope_of(const struct dj_guard_parts *parts)
{
    for (uint32_t i = 0; i < parts->axes.count; i++) {
        const struct dj_feature_item *x = &parts->axes.items[i];
        if (!x->word || !dj_feature_is(parts, x->word - 1, "from"))
            continue;
        for (uint32_t j = 0; j < parts->axes.count; j++) {
            const struct dj_feature_item *y = &parts->axes.items[j];
            if (y->key == x->key && y->word && y->pole == -x->pole &&
                dj_feature_is(parts, y->word - 1, "to"))
                return y->pole;
        }
    }
    for (uint32_t i = 0; i < parts->words.count; i++) {
        if (dj_feature_is(parts, i, "ascending"))
            return 1;
        if (dj_feature_is(parts, i, "descending"))
            return -1;
    }
    return 0;
}

bool dj_guard_is_turned_round(const struct dj_guard_parts *a, const struct dj_guard_parts *b)
{
    struct anchors of_a;
    struct anchors of_b;
    int slope_a = slope_of(a);
    int slope_b = slope_of(b);
    if (slope_a && slope_b)
        return slope_a != slope_b;
    collect(a, &of_a);
    collect(b, &of_b);
    for (uint32_t i = 0; i < of_a.count; i++) {
        const struct anchor *xb = find_anchor(&of_b, of_a.items[i].key);
        for (uint32_t j = i + 1; xb && j < of_a.count; j++) {
            const struct anchor *yb = find_anchor(&of_b, of_a.items[j].key);
            if (!yb || !is_comparable(a, &of_a.items[i], &of_a.items[j]) ||
                !is_comparable(b, xb, yb))
                continue;
            int in_a = order_of(a, &of_a.items[i], &of_a.items[j]);
            int in_b = order_of(b, xb, yb);
            if (in_a && in_b && in_a != in_b)
                return true;
        }
    }
    return false;
}
