/* cache/raise.c - generations: raised on this machine, or by the tier that all programs share.
 *
 *   raise ── no authority: worker: kept durably in the meta environment ──> told
 *         └─ authority: held at once ──> next round ──> told
 *
 *   round (loop 0, one at a time; once a second, and whenever something was raised):
 *     raise at the authority what is held and was not ──all answered──> pull ──> take over, end the
 *     holds whose raise is in it ──> tell
 *
 * (1) What this program knows of shared counters is a beginning of the one order in which they were
 *     raised: they are taken over from pulls only, each as one moment. So two programs that note
 * the same sum of a tenant's and a namespace's counter have seen the same raises of both. (2) A
 * raise of this program counts here at once: its counter is held at a value nobody else knows until
 * a pull that began after the raise has brought the shared one. (3) A raise that did not reach the
 * authority stays held and is tried in every round. (4) No tier is believed before the first pull
 * has been taken over, nor when the last one is older than VIEW_AGE_MAX_MS; the authority's own
 * entries not after a pull that failed. What others made void while this program could not know
 * must not be served from where they wrote. (5) An authority that has lost what it counted (its
 * sequence goes back) is told again: every counter known here is held and raised anew. (6) A
 *     selection counter (voids.h) that another raised takes along what fills put here since the
 * pull before: they may have begun before the raise.
 */
#include "base/alloc.h"
#include "base/list.h"
#include "cache/depends.h"
#include "cache/engine_internal.h"
#include "security/user.h"

#define ROUND_RAISES_MAX 256u
#define VIEW_AGE_MAX_MS 300000

/* One raise, and who is told; freed when it has been told and, if it was held, settled. */
struct raising {
    struct dj_list node;
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_generation_hold hold; /* tenant and tag: owned by the raise */
    bool is_raised;                 /* the authority has it */
    enum deja_status status;
    struct dj_job job;
    struct dj_task task;
    void *ctx;
    dj_raised_fn *done; /* NULL: nobody is told, or he was */
};

static void destroy(struct raising *raising)
{
    dj_free((void *)(uintptr_t)raising->hold.tag.data);
    dj_free(raising);
}

static struct raising *create(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                              struct deja_slice tag)
{
    struct raising *raising = dj_alloc_zeroed(1, sizeof *raising);
    if (!raising)
        return NULL;
    dj_list_init(&raising->node);
    raising->engine = engine;
    memcpy(raising->hold.tenant, tenant, DJ_ID_BYTES);
    raising->hold.tag = deja_slice(dj_strdup(tag), tag.len);
    if (!raising->hold.tag.data) {
        dj_free(raising);
        return NULL;
    }
    return raising;
}

/* ---- on this machine ---- */

static void raise_here(void *ctx)
{
    struct raising *raising = ctx;
    struct dj_engine *engine = raising->engine;
    uint64_t generation = 0;
    dj_voids_note(engine->voids, raising->hold.tenant, raising->hold.tag,
                  dj_engine_next_version(engine));
    raising->status = dj_generations_raise(engine->generations, raising->hold.tenant,
                                           raising->hold.tag, &generation);
    raising->hold.before = generation - 1;
}

static void on_raised_here(void *ctx)
{
    struct raising *raising = ctx;
    raising->done(raising->ctx, raising->status, raising->hold.before);
    dj_engine_leave(raising->engine);
    destroy(raising);
}

/* ---- where all share it ---- */

struct told {
    struct dj_task task;
    struct dj_engine *engine;
    enum deja_status status;
    uint64_t before;
    void *ctx;
    dj_raised_fn *done;
};

static void on_told(void *ctx)
{
    struct told *told = ctx;
    told->done(told->ctx, told->status, told->before);
    dj_engine_leave(told->engine);
    dj_free(told);
}

/* Its owner hears of it on his loop; the raise itself may have to be tried again (3). */
static void tell(struct raising *raising, enum deja_status status)
{
    struct told *told = raising->job.ctx;
    if (!raising->done)
        return;
    *told = (struct told){.engine = raising->engine,
                          .status = status,
                          .before = raising->hold.before,
                          .ctx = raising->ctx,
                          .done = raising->done};
    told->task = (struct dj_task){.run = on_told, .ctx = told};
    raising->done = NULL;
    dj_loop_post(raising->loop, &told->task);
}

