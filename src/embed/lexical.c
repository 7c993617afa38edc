/* embed/lexical.c - see lexical.h.
 *
 * Each feature's hash names one of 2,048 buckets; four buckets share a dimension, two of them add
 * and two subtract. Counting by bucket and not by dimension lets the damping see single features
 * rather than sums of colliding ones.
 *
 * The weights below are guesses in the usual proportions until `deja eval` has a figure; words
 * count more than their parts, parts let inflections and typing errors still meet.
 */
#include "embed/lexical.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "simd/simd.h"
#include "text/utf8.h"

enum {
    DIM = 512,
    BUCKETS = DIM * 4,
    TEXT_BYTES_MAX = 8192,
    WORD_CHARS_MAX = 32, /* of a longer word the beginning counts */
    GRAM_MIN = 3,
    GRAM_MAX = 5,
    VERSION = 1 /* in the id: raise it with any change of the vectors */
};

static const float word_weight = 1.0F;
static const float pair_weight = 0.5F;
static const float gram_weight = 0.3F;
static const uint64_t word_seed = 1;
static const uint64_t pair_seed = 2;
static const uint64_t byte_seed = 3;
static const uint64_t gram_seed = 4; /* and up, one per size */

struct tally {
    float counts[BUCKETS];
    float weights[BUCKETS]; /* of the last feature in the bucket */
    uint64_t previous;      /* hash of the word before; 0: none */
    size_t features;
};

static void count_feature(struct tally *tally, uint64_t hash, float weight)
{
    tally->counts[hash % BUCKETS] += 1.0F;
    tally->weights[hash % BUCKETS] = weight;
    tally->features++;
}

/* The word between two boundary marks, so that beginnings and ends are grams of their own. */
static void count_word(struct tally *tally, const int32_t *marked, size_t len)
{
    uint64_t hash = dj_hash64(marked, len * sizeof *marked, word_seed);
    count_feature(tally, hash, word_weight);
    if (tally->previous) {
        uint64_t pair[2] = {tally->previous, hash};
        count_feature(tally, dj_hash64(pair, sizeof pair, pair_seed), pair_weight);
    }
    tally->previous = hash ? hash : 1;
    for (size_t size = GRAM_MIN; size <= GRAM_MAX; size++) {
        for (size_t i = 0; i + size <= len; i++)
            count_feature(tally, dj_hash64(marked + i, size * sizeof *marked, gram_seed + size),
                          gram_weight);
    }
}

static bool is_word_char(int32_t code_point)
{
    enum dj_char_class class = dj_char_class(code_point);
    return class == DJ_CHAR_LETTER || class == DJ_CHAR_DIGIT || class == DJ_CHAR_NUMBER_OTHER ||
           class == DJ_CHAR_MARK;
}

static void count_text(struct tally *tally, struct deja_slice text)
{
    int32_t marked[WORD_CHARS_MAX + 2];
    size_t len = 1;
    size_t offset = 0;
    marked[0] = ' ';
    while (offset < text.len) {
        int32_t code_point = dj_utf8_next(text, &offset);
        if (code_point >= 0 && is_word_char(code_point)) {
            int32_t parts[DJ_CHAR_PARTS_MAX];
            size_t count = dj_char_decompose(dj_char_lower(code_point), parts);
            for (size_t i = 0; i < count && len <= WORD_CHARS_MAX; i++) {
                if (!dj_char_is_nonspacing_mark(parts[i]))
                    marked[len++] = parts[i];
            }
            continue;
        }
        if (len > 1) {
            marked[len++] = ' ';
            count_word(tally, marked, len);
            len = 1;
        }
    }
    if (len > 1) {
        marked[len++] = ' ';
        count_word(tally, marked, len);
    }
    if (!tally->features) /* signs only: equal texts still meet, and nothing else does */
        count_feature(tally, dj_hash64(text.data, text.len, byte_seed), word_weight);
}

static void embed_one(struct deja_slice text, float *out)
{
    struct tally tally = {.previous = 0};
    if (text.len > TEXT_BYTES_MAX)
        text.len = TEXT_BYTES_MAX;
    count_text(&tally, text);
    memset(out, 0, DIM * sizeof *out);
    for (size_t i = 0; i < BUCKETS; i++) {
        if (tally.counts[i] == 0.0F)
            continue;
        float value = tally.weights[i] * (1.0F + logf(tally.counts[i]));
        /* which of the four buckets it was decides the sign: two of each */
        out[i % DIM] += i / DIM % 2 ? -value : value;
    }
    /* should every feature meet its own opposite, it is still a vector */
    if (!dj_simd_normalise(out, DIM))
        out[dj_hash64(text.data, text.len, byte_seed) % DIM] = 1.0F;
}

static enum deja_status on_embed(struct dj_embedder *embedder, const struct deja_slice *texts,
                                 size_t count, float *out)
{
    (void)embedder;
    for (size_t i = 0; i < count; i++)
        embed_one(texts[i], out + i * DIM);
    return DEJA_OK;
}

static void on_destroy(struct dj_embedder *embedder)
{
    dj_free(embedder);
}

/* Words between blanks: it knows no other tokens. */
static uint32_t on_count(const struct dj_embedder *embedder, struct deja_slice text)
{
    uint32_t count = 0;
    bool is_inside = false;
    (void)embedder;
    for (size_t i = 0; i < text.len && i < TEXT_BYTES_MAX; i++) {
        bool is_blank = text.data[i] == ' ' || (text.data[i] >= '\t' && text.data[i] <= '\r');
        count += !is_blank && !is_inside;
        is_inside = !is_blank;
    }
    return count;
}

static const struct dj_embedder_ops ops = {
    .embed = on_embed, .destroy = on_destroy, .count = on_count};

enum deja_status dj_lexical_create(struct dj_embedder **out_embedder)
{
    struct dj_embedder *embedder = dj_alloc_zeroed(1, sizeof *embedder);
    if (!embedder)
        return DEJA_ERR_NOMEM;
    embedder->ops = &ops;
    embedder->kind = "lexical";
    embedder->dim = DIM;
    embedder->batch_max = 1;
    (void)snprintf(embedder->id, sizeof embedder->id, "lexical:v%d:sum:%d", VERSION, DIM);
    *out_embedder = embedder;
    return DEJA_OK;
}
