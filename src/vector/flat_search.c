/* vector/flat_search.c - the best of a scope, or of all; see flat.h.
 *
 * A search walks its scope's slots in blocks: an int8 dot for each, then for the few that can still
 * be among the best k the exact fp32 dot, at once. "Can" is proved, not guessed: a vector and its
 * int8 form differ by a known length, so by Cauchy and Schwarz
 *     |exact - rough| <= error(query) + error(vector) * (1 + error(query)),
 * and a slot is passed over only when even this much more would not bring it in. The result is
 * that of an exhaustive fp32 scan, always; only the time depends on the data.
 *
 * Departs from "int8 pass, then rescore the best 50": that is a guess about the data which near
 * duplicates break, and the 50 need memory. 10,000 x 384, Zen 4, AVX-512: 80 us for the best one.
 */
#include <math.h>

#include "base/alloc.h"
#include "simd/simd.h"
#include "vector/flat_internal.h"

enum {
    MATCHES_MAX = 100,
    BLOCK = 256 /* slots scored together: their sums fit the stack */
};

static const float rounding_slack = 1e-5F; /* of fp32 sums, far above what they err */

enum deja_status dj_flat_prepare(const float *vector, uint32_t dim, struct dj_flat_prepared *out)
{
    struct dj_flat_prepared made;
    made.floats = dj_alloc(dim * (sizeof *made.floats + sizeof *made.bytes));
    if (!made.floats)
        return DEJA_ERR_NOMEM;
    made.bytes = (int8_t *)(made.floats + dim);
    memcpy(made.floats, vector, dim * sizeof *vector);
    if (!dj_simd_normalise(made.floats, dim)) {
        dj_free(made.floats);
        return DEJA_ERR_INVALID;
    }
    float largest = 0.0F;
    for (uint32_t i = 0; i < dim; i++)
        largest = fmaxf(largest, fabsf(made.floats[i]));
    dj_simd()->quantise(made.floats, dim, 127.0F / largest, made.bytes);
    made.hot.step = largest / 127.0F;
    float squares = 0.0F;
    for (uint32_t i = 0; i < dim; i++) {
        float rest = made.floats[i] - (float)made.bytes[i] * made.hot.step;
        squares += rest * rest;
    }
    made.hot.error = sqrtf(squares);
    *out = made;
    return DEJA_OK;
}

/* What a search has found so far: best first, equal ones by id, so that results never depend on the
 * order of slots. */
struct best {
    struct dj_flat_match matches[MATCHES_MAX];
    uint32_t count;
    uint32_t k;
    int64_t now_ms;
    const struct dj_flat_prepared *query;
};

static bool is_better(const struct dj_flat_match *a, const struct dj_flat_match *b)
{
    if (a->similarity != b->similarity)
        return a->similarity > b->similarity;
    return memcmp(a->id, b->id, sizeof a->id) < 0;
}

static void offer(struct best *best, const struct dj_flat_match *match)
{
    if (best->count == best->k) {
        if (!is_better(match, &best->matches[best->k - 1]))
            return;
        best->count--;
    }
    uint32_t at = best->count++;
    for (; at && is_better(match, &best->matches[at - 1]); at--)
        best->matches[at] = best->matches[at - 1];
    best->matches[at] = *match;
}

static void score_block(const struct dj_flat *index, const uint32_t *slots, size_t count,
                        struct best *best)
{
    int32_t sums[BLOCK];
    const struct dj_flat_prepared *query = best->query;
    const struct dj_simd *simd = dj_simd();
    simd->dots_i8(query->bytes, index->dim, index->bytes, slots, count, sums);
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = slots[i];
        const struct dj_flat_hot *hot = &index->hot[slot];
        float rough = (float)sums[i] * hot->step * query->hot.step;
        float reach = query->hot.error + hot->error * (1.0F + query->hot.error) + rounding_slack;
        if (best->count == best->k && rough + reach < best->matches[best->k - 1].similarity)
            continue;
        const struct dj_flat_cold *cold = &index->cold[slot];
        if (cold->expires_ms && cold->expires_ms <= best->now_ms)
            continue;
        float exact =
            simd->dot_f32(query->floats, index->floats + (size_t)slot * index->dim, index->dim);
        struct dj_flat_match match = {.similarity = fmaxf(-1.0F, fminf(1.0F, exact))};
        memcpy(match.id, cold->id, sizeof match.id);
        offer(best, &match);
    }
}

static void search_scope(struct dj_flat *index, uint32_t record, struct best *best)
{
    struct dj_flat_scope *scope = &index->scopes[record];
    const uint32_t *list = dj_flat_list(scope);
    /* written only when it changes, or readers on other cores would fight for the line */
    if (!atomic_load_explicit(&scope->was_touched, memory_order_relaxed))
        atomic_store_explicit(&scope->was_touched, true, memory_order_relaxed);
    for (uint32_t i = 0; i < scope->count; i += BLOCK) {
        uint32_t count = scope->count - i < BLOCK ? scope->count - i : BLOCK;
        score_block(index, list + i, count, best);
    }
}

static void search_slab(const struct dj_flat *index, struct best *best)
{
    uint32_t slots[BLOCK];
    size_t count = 0;
    for (uint32_t slot = 0; slot < index->slots_used; slot++) {
        if (index->cold[slot].scope == DJ_SLOT_NONE)
            continue;
        slots[count++] = slot;
        if (count == BLOCK) {
            score_block(index, slots, count, best);
            count = 0;
        }
    }
    score_block(index, slots, count, best);
}

/* The matches are left unset: they are read only as far as they were written. */
static void begin_search(struct best *best, uint32_t k, int64_t now_ms)
{
    best->count = 0;
    best->k = k;
    best->now_ms = now_ms;
    best->query = NULL;
}

static enum deja_status end_search(enum deja_status status, const struct best *best,
                                   struct dj_flat_match *out_matches, uint32_t *out_count)
{
    if (status != DEJA_OK)
        return status;
    if (best->count)
        memcpy(out_matches, best->matches, best->count * sizeof *out_matches);
    *out_count = best->count;
    return DEJA_OK;
}

/* scope NULL: all of them. */
static enum deja_status search(struct dj_flat *index, const uint8_t *scope, const float *query,
                               struct best *best)
{
    struct dj_flat_prepared made;
    if (best->k > MATCHES_MAX)
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_flat_prepare(query, index->dim, &made);
    if (status != DEJA_OK)
        return status;
    best->query = &made;
    pthread_rwlock_rdlock(&index->lock);
    if (best->k && !scope) {
        search_slab(index, best);
    } else if (best->k) {
        uint32_t record = dj_slot_table_find(&index->by_scope, dj_flat_scope_keys(index), scope);
        if (record != DJ_SLOT_NONE)
            search_scope(index, record, best);
    }
    pthread_rwlock_unlock(&index->lock);
    best->query = NULL; /* made ends here */
    dj_free(made.floats);
    return DEJA_OK;
}

enum deja_status dj_flat_search(struct dj_flat *index, const uint8_t scope[16], const float *query,
                                uint32_t k, int64_t now_ms, struct dj_flat_match *out_matches,
                                uint32_t *out_count)
{
    struct best best;
    begin_search(&best, k, now_ms);
    return end_search(search(index, scope, query, &best), &best, out_matches, out_count);
}

enum deja_status dj_flat_search_all(struct dj_flat *index, const float *query, uint32_t k,
                                    int64_t now_ms, struct dj_flat_match *out_matches,
                                    uint32_t *out_count)
{
    struct best best;
    begin_search(&best, k, now_ms);
    return end_search(search(index, NULL, query, &best), &best, out_matches, out_count);
}
