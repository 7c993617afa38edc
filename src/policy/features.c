/* policy/features.c - a text read once, word by word, into what the guards compare.
 *
 * Each word goes to the first reader that knows it: number, date, unit, name or opposite; names
 * and opposites may both take a word. What nobody takes is content or furniture.
 *
 * (1) Nothing here depends on the other text: features of a stored question can be kept.
 * (2) A full table sets is_overfull and reading goes on; guards.c then refuses.
 * (3) Rules are of the language, not of a data set; lexicon.txt holds the words.
 */
#include "policy/features_internal.h"

#include "base/alloc.h"
#include "base/slice.h"
#include "text/utf8.h"

#define TITLE_CASE_SHARE 0.6 /* of the words of four letters and more, but for the first */
#define TITLE_CASE_WORDS_MIN 4
#define PHRASE_BYTES_MAX DJ_LEX_WORD_BYTES
#define PARTICLE_DISTANCE_MAX 6 /* words between "turn" and "off" */

/* ---- words ---- */

bool dj_feature_is(const struct dj_guard_parts *parts, uint32_t index, const char *word)
{
    return index < parts->words.count && dj_slice_is(parts->words.items[index].lower, word);
}

struct deja_slice dj_feature_base(struct deja_slice word)
{
    if (word.len > 2 && memcmp(word.data + word.len - 2, "'s", 2) == 0)
        word.len -= 2;
    return word;
}

static bool ends_with(struct deja_slice word, const char *end)
{
    size_t len = strlen(end);
    return word.len > len && memcmp(word.data + word.len - len, end, len) == 0;
}

/* A crude stem: enough that "invade", "invaded", "invades" and "invading" are one word. */
static struct deja_slice stem_of(struct deja_slice word)
{
    static const char *const ends[] = {"ings", "ing", "ies", "ied", "ed", "es", "s", "ly"};
    word = dj_feature_base(word);
    if (ends_with(word, "ss"))
        return word;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends_with(word, ends[i]) && word.len - strlen(ends[i]) >= 3) {
            word.len -= strlen(ends[i]);
            break;
        }
    }
    if (word.len > 4 && word.data[word.len - 1] == word.data[word.len - 2])
        word.len--; /* stopp(ed) */
    else if (word.len > 3 && (ends_with(word, "e") || ends_with(word, "y")))
        word.len--;
    return word;
}

struct dj_lex_span dj_feature_phrase(const struct dj_guard_parts *parts, uint32_t index,
                                     uint32_t *out_len)
{
    char phrase[PHRASE_BYTES_MAX];
    const struct dj_words *words = &parts->words;
    struct deja_slice first = words->items[index].lower;
    struct dj_lex_span best = dj_lex_find(first);
    *out_len = 1;
    if (!dj_lex_sense(best, DJ_LEX_PHRASE)) {
        struct deja_slice base = dj_feature_base(first);
        return best.rows || base.len == first.len ? best : dj_lex_find(base);
    }
    size_t len = first.len;
    memcpy(phrase, first.data, len);
    for (uint32_t more = 1; more < 4 && index + more < words->count; more++) {
        struct deja_slice next = dj_feature_base(words->items[index + more].lower);
        if (words->items[index + more].has_comma_before || len + 1 + next.len >= sizeof phrase)
            break;
        phrase[len++] = ' ';
        memcpy(phrase + len, next.data, next.len);
        len += next.len;
        struct dj_lex_span span = dj_lex_find(deja_slice(phrase, len));
        if (!span.rows)
            break;
        if (span.count > 1 || span.rows->kind != DJ_LEX_PHRASE) {
            best = span;
            *out_len = more + 1;
        }
    }
    return best;
}

void dj_feature_add(struct dj_guard_parts *parts, struct dj_feature_list *list,
                    struct dj_feature_item item)
{
    if (list->count == DJ_FEATURE_ITEMS_MAX) {
        parts->is_overfull = true;
        return;
    }
    if (!item.words)
        item.words = 1;
    list->items[list->count++] = item;
}

/* ---- opposites and negation ---- */

