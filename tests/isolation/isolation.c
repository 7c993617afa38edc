/* isolation.c - does anything ever cross a tenant, a namespace or a user? (ARCHITECTURE.md, I1)
 *
 *   isolation [SEED [CHECKS]]
 *
 * Everybody has stored the same questions; each read is then judged by whose answer it brought. A
 * *leak* is an answer, id or figure of somebody else, a *loss* an own one that was not found. Two
 * stages: memory over LMDB, and memory over a tier that gives anybody's record for any key. Prints
 * what was checked; exit code 1 if there was one leak or loss. The same seed draws the same.
 */
#include <inttypes.h>

#include "base/num.h"
#include "cache/flight.h"
#include "stage.h"

enum { AT_ONCE = 64, FLIGHTS = OWNERS * 8, PATHS_MAX = 32 };

enum path {
    PATH_FINGERPRINT,
    PATH_FLIGHT,
    PATH_MEMORY,
    PATH_STALE,
    PATH_EXACT,
    PATH_NORMALISED,
    PATH_MEANING,
    PATH_EXPLAIN,
    PATH_EXPLAIN_ALL,
    PATH_SIMILAR,
    PATH_GET,
    PATH_EXACT_LMDB,
    PATH_NORMALISED_LMDB,
    PATH_MEANING_LMDB,
    PATH_GET_LMDB,
    PATH_COUNT,
    PATH_TOP,
    PATH_STATS,
    PATH_REMOVE,
    PATH_INVALIDATE,
    PATH_CLEAR,
    PATH_KINDS,
};
#define PATH_ASYNC_FIRST PATH_EXACT
#define PATH_ASYNC_LAST PATH_GET_LMDB

static const char *const path_names[PATH_KINDS] = {
    "fingerprints",     "coalescing",    "memory",       "stale",        "exact", "normalised",
    "meaning",          "explain",       "explain, all", "find similar", "by id", "exact, lmdb",
    "normalised, lmdb", "meaning, lmdb", "by id, lmdb",  "count",        "top",   "stats",
    "remove",           "invalidate",    "clear",
};

struct tally {
    uint64_t checks, leaks, losses;
};

struct run {
    struct world world;
    struct stage stage;
    struct tally honest[PATH_KINDS];
    struct tally confused[PATH_KINDS];
    struct tally *tallies; /* of this stage */
    uint64_t left;         /* async reads to be begun */
    uint32_t flying;
    struct event landed;
};

/* ---- judging ---- */

/* What a read brought: nothing, or an entry that must be the reader's own. */
static void judge(struct run *run, enum path path, const struct owner *reader,
                  const struct dj_entry *entry, bool is_own)
{
    struct tally *tally = &run->tallies[path];
    tally->checks++;
    if (entry && !is_own) {
        if (tally->leaks++ < 3)
            printf("leak: %s gave %s the answer %.*s\n", path_names[path], reader->mark,
                   (int)entry->body.len, entry->body.data);
    } else if (!entry && !run->stage.confused) {
        if (tally->losses++ < 3)
            printf("loss: %s gave %s nothing\n", path_names[path], reader->mark);
    }
}

static void judge_number(struct run *run, enum path path, const struct owner *reader, uint64_t got,
                         uint64_t wanted)
{
    struct tally *tally = &run->tallies[path];
    tally->checks++;
    if (got == wanted)
        return;
    if (tally->leaks++ < 3)
        printf("leak: %s told %s %" PRIu64 ", not %" PRIu64 "\n", path_names[path], reader->mark,
               got, wanted);
}

/* ---- without a loop's turn ---- */

static void check_fingerprints(struct run *run)
{
    for (uint32_t question = 0; question < STORED; question++)
        for (uint32_t i = 0; i < OWNERS; i++)
            for (uint32_t j = 0; j < i; j++) {
                const struct owner *one = &run->world.owners[i];
                const struct dj_fingerprint *a = &one->stored[question].asked;
                const struct dj_fingerprint *b = &run->world.owners[j].stored[question].asked;
                bool is_same = memcmp(a->exact, b->exact, sizeof a->exact) == 0 ||
                               memcmp(a->key.id, b->key.id, sizeof a->key.id) == 0 ||
                               memcmp(a->scope, b->scope, sizeof a->scope) == 0;
                judge_number(run, PATH_FINGERPRINT, one, is_same, false);
            }
}

