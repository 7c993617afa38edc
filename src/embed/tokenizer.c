/* embed/tokenizer.c - see tokenizer.h.
 *
 *   bytes -> code points -> [clean, space CJK, NFD, strip Mn, lower] -> words -> pieces -> ids
 *
 * One pass, code point by code point; a word is collected in a fixed buffer and cut into pieces
 * where it ends. Departs from the reference, which rewrites the whole text stage by stage: nothing
 * here is allocated per text and reading stops when the ids are full. Canonical reordering is left
 * out: the marks it moves are either stripped or in no vocabulary, and a word with an unknown
 * character is [UNK] whatever its order.
 *
 * The vocabulary is an open-addressing table of ids over one copy of the file. Hashes are FNV-1a,
 * which grows byte by byte, so that one walk along a word gives the hashes of all its prefixes.
 */
#include "embed/tokenizer.h"

#include "base/alloc.h"
#include "text/utf8.h"

enum {
    VOCAB_BYTES_MAX = 16 << 20,
    TOKENS_MAX = 1000000,
    WORD_CHARS_MAX = 100, /* longer words are [UNK], as in the reference */
    WORD_BYTES_MAX = WORD_CHARS_MAX * 4,
    SPECIALS_MAX = 5
};

struct special {
    struct deja_slice text; /* of a constant */
    uint32_t id;
};

struct dj_tokenizer {
    char *bytes;       /* owned copy of the vocabulary */
    uint32_t *offsets; /* owned; token i is bytes[offsets[i] … offsets[i + 1] - 1), less line end */
    uint32_t *lens;    /* owned */
    uint32_t *table;   /* owned; id + 1, 0 is free; at most half full */
    uint32_t mask;
    uint32_t count;
    size_t token_bytes_max;
    struct special specials[SPECIALS_MAX]; /* those the vocabulary has */
    size_t specials_count;
    uint32_t unknown;
    uint32_t begin;
    uint32_t end;
};

static const uint32_t fnv_start = 2166136261U;

static uint32_t fnv_grow(uint32_t hash, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619U;
    return hash;
}

/* The id of the token prefix ‖ bytes whose hash is given; -1: not in the vocabulary. */
static int64_t find_token(const struct dj_tokenizer *tokenizer, uint32_t hash,
                          struct deja_slice prefix, struct deja_slice bytes)
{
    size_t len = prefix.len + bytes.len;
    for (uint32_t at = hash & tokenizer->mask; tokenizer->table[at];
         at = (at + 1) & tokenizer->mask) {
        uint32_t id = tokenizer->table[at] - 1;
        const char *token = tokenizer->bytes + tokenizer->offsets[id];
        if (tokenizer->lens[id] == len &&
            (!prefix.len || memcmp(token, prefix.data, prefix.len) == 0) &&
            memcmp(token + prefix.len, bytes.data, bytes.len) == 0)
            return id;
    }
    return -1;
}

static int64_t find_text(const struct dj_tokenizer *tokenizer, struct deja_slice text)
{
    return find_token(tokenizer, fnv_grow(fnv_start, text.data, text.len), deja_slice(NULL, 0),
                      text);
}

/* A later line with the same token wins, as in the reference. */
static void insert_token(struct dj_tokenizer *tokenizer, uint32_t id)
{
    struct deja_slice text =
        deja_slice(tokenizer->bytes + tokenizer->offsets[id], tokenizer->lens[id]);
    uint32_t at = fnv_grow(fnv_start, text.data, text.len) & tokenizer->mask;
    while (tokenizer->table[at]) {
        uint32_t other = tokenizer->table[at] - 1;
        if (deja_slice_is_equal(text, deja_slice(tokenizer->bytes + tokenizer->offsets[other],
                                                 tokenizer->lens[other])))
            break;
        at = (at + 1) & tokenizer->mask;
    }
    tokenizer->table[at] = id + 1;
}

static size_t count_lines(struct deja_slice vocab)
{
    size_t count = vocab.len && vocab.data[vocab.len - 1] != '\n';
    for (size_t i = 0; i < vocab.len; i++)
        count += vocab.data[i] == '\n';
    return count;
}

static void index_lines(struct dj_tokenizer *tokenizer, size_t bytes_len)
{
    size_t begin = 0;
    for (uint32_t id = 0; id < tokenizer->count; id++) {
        const char *line = tokenizer->bytes + begin;
        const char *newline = memchr(line, '\n', bytes_len - begin);
        size_t len = newline ? (size_t)(newline - line) : bytes_len - begin;
        tokenizer->offsets[id] = (uint32_t)begin;
        begin += len + 1;
        if (len && line[len - 1] == '\r')
            len--;
        tokenizer->lens[id] = (uint32_t)len;
        if (len > tokenizer->token_bytes_max)
            tokenizer->token_bytes_max = len;
        insert_token(tokenizer, id);
    }
}