/* "least expensive", "less safe" turn an opposite round. */
static int8_t pole_at(const struct dj_guard_parts *parts, uint32_t index, double value)
{
    int8_t pole = value > 0 ? 1 : -1;
    bool is_turned = index && (dj_feature_is(parts, index - 1, "least") ||
                               dj_feature_is(parts, index - 1, "less"));
    return is_turned ? (int8_t)-pole : pole;
}

static void add_axes(struct dj_guard_parts *parts, struct dj_lex_span span, uint32_t index,
                     uint32_t len)
{
    for (uint32_t i = 0; i < span.count; i++) {
        const struct dj_lex_row *row = &span.rows[i];
        if (row->kind != DJ_LEX_AXIS)
            continue;
        dj_feature_add(parts, &parts->axes,
                       (struct dj_feature_item){.key = row->id,
                                                .flags = row->flags,
                                                .word = index,
                                                .words = (uint8_t)len,
                                                .pole = pole_at(parts, index, row->value)});
    }
}

/* Superlatives of one pair of opposites are one: largest and maximum, cheapest, least expensive. */
static void add_superlative(struct dj_guard_parts *parts, struct dj_lex_span span, uint32_t index)
{
    const struct dj_lex_row *axis = dj_lex_sense(span, DJ_LEX_AXIS);
    bool is_led = index && (dj_feature_is(parts, index - 1, "most") ||
                            dj_feature_is(parts, index - 1, "least"));
    struct deja_slice word = parts->words.items[index].lower;
    bool is_best = axis && dj_feature_is(parts, index, "best");
    if (!axis || is_best || !(is_led || ends_with(word, "est")))
        return;
    dj_feature_add(parts, &parts->superlatives,
                   (struct dj_feature_item){.key = axis->id, .word = index});
}

/* "turn the lights off": the particle may stand behind what it turns. */
static void add_particle_axis(struct dj_guard_parts *parts, uint32_t index)
{
    static const char *const verbs[] = {"turn",     "turns",     "turned",   "turning", "switch",
                                        "switched", "switching", "switches", "toggle",  "power"};
    bool is_verb = false;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        is_verb |= dj_feature_is(parts, index, verbs[i]);
    for (uint32_t i = index + 2;
         is_verb && i < parts->words.count && i <= index + PARTICLE_DISTANCE_MAX; i++) {
        bool is_on = dj_feature_is(parts, i, "on");
        if (!is_on && !dj_feature_is(parts, i, "off"))
            continue;
        struct dj_lex_span span = dj_lex_find(deja_slice_text(is_on ? "turn on" : "turn off"));
        add_axes(parts, span, index, 1);
        return;
    }
}

/* "I don't know how to ...", "I do not understand why ...", "if you don't mind": the asker. */
static bool is_asker_negated(const struct dj_guard_parts *parts, uint32_t index)
{
    static const char *const asks[] = {"how", "why", "what", "where", "who", "when", "which"};
    if (dj_feature_is(parts, index + 1, "mind"))
        return true;
    if (!dj_feature_is(parts, index + 1, "know") && !dj_feature_is(parts, index + 1, "understand"))
        return false;
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        if (dj_feature_is(parts, index + 2, asks[i]))
            return true;
    }
    return false;
}

/* Negations that negate nothing: "not only", "or not", "why not", "No, ...", "no. 5", "no-code". */
static bool is_idle_negation(const struct dj_guard_parts *parts, uint32_t index)
{
    const struct dj_words *words = &parts->words;
    const struct dj_word *next = index + 1 < words->count ? &words->items[index + 1] : NULL;
    bool is_not = dj_feature_is(parts, index, "not");
    bool is_no = dj_feature_is(parts, index, "no");
    bool is_tail = !next || next->is_sentence_head || next->has_comma_before ||
                   dj_feature_is(parts, index + 1, "then");
    if (is_not && index && is_tail &&
        (dj_feature_is(parts, index - 1, "or") || dj_feature_is(parts, index - 1, "if") ||
         dj_feature_is(parts, index - 1, "why")))
        return true;
    if (is_not &&
        (dj_feature_is(parts, index + 1, "only") || dj_feature_is(parts, index + 1, "just")))
        return true;
    if (is_asker_negated(parts, index))
        return true;
    if (is_no && next &&
        (next->kind == DJ_WORD_NUMBER || next->is_glued || next->is_sentence_head ||
         (next->has_comma_before && words->items[index].is_sentence_head)))
        return true;
    if (dj_feature_is(parts, index, "without") && index > 1 &&
        dj_feature_is(parts, index - 1, "or") && dj_feature_is(parts, index - 2, "with"))
        return true;
    return is_no && dj_feature_is(parts, index + 1, "matter");
}

