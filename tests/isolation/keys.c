/* keys.c - does a plain key ever cross a tenant, a namespace or a user? (ARCHITECTURE.md, I1)
 *
 *   keys [SEED [CHECKS]]
 *
 * As isolation.c: everybody has put the same keys, each with a value that names him; who reads,
 * lists, counts or removes gets what is his own and all of it. Exit code 1 if there was one leak or
 * loss.
 */
#include <inttypes.h>

#include "base/num.h"
#include "cache/plain.h"
#include "stage.h"

enum { NAMES = QUESTIONS, NAME_BYTES = 32, MANY = 64 };

enum path {
    PATH_MEMORY,
    PATH_GET,
    PATH_MANY,
    PATH_SCAN,
    PATH_COUNT,
    PATH_STATS,
    PATH_REMOVE,
    PATH_CLEAR,
    PATH_KINDS,
};

static const char *const path_names[PATH_KINDS] = {"memory", "get",   "many",   "scan",
                                                   "count",  "stats", "remove", "clear"};

struct tally {
    uint64_t checks, leaks;
};

struct keys {
    struct world world;
    struct stage stage;
    struct dj_plain *plain;
    struct dj_plain_space spaces[EVERYBODY];
    struct tally tallies[PATH_KINDS];
};

/* One call of the test's thread, on the loop. */
struct key_call {
    struct keys *keys;
    uint32_t owner;
    uint32_t names[MANY];
    enum path path;
    struct dj_plain_selector selector;
    struct event ended;
    uint64_t left;
    uint64_t number;
};

static struct deja_slice name_of(uint32_t number, char text[NAME_BYTES])
{
    snprintf(text, NAME_BYTES, "session:user:%u", number);
    return deja_slice_text(text);
}

static struct dj_loop *loop_of(const struct key_call *call)
{
    return stage_loop(&call->keys->stage);
}

static const struct owner *owner_of(const struct key_call *call)
{
    return &call->keys->world.owners[call->owner];
}

/* ---- judging ---- */

static void judge(struct keys *keys, enum path path, const struct owner *owner, bool is_right)
{
    struct tally *tally = &keys->tallies[path];
    tally->checks++;
    if (!is_right && tally->leaks++ < 3)
        printf("leak or loss: %s of %s\n", path_names[path], owner->mark);
}

/* value: what the call's owner got for that name. */
static void judge_value(struct key_call *call, uint32_t name, const struct dj_value *value)
{
    judge(call->keys, call->path, owner_of(call),
          value && is_answer(owner_of(call), name, dj_value_entry(value)));
}

/* ---- puts ---- */

static enum dj_plain_verdict put_value(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    const struct key_call *call = ctx;
    (void)now;
    (void)now_ms;
    out_new->body = deja_slice_text(owner_of(call)->stored[call->names[0]].body);
    out_new->is_through = true;
    return DJ_PLAIN_PUT;
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct key_call *call = ctx;
    assert(status == DEJA_OK);
    call->number = outcome->was_there;
    event_set(&call->ended);
}

static void start_put(void *ctx)
{
    struct key_call *call = ctx;
    char text[NAME_BYTES];
    const struct dj_plain_change change = {
        .mode = DJ_PLAIN_BLIND, .change = put_value, .ctx = call, .done = on_changed};
    enum deja_status status =
        dj_plain_change(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                        name_of(call->names[0], text), &change);
    assert(status == DEJA_OK);
}

static void run(struct key_call *call, dj_task_fn *start)
{
    event_init(&call->ended);
    on_loop(loop_of(call), start, call);
    event_wait(&call->ended);
}

static void put_everything(struct keys *keys)
{
    for (uint32_t i = 0; i < EVERYBODY; i++)
        for (uint32_t name = 0; name < NAMES; name++) {
            struct key_call call = {.keys = keys, .owner = i, .names = {name}};
            run(&call, start_put);
        }
}

/* ---- reads ---- */

static void find_in_memory(void *ctx)
{
    struct key_call *call = ctx;
    struct keys *keys = call->keys;
    for (uint64_t i = 0; i < call->left; i++) {
        char text[NAME_BYTES];
        uint32_t name = draw_below(&keys->world, NAMES);
        call->owner = draw_below(&keys->world, EVERYBODY);
        struct dj_value *value = dj_plain_find(keys->plain, loop_of(call),
                                               &keys->spaces[call->owner], name_of(name, text));
        judge_value(call, name, value);
        dj_value_unref(value);
    }
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct key_call *call = ctx;
    (void)level;
    judge_value(call, call->names[0], value);
    dj_value_unref(value);
    event_set(&call->ended);
}