static void begin_round(struct dj_authority *authority);

static void on_kick(void *ctx)
{
    struct dj_authority *authority = ctx;
    atomic_store(&authority->is_kicked, false);
    begin_round(authority);
}

static void enqueue(struct dj_authority *authority, struct raising *raising)
{
    pthread_mutex_lock(&authority->lock);
    dj_list_push_back(&authority->waiting, &raising->node);
    pthread_mutex_unlock(&authority->lock);
}

static void kick(struct dj_authority *authority)
{
    if (atomic_exchange(&authority->is_kicked, true))
        return;
    authority->kick = (struct dj_task){.run = on_kick, .ctx = authority};
    dj_loop_post(authority->engine->options.loops[0], &authority->kick);
}

/* Held from here on (2). */
static enum deja_status raise_shared(struct dj_authority *authority, struct raising *raising)
{
    struct dj_engine *engine = authority->engine;
    dj_voids_note(engine->voids, raising->hold.tenant, raising->hold.tag,
                  dj_engine_next_version(engine));
    enum deja_status status = dj_generations_hold(engine->generations, &raising->hold);
    if (status != DEJA_OK)
        return status;
    enqueue(authority, raising);
    kick(authority);
    return DEJA_OK;
}

/* ---- a round ---- */

static void take_waiting(struct dj_authority *authority)
{
    pthread_mutex_lock(&authority->lock);
    while (authority->round_count < ROUND_RAISES_MAX && !dj_list_is_empty(&authority->waiting)) {
        struct dj_list *node = authority->waiting.next;
        dj_list_remove(node);
        dj_list_push_back(&authority->round, node);
        authority->round_count++;
    }
    pthread_mutex_unlock(&authority->lock);
}

static bool hold_again(void *ctx, const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag)
{
    struct dj_list *lost = ctx;
    struct raising *raising = create(NULL, tenant, tag);
    if (raising)
        dj_list_push_back(lost, &raising->node);
    return raising != NULL;
}

/* (5). Those that find no memory are as they were: known here, unknown to programs to come. */
static void tell_all_again(struct dj_authority *authority)
{
    struct dj_list lost;
    dj_list_init(&lost);
    authority->sequence = 0;
    authority->is_anew = true;
    authority->losses++;
    dj_generations_walk(authority->engine->generations, &lost, hold_again);
    while (!dj_list_is_empty(&lost)) {
        struct raising *raising = DJ_CONTAINER(lost.next, struct raising, node);
        dj_list_remove(&raising->node);
        raising->engine = authority->engine;
        if (raise_shared(authority, raising) != DEJA_OK)
            destroy(raising);
    }
}

static bool is_ours(const struct dj_authority *authority, const struct dj_store_generation *counter)
{
    for (struct dj_list *node = authority->round.next; node != &authority->round;
         node = node->next) {
        const struct dj_generation_hold *hold = &DJ_CONTAINER(node, struct raising, node)->hold;
        if (memcmp(hold->tenant, counter->tenant, DJ_ID_BYTES) == 0 &&
            deja_slice_is_equal(hold->tag, counter->tag))
            return true;
    }
    return false;
}

/* What another program made void, as far as its counter's name says it. */
static void tell_of(struct dj_engine *engine, const struct dj_store_generation *counter)
{
    struct deja_slice tag = counter->tag;
    struct deja_slice dependency = dj_depends_name(tag);
    if (dj_voids_is_selection(tag)) /* whoever named what, told of it */
        return;
    struct dj_notice notice = {.time_ms = dj_loop_now_ms(engine->options.loops[0]),
                               .source = DJ_NOTICE_NODE,
                               .kind = "tag",
                               .name = tag};
    memcpy(notice.tenant, counter->tenant, sizeof notice.tenant);
    if (!tag.len) {
        notice.kind = "all";
    } else if (tag.data[0] == '\0') {
        notice.kind = "namespace";
        notice.name = notice.name_space = deja_slice(tag.data + 1, tag.len - 1);
    } else if (dependency.data) {
        notice.kind = "cascade";
        notice.name = dependency;
    } else if (dj_tag_is_internal(tag)) {
        notice.kind = "user";
        notice.name = deja_slice(NULL, 0);
        notice.is_user = true;
    }
    dj_notices_publish(engine->options.notices, &notice);
}