static bool is_negation(const struct dj_guard_parts *parts, uint32_t index, struct dj_lex_span span)
{
    const struct dj_word *word = &parts->words.items[index];
    if (word->kind != DJ_WORD_PLAIN || word->is_quoted)
        return false;
    if (!dj_lex_sense(span, DJ_LEX_NEGATION) && !ends_with(word->lower, "n't"))
        return false;
    return !is_idle_negation(parts, index);
}

/* ---- names ---- */

static bool is_name_written(const struct dj_word *word)
{
    return word->is_capitalised && (!word->is_sentence_head || word->is_mixed);
}

static bool can_be_class(const struct dj_lex_row *row, const struct dj_word *word)
{
    if (row->kind != DJ_LEX_CLASS)
        return false;
    if (!(row->flags & DJ_LEX_NAME))
        return true;
    return is_name_written(word) &&
           (word->lower.len > 2 || word->is_acronym || word->lower.len == 1 || !word->is_acronym);
}

static bool add_classes(struct dj_guard_parts *parts, struct dj_lex_span span, uint32_t index,
                        uint32_t len)
{
    bool has_any = false;
    for (uint32_t i = 0; i < span.count; i++) {
        const struct dj_lex_row *row = &span.rows[i];
        if (!can_be_class(row, &parts->words.items[index]))
            continue;
        dj_feature_add(parts, &parts->names,
                       (struct dj_feature_item){.key = row->id,
                                                .group = (uint32_t)row->value,
                                                .flags = row->flags,
                                                .word = index,
                                                .words = (uint8_t)len});
        has_any = true;
    }
    return has_any;
}

static bool is_title_case(const struct dj_words *words)
{
    uint32_t capitals = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < words->count; i++) {
        const struct dj_word *word = &words->items[i];
        if (word->kind != DJ_WORD_PLAIN || word->lower.len < 4 || word->is_sentence_head)
            continue;
        count++;
        capitals += word->is_capitalised;
    }
    return count >= TITLE_CASE_WORDS_MIN && capitals > TITLE_CASE_SHARE * count;
}

/* A name known by its writing only. */
static bool is_unlisted_name(const struct dj_word *word, const struct dj_word_note *note,
                             bool is_title)
{
    if (word->kind != DJ_WORD_PLAIN || note->is_stop || note->is_counted || word->lower.len < 2)
        return false;
    if (word->is_acronym || word->is_mixed)
        return !is_title || word->lower.len <= 5;
    return !is_title && is_name_written(word) && !note->is_filler;
}

/* ---- kind of question, language ---- */

static enum dj_question question_at(const struct dj_guard_parts *parts, uint32_t index)
{
    static const struct {
        const char *word;
        enum dj_question question;
    } heads[] = {{"who", DJ_QUESTION_WHO},
                 {"when", DJ_QUESTION_WHEN},
                 {"where", DJ_QUESTION_WHERE},
                 {"why", DJ_QUESTION_WHY}};
    if (dj_feature_is(parts, index + 1, "and") || dj_feature_is(parts, index + 1, "or"))
        return DJ_QUESTION_OTHER; /* "when and why" */
    if (dj_feature_is(parts, index, "how")) {
        if (dj_feature_is(parts, index + 1, "come"))
            return DJ_QUESTION_WHY;
        return dj_feature_is(parts, index + 1, "many") || dj_feature_is(parts, index + 1, "much")
                   ? DJ_QUESTION_HOW_MANY
                   : DJ_QUESTION_OTHER;
    }
    struct deja_slice word = dj_feature_base(parts->words.items[index].lower);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (dj_slice_is(word, heads[i].word))
            return heads[i].question;
    }
    return DJ_QUESTION_OTHER;
}

