/* security/detector.c - see detector.h.
 *
 *   bytes --pair of bytes known?--> words of rules --> a rule's place --pattern--> check --> span
 *         --a run of digits------->
 *
 * (1) The pass itself is linear; a pattern sees at most WINDOW_BYTES from its place and has limits.
 * (2) Inside what a rule has found, no rule of the same class is tried: text that is all keys costs
 *     each byte once.
 * (3) After ATTEMPTS_LIMITED_MAX attempts that ended at a limit the scan ends, and says so.
 *
 * PCRE2 compiles to machine code where the system lets it and interprets elsewhere (a service that
 * may not make memory executable); attempts are short, so either will do.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "security/detector.h"

#include <assert.h>
#include <stdlib.h>

#include <pcre2.h>

#include "base/alloc.h"
#include "security/detector_internal.h"

#define WINDOW_BYTES 8192u
#define SEARCH_BYTES 65536u /* an operator's pattern is searched in so much at a time, */
#define OVERLAP_BYTES 1024u /* of which so much again: what it finds may be so long */
#define MATCH_LIMIT 50000u
#define SEARCH_LIMIT 2000000u
#define DEPTH_LIMIT 1000u
#define HEAP_LIMIT_KIB 1024u
#define ATTEMPTS_LIMITED_MAX 8u
#define PAIRS 4096u
#define CLASSES (DJ_SENSITIVE_CLASS_COUNT + 1u) /* the last one: sensitive names */

/* A word of a rule, in the chain of its first two bytes. */
struct word {
    const char *text;
    uint8_t len;
    uint8_t rule;
    uint16_t next; /* index + 1; 0: the last */
};

struct own_pattern {
    char *name;
    enum dj_sensitive_class class;
    pcre2_code *code;
};

struct dj_detector {
    pcre2_general_context *memory;
    pcre2_match_context *limits;        /* of one place */
    pcre2_match_context *search_limits; /* of a window */
    pcre2_code **codes;                 /* as dj_detector_rules */
    struct own_pattern *own;
    size_t own_count;
    struct word *words;
    size_t word_count;
    uint16_t pairs[PAIRS]; /* first word of that pair of bytes, index + 1; 0: none */
    uint16_t singles[256]; /* likewise of words of one byte */
    uint8_t lower[256];
    bool is_first[256]; /* a word begins with it, or it is a digit */
};

/* One scan. */
struct scan {
    const struct dj_detector *detector;
    unsigned classes;
    struct deja_slice text;
    struct dj_findings *findings;
    pcre2_match_data *match; /* made when it is first needed */
    size_t ends[CLASSES];    /* of what was found */
    uint32_t limited;
    enum deja_status status;
};

/* ---- life ---- */

static void *take_memory(size_t size, void *ctx)
{
    (void)ctx;
    return dj_alloc(size);
}

static void give_memory(void *memory, void *ctx)
{
    (void)ctx;
    dj_free(memory);
}

static uint32_t pair_of(uint8_t first, uint8_t second)
{
    return ((uint32_t)first * 31u + second) % PAIRS;
}

static size_t count_words(void)
{
    size_t count = 0;
    for (size_t i = 0; i < dj_detector_rule_count; i++)
        for (const char *at = dj_detector_rules[i].words; at; at = strchr(at + 1, '|'))
            count++;
    return count;
}

static void add_word(struct dj_detector *detector, size_t rule, const char *text, size_t len)
{
    struct word *word = &detector->words[detector->word_count++];
    uint16_t *chain = len == 1 ? &detector->singles[(uint8_t)text[0]]
                               : &detector->pairs[pair_of((uint8_t)text[0], (uint8_t)text[1])];
    *word = (struct word){.text = text, .len = (uint8_t)len, .rule = (uint8_t)rule, .next = *chain};
    *chain = (uint16_t)detector->word_count;
    detector->is_first[(uint8_t)text[0]] = true;
    if (text[0] >= 'a' && text[0] <= 'z')
        detector->is_first[(uint8_t)(text[0] - 32)] = true;
}

static enum deja_status add_words(struct dj_detector *detector)
{
    assert(dj_detector_rule_count <= UINT8_MAX);
    detector->words = dj_alloc_zeroed(count_words(), sizeof *detector->words);
    if (!detector->words)
        return DEJA_ERR_NOMEM;
    for (size_t c = 0; c < 256; c++) {
        detector->lower[c] = (uint8_t)(c >= 'A' && c <= 'Z' ? c | 32 : c);
        detector->is_first[c] = c >= '0' && c <= '9';
    }
    for (size_t i = 0; i < dj_detector_rule_count; i++) {
        const char *at = dj_detector_rules[i].words;
        while (at) {
            const char *end = strchr(at, '|');
            add_word(detector, i, at, end ? (size_t)(end - at) : strlen(at));
            at = end ? end + 1 : NULL;
        }
    }
    return DEJA_OK;
}