/* What was computed until now is as of before: when within the last pulls they were raised, nobody
 * knows. That the sequence is 0 says nothing: so it stays until somebody raises the first counter.
 * Before the counters are taken over: a fill that notes them anew is looked at later. */
static void note_pulled(const struct dj_authority *authority)
{
    struct dj_engine *engine = authority->engine;
    uint64_t version = dj_engine_next_version(engine);
    if (authority->is_anew)
        dj_voids_note_all(engine->voids, version);
    for (size_t i = 0; i < authority->pulled_count && !authority->is_anew; i++)
        dj_voids_note(engine->voids, authority->pulled[i].tenant, authority->pulled[i].tag,
                      version);
}

/* (6) */
static void drop_kept(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_loop *loop = engine->options.loops[0];
    struct dj_kept kept;
    uint64_t cursor = 0;
    enum deja_status status = DEJA_OK;
    while (dj_voids_next(engine->voids, tenant, &cursor, &kept)) {
        const struct dj_removal_options options = {
            .version_max = kept.version, .is_tombstone = true, .is_vector = true};
        enum deja_status removing =
            dj_engine_remove_version(engine, loop, &kept.key, &options, NULL, NULL);
        status = status == DEJA_OK ? removing : status;
    }
    if (status != DEJA_OK || dj_voids_is_kept_lost(engine->voids))
        dj_engine_contained(engine, "drop_kept", dj_engine_forget(engine, tenant));
}

static void drop_selected(const struct dj_authority *authority)
{
    for (size_t i = 0; i < authority->pulled_count; i++)
        if (dj_voids_is_selection(authority->pulled[i].tag) &&
            !is_ours(authority, &authority->pulled[i]))
            drop_kept(authority->engine, authority->pulled[i].tenant);
    dj_voids_end_pull(authority->engine->voids);
}

/* Of what the first pull brings, and one that begins anew, nobody knows when it happened. */
static void tell_pulled(const struct dj_authority *authority)
{
    if (authority->is_anew)
        return;
    for (size_t i = 0; i < authority->pulled_count; i++)
        if (!is_ours(authority, &authority->pulled[i]))
            tell_of(authority->engine, &authority->pulled[i]);
}

