/* attacks.c - how often does a question get the answer of another that was made to look like it?
 *
 *   attacks [SEED [SWAPS [CLIMBS [STEPS]]]]        DEJA_TEST_MODEL: folder of an encoder; else
 * lexical
 *
 * Swaps: two questions from one template with another number, entity, negation, unit ... Climbs:
 * the attacker stores the victim's question with words of his own behind it and changes his last
 * words STEPS times, keeping what comes nearer to the victim's vector. Each pair is judged as a
 * look-up judges it: similarity, then guards. Prints a curve over thresholds; exit code 1 where
 * more than 1 % of the swaps would be served at the shipped threshold (docs/security.md, S2).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacks.h"
#include "base/num.h"
#include "embed/lexical.h"
#include "embed/transformer.h"
#include "policy/guards.h"
#include "policy/reuse.h"
#include "simd/simd.h"

enum { BATCH = 32, CUTS = 10, WORDS_MAX = 6 };

static const double cuts[CUTS] = {0.70, 0.75, 0.80, 0.85, 0.88, 0.90, 0.92, 0.95, 0.97, 0.99};

struct tally {
    uint64_t count;
    uint64_t served;            /* at the shipped threshold, guards on */
    uint64_t near[CUTS];        /* at or above each cut, whatever the guards say */
    uint64_t near_passed[CUTS]; /* and not refused by one */
};

struct run {
    struct dj_embedder *embedder;
    double threshold;
    uint64_t state;
    struct tally tallies[ATTACK_KINDS];
    uint64_t shown;
};

static void check(enum deja_status status, const char *what)
{
    if (status == DEJA_OK)
        return;
    fprintf(stderr, "attacks: %s: %s\n", what, deja_status_text(status));
    exit(2);
}

static void embed(const struct run *run, const char *const *texts, size_t count, float *out)
{
    struct deja_slice slices[BATCH];
    for (size_t i = 0; i < count; i++)
        slices[i] = deja_slice_text(texts[i]);
    check(dj_embedder_embed(run->embedder, slices, count, out), "embedding");
}

static float similarity_of(const struct run *run, const float *a, const float *b)
{
    return dj_simd()->dot_f32(a, b, run->embedder->dim);
}

static void judge(struct run *run, const struct attack *attack, float similarity)
{
    struct tally *tally = &run->tallies[attack->kind];
    struct dj_guard_features stored;
    struct dj_guard_features asked;
    struct dj_guard_verdict verdict;
    struct dj_reuse_decision decision;
    check(dj_guard_features_init(&stored, deja_slice_text(attack->stored)), "guards");
    check(dj_guard_features_init(&asked, deja_slice_text(attack->asked)), "guards");
    dj_guards_compare(&asked, &stored, &verdict);
    dj_guard_features_fini(&stored);
    dj_guard_features_fini(&asked);
    const struct dj_reuse_candidate candidate = {
        .similarity = similarity, .guards_refused = verdict.refused, .is_usable = true};
    dj_reuse_decide(&candidate, 1, run->threshold, &decision);
    tally->count++;
    for (unsigned i = 0; i < CUTS; i++) {
        bool is_near = (double)similarity >= cuts[i];
        tally->near[i] += is_near;
        tally->near_passed[i] += is_near && !verdict.refused;
    }
    if (!decision.is_served)
        return;
    tally->served++;
    if (run->shown++ < 40)
        printf("served (%s, %.3f): %s  <-  %s\n", attack_kind_names[attack->kind],
               (double)similarity, attack->asked, attack->stored);
}

static void run_swaps(struct run *run, uint64_t count)
{
    uint32_t dim = run->embedder->dim;
    float *vectors = calloc((size_t)BATCH * dim, sizeof *vectors);
    struct attack *attacks = calloc(BATCH / 2, sizeof *attacks);
    if (!vectors || !attacks)
        check(DEJA_ERR_NOMEM, "memory");
    for (uint64_t done = 0; done < count; done += BATCH / 2) {
        const char *texts[BATCH];
        for (unsigned i = 0; i < BATCH / 2; i++) {
            attack_make(&run->state, (enum attack_kind)((done + i) % ATTACK_SUFFIX), &attacks[i]);
            texts[2 * i] = attacks[i].stored;
            texts[2 * i + 1] = attacks[i].asked;
        }
        embed(run, texts, BATCH, vectors);
        for (unsigned i = 0; i < BATCH / 2; i++) {
            const float *stored = vectors + 2 * (size_t)i * dim;
            if (strcmp(attacks[i].stored, attacks[i].asked) != 0)
                judge(run, &attacks[i], similarity_of(run, stored, stored + dim));
        }
    }
    free(attacks);
    free(vectors);
}

/* ---- climbing ---- */

struct climb {
    char victim[ATTACK_TEXT_BYTES];
    const char *payload;
    char words[WORDS_MAX][64];
};