/* DEJA_ERR_INVALID: *out_code_error and *out_offset say why. */
static enum deja_status compile(struct dj_detector *detector, const char *pattern, uint32_t options,
                                pcre2_code **out_code, int *out_code_error, size_t *out_offset)
{
    pcre2_compile_context *context = pcre2_compile_context_create(detector->memory);
    if (!context)
        return DEJA_ERR_NOMEM;
    int fault = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     options | PCRE2_NEVER_BACKSLASH_C, &fault, &offset, context);
    pcre2_compile_context_free(context);
    if (!code && fault == PCRE2_ERROR_HEAP_FAILED)
        return DEJA_ERR_NOMEM;
    if (!code) {
        *out_code_error = fault;
        *out_offset = offset;
        return DEJA_ERR_INVALID;
    }
    int jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    (void)jit; /* without it the code is interpreted */
    *out_code = code;
    return DEJA_OK;
}

static enum deja_status compile_rules(struct dj_detector *detector)
{
    int fault = 0;
    size_t offset = 0;
    detector->codes = dj_alloc_zeroed(dj_detector_rule_count, sizeof *detector->codes);
    if (!detector->codes)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < dj_detector_rule_count; i++) {
        enum deja_status status =
            compile(detector, dj_detector_rules[i].pattern,
                    PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE, &detector->codes[i], &fault, &offset);
        assert(status != DEJA_ERR_INVALID); /* our own */
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status compile_own(struct dj_detector *detector,
                                    const struct dj_detector_pattern *patterns, size_t count,
                                    struct deja_error *error)
{
    if (count > DJ_DETECTOR_PATTERNS_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "%zu patterns: at most %u", count,
                              DJ_DETECTOR_PATTERNS_MAX);
    detector->own = dj_alloc_zeroed(count, sizeof *detector->own);
    if (!detector->own)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        struct own_pattern *own = &detector->own[i];
        int fault = 0;
        size_t offset = 0;
        detector->own_count++;
        own->class = patterns[i].class;
        own->name = dj_strdup(deja_slice_text(patterns[i].name));
        enum deja_status status =
            own->name ? compile(detector, patterns[i].pattern, 0, &own->code, &fault, &offset)
                      : DEJA_ERR_NOMEM;
        if (status == DEJA_ERR_INVALID) {
            PCRE2_UCHAR text[120] = "";
            if (pcre2_get_error_message(fault, text, sizeof text) < 0)
                text[sizeof text - 1] = '\0';
            return deja_error_set(error, status, "pattern %s: %s, at byte %zu", patterns[i].name,
                                  (const char *)text, offset);
        }
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static pcre2_match_context *make_limits(struct dj_detector *detector, uint32_t match_limit)
{
    pcre2_match_context *limits = pcre2_match_context_create(detector->memory);
    if (limits) {
        pcre2_set_match_limit(limits, match_limit);
        pcre2_set_depth_limit(limits, DEPTH_LIMIT);
        pcre2_set_heap_limit(limits, HEAP_LIMIT_KIB);
    }
    return limits;
}

enum deja_status dj_detector_create(const struct dj_detector_pattern *patterns, size_t count,
                                    struct dj_detector **out_detector, struct deja_error *error)
{
    struct dj_detector *detector = dj_alloc_zeroed(1, sizeof *detector);
    if (!detector)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_ERR_NOMEM;
    detector->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    if (!detector->memory)
        goto failed;
    detector->limits = make_limits(detector, MATCH_LIMIT);
    detector->search_limits = make_limits(detector, SEARCH_LIMIT);
    if (!detector->limits || !detector->search_limits)
        goto failed;
    status = add_words(detector);
    if (status == DEJA_OK)
        status = compile_rules(detector);
    if (status == DEJA_OK && count)
        status = compile_own(detector, patterns, count, error);
    if (status != DEJA_OK)
        goto failed;
    *out_detector = detector;
    return DEJA_OK;
failed:
    dj_detector_destroy(detector);
    return status;
}

void dj_detector_destroy(struct dj_detector *detector)
{
    if (!detector)
        return;
    for (size_t i = 0; detector->codes && i < dj_detector_rule_count; i++)
        pcre2_code_free(detector->codes[i]);
    for (size_t i = 0; i < detector->own_count; i++) {
        pcre2_code_free(detector->own[i].code);
        dj_free(detector->own[i].name);
    }
    dj_free(detector->own);
    dj_free(detector->codes);
    dj_free(detector->words);
    pcre2_match_context_free(detector->limits);
    pcre2_match_context_free(detector->search_limits);
    pcre2_general_context_free(detector->memory);
    dj_free(detector);
}

void dj_findings_fini(struct dj_findings *findings)
{
    dj_free(findings->spans);
    *findings = (struct dj_findings){0};
}

/* ---- what was found ---- */

static void add_span(struct scan *scan, const struct dj_sensitive_span *span)
{
    struct dj_findings *findings = scan->findings;
    findings->classes |= DJ_SENSITIVE_BIT(span->class);
    if (!findings->rule)
        findings->rule = span->rule;
    if (findings->count == DJ_DETECTOR_SPANS_MAX) {
        findings->is_limited = true;
        return;
    }
    if (findings->count == findings->cap) {
        size_t cap = findings->cap ? 2 * findings->cap : 8;
        void *grown = dj_realloc(findings->spans, cap * sizeof *findings->spans);
        if (!grown) {
            scan->status = DEJA_ERR_NOMEM;
            return;
        }
        findings->spans = grown;
        findings->cap = cap;
    }
    findings->spans[findings->count++] = *span;
}

/* rc: of a match that was not. */
static void note_failure(struct scan *scan, int rc)
{
    if (rc == PCRE2_ERROR_NOMATCH)
        return;
    if (rc == PCRE2_ERROR_NOMEMORY) {
        scan->status = DEJA_ERR_NOMEM;
        return;
    }
    scan->findings->is_limited = true;
    scan->limited++;
}

/* One more pair than the value's group is asked about. */
static bool has_match_data(struct scan *scan)
{
    if (!scan->match)
        scan->match = pcre2_match_data_create(2, scan->detector->memory);
    if (!scan->match)
        scan->status = DEJA_ERR_NOMEM;
    return scan->match != NULL;
}

/* rc: pairs that were set; 0: there were more than asked about. */
static struct deja_slice matched(const struct scan *scan, int rc, bool is_whole)
{
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scan->match);
    bool has_group = rc != 1 && ends[2] != PCRE2_UNSET && ends[3] > ends[2];
    size_t pair = has_group && !is_whole ? 2 : 0;
    return deja_slice(scan->text.data + ends[pair], ends[pair + 1] - ends[pair]);
}

/* ---- one place ---- */

static bool is_in_set(const char *set, char c)
{
    for (; *set; set += 2)
        if (c >= set[0] && c <= set[1])
            return true;
    return false;
}

static bool is_asked_for(const struct scan *scan, const struct dj_rule *rule)
{
    return scan->classes & (rule->is_named ? DJ_SENSITIVE_NAMED : DJ_SENSITIVE_BIT(rule->class));
}

static void try_rule(struct scan *scan, size_t index, size_t start)
{
    const struct dj_rule *rule = &dj_detector_rules[index];
    size_t slot = rule->is_named ? DJ_SENSITIVE_CLASS_COUNT : (size_t)rule->class;
    if (!is_asked_for(scan, rule) || start < scan->ends[slot] || !has_match_data(scan))
        return;
    for (size_t i = 0; rule->back && i < rule->back_max && start > scan->ends[slot]; i++) {
        if (!is_in_set(rule->back, scan->text.data[start - 1]))
            break;
        start--;
    }
    size_t left = scan->text.len - start;
    size_t len = left < WINDOW_BYTES ? scan->text.len : start + WINDOW_BYTES;
    int rc = pcre2_match(scan->detector->codes[index], (PCRE2_SPTR)scan->text.data, len, start, 0,
                         scan->match, scan->detector->limits);
    if (rc < 0) {
        note_failure(scan, rc);
        return;
    }
    struct dj_candidate candidate = {.text = scan->text,
                                     .value = matched(scan, rc, rule->is_whole)};
    if (!candidate.value.len || (rule->check && !rule->check(&candidate)))
        return;
    const struct dj_sensitive_span span = {
        .offset = (size_t)(candidate.value.data - scan->text.data),
        .len = candidate.value.len,
        .class = rule->class,
        .rule = rule->name,
    };
    scan->ends[slot] = span.offset + span.len;
    add_span(scan, &span);
}

/* ---- the pass ---- */

static bool has_word_at(const struct scan *scan, size_t at, const struct word *word)
{
    const uint8_t *lower = scan->detector->lower;
    if (scan->text.len - at < word->len)
        return false;
    for (size_t i = 0; i < word->len; i++)
        if (lower[(uint8_t)scan->text.data[at + i]] != (uint8_t)word->text[i])
            return false;
    return true;
}

static void try_words(struct scan *scan, size_t at, uint16_t chain)
{
    const struct dj_detector *detector = scan->detector;
    while (chain) {
        const struct word *word = &detector->words[chain - 1];
        chain = word->next;
        if (!has_word_at(scan, at, word))
            continue;
        bool is_after = dj_detector_rules[word->rule].start == DJ_START_AFTER;
        if (!is_after || at + word->len < scan->text.len)
            try_rule(scan, word->rule, is_after ? at + word->len : at);
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void try_digits(struct scan *scan, size_t at)
{
    size_t len = 1;
    if (at > 0 && is_digit(scan->text.data[at - 1]))
        return;
    while (len < UINT8_MAX && at + len < scan->text.len && is_digit(scan->text.data[at + len]))
        len++;
    for (size_t i = 0; i < dj_detector_rule_count; i++) {
        const struct dj_rule *rule = &dj_detector_rules[i];
        if (rule->start == DJ_START_DIGITS && len >= rule->digits_min && len <= rule->digits_max)
            try_rule(scan, i, at);
    }
}

static void scan_words(struct scan *scan)
{
    const struct dj_detector *detector = scan->detector;
    const uint8_t *bytes = (const uint8_t *)scan->text.data;
    for (size_t i = 0; i < scan->text.len; i++) {
        if (!detector->is_first[bytes[i]])
            continue;
        if (scan->limited >= ATTEMPTS_LIMITED_MAX || scan->status != DEJA_OK)
            return;
        if (is_digit(scan->text.data[i]))
            try_digits(scan, i);
        if (detector->singles[bytes[i]])
            try_words(scan, i, detector->singles[bytes[i]]);
        if (i + 1 == scan->text.len)
            return;
        uint32_t pair = pair_of(detector->lower[bytes[i]], detector->lower[bytes[i + 1]]);
        if (detector->pairs[pair])
            try_words(scan, i, detector->pairs[pair]);
    }
}

/* ---- the operator's patterns ---- */

/* All that one finds in [start, end). */
static void search(struct scan *scan, const struct own_pattern *own, size_t start, size_t end)
{
    while (start <= end && scan->limited < ATTEMPTS_LIMITED_MAX && scan->status == DEJA_OK) {
        int rc = pcre2_match(own->code, (PCRE2_SPTR)scan->text.data, end, start, PCRE2_NOTEMPTY,
                             scan->match, scan->detector->search_limits);
        if (rc < 0) {
            note_failure(scan, rc);
            return;
        }
        struct deja_slice value = matched(scan, rc, false);
        const struct dj_sensitive_span span = {
            .offset = (size_t)(value.data - scan->text.data),
            .len = value.len,
            .class = own->class,
            .rule = own->name,
        };
        add_span(scan, &span);
        size_t after = pcre2_get_ovector_pointer(scan->match)[1];
        start = after > start ? after : start + 1;
    }
}

static void search_own(struct scan *scan, const struct own_pattern *own)
{
    size_t start = 0;
    if (!(scan->classes & DJ_SENSITIVE_BIT(own->class)) || !has_match_data(scan))
        return;
    for (;;) {
        size_t left = scan->text.len - start;
        size_t end = left < SEARCH_BYTES ? scan->text.len : start + SEARCH_BYTES;
        search(scan, own, start, end);
        if (end == scan->text.len || scan->limited >= ATTEMPTS_LIMITED_MAX)
            return;
        start = end - OVERLAP_BYTES;
    }
}

static int compare_spans(const void *a, const void *b)
{
    const struct dj_sensitive_span *left = a;
    const struct dj_sensitive_span *right = b;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

enum deja_status dj_detector_scan(const struct dj_detector *detector, unsigned classes,
                                  struct deja_slice text, struct dj_findings *findings)
{
    struct scan scan = {
        .detector = detector, .classes = classes, .text = text, .findings = findings};
    findings->count = 0;
    if (!text.len || !classes)
        return DEJA_OK;
    scan_words(&scan);
    for (size_t i = 0; i < detector->own_count && scan.status == DEJA_OK; i++)
        search_own(&scan, &detector->own[i]);
    pcre2_match_data_free(scan.match);
    if (scan.status != DEJA_OK) {
        findings->count = 0;
        return scan.status;
    }
    if (findings->count > 1)
        qsort(findings->spans, findings->count, sizeof *findings->spans, compare_spans);
    return DEJA_OK;
}