/* Takes the pull over and ends the holds that it covers; else it was of no use. */
static enum deja_status settle(struct dj_authority *authority)
{
    struct dj_generation_hold holds[ROUND_RAISES_MAX];
    struct raising *raised[ROUND_RAISES_MAX];
    size_t count = 0;
    bool is_behind = false;
    for (struct dj_list *node = authority->round.next; node != &authority->round;
         node = node->next) {
        struct raising *raising = DJ_CONTAINER(node, struct raising, node);
        raised[count] = raising;
        if (raising->is_raised)
            holds[count++] = raising->hold;
    }
    enum deja_status status =
        dj_generations_settle(authority->engine->generations, authority->pulled,
                              authority->pulled_count, holds, count, &is_behind);
    if (status != DEJA_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        raised[i]->hold.is_ended = holds[i].is_ended;
    if (is_behind)
        tell_all_again(authority);
    return is_behind ? DEJA_ERR_CORRUPT : DEJA_OK;
}

/* Told, and gone with its hold; otherwise it waits for the next round (3). */
static void end_raising(struct dj_authority *authority, struct raising *raising)
{
    dj_list_remove(&raising->node);
    tell(raising, raising->is_raised ? DEJA_OK : raising->status);
    if (raising->hold.is_ended) {
        destroy(raising);
        return;
    }
    /* Raised, seen, and no higher than before: an authority that began to count anew (5). */
    raising->is_raised = raising->is_raised && atomic_load(&authority->is_failing);
    enqueue(authority, raising);
}

static void forget_pulled(struct dj_authority *authority)
{
    for (size_t i = 0; i < authority->pulled_count; i++)
        dj_free((void *)(uintptr_t)authority->pulled[i].tag.data);
    authority->pulled_count = 0;
}

static void end_round(struct dj_authority *authority, enum deja_status pulled)
{
    struct dj_engine *engine = authority->engine;
    if (pulled == DEJA_OK)
        note_pulled(authority);
    enum deja_status status = pulled == DEJA_OK ? settle(authority) : pulled;
    bool is_settled = status == DEJA_OK;
    bool is_more = false;
    dj_engine_contained(engine, "pull_generations", status);
    if (is_settled) {
        tell_pulled(authority);
        drop_selected(authority);
        authority->is_anew = false;
        atomic_store(&authority->pulled_ms, dj_loop_now_ms(engine->options.loops[0]));
    }
    atomic_store(&authority->is_failing, !is_settled);
    forget_pulled(authority);
    while (!dj_list_is_empty(&authority->round))
        end_raising(authority, DJ_CONTAINER(authority->round.next, struct raising, node));
    authority->round_count = 0;
    authority->is_running = false;
    pthread_mutex_lock(&authority->lock);
    is_more = is_settled && !dj_list_is_empty(&authority->waiting);
    pthread_mutex_unlock(&authority->lock);
    if (is_more)
        kick(authority);
    dj_engine_leave(engine);
}

static void on_counter(void *ctx, const struct dj_store_generation *counter)
{
    struct dj_authority *authority = ctx;
    if (authority->pulled_count == authority->pulled_cap && !authority->is_pull_lost) {
        size_t cap = authority->pulled_cap ? authority->pulled_cap * 2 : 64;
        struct dj_store_generation *grown =
            dj_realloc(authority->pulled, cap * sizeof *authority->pulled);
        authority->is_pull_lost = !grown;
        if (grown) {
            authority->pulled = grown;
            authority->pulled_cap = cap;
        }
    }
    char *tag = authority->is_pull_lost ? NULL : dj_strdup(counter->tag);
    if (!tag) {
        authority->is_pull_lost = true;
        return;
    }
    struct dj_store_generation *kept = &authority->pulled[authority->pulled_count++];
    *kept = *counter;
    kept->tag = deja_slice(tag, counter->tag.len);
}

static void on_pulled(void *ctx, enum deja_status status, uint64_t sequence)
{
    struct dj_authority *authority = ctx;
    bool is_lost = status == DEJA_OK && sequence < authority->sequence;
    if (status == DEJA_OK && authority->is_pull_lost)
        status = DEJA_ERR_NOMEM;
    if (is_lost) {
        tell_all_again(authority);
        status = DEJA_ERR_CORRUPT; /* the next pull begins at the first */
    } else if (status == DEJA_OK) {
        authority->sequence = sequence;
    }
    end_round(authority, status);
}

static void pull(struct dj_authority *authority)
{
    struct dj_store *store = authority->slot->tier.store;
    authority->is_pull_lost = false;
    dj_voids_begin_pull(authority->engine->voids);
    enum deja_status status =
        store->ops->pull(store, authority->engine->options.loops[0], authority->sequence, authority,
                         on_counter, on_pulled);
    if (status != DEJA_OK)
        end_round(authority, status);
}

static void end_raise(struct dj_authority *authority)
{
    if (--authority->raises_left == 0)
        pull(authority);
}

static void on_raised(void *ctx, enum deja_status status, uint64_t generation)
{
    struct raising *raising = ctx;
    (void)generation; /* the pull brings it, in its place among the others (1) */
    raising->status = status;
    raising->is_raised = status == DEJA_OK;
    end_raise(raising->engine->authority);
}

/* On loop 0. */
static void begin_round(struct dj_authority *authority)
{
    struct dj_engine *engine = authority->engine;
    struct dj_store *store = authority->slot->tier.store;
    if (authority->is_running)
        return; /* its end looks for more */
    authority->is_running = true;
    dj_engine_enter(engine);
    take_waiting(authority);
    authority->raises_left = 1;
    for (struct dj_list *node = authority->round.next; node != &authority->round;
         node = node->next) {
        struct raising *raising = DJ_CONTAINER(node, struct raising, node);
        if (raising->is_raised)
            continue;
        raising->status = store->ops->raise(store, engine->options.loops[0], raising->hold.tenant,
                                            raising->hold.tag, raising, on_raised);
        if (raising->status == DEJA_OK)
            authority->raises_left++;
    }
    end_raise(authority);
}

/* ---- the engine's ---- */

enum deja_status dj_authority_create(struct dj_engine *engine)
{
    struct dj_tier_slot *slot = NULL;
    for (uint32_t i = 0; i < engine->tier_count && !slot; i++)
        if (engine->tiers[i].tier.store->ops->raise)
            slot = &engine->tiers[i];
    if (!slot)
        return DEJA_OK;
    struct dj_authority *authority = dj_alloc_zeroed(1, sizeof *authority);
    if (!authority)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&authority->lock, NULL) != 0) {
        dj_free(authority);
        return DEJA_ERR_NOMEM;
    }
    authority->engine = engine;
    authority->slot = slot;
    authority->is_anew = true;
    dj_list_init(&authority->waiting);
    dj_list_init(&authority->round);
    engine->authority = authority;
    return DEJA_OK;
}