/* Only of a text that is one sentence: of several nobody knows which asks. */
static enum dj_question find_question(const struct dj_guard_parts *parts)
{
    if (!parts->words.count)
        return DJ_QUESTION_OTHER;
    for (uint32_t i = 1; i < parts->words.count; i++) {
        if (parts->words.items[i].is_sentence_head)
            return DJ_QUESTION_OTHER;
    }
    return question_at(parts, 0);
}

static enum dj_tongue script_of(int32_t c)
{
    static const struct {
        int32_t first;
        int32_t last;
        enum dj_tongue tongue;
    } scripts[] = {
        {0x0370, 0x03ff, DJ_TONGUE_GREEK},      {0x0400, 0x052f, DJ_TONGUE_CYRILLIC},
        {0x0590, 0x05ff, DJ_TONGUE_HEBREW},     {0x0600, 0x06ff, DJ_TONGUE_ARABIC},
        {0x0900, 0x097f, DJ_TONGUE_DEVANAGARI}, {0x0e00, 0x0e7f, DJ_TONGUE_THAI},
        {0x3040, 0x30ff, DJ_TONGUE_JAPANESE},   {0x4e00, 0x9fff, DJ_TONGUE_HAN},
        {0xac00, 0xd7af, DJ_TONGUE_KOREAN},
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        if (c >= scripts[i].first && c <= scripts[i].last)
            return scripts[i].tongue;
    }
    return DJ_TONGUE_UNKNOWN;
}

/* The script most words are in; for Latin letters the language whose function words prevail. */
static enum dj_tongue find_tongue(const struct dj_guard_parts *parts)
{
    uint32_t votes[DJ_TONGUE_COUNT] = {0};
    uint32_t latin = 0;
    for (uint32_t i = 0; i < parts->words.count; i++) {
        const struct dj_word *word = &parts->words.items[i];
        if (word->kind != DJ_WORD_PLAIN || word->is_quoted)
            continue;
        size_t offset = 0;
        enum dj_tongue script = script_of(dj_utf8_next(word->lower, &offset));
        votes[script]++;
        if (script != DJ_TONGUE_UNKNOWN)
            continue;
        latin++;
        struct dj_lex_span span = dj_lex_find(word->lower);
        votes[DJ_TONGUE_ENGLISH] += parts->notes[i].is_stop;
        for (uint32_t j = 0; j < span.count; j++) {
            if (span.rows[j].kind == DJ_LEX_TONGUE)
                votes[span.rows[j].id]++;
        }
    }
    if (votes[DJ_TONGUE_JAPANESE])
        votes[DJ_TONGUE_JAPANESE] += votes[DJ_TONGUE_HAN];
    enum dj_tongue best = DJ_TONGUE_UNKNOWN;
    for (uint32_t i = DJ_TONGUE_ENGLISH; i < DJ_TONGUE_COUNT; i++) {
        uint32_t needed = i < DJ_TONGUE_CYRILLIC ? 2 : latin + 1;
        if (votes[i] >= needed && (best == DJ_TONGUE_UNKNOWN || votes[i] > votes[best]))
            best = (enum dj_tongue)i;
    }
    return best;
}

/* ---- the pass ---- */

static void note_word(struct dj_guard_parts *parts, uint32_t index)
{
    const struct dj_word *word = &parts->words.items[index];
    struct dj_word_note *note = &parts->notes[index];
    struct dj_lex_span span = dj_lex_find(word->lower);
    note->lower = dj_lex_hash(dj_feature_base(word->lower));
    note->stem = dj_lex_hash(stem_of(word->lower));
    bool is_us = word->is_acronym && dj_feature_is(parts, index, "us");
    note->is_stop = dj_lex_sense(span, DJ_LEX_STOP) && !is_us && !word->is_backticked;
    parts->has_from |= dj_feature_is(parts, index, "from") ||
                       dj_feature_is(parts, index, "leaving") ||
                       dj_feature_is(parts, index, "departing");
    note->is_filler = dj_lex_sense(span, DJ_LEX_FILLER) != NULL;
    parts->is_volatile |= dj_lex_sense(span, DJ_LEX_VOLATILE) != NULL;
}

