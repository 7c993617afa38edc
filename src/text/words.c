/* text/words.c - see words.h.
 *
 * Trust: untrusted. One pass over the bytes; a chunk (what lies between two spaces) is looked at
 * ahead once, to tell code from prose, so the whole is linear in the text.
 *
 * (1) The lower-case bytes of all words lie in one block of LOWER_GROWTH times the text: no code
 *     point grows beyond that when lowered (U+023A: two bytes become three); what would is dropped.
 * (2) items has room for min(text bytes, words_max): a word has at least one byte.
 */
#include "text/words.h"

#include "text/utf8.h"
#include "text/words_internal.h"

enum {
    LOWER_SLACK = 8,     /* bytes beyond 3/2 of the text, for the last code point */
    CODE_BYTES_MAX = 512 /* a longer chunk is judged in pieces, which keeps the scan linear */
};

struct scanner {
    struct deja_slice text;
    size_t offset;
    struct dj_words *words;
    uint32_t words_max;
    char *lower;
    size_t lower_len;
    size_t lower_cap;
    size_t previous_end; /* end of the previous word; glued if it is where the next begins */
    size_t chunk_seen;   /* chunks that begin before this offset were judged already */
    bool is_head;
    bool has_comma;
    bool is_in_quotes;
    bool is_in_backticks;
};

static bool is_ascii_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* The byte at offset, NUL beyond the end: no test below is true of NUL. */
static char at(const struct scanner *s, size_t offset)
{
    return offset < s->text.len ? s->text.data[offset] : '\0';
}

/* ---- words out ---- */

static void put_lower(struct scanner *s, const char *bytes, size_t len)
{
    if (len > s->lower_cap - s->lower_len)
        return; /* (1): cannot happen */
    memcpy(s->lower + s->lower_len, bytes, len);
    s->lower_len += len;
}

static void put_lower_code_point(struct scanner *s, int32_t c)
{
    char bytes[16];
    struct dj_buf buf = {.data = bytes, .cap = sizeof bytes}; /* four at most: never grows */
    dj_utf8_append(&buf, dj_char_lower(c));
    put_lower(s, buf.data, buf.len);
}

/* A word whose lower-case bytes begin at lower_start; NULL: none fits, the scan ends. */
static struct dj_word *add_word(struct scanner *s, enum dj_word_kind kind, size_t start,
                                size_t lower_start)
{
    struct dj_words *words = s->words;
    if (words->count == s->words_max) {
        words->is_cut = true;
        s->offset = s->text.len;
        return NULL;
    }
    struct dj_word *word = &words->items[words->count++];
    *word = (struct dj_word){
        .lower = deja_slice(s->lower + lower_start, s->lower_len - lower_start),
        .offset = (uint32_t)start,
        .len = (uint32_t)(s->offset - start),
        .kind = kind,
        .is_quoted = s->is_in_quotes,
        .is_backticked = s->is_in_backticks,
        .is_sentence_head = s->is_head,
        .is_glued = words->count > 1 && start == s->previous_end,
        .has_comma_before = s->has_comma,
    };
    s->previous_end = s->offset;
    s->is_head = false;
    s->has_comma = false;
    return word;
}

/* ---- code ---- */

static bool is_closing(char c)
{
    return c == '.' || c == ',' || c == ';' || c == ':' || c == '!' || c == '?' || c == '\'' ||
           c == '"' || c == '`' || c == ']' || c == '}' || c == ')';
}

/* What lies between here and the next space, quotation mark or comma, less closing marks. */
static struct deja_slice chunk_here(struct scanner *s)
{
    size_t end = s->offset;
    size_t limit =
        s->text.len - s->offset > CODE_BYTES_MAX ? s->offset + CODE_BYTES_MAX : s->text.len;
    while (end < limit && !is_ascii_space(s->text.data[end]) && s->text.data[end] != '"' &&
           s->text.data[end] != '`' && s->text.data[end] != ',' &&
           (unsigned char)s->text.data[end] < 0x80)
        end++;
    s->chunk_seen = end > s->offset ? end : s->offset + 1;
    while (end > s->offset && is_closing(s->text.data[end - 1])) {
        char c = s->text.data[end - 1];
        /* A bracket opened inside the chunk belongs to it. */
        if ((c == ')' && memchr(s->text.data + s->offset, '(', end - s->offset)) ||
            (c == ']' && memchr(s->text.data + s->offset, '[', end - s->offset)))
            break;
        end--;
    }
    return deja_slice(s->text.data + s->offset, end - s->offset);
}

static void put_code(struct scanner *s, size_t len)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    for (size_t i = 0; i < len; i++) {
        char c = s->text.data[start + i];
        if (dj_ascii_is_upper(c))
            c = (char)(c - 'A' + 'a');
        put_lower(s, &c, 1);
    }
    s->offset = start + len;
    struct dj_word *word = add_word(s, DJ_WORD_CODE, start, lower_start);
    if (word)
        word->is_capitalised = dj_ascii_is_upper(s->text.data[start]);
}