static enum deja_status find_specials(struct dj_tokenizer *tokenizer, struct deja_error *error)
{
    static const char *const names[SPECIALS_MAX] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    uint32_t *needed[] = {&tokenizer->unknown, &tokenizer->begin, &tokenizer->end};
    for (size_t i = 0; i < SPECIALS_MAX; i++) {
        struct deja_slice text = deja_slice_text(names[i]);
        int64_t id = find_text(tokenizer, text);
        bool is_needed = i < sizeof needed / sizeof *needed;
        if (id < 0 && is_needed)
            return deja_error_set(error, DEJA_ERR_INVALID, "vocabulary: no %s in it", names[i]);
        if (id < 0)
            continue;
        if (is_needed)
            *needed[i] = (uint32_t)id;
        tokenizer->specials[tokenizer->specials_count++] = (struct special){text, (uint32_t)id};
    }
    return DEJA_OK;
}

enum deja_status dj_tokenizer_create(struct deja_slice vocab, struct dj_tokenizer **out_tokenizer,
                                     struct deja_error *error)
{
    if (vocab.len > VOCAB_BYTES_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "vocabulary: larger than 16 MB");
    size_t count = count_lines(vocab);
    if (count > TOKENS_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "vocabulary: more than %d tokens", TOKENS_MAX);
    size_t slots = 4;
    while (slots < count * 2)
        slots *= 2;
    enum deja_status status = DEJA_ERR_NOMEM;
    struct dj_tokenizer *tokenizer = dj_alloc_zeroed(1, sizeof *tokenizer);
    if (!tokenizer)
        goto done;
    tokenizer->bytes = dj_strdup(vocab);
    tokenizer->offsets = dj_alloc_zeroed(count, sizeof *tokenizer->offsets);
    tokenizer->lens = dj_alloc_zeroed(count, sizeof *tokenizer->lens);
    tokenizer->table = dj_alloc_zeroed(slots, sizeof *tokenizer->table);
    if (!tokenizer->bytes || !tokenizer->offsets || !tokenizer->lens || !tokenizer->table)
        goto done;
    tokenizer->mask = (uint32_t)(slots - 1);
    tokenizer->count = (uint32_t)count;
    index_lines(tokenizer, vocab.len);
    status = find_specials(tokenizer, error);
    if (status != DEJA_OK)
        goto done;
    *out_tokenizer = tokenizer;
    return DEJA_OK;
done:
    if (status == DEJA_ERR_NOMEM)
        (void)deja_error_set(error, status, "vocabulary: out of memory");
    dj_tokenizer_destroy(tokenizer);
    return status;
}

void dj_tokenizer_destroy(struct dj_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    dj_free(tokenizer->bytes);
    dj_free(tokenizer->offsets);
    dj_free(tokenizer->lens);
    dj_free(tokenizer->table);
    dj_free(tokenizer);
}

uint32_t dj_tokenizer_count(const struct dj_tokenizer *tokenizer)
{
    return tokenizer->count;
}

/* What one call of encode carries along. */
struct run {
    const struct dj_tokenizer *tokenizer;
    uint32_t *ids;
    uint32_t count;
    uint32_t room; /* ids_max less one for [SEP] */
    size_t word_len;
    size_t word_chars; /* counts on past WORD_CHARS_MAX, the bytes do not */
    size_t starts[WORD_CHARS_MAX + 1];
    char word[WORD_BYTES_MAX];
};

static void emit(struct run *run, uint32_t id)
{
    if (run->count < run->room)
        run->ids[run->count++] = id;
}

/* Longest piece of the word that begins at character `first`; its end, or 0 when there is none. */
static size_t find_piece(const struct run *run, size_t first, uint32_t *out_id)
{
    const struct dj_tokenizer *tokenizer = run->tokenizer;
    struct deja_slice prefix = deja_slice("##", first ? 2 : 0);
    uint32_t hashes[WORD_CHARS_MAX + 1];
    uint32_t hash = fnv_grow(fnv_start, prefix.data, prefix.len);
    size_t begin = run->starts[first];
    size_t end = first;
    while (end < run->word_chars &&
           run->starts[end + 1] - begin + prefix.len <= tokenizer->token_bytes_max) {
        hash =
            fnv_grow(hash, run->word + run->starts[end], run->starts[end + 1] - run->starts[end]);
        hashes[++end] = hash;
    }
    for (; end > first; end--) {
        int64_t id = find_token(tokenizer, hashes[end], prefix,
                                deja_slice(run->word + begin, run->starts[end] - begin));
        if (id >= 0) {
            *out_id = (uint32_t)id;
            return end;
        }
    }
    return 0;
}