static void text_of(const struct climb *climb, char text[ATTACK_TEXT_BYTES])
{
    int len = snprintf(text, ATTACK_TEXT_BYTES, "%.240s %s", climb->victim, climb->payload);
    for (unsigned i = 0; i < WORDS_MAX && (size_t)len < ATTACK_TEXT_BYTES; i++)
        if (climb->words[i][0])
            len += snprintf(text + len, ATTACK_TEXT_BYTES - (size_t)len, " %s", climb->words[i]);
}

/* BATCH neighbours of the best at a time; the best of them goes on if it is nearer. */
static void run_climb(struct run *run, uint64_t steps)
{
    uint32_t dim = run->embedder->dim;
    float *vectors = calloc((size_t)(BATCH + 1) * dim, sizeof *vectors);
    struct climb *tried = calloc(BATCH, sizeof *tried);
    char(*texts)[ATTACK_TEXT_BYTES] = calloc(BATCH, sizeof *texts);
    if (!vectors || !tried || !texts)
        check(DEJA_ERR_NOMEM, "memory");
    struct climb best = {.payload = attack_payload(&run->state)};
    attack_victim(&run->state, best.victim);
    const char *victim = best.victim;
    float *target = vectors + (size_t)BATCH * dim;
    embed(run, &victim, 1, target);
    float reached = -1.0F;
    for (uint64_t step = 0; step < steps; step += BATCH) {
        const char *asked[BATCH];
        for (unsigned i = 0; i < BATCH; i++) {
            tried[i] = best;
            char *word = tried[i].words[attack_draw(&run->state) % WORDS_MAX];
            char room[64];
            snprintf(word, 64, "%s", attack_word(&run->state, victim, room));
            text_of(&tried[i], texts[i]);
            asked[i] = texts[i];
        }
        embed(run, asked, BATCH, vectors);
        unsigned nearest = 0;
        for (unsigned i = 1; i < BATCH; i++)
            if (similarity_of(run, vectors + (size_t)i * dim, target) >
                similarity_of(run, vectors + (size_t)nearest * dim, target))
                nearest = i;
        float similarity = similarity_of(run, vectors + (size_t)nearest * dim, target);
        if (similarity > reached) {
            reached = similarity;
            best = tried[nearest];
        }
    }
    struct attack attack = {.kind = ATTACK_SUFFIX};
    text_of(&best, attack.stored);
    snprintf(attack.asked, sizeof attack.asked, "%s", best.victim);
    judge(run, &attack, reached);
    free(texts);
    free(tried);
    free(vectors);
}

/* ---- the whole ---- */

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static int report(const struct run *run)
{
    struct tally swaps = {0};
    printf("%-10s %7s %18s   near, and passed by the guards, in %% at\n%-10s %7s %18s", "attack",
           "pairs", "served", "", "", "");
    for (unsigned i = 0; i < CUTS; i++)
        printf("  %10.2f", cuts[i]);
    printf("\n");
    for (unsigned kind = 0; kind <= ATTACK_KINDS; kind++) {
        const struct tally *tally = kind < ATTACK_KINDS ? &run->tallies[kind] : &swaps;
        printf("%-10s %7" PRIu64 " %9" PRIu64 " %7.2f%%",
               kind < ATTACK_KINDS ? attack_kind_names[kind] : "all swaps", tally->count,
               tally->served, percent(tally->served, tally->count));
        for (unsigned i = 0; i < CUTS; i++)
            printf("  %4.1f /%4.1f", percent(tally->near[i], tally->count),
                   percent(tally->near_passed[i], tally->count));
        printf("\n");
        if (kind >= ATTACK_SUFFIX)
            continue;
        swaps.count += tally->count;
        swaps.served += tally->served;
        for (unsigned i = 0; i < CUTS; i++) {
            swaps.near[i] += tally->near[i];
            swaps.near_passed[i] += tally->near_passed[i];
        }
    }
    printf("embedder %s, threshold %.3f\n", run->embedder->kind, run->threshold);
    return percent(swaps.served, swaps.count) > 1.0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t given[4] = {1, 2100, 8, 96};
    struct run run = {0};
    struct deja_error error = {{0}};
    for (int i = 1; i < argc && i <= 4; i++)
        if (dj_num_parse_u64(deja_slice_text(argv[i]), &given[i - 1]) != DEJA_OK) {
            fprintf(stderr, "attacks [SEED [SWAPS [CLIMBS [STEPS]]]]\n");
            return 2;
        }
    const char *model = getenv("DEJA_TEST_MODEL");
    dj_simd_init();
    check(model && *model ? dj_transformer_open(model, &run.embedder, &error)
                          : dj_lexical_create(&run.embedder),
          error.message[0] ? error.message : "the embedder");
    run.threshold = dj_reuse_threshold(dj_reuse_shipped_threshold(run.embedder->kind),
                                       DJ_REUSE_FLOOR_RESPONSE, 0);
    run.state = given[0];
    run_swaps(&run, given[1]);
    for (uint64_t i = 0; i < given[2]; i++)
        run_climb(&run, given[3]);
    int code = report(&run);
    dj_embedder_destroy(run.embedder);
    return code;
}