/* ---- numbers ---- */

static size_t digits_at(const struct scanner *s, size_t offset)
{
    size_t count = 0;
    while (dj_ascii_is_digit(at(s, offset + count)))
        count++;
    return count;
}

/* Length of "1,000,000" or "10,00,000" at offset, 0 when the commas only part a list. */
static size_t grouped_len(const struct scanner *s, size_t offset)
{
    size_t len = digits_at(s, offset);
    size_t last = 0;
    if (len > 3)
        return 0;
    while (at(s, offset + len) == ',') {
        size_t group = digits_at(s, offset + len + 1);
        if (group != 2 && group != 3)
            break;
        last = group;
        len += 1 + group;
    }
    return last == 3 ? len : 0;
}

/* Length of a date or clock time written in figures at offset, else 0. */
static size_t figures_len(const struct scanner *s, size_t offset)
{
    size_t first = digits_at(s, offset);
    char mark = at(s, offset + first);
    size_t second = digits_at(s, offset + first + 1);
    if (first > 4 || second == 0 || second > 2)
        return 0;
    size_t len = first + 1 + second;
    if (mark == ':' && first <= 2 && second == 2)
        return at(s, offset + len) == ':' && digits_at(s, offset + len + 1) == 2 ? len + 3 : len;
    size_t third = digits_at(s, offset + len + 1);
    if ((mark == '-' || mark == '/' || mark == '.') && at(s, offset + len) == mark &&
        ((first == 4 && third <= 2) || (first <= 2 && third == 4)) && third > 0)
        return len + 1 + third;
    return 0;
}

static void scan_number(struct scanner *s)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    size_t len = figures_len(s, start);
    if (!len) {
        len = grouped_len(s, start);
        if (!len)
            len = digits_at(s, start);
        while (at(s, start + len) == '.' && dj_ascii_is_digit(at(s, start + len + 1)))
            len += 1 + digits_at(s, start + len + 1);
    }
    for (size_t i = 0; i < len; i++) {
        if (s->text.data[start + i] != ',')
            put_lower(s, s->text.data + start + i, 1);
    }
    s->offset = start + len;
    add_word(s, DJ_WORD_NUMBER, start, lower_start);
}

/* Value of a decimal digit of any script: they come in runs of ten, zero first. */
static int digit_value(int32_t c)
{
    if (c >= 0x1d7ce && c <= 0x1d7ff)
        return (c - 0x1d7ce) % 10; /* five runs without a gap */
    int value = 0;
    while (value < 9 && dj_char_class(c - value - 1) == DJ_CHAR_DIGIT)
        value++;
    return value;
}

static void scan_foreign_number(struct scanner *s)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    while (s->offset < s->text.len) {
        size_t next = s->offset;
        int32_t c = dj_utf8_next(s->text, &next);
        if (c < 0x80 || dj_char_class(c) != DJ_CHAR_DIGIT)
            break;
        char digit = (char)('0' + digit_value(c));
        put_lower(s, &digit, 1);
        s->offset = next;
    }
    add_word(s, DJ_WORD_NUMBER, start, lower_start);
}

/* ---- prose ---- */

/* Written without spaces, so that each character stands for itself. */
static bool is_spaceless(int32_t c)
{
    return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) ||
           (c >= 0x1780 && c <= 0x17ff) || (c >= 0x3040 && c <= 0x30ff) ||
           (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}

/* "U.S.A." or "p.m" at offset: its length with the dots, else 0. */
static size_t dotted_len(const struct scanner *s)
{
    size_t i = s->offset;
    size_t letters = 0;
    while (dj_ascii_is_alpha(at(s, i)) && at(s, i + 1) == '.') {
        letters++;
        i += 2;
    }
    if (dj_ascii_is_alpha(at(s, i)) && !dj_ascii_is_alnum(at(s, i + 1)) && letters) {
        letters++;
        i++;
    }
    return letters >= 2 && !dj_ascii_is_alnum(at(s, i)) ? i - s->offset : 0;
}

static void put_dotted(struct scanner *s, size_t len)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    bool is_all_upper = true;
    for (size_t i = 0; i < len; i++) {
        char c = s->text.data[start + i];
        if (c == '.')
            continue;
        is_all_upper &= dj_ascii_is_upper(c);
        put_lower_code_point(s, c);
    }
    s->offset = start + len;
    struct dj_word *word = add_word(s, DJ_WORD_PLAIN, start, lower_start);
    if (word) {
        word->is_capitalised = dj_ascii_is_upper(s->text.data[start]);
        word->is_acronym = is_all_upper;
    }
}