static void start_get(void *ctx)
{
    struct key_call *call = ctx;
    char text[NAME_BYTES];
    enum deja_status status =
        dj_plain_get(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                     name_of(call->names[0], text), DJ_LEVEL_BIT(DJ_LEVEL_MEMORY), call, on_got);
    assert(status == DEJA_OK);
}

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct key_call *call = ctx;
    (void)levels;
    for (size_t i = 0; i < count; i++) {
        judge_value(call, call->names[i], values[i]);
        dj_value_unref(values[i]);
    }
    event_set(&call->ended);
}

/* Each second time of what lies below memory. */
static void start_many(void *ctx)
{
    struct key_call *call = ctx;
    char texts[MANY][NAME_BYTES];
    struct deja_slice names[MANY];
    for (uint32_t i = 0; i < MANY; i++)
        names[i] = name_of(call->names[i], texts[i]);
    enum deja_status status = dj_plain_get_many(
        call->keys->plain, loop_of(call), &call->keys->spaces[call->owner], names, MANY,
        call->names[0] % 2 ? DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) : 0, call, on_got_many);
    assert(status == DEJA_OK);
}

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct key_call *call = ctx;
    assert(status == DEJA_OK);
    for (size_t i = 0; i < count; i++) {
        const struct dj_entry *entry = dj_value_entry(values[i]);
        judge(call->keys, call->path, owner_of(call), is_of(owner_of(call), entry));
    }
    call->number += count;
    call->left = cursor;
    event_set(&call->ended);
}

static void start_scan(void *ctx)
{
    struct key_call *call = ctx;
    enum deja_status status =
        dj_plain_scan(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                      &call->selector, call->left, MANY, call, on_scanned);
    assert(status == DEJA_OK);
}

static void list_all_of(struct keys *keys, uint32_t owner)
{
    struct key_call call = {.keys = keys, .owner = owner, .path = PATH_SCAN};
    if (draw_below(&keys->world, 2))
        call.selector.pattern = deja_slice_text("session:*");
    do
        run(&call, start_scan);
    while (call.left);
    judge(keys, PATH_SCAN, owner_of(&call), call.number == NAMES);
}

/* A list costs a walk through all that the tenant has in every tier, so there are fewer of them. */
static void read_everything(struct keys *keys, uint64_t checks)
{
    struct key_call call = {.keys = keys, .left = checks * 3 / 4, .path = PATH_MEMORY};
    on_loop(loop_of(&call), find_in_memory, &call);
    for (uint64_t i = 0; i < checks / 10; i += MANY) {
        call = (struct key_call){.keys = keys, .path = PATH_MANY};
        call.owner = draw_below(&keys->world, EVERYBODY);
        for (uint32_t n = 0; n < MANY; n++)
            call.names[n] = draw_below(&keys->world, NAMES);
        run(&call, start_many);
        call.path = PATH_GET;
        run(&call, start_get);
        if (i % (8 * MANY) == 0)
            list_all_of(keys, call.owner);
    }
}

/* ---- figures, and removals ---- */

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct key_call *call = ctx;
    assert(status == DEJA_OK);
    call->number = sum->keys;
    event_set(&call->ended);
}

static void start_count(void *ctx)
{
    struct key_call *call = ctx;
    enum deja_status status =
        dj_plain_count(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                       &call->selector, call, on_counted);
    assert(status == DEJA_OK);
}

static void start_clear(void *ctx)
{
    struct key_call *call = ctx;
    enum deja_status status =
        dj_plain_clear(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                       &call->selector, call, on_counted);
    assert(status == DEJA_OK);
}

static void start_remove(void *ctx)
{
    struct key_call *call = ctx;
    char text[NAME_BYTES];
    enum deja_status status =
        dj_plain_remove(call->keys->plain, loop_of(call), &call->keys->spaces[call->owner],
                        name_of(call->names[0], text), call, on_changed);
    assert(status == DEJA_OK);
}

static uint64_t count_of(struct keys *keys, uint32_t owner, bool is_every_user)
{
    struct key_call call = {.keys = keys, .owner = owner, .selector.is_every_user = is_every_user};
    run(&call, start_count);
    return call.number;
}