static void find_in_memory(void *ctx)
{
    struct run *run = ctx;
    struct dj_loop *loop = stage_loop(&run->stage);
    const struct dj_fresh_rules rules = {.serve_stale_ms = UINT64_MAX};
    for (uint64_t i = 0; i < run->left; i++) {
        const struct owner *reader = draw_owner(&run->world);
        bool is_stale = draw_below(&run->world, 16) == 0;
        uint32_t question = is_stale ? STALE_QUESTION : draw_below(&run->world, QUESTIONS);
        const struct dj_store_key *key = &reader->stored[question].asked.key;
        enum dj_freshness freshness = DJ_FRESH_OVER;
        struct dj_value *value =
            is_stale ? dj_engine_find_stale(run->stage.engine, loop, key, &rules, &freshness)
                     : dj_engine_find(run->stage.engine, loop, key, 0);
        const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
        judge(run, is_stale ? PATH_STALE : PATH_MEMORY, reader, entry,
              entry && is_answer(reader, question, entry));
        dj_value_unref(value);
    }
}

/* Everybody has a flight of the same questions under way; who looks for one finds his own. */
static void check_flights(void *ctx)
{
    struct run *run = ctx;
    struct dj_flights *flights = NULL;
    struct dj_flight *opened[FLIGHTS];
    enum deja_status status = dj_flights_create(stage_loop(&run->stage), LOOPS, &flights);
    assert(status == DEJA_OK);
    for (uint32_t i = 0; i < FLIGHTS; i++) {
        struct owner *owner = &run->world.owners[i % OWNERS];
        status = dj_flights_open(flights, owner->stored[i / OWNERS].asked.exact, 1 << 20, owner,
                                 NULL, &opened[i]);
        assert(status == DEJA_OK);
    }
    for (uint32_t i = 0; i < FLIGHTS * 32; i++) {
        const struct owner *reader = &run->world.owners[draw_below(&run->world, OWNERS)];
        uint32_t question = draw_below(&run->world, FLIGHTS / OWNERS);
        struct dj_flight *found =
            dj_flights_find(flights, reader->stored[question].asked.exact, 100);
        judge_number(run, PATH_FLIGHT, reader,
                     found && (const struct owner *)dj_flight_owner(found) == reader, true);
        dj_flight_unref(found);
    }
    for (uint32_t i = 0; i < FLIGHTS; i++)
        dj_flight_fail(opened[i], DEJA_ERR_CANCELLED, "over");
    dj_flights_destroy(flights);
}

/* ---- reads that leave the loop ---- */

struct slot {
    struct run *run;
    const struct owner *reader;
    uint32_t question;
    enum path path;
};

static void begin(struct slot *slot);

static void end(struct slot *slot)
{
    struct run *run = slot->run;
    if (run->left > 0) {
        run->left--;
        begin(slot);
        return;
    }
    free(slot);
    if (--run->flying == 0)
        event_set(&run->landed);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct slot *slot = ctx;
    const struct dj_entry *entry = value ? dj_value_entry(value) : NULL;
    (void)level;
    judge(slot->run, slot->path, slot->reader, entry,
          entry && is_answer(slot->reader, slot->question, entry));
    dj_value_unref(value);
    end(slot);
}

static bool is_candidate_own(const struct slot *slot, const struct dj_candidate *candidate)
{
    const struct dj_entry *entry = dj_value_entry(candidate->value);
    if (slot->path == PATH_EXPLAIN_ALL) /* every scope of the tenant may be explained */
        return memcmp(entry->tenant, slot->reader->id, DJ_ID_BYTES) == 0;
    return is_of(slot->reader, entry) && !candidate->is_other_scope;
}

