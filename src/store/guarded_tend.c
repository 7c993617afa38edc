/* store/guarded_tend.c - getting a store back: probes, then what it missed, then reads.
 *
 *   tend() on the store's own loop, whenever something changed:
 *     breaker open          -> a probe, every probe_ms, until one succeeds
 *     journal is not empty  -> a batch of it; again when the last record of the batch ended
 *     neither               -> nothing: up
 *
 * A record leaves the journal when the store has it, or says that it never will. The breaker counts
 * replays as it counts any call, so they are also what closes it when nobody else asks.
 */
#include "base/alloc.h"
#include "store/guarded_internal.h"

#define PAUSE_MS_MAX 5000u
#define REPLAYS_MAX 3u /* of a put */

static void tend(struct guarded *guarded);

/* Under the mutex. */
static void set_behind(struct guarded *guarded)
{
    atomic_store(&guarded->is_behind, !dj_journal_is_empty(guarded->journal));
}

/* ---- into the journal ---- */

/* Under the mutex. */
static void keep(struct guarded *guarded, const struct op *op)
{
    struct dj_journal *journal = guarded->journal;
    if (op->kind == OP_PUT)
        dj_journal_put(journal, op->value, op->vector, op->dim);
    else if (op->kind == OP_REMOVE)
        dj_journal_remove(journal, &op->key, op->number);
    else if (op->kind == OP_CLEAR)
        dj_journal_clear(journal, op->key.tenant);
    else
        dj_journal_raise(journal, op->key.tenant, op->text);
    set_behind(guarded);
}

void guarded_keep(struct guarded *guarded, const struct op *op)
{
    pthread_mutex_lock(&guarded->mutex);
    keep(guarded, op);
    pthread_mutex_unlock(&guarded->mutex);
    guarded_wake(guarded);
}

/* Under the mutex. While the store answers, what nothing kept has to come before goes to it at
 * once: the journal then only shrinks, however much is written meanwhile. */
static bool must_keep(const struct guarded *guarded, const struct op *op, bool is_open)
{
    if (dj_journal_is_empty(guarded->journal))
        return false;
    bool is_of_key = op->kind == OP_PUT || op->kind == OP_REMOVE;
    return is_open || !is_of_key || dj_journal_concerns(guarded->journal, &op->key);
}

bool guarded_keep_behind(struct guarded *guarded, const struct op *op)
{
    if (!atomic_load(&guarded->is_behind))
        return false;
    bool is_open = dj_sentry_state(guarded->sentry) == DJ_BREAKER_OPEN;
    pthread_mutex_lock(&guarded->mutex);
    bool is_kept = must_keep(guarded, op, is_open);
    if (is_kept)
        keep(guarded, op);
    pthread_mutex_unlock(&guarded->mutex);
    return is_kept;
}

/* ---- waking ---- */

static void on_wake(void *ctx)
{
    struct guarded *guarded = ctx;
    atomic_store(&guarded->is_wake_posted, false);
    tend(guarded);
    guarded_unref(guarded);
}

void guarded_wake(struct guarded *guarded)
{
    if (atomic_exchange(&guarded->is_wake_posted, true))
        return;
    guarded_ref(guarded);
    guarded->wake = (struct dj_task){.run = on_wake, .ctx = guarded};
    dj_loop_post(guarded->loop, &guarded->wake);
}

static void arm(struct guarded *guarded, uint64_t after_ms)
{
    if (guarded->is_armed || !guarded->timer)
        return;
    guarded->is_armed = true;
    dj_timer_start(guarded->timer, after_ms, 0);
}

/* ---- probing ---- */

static void on_probed(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct guarded *guarded = ctx;
    dj_value_unref(value);
    guarded->is_probing = false;
    if (status != DEJA_OK)
        arm(guarded, atomic_load(&guarded->probe_ms));
    else
        tend(guarded);
}

static void probe(struct guarded *guarded)
{
    struct op *op = guarded_op_create(guarded, guarded->loop, OP_PROBE, 0, NULL);
    if (!op) {
        arm(guarded, atomic_load(&guarded->probe_ms));
        return;
    }
    op->call.is_probe = true;
    op->ctx = guarded;
    op->told.got = on_probed;
    guarded->is_probing = true;
    guarded_op_run(op);
}

void guarded_on_timer(void *ctx)
{
    struct guarded *guarded = ctx;
    guarded->is_armed = false;
    if (dj_sentry_state(guarded->sentry) == DJ_BREAKER_OPEN)
        probe(guarded);
    else
        tend(guarded);
}

/* ---- replaying ---- */

static void replay(struct guarded *guarded, struct dj_journal_record *record, enum op_kind kind);