static void destroy_all(struct dj_list *list)
{
    while (!dj_list_is_empty(list)) {
        struct raising *raising = DJ_CONTAINER(list->next, struct raising, node);
        dj_list_remove(&raising->node);
        if (raising->done)
            dj_free(raising->job.ctx);
        destroy(raising);
    }
}

void dj_authority_destroy(struct dj_authority *authority)
{
    if (!authority)
        return;
    destroy_all(&authority->waiting);
    destroy_all(&authority->round);
    forget_pulled(authority);
    dj_free(authority->pulled);
    pthread_mutex_destroy(&authority->lock);
    dj_free(authority);
}

void dj_engine_pull(struct dj_engine *engine)
{
    if (engine->authority)
        begin_round(engine->authority);
}

bool dj_engine_may_read(const struct dj_engine *engine, const struct dj_tier_slot *slot,
                        int64_t now_ms)
{
    const struct dj_authority *authority = engine->authority;
    if (!authority)
        return true;
    int64_t pulled_ms = atomic_load(&authority->pulled_ms);
    if (!pulled_ms || now_ms - pulled_ms > VIEW_AGE_MAX_MS)
        return false;
    return slot != authority->slot || !atomic_load(&authority->is_failing);
}

enum deja_status dj_engine_raise(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                 void *ctx, dj_raised_fn *done)
{
    enum deja_status status = DEJA_ERR_NOMEM;
    struct raising *raising = create(engine, tenant, tag);
    if (!raising)
        return status;
    raising->loop = loop;
    raising->ctx = ctx;
    raising->done = done;
    dj_engine_enter(engine);
    if (!engine->authority) {
        raising->job = (struct dj_job){
            .work = raise_here, .done = on_raised_here, .ctx = raising, .loop = loop};
        status = dj_pool_submit(engine->options.pool, &raising->job);
    } else {
        struct told *told = dj_alloc(sizeof *told);
        raising->job.ctx = told;
        status = told ? raise_shared(engine->authority, raising) : DEJA_ERR_NOMEM;
        if (status != DEJA_OK)
            dj_free(told);
    }
    if (status != DEJA_OK) {
        dj_engine_leave(engine);
        destroy(raising);
    }
    return status;
}

enum deja_status dj_engine_forget(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES])
{
    if (!engine->authority) {
        dj_voids_note(engine->voids, tenant, deja_slice("", 0), dj_engine_next_version(engine));
        return dj_generations_raise(engine->generations, tenant, deja_slice(NULL, 0), NULL);
    }
    struct raising *raising = create(engine, tenant, deja_slice(NULL, 0));
    if (!raising)
        return DEJA_ERR_NOMEM;
    enum deja_status status = raise_shared(engine->authority, raising);
    if (status != DEJA_OK)
        destroy(raising);
    return status;
}