static void on_looked_up(void *ctx, const struct dj_lookup_result *result)
{
    struct slot *slot = ctx;
    struct run *run = slot->run;
    bool is_list = slot->path >= PATH_EXPLAIN && slot->path <= PATH_SIMILAR;
    uint32_t fetched = 0;
    for (uint32_t i = 0; is_list && i < result->candidate_count; i++) {
        const struct dj_candidate *candidate = &result->candidates[i];
        if (!candidate->is_fetched)
            continue;
        fetched++;
        judge(run, slot->path, slot->reader, dj_value_entry(candidate->value),
              is_candidate_own(slot, candidate));
    }
    if (is_list && !fetched)
        judge(run, slot->path, slot->reader, NULL, false);
    if (!is_list || result->value) {
        const struct dj_entry *entry = result->value ? dj_value_entry(result->value) : NULL;
        bool is_by_key = result->kind != DJ_HIT_SEMANTIC;
        judge(run, slot->path, slot->reader, entry,
              entry && (is_by_key ? is_answer(slot->reader, slot->question, entry)
                                  : is_of(slot->reader, entry)));
    }
    end(slot);
}

static uint32_t skip_of(const struct slot *slot)
{
    bool is_below = slot->path >= PATH_EXACT_LMDB || slot->run->stage.confused;
    return is_below ? DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) : 0;
}

static void look_up(struct slot *slot)
{
    const struct stored *stored = &slot->reader->stored[slot->question];
    struct stage *stage = &slot->run->stage;
    struct dj_lookup_options options = {.is_exact = true, .skip = skip_of(slot), .limit = 20};
    const struct dj_fingerprint *asked = &stored->asked;
    switch (slot->path) {
    case PATH_NORMALISED:
    case PATH_NORMALISED_LMDB:
        asked = &stored->spaced;
        break;
    case PATH_MEANING:
    case PATH_MEANING_LMDB:
        asked = &stored->reworded;
        options.is_semantic = true;
        options.limit = 0;
        break;
    case PATH_EXPLAIN:
    case PATH_EXPLAIN_ALL:
        options.is_exact = false;
        options.is_semantic = true;
        options.is_explain = true;
        options.is_all_scopes = slot->path == PATH_EXPLAIN_ALL;
        break;
    case PATH_SIMILAR:
        options.is_exact = false;
        options.is_semantic = true;
        options.is_find = true;
        options.threshold = 0.5;
        break;
    default:
        break;
    }
    enum deja_status status = dj_engine_lookup(stage->engine, stage_loop(stage), asked, &options,
                                               NULL, slot, on_looked_up);
    assert(status == DEJA_OK);
}

static void begin(struct slot *slot)
{
    struct run *run = slot->run;
    slot->reader = draw_owner(&run->world);
    slot->question = draw_below(&run->world, QUESTIONS);
    enum path last = run->stage.confused ? PATH_GET : PATH_ASYNC_LAST;
    slot->path = PATH_ASYNC_FIRST +
                 (enum path)draw_below(&run->world, (uint32_t)(last - PATH_ASYNC_FIRST + 1));
    if (slot->path != PATH_GET && slot->path != PATH_GET_LMDB) {
        look_up(slot);
        return;
    }
    enum deja_status status =
        dj_engine_get(run->stage.engine, stage_loop(&run->stage),
                      &slot->reader->stored[slot->question].asked.key, skip_of(slot), slot, on_got);
    assert(status == DEJA_OK);
}

static void begin_all(void *ctx)
{
    struct run *run = ctx;
    run->flying = AT_ONCE;
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        struct slot *slot = calloc(1, sizeof *slot);
        assert(slot);
        slot->run = run;
        run->left--;
        begin(slot);
    }
}

static void read_everything(struct run *run, uint64_t in_memory, uint64_t others)
{
    run->left = in_memory;
    on_loop(stage_loop(&run->stage), find_in_memory, run);
    run->left = others > AT_ONCE ? others : AT_ONCE;
    event_init(&run->landed);
    on_loop(stage_loop(&run->stage), begin_all, run);
    event_wait(&run->landed);
}

/* ---- figures ---- */

static void on_number(void *ctx, enum deja_status status, uint64_t number)
{
    struct stage_call *call = ctx;
    call->status = status;
    call->number = number;
    event_set(&call->ended);
}