/* Case of a word as its letters pass by. */
struct word_case {
    uint32_t letters;
    uint32_t upper;
    bool is_first_upper;
    bool is_mixed;
    bool was_lower;
};

static void note_case(struct word_case *wc, int32_t c)
{
    bool is_up = c < 0x80 ? dj_ascii_is_upper((char)c) : dj_char_lower(c) != c;
    if (is_up && !wc->letters)
        wc->is_first_upper = true;
    wc->is_mixed |= is_up && wc->was_lower;
    wc->was_lower = !is_up;
    wc->upper += is_up;
    wc->letters++;
}

/* ++ of C++ and Notepad++, # of C# and F#. */
static size_t sign_suffix_len(const struct scanner *s, uint32_t letters)
{
    if (at(s, s->offset) == '+' && at(s, s->offset + 1) == '+' &&
        !dj_ascii_is_alnum(at(s, s->offset + 2)))
        return 2;
    return letters == 1 && at(s, s->offset) == '#' && !dj_ascii_is_alnum(at(s, s->offset + 1)) ? 1
                                                                                               : 0;
}

/* An apostrophe of either make between letters; returns its length in bytes. */
static size_t apostrophe_len(const struct scanner *s)
{
    size_t len = 0;
    if (at(s, s->offset) == '\'')
        len = 1;
    else if (s->text.len - s->offset > 3 &&
             memcmp(s->text.data + s->offset, "\xe2\x80\x99", 3) == 0)
        len = 3;
    char after = len ? at(s, s->offset + len) : '\0';
    return dj_ascii_is_alpha(after) || (unsigned char)after >= 0x80 ? len : 0;
}

static void scan_word(struct scanner *s)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    struct word_case wc = {0};
    while (s->offset < s->text.len) {
        size_t next = s->offset;
        int32_t c = dj_utf8_next(s->text, &next);
        enum dj_char_class class = c < 0 ? DJ_CHAR_CONTROL : dj_char_class(c);
        if (class == DJ_CHAR_LETTER) {
            if (is_spaceless(c) && wc.letters)
                break;
            note_case(&wc, c);
            put_lower_code_point(s, c);
            s->offset = next;
            if (is_spaceless(c))
                break;
            continue;
        }
        if (class == DJ_CHAR_MARK) {
            put_lower_code_point(s, c);
            s->offset = next;
            continue;
        }
        size_t apostrophe = apostrophe_len(s);
        if (!apostrophe || !wc.letters)
            break;
        put_lower(s, "'", 1);
        s->offset += apostrophe;
    }
    size_t suffix = sign_suffix_len(s, wc.letters);
    put_lower(s, s->text.data + s->offset, suffix);
    s->offset += suffix;
    struct dj_word *word = add_word(s, DJ_WORD_PLAIN, start, lower_start);
    if (!word)
        return;
    word->is_capitalised = wc.is_first_upper;
    word->is_acronym = wc.letters >= 2 && wc.upper == wc.letters;
    word->is_mixed = wc.is_mixed;
}

/* ---- everything else ---- */

static void put_symbol(struct scanner *s, size_t len)
{
    size_t start = s->offset;
    size_t lower_start = s->lower_len;
    put_lower(s, s->text.data + start, len);
    s->offset = start + len;
    add_word(s, DJ_WORD_SYMBOL, start, lower_start);
}

/* A sign of arithmetic: between figures or single letters, or with space on both sides. */
static bool is_operator(const struct scanner *s, char c)
{
    size_t before = s->offset;
    while (before > 0 && s->text.data[before - 1] == ' ')
        before--;
    size_t after = s->offset + 1;
    while (at(s, after) == ' ')
        after++;
    char left = before ? s->text.data[before - 1] : '\0';
    char right = at(s, after);
    bool is_left_value =
        dj_ascii_is_digit(left) || left == ')' ||
        (dj_ascii_is_alpha(left) && (before < 2 || !dj_ascii_is_alpha(s->text.data[before - 2])));
    bool is_right_value = dj_ascii_is_digit(right) || right == '(' ||
                          (dj_ascii_is_alpha(right) && !dj_ascii_is_alpha(at(s, after + 1)));
    switch (c) {
    case '-': /* between figures, between values with space, in front of a figure */
        if (!dj_ascii_is_digit(right))
            return false;
        if (dj_ascii_is_digit(left) || left == ')')
            return true;
        return is_left_value ? before != s->offset && after != s->offset + 1
                             : before != s->offset && after == s->offset + 1;
    case '/':
    case '+':
    case '*':
    case '=':
    case '<':
    case '>':
    case '^':
        return is_left_value && is_right_value;
    default:
        return false;
    }
}