/* Opposites and names at index; returns the words of the name, at least 1. */
static uint32_t read_meaning(struct dj_guard_parts *parts, uint32_t index, bool is_title)
{
    uint32_t len = 1;
    const struct dj_word *word = &parts->words.items[index];
    struct dj_lex_span span = dj_feature_phrase(parts, index, &len);
    parts->is_volatile |= dj_lex_sense(span, DJ_LEX_VOLATILE) != NULL;
    parts->notes[index].is_negation = is_negation(parts, index, span);
    parts->negations += parts->notes[index].is_negation;
    add_superlative(parts, span, index);
    add_axes(parts, span, index, len);
    if (len == 1)
        add_particle_axis(parts, index);
    if (word->kind == DJ_WORD_SYMBOL)
        return 1;
    bool is_listed = add_classes(parts, span, index, len);
    if (!is_listed && is_unlisted_name(word, &parts->notes[index], is_title)) {
        dj_feature_add(
            parts, &parts->names,
            (struct dj_feature_item){.key = parts->notes[index].stem, .word = index, .words = 1});
        parts->notes[index].is_name = true;
        return 1;
    }
    if (!is_listed)
        return 1;
    for (uint32_t i = index; i < index + len; i++)
        parts->notes[i].is_name = true;
    return len;
}

static void read_words(struct dj_guard_parts *parts, struct deja_slice text)
{
    bool is_title = is_title_case(&parts->words);
    for (uint32_t i = 0; i < parts->words.count; i++)
        note_word(parts, i);
    for (uint32_t i = 0; i < parts->words.count;) {
        const struct dj_word *word = &parts->words.items[i];
        if (word->kind == DJ_WORD_SYMBOL && word->lower.len == 1 && word->lower.data[0] != '%' &&
            word->lower.data[0] != '$')
            parts->operators = parts->operators * 31 + (unsigned char)word->lower.data[0];
        uint32_t used = dj_feature_read_number(parts, text, i);
        if (!used)
            used = dj_feature_read_date(parts, i);
        if (used) {
            /* "double", "first" and "night" also have an opposite */
            if (used == 1 && word->kind == DJ_WORD_PLAIN)
                add_axes(parts, dj_lex_find(word->lower), i, 1);
            i += used;
            continue;
        }
        if (dj_feature_read_unit(parts, i))
            parts->notes[i].is_counted = true;
        i += read_meaning(parts, i, is_title);
    }
    for (uint32_t i = 0; i < parts->words.count; i++) {
        const struct dj_word *word = &parts->words.items[i];
        parts->content += !parts->notes[i].is_stop && !parts->notes[i].is_filler;
        parts->literals += word->kind == DJ_WORD_CODE || word->is_backticked;
    }
    parts->is_overfull |= parts->literals > DJ_FEATURE_LITERALS_MAX;
}

enum deja_status dj_guard_features_init(struct dj_guard_features *features, struct deja_slice text)
{
    struct dj_guard_parts *parts = dj_alloc_zeroed(1, sizeof *parts);
    if (!parts)
        return DEJA_ERR_NOMEM;
    enum deja_status status = dj_words_init(&parts->words, text, DJ_FEATURE_WORDS_MAX);
    if (status != DEJA_OK)
        goto failed;
    size_t bytes = parts->words.count * sizeof *parts->notes;
    parts->notes = dj_arena_alloc(&parts->words.arena, bytes + 1);
    if (!parts->notes) {
        status = DEJA_ERR_NOMEM;
        goto failed;
    }
    memset(parts->notes, 0, bytes);
    parts->is_overfull = parts->words.is_cut;
    read_words(parts, text);
    parts->tongue = find_tongue(parts);
    parts->question = find_question(parts);
    *features = (struct dj_guard_features){.parts = parts};
    return DEJA_OK;
failed:
    dj_words_fini(&parts->words);
    dj_free(parts);
    return status;
}

void dj_guard_features_fini(struct dj_guard_features *features)
{
    if (!features->parts)
        return;
    dj_words_fini(&features->parts->words);
    dj_free(features->parts);
    *features = (struct dj_guard_features){0};
}

bool dj_guard_features_is_volatile(const struct dj_guard_features *features)
{
    return features->parts && features->parts->is_volatile;
}