static void end_word(struct run *run)
{
    uint32_t pieces[WORD_CHARS_MAX];
    size_t count = 0;
    size_t chars = run->word_chars;
    if (chars > WORD_CHARS_MAX) {
        pieces[count++] = run->tokenizer->unknown;
        chars = 0;
    }
    for (size_t at = 0; at < chars;) {
        at = find_piece(run, at, &pieces[count]);
        if (!at) { /* one unknown piece makes the whole word unknown */
            pieces[0] = run->tokenizer->unknown;
            count = 1;
            break;
        }
        count++;
    }
    for (size_t i = 0; i < count; i++)
        emit(run, pieces[i]);
    run->word_len = 0;
    run->word_chars = 0;
}

static void add_char(struct run *run, int32_t code_point)
{
    if (run->word_chars < WORD_CHARS_MAX) {
        struct dj_buf room = {.data = run->word + run->word_len, .cap = 4, .bytes_max = 4};
        dj_utf8_append(&room, code_point);
        run->starts[run->word_chars] = run->word_len;
        run->word_len += room.len;
        run->starts[run->word_chars + 1] = run->word_len;
    }
    run->word_chars++;
}

/* The blocks BERT sets spaces around; Hangul, Hiragana and Katakana are written with words. */
static bool is_cjk(int32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* Everything in ASCII that is no letter, digit, space or control counts, "$" and "`" too. */
static bool is_punctuation(int32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    return dj_char_class(c) == DJ_CHAR_PUNCTUATION;
}

static void add_normalised(struct run *run, int32_t code_point)
{
    if (!is_punctuation(code_point)) {
        add_char(run, dj_char_lower(code_point));
        return;
    }
    end_word(run);
    add_char(run, code_point);
    end_word(run);
}

static void add_code_point(struct run *run, int32_t code_point)
{
    if (code_point > 0x20 && code_point < 0x7f) {
        add_normalised(run, code_point);
        return;
    }
    enum dj_char_class class = dj_char_class(code_point);
    if (class == DJ_CHAR_SPACE) {
        end_word(run);
        return;
    }
    /* Unassigned ones stay and make their word [UNK]: a sign newer than our tables is still a sign.
     */
    if (code_point <= 0 || code_point == 0xfffd ||
        (class == DJ_CHAR_CONTROL && dj_char_is_assigned(code_point)))
        return;
    bool stands_alone = is_cjk(code_point);
    if (stands_alone)
        end_word(run);
    int32_t parts[DJ_CHAR_PARTS_MAX];
    size_t count = dj_char_decompose(code_point, parts);
    for (size_t i = 0; i < count; i++) {
        if (!dj_char_is_nonspacing_mark(parts[i]))
            add_normalised(run, parts[i]);
    }
    if (stands_alone)
        end_word(run);
}

/* The special token written out at this place of the text, or NULL. */
static const struct special *special_at(const struct dj_tokenizer *tokenizer, const char *at,
                                        size_t len)
{
    for (size_t i = 0; i < tokenizer->specials_count; i++) {
        const struct special *special = &tokenizer->specials[i];
        if (special->text.len <= len && memcmp(at, special->text.data, special->text.len) == 0)
            return special;
    }
    return NULL;
}

uint32_t dj_tokenizer_encode(const struct dj_tokenizer *tokenizer, struct deja_slice text,
                             uint32_t ids_max, uint32_t *out_ids)
{
    struct run run = {.tokenizer = tokenizer, .ids = out_ids, .room = ids_max - 1};
    emit(&run, tokenizer->begin);
    size_t offset = 0;
    while (offset < text.len && run.count < run.room) {
        const struct special *special = NULL;
        if (text.data[offset] == '[')
            special = special_at(tokenizer, text.data + offset, text.len - offset);
        if (special) {
            end_word(&run);
            emit(&run, special->id);
            offset += special->text.len;
            continue;
        }
        add_code_point(&run, dj_utf8_next(text, &offset));
    }
    end_word(&run);
    run.room = ids_max;
    emit(&run, tokenizer->end);
    return run.count;
}