static void start_count(void *ctx)
{
    struct stage_call *call = ctx;
    enum deja_status status = dj_engine_count(call->stage->engine, stage_loop(call->stage),
                                              call->owner->id, &call->selector, call, on_number);
    assert(status == DEJA_OK);
}

static void on_top(void *ctx, enum deja_status status, const struct dj_top_entry *entries,
                   uint32_t count)
{
    struct stage_call *call = ctx;
    call->status = status;
    call->number = count;
    memcpy(call->top, entries, count * sizeof *entries);
    event_set(&call->ended);
}

/* Each of his answers is served once, then who was served most is asked for. */
static void start_top(void *ctx)
{
    struct stage_call *call = ctx;
    struct dj_loop *loop = stage_loop(call->stage);
    for (uint32_t i = 0; i < QUESTIONS; i++) {
        char text[TEXT_BYTES];
        const struct dj_entry entry = entry_of(call->owner, i, text);
        dj_engine_note_hit(call->stage->engine, loop, &entry, "memory");
    }
    enum deja_status status =
        dj_engine_top(call->stage->engine, loop, call->owner->id, DJ_TOP_MAX, call, on_top);
    assert(status == DEJA_OK);
}

static bool has_id(const struct run *run, const uint8_t tenant[DJ_ID_BYTES],
                   const uint8_t id[DJ_ID_BYTES])
{
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        const struct owner *owner = &run->world.owners[i];
        for (uint32_t q = 0; memcmp(owner->id, tenant, DJ_ID_BYTES) == 0 && q < STORED; q++)
            if (memcmp(owner->stored[q].asked.key.id, id, DJ_ID_BYTES) == 0)
                return true;
    }
    return false;
}

static void check_figures(struct run *run)
{
    /* What is over is not counted. */
    const uint64_t of_space = USERS * QUESTIONS;
    const uint64_t of_tenant =
        (NAMESPACES * USERS + EVERYBODY / TENANTS - OWNERS / TENANTS) * (uint64_t)QUESTIONS;
    for (uint32_t i = 0; i < OWNERS; i++) {
        const struct owner *owner = &run->world.owners[i];
        struct stage_call call = {.owner = owner};
        struct dj_engine_stats stats;
        stage_run(&run->stage, &call, start_count);
        judge_number(run, PATH_COUNT, owner, call.number, of_tenant);
        call.selector.has_name_space = true;
        call.selector.name_space = deja_slice_text("n1");
        stage_run(&run->stage, &call, start_count);
        judge_number(run, PATH_COUNT, owner, call.number, of_space);
        if (owner->user) {
            call.selector = (struct dj_selector){.user_tag = deja_slice_text(owner->user_tag)};
            stage_run(&run->stage, &call, start_count);
            judge_number(run, PATH_COUNT, owner, call.number, NAMESPACES * QUESTIONS);
        }
        stage_run(&run->stage, &call, start_top);
        for (uint64_t n = 0; n < call.number; n++)
            judge_number(run, PATH_TOP, owner, has_id(run, owner->id, call.top[n].id), true);
        dj_engine_stats(run->stage.engine, owner->id, &stats);
        judge_number(run, PATH_STATS, owner, stats.memory.entries, of_tenant / QUESTIONS * STORED);
        judge_number(run, PATH_STATS, owner, stats.lmdb.entries, of_tenant / QUESTIONS * STORED);
        judge_number(run, PATH_STATS, owner, stats.vectors, of_tenant / QUESTIONS * STORED);
        judge_number(run, PATH_STATS, owner, stats.hits, (i / TENANTS + 1) * (uint64_t)QUESTIONS);
    }
}

/* ---- what one removes, the others keep ---- */

static void start_remove(void *ctx)
{
    struct stage_call *call = ctx;
    enum deja_status status =
        dj_engine_remove(call->stage->engine, stage_loop(call->stage),
                         &call->owner->stored[call->question].asked.key, call, on_number);
    assert(status == DEJA_OK);
}

static void start_invalidate(void *ctx)
{
    struct stage_call *call = ctx;
    enum deja_status status =
        dj_engine_invalidate_tag(call->stage->engine, stage_loop(call->stage), call->owner->id,
                                 deja_slice_text("everybody's"), call, on_number);
    assert(status == DEJA_OK);
}