static void check_figures(struct keys *keys)
{
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        const struct owner *owner = &keys->world.owners[i];
        struct dj_plain_stats stats;
        uint64_t of_space = (owner->is_twin ? 1 : USERS) * (uint64_t)NAMES;
        judge(keys, PATH_COUNT, owner, count_of(keys, i, false) == NAMES);
        judge(keys, PATH_COUNT, owner, count_of(keys, i, true) == of_space);
        dj_plain_stats(keys->plain, owner->id, &stats);
        judge(keys, PATH_STATS, owner, stats.puts == EVERYBODY / TENANTS * (uint64_t)NAMES);
    }
}

struct who {
    struct keys *keys;
    uint32_t name;
    enum path path;
    bool is_there[EVERYBODY];
};

/* Everybody's value of that name is there exactly if is_there says so. */
static void find_who_has(void *ctx)
{
    struct who *who = ctx;
    struct keys *keys = who->keys;
    char text[NAME_BYTES];
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        struct dj_value *value = dj_plain_find(keys->plain, stage_loop(&keys->stage),
                                               &keys->spaces[i], name_of(who->name, text));
        judge(keys, who->path, &keys->world.owners[i], (value != NULL) == who->is_there[i]);
        dj_value_unref(value);
    }
}

static void remove_everything(struct keys *keys)
{
    for (uint32_t name = 0; name < 2; name++) {
        struct who who = {keys, name, name ? PATH_CLEAR : PATH_REMOVE, {0}};
        memset(who.is_there, true, sizeof who.is_there);
        for (uint32_t i = 0; i < EVERYBODY; i++) {
            struct key_call call = {.keys = keys, .owner = i, .names = {name}};
            run(&call, name ? start_clear : start_remove);
            judge(keys, who.path, owner_of(&call), call.number == (name ? NAMES - 1 : 1));
            who.is_there[i] = false;
            on_loop(stage_loop(&keys->stage), find_who_has, &who);
        }
    }
    for (uint32_t i = 0; i < EVERYBODY; i++)
        judge(keys, PATH_CLEAR, &keys->world.owners[i], count_of(keys, i, true) == 0);
}

/* ---- the whole ---- */

static void keys_open(struct keys *keys, uint64_t seed)
{
    world_make(&keys->world, seed);
    stage_open(&keys->stage, &keys->world, false);
    const struct dj_plain_options options = {
        .engine = keys->stage.engine, .loops = keys->stage.loops.loop, .loop_count = LOOPS};
    enum deja_status status = dj_plain_create(&options, &keys->plain);
    assert(status == DEJA_OK);
    for (uint32_t i = 0; i < EVERYBODY; i++) {
        const struct owner *owner = &keys->world.owners[i];
        dj_plain_space_init(&keys->spaces[i], owner->id, owner->user_key,
                            deja_slice_text(owner->space), deja_slice_text(owner->user_tag));
    }
}

static void keys_close(struct keys *keys)
{
    while (dj_engine_pending(keys->stage.engine) > 0)
        drain_loop(stage_loop(&keys->stage));
    dj_plain_destroy(keys->plain);
    stage_close(&keys->stage);
    for (uint32_t i = 0; i < EVERYBODY; i++)
        dj_plain_space_fini(&keys->spaces[i]);
    world_end(&keys->world);
}

int main(int argc, char **argv)
{
    static struct keys keys;
    struct tally total = {0};
    uint64_t seed = 1;
    uint64_t checks = 1000000;
    if ((argc > 1 && dj_num_parse_u64(deja_slice_text(argv[1]), &seed) != DEJA_OK) ||
        (argc > 2 && dj_num_parse_u64(deja_slice_text(argv[2]), &checks) != DEJA_OK)) {
        fprintf(stderr, "keys [SEED [CHECKS]]\n");
        return 2;
    }
    dj_simd_init();
    keys_open(&keys, seed);
    put_everything(&keys);
    read_everything(&keys, checks);
    check_figures(&keys);
    remove_everything(&keys);
    keys_close(&keys);
    for (uint32_t path = 0; path < PATH_KINDS; path++) {
        const struct tally *tally = &keys.tallies[path];
        printf("keys     %-18s %9" PRIu64 " checks  %" PRIu64 " leaks or losses\n",
               path_names[path], tally->checks, tally->leaks);
        total.checks += tally->checks;
        total.leaks += tally->leaks;
    }
    printf("seed %" PRIu64 ": %" PRIu64 " checks, %" PRIu64 " leaks or losses\n", seed,
           total.checks, total.leaks);
    return total.leaks ? 1 : 0;
}