static void note_punctuation(struct scanner *s, char c)
{
    switch (c) {
    case '.':
    case '!':
    case '?':
        s->is_head = true;
        break;
    case ':':
        s->is_head = true;
        s->has_comma = true;
        break;
    case '"':
        s->is_in_quotes = !s->is_in_quotes;
        break;
    case '`':
        s->is_in_backticks = !s->is_in_backticks;
        break;
    case ',':
    case ';':
    case '(':
    case ')':
    case '[':
    case ']':
        s->has_comma = true;
        break;
    default:
        break;
    }
}

static void scan_ascii_sign(struct scanner *s, char c)
{
    if (c == '`' && at(s, s->offset + 1) == '`' && at(s, s->offset + 2) == '`') {
        s->is_head = true;
        s->offset += 3;
        return;
    }
    if (c == '%' || c == '$' || is_operator(s, c)) {
        put_symbol(s, 1);
        return;
    }
    if (c == '-' && (at(s, s->offset + 1) == ' ' || at(s, s->offset + 1) == '-'))
        s->has_comma = true;
    else if (c == '-' && s->previous_end == s->offset)
        s->previous_end++; /* a hyphen glues */
    note_punctuation(s, c);
    s->offset++;
}

static void scan_foreign_sign(struct scanner *s, int32_t c, size_t next)
{
    switch (c) {
    case 0x20ac: /* euro */
    case 0xa3:   /* pound */
    case 0xa5:   /* yen */
    case 0x20b9: /* rupee */
    case 0x20a9: /* won */
    case 0x20bd: /* rouble */
    case 0xb0:   /* degree */
    case 0xd7:   /* times */
    case 0xf7:   /* divided by */
    case 0x2212: /* minus */
        put_symbol(s, next - s->offset);
        return;
    case 0x201c: /* “ */
    case 0x201e: /* „ */
    case 0xab:   /* « */
    case 0x300c: /* 「 */
        s->is_in_quotes = true;
        break;
    case 0x201d: /* ” */
    case 0xbb:   /* » */
    case 0x300d: /* 」 */
        s->is_in_quotes = false;
        break;
    case 0x3002: /* 。 */
    case 0xff1f: /* ？ */
    case 0xff01: /* ！ */
        s->is_head = true;
        break;
    default:
        s->has_comma |= c == 0x2013 || c == 0x2014 || c == 0x3001 || c == 0xff0c;
        break;
    }
    s->offset = next;
}

static void scan_one(struct scanner *s)
{
    char c = s->text.data[s->offset];
    if (is_ascii_space(c)) {
        s->is_head |= c == '\n';
        s->offset++;
        return;
    }
    if (s->offset >= s->chunk_seen && (dj_ascii_is_alnum(c) || c == '/' || c == '-' || c == '_' ||
                                       c == '.' || c == '~' || c == '\\')) {
        struct deja_slice chunk = chunk_here(s);
        if (dj_words_is_code(chunk)) {
            put_code(s, chunk.len);
            return;
        }
    }
    if (dj_ascii_is_digit(c)) {
        scan_number(s);
        return;
    }
    if (dj_ascii_is_alpha(c)) {
        size_t dotted = dotted_len(s);
        if (dotted)
            put_dotted(s, dotted);
        else
            scan_word(s);
        return;
    }
    if ((unsigned char)c < 0x80) {
        scan_ascii_sign(s, c);
        return;
    }
    size_t next = s->offset;
    int32_t code_point = dj_utf8_next(s->text, &next);
    enum dj_char_class class = code_point < 0 ? DJ_CHAR_CONTROL : dj_char_class(code_point);
    if (class == DJ_CHAR_LETTER)
        scan_word(s);
    else if (class == DJ_CHAR_DIGIT)
        scan_foreign_number(s);
    else
        scan_foreign_sign(s, code_point, next);
}

enum deja_status dj_words_init(struct dj_words *words, struct deja_slice text, uint32_t words_max)
{
    if (text.len >= UINT32_MAX)
        return DEJA_ERR_LIMIT;
    struct dj_words made = {0};
    dj_arena_init(&made.arena, 0);
    struct scanner s = {.text = text, .words = &made, .words_max = words_max, .is_head = true};
    size_t items = text.len < words_max ? text.len : words_max;
    s.lower_cap = text.len + text.len / 2 + LOWER_SLACK;
    made.items = dj_arena_alloc(&made.arena, items * sizeof *made.items + 1);
    s.lower = dj_arena_alloc(&made.arena, s.lower_cap);
    if (!made.items || !s.lower) {
        dj_arena_fini(&made.arena);
        return DEJA_ERR_NOMEM;
    }
    while (s.offset < s.text.len)
        scan_one(&s);
    *words = made;
    return DEJA_OK;
}

void dj_words_fini(struct dj_words *words)
{
    dj_arena_fini(&words->arena);
    *words = (struct dj_words){0};
}