static void start_clear(void *ctx)
{
    struct stage_call *call = ctx;
    enum deja_status status = dj_engine_clear(call->stage->engine, stage_loop(call->stage),
                                              call->owner->id, call, on_number);
    assert(status == DEJA_OK);
}

static void start_find(void *ctx)
{
    struct stage_call *call = ctx;
    call->value = dj_engine_find(call->stage->engine, stage_loop(call->stage),
                                 &call->owner->stored[call->question].asked.key, 0);
}

/* Everybody's answer to it is there exactly if is_there says so. */
static void check_who_has(struct run *run, enum path path, uint32_t question,
                          const bool is_there[EVERYBODY])
{
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        struct stage_call call = {
            .stage = &run->stage, .owner = &run->world.owners[i], .question = question};
        on_loop(stage_loop(&run->stage), start_find, &call);
        judge_number(run, path, call.owner, call.value != NULL, is_there[i]);
        dj_value_unref(call.value);
    }
}

static void remove_everything(struct run *run)
{
    bool is_there[EVERYBODY];
    memset(is_there, true, sizeof is_there);
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        struct stage_call call = {.owner = &run->world.owners[i]};
        stage_run(&run->stage, &call, start_remove);
        is_there[i] = false;
        check_who_has(run, PATH_REMOVE, 0, is_there);
    }
    memset(is_there, true, sizeof is_there);
    for (uint32_t tenant = 0; tenant < TENANTS; tenant++) {
        struct stage_call call = {.owner = &run->world.owners[tenant]};
        bool is_tag = tenant % 2 == 0;
        stage_run(&run->stage, &call, is_tag ? start_invalidate : start_clear);
        for (uint32_t i = 0; i < EVERYBODY; i++)
            if (run->world.owners[i].tenant == tenant)
                is_there[i] = false;
        check_who_has(run, is_tag ? PATH_INVALIDATE : PATH_CLEAR, 1, is_there);
    }
}

/* ---- the whole ---- */

static uint64_t report(const char *stage, const struct tally tallies[PATH_KINDS],
                       struct tally *total)
{
    for (uint32_t path = 0; path < PATH_KINDS; path++) {
        const struct tally *tally = &tallies[path];
        if (!tally->checks)
            continue;
        printf("%-8s %-18s %9" PRIu64 " checks  %" PRIu64 " leaks  %" PRIu64 " losses\n", stage,
               path_names[path], tally->checks, tally->leaks, tally->losses);
        total->checks += tally->checks;
        total->leaks += tally->leaks;
        total->losses += tally->losses;
    }
    return total->checks;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    uint64_t checks = 1000000;
    if ((argc > 1 && dj_num_parse_u64(deja_slice_text(argv[1]), &seed) != DEJA_OK) ||
        (argc > 2 && dj_num_parse_u64(deja_slice_text(argv[2]), &checks) != DEJA_OK)) {
        fprintf(stderr, "isolation [SEED [CHECKS]]\n");
        return 2;
    }
    static struct run run;
    struct tally total = {0};
    dj_simd_init();
    world_make(&run.world, seed);
    run.tallies = run.honest;
    check_fingerprints(&run);
    stage_open(&run.stage, &run.world, false);
    stage_fill(&run.stage);
    on_loop(stage_loop(&run.stage), check_flights, &run);
    read_everything(&run, checks * 3 / 4, checks / 10);
    check_figures(&run);
    remove_everything(&run);
    stage_close(&run.stage);
    run.tallies = run.confused;
    stage_open(&run.stage, &run.world, true);
    stage_fill(&run.stage);
    read_everything(&run, 1, checks / 10);
    stage_close(&run.stage);
    world_end(&run.world);
    report("honest", run.honest, &total);
    report("confused", run.confused, &total);
    printf("seed %" PRIu64 ": %" PRIu64 " checks, %" PRIu64 " leaks, %" PRIu64 " losses\n", seed,
           total.checks, total.leaks, total.losses);
    return total.leaks || total.losses ? 1 : 0;
}