static void end_batch(struct guarded *guarded)
{
    if (!guarded->has_replay_failed) {
        guarded->pause_ms = GUARDED_PAUSE_MS_MIN;
        tend(guarded);
    } else if (dj_sentry_state(guarded->sentry) == DJ_BREAKER_OPEN) {
        arm(guarded, atomic_load(&guarded->probe_ms));
    } else {
        arm(guarded, guarded->pause_ms);
        guarded->pause_ms =
            guarded->pause_ms * 2 < PAUSE_MS_MAX ? guarded->pause_ms * 2 : PAUSE_MS_MAX;
    }
}

static void end_record(struct guarded *guarded, struct dj_journal_record *record,
                       enum deja_status status)
{
    bool is_later = status == DEJA_ERR_CIRCUIT_OPEN || status == DEJA_ERR_NOMEM ||
                    status == DEJA_ERR_CANCELLED || dj_sentry_is_failure(status);
    pthread_mutex_lock(&guarded->mutex);
    /* One that never gets through (too large for the deadline) must not keep the tier unread. */
    if (dj_sentry_is_failure(status) && ++record->failures >= REPLAYS_MAX)
        dj_journal_drop_put(guarded->journal, record);
    dj_journal_give_back(guarded->journal, record, !is_later);
    guarded->replayed += status == DEJA_OK;
    guarded->replay_dropped += !is_later && status != DEJA_OK;
    set_behind(guarded);
    pthread_mutex_unlock(&guarded->mutex);
    guarded->has_replay_failed = guarded->has_replay_failed || is_later;
    guarded->replayed_in_row += !is_later;
    guarded->replaying--;
    if (guarded->replaying == 0)
        end_batch(guarded);
}

/* A record may have two steps: what is taken away, then what is put or raised. */
static void on_replayed(struct op *op, enum deja_status status)
{
    struct guarded *guarded = op->owner;
    struct dj_journal_record *record = op->record;
    if (status == DEJA_OK && op->kind == OP_REMOVE && record->value)
        replay(guarded, record, OP_PUT);
    else if (status == DEJA_OK && op->kind == OP_CLEAR && record->is_raised &&
             guarded->inner->ops->raise)
        replay(guarded, record, OP_RAISE);
    else
        end_record(guarded, record, status);
}

static void replay(struct guarded *guarded, struct dj_journal_record *record, enum op_kind kind)
{
    struct op *op = guarded_op_create(guarded, guarded->loop, kind, 0, NULL);
    if (!op) {
        end_record(guarded, record, DEJA_ERR_NOMEM);
        return;
    }
    op->record = record;
    op->told.replayed = on_replayed;
    op->key = record->key;
    op->number = record->version_max;
    if (kind == OP_PUT) {
        op->value = dj_value_ref(record->value);
        op->vector = record->vector; /* a taken record does not change */
        op->dim = record->dim;
    }
    op->text = deja_slice(record->tag, record->tag_len);
    guarded_op_run(op);
}

static void replay_batch(struct guarded *guarded)
{
    struct dj_journal_record *records[GUARDED_BATCH_MAX];
    pthread_mutex_lock(&guarded->mutex);
    size_t count = dj_journal_take(guarded->journal, records, GUARDED_BATCH_MAX);
    pthread_mutex_unlock(&guarded->mutex);
    guarded->has_replay_failed = false;
    guarded->replaying = (uint32_t)count + 1; /* the batch is not over before all have begun */
    for (size_t i = 0; i < count; i++) {
        struct dj_journal_record *record = records[i];
        replay(guarded, record,
               record->kind == DJ_JOURNAL_CLEAR   ? OP_CLEAR
               : record->kind == DJ_JOURNAL_RAISE ? OP_RAISE
               : record->has_remove               ? OP_REMOVE
                                                  : OP_PUT);
    }
    guarded->replaying--;
    if (count && guarded->replaying == 0)
        end_batch(guarded);
}

static void caught_up(struct guarded *guarded)
{
    uint64_t replayed = guarded->replayed_in_row;
    guarded->replayed_in_row = 0;
    if (replayed && guarded->events && guarded->events->caught_up)
        guarded->events->caught_up(guarded->ctx, guarded->ops.level, replayed);
}

static void tend(struct guarded *guarded)
{
    if (!guarded->timer || guarded->is_probing || guarded->replaying || guarded->is_armed)
        return;
    if (dj_sentry_state(guarded->sentry) == DJ_BREAKER_OPEN)
        arm(guarded, atomic_load(&guarded->probe_ms));
    else if (atomic_load(&guarded->is_behind))
        replay_batch(guarded);
    else
        caught_up(guarded);
}
