/* cache/plain_change.c - one key is changed: in this program, or in several, one change at a time.
 *
 *   origin ──> home: line of the key ──> [lock ──>] [read ──>] change function ──> memory, tiers
 *                                                                                    │ durable
 *                          origin: done <────────────────────────────────────────────┘
 *
 *   (none) -> IDLE       [arrive]            LOCKING -> READING, IDLE  [on_locked]
 *   IDLE   -> LOCKING    [begin_lock]        LOCKING -> PAUSED         the lock is another's
 *   PAUSED -> LOCKING    [on_pause_over]     READING -> IDLE           [on_read]
 *   IDLE   -> DRAINING   [pump]              DRAINING -> IDLE          [on_written]
 *   IDLE   -> (freed)    [end_line]          nothing waits, nothing is under way
 *
 * (1) A line lives on its key's home loop while changes wait or writes are under way. It knows what
 *     was written last, so the next change looks at that, whatever the tiers have by now: changes
 * do not wait for each other's writes. (2) Versions of a line grow, and the tiers are asked in its
 * order. (3) Where programs share a tier, who looks holds that tier's lock, reads past memory and
 * what is this machine's alone, and gives the lock back only when the tier has what was written.
 * One holding serves at most BATCH_MAX changes and three quarters of the lease. (4) The version of
 * the first change under a lock is drawn before the read: a blind write of another program that
 * comes meanwhile is newer and stays. One that was drawn before and arrives after the read is lost;
 * docs/adr/0022 says why that is borne. (5) A lock that nobody can tell about (its tier is sick) is
 * no lock: changes are then serial in this program only (I4). Trust: keys and what the functions
 * write are untrusted; lengths are checked here.
 */
#include "base/alloc.h"
#include "base/slice.h"
#include "cache/plain_internal.h"

#define BATCH_MAX 64u
#define PAUSE_MIN_MS 1u
#define PAUSE_MAX_MS 32u
#define TOKEN_BYTES 16u
#define US_PER_MS 1000u

struct line;

struct change {
    struct dj_plain *plain;
    struct dj_loop *origin;
    struct dj_loop *home;
    struct dj_task task;
    struct dj_list member; /* of its line's waiting */
    struct dj_store_key key;
    uint8_t digest[DJ_SHA256_BYTES];
    struct deja_slice name; /* these three in bytes */
    struct deja_slice name_space;
    struct deja_slice user_tag;
    struct dj_plain_change spec;
    uint64_t deadline_us; /* for the lock */
    struct line *line;
    struct dj_plain_outcome outcome; /* its values are owned */
    enum deja_status status;
    char bytes[];
};

enum line_state { IDLE, LOCKING, PAUSED, READING, DRAINING };

struct line {
    struct dj_plain *plain;
    struct dj_plain_loop *here;
    struct dj_store_key key;
    enum line_state state;
    struct dj_list waiting;
    uint32_t writes; /* under way */
    bool is_known;   /* what is there: now */
    bool is_ours;    /* now was written by this line */
    struct dj_value *now;
    /* Among programs, as are the rest: a change may look. */
    bool is_open;
    bool is_locked; /* false while open: (5) */
    uint8_t token[TOKEN_BYTES];
    uint64_t asked_us;
    uint32_t left; /* changes of this holding */
    uint32_t pause_ms;
    uint64_t version; /* (4); 0: none drawn */
    struct dj_timer *timer;
};

static void pump(struct line *line);

static struct dj_engine *engine_of(const struct line *line)
{
    return line->plain->options.engine;
}

/* ---- ends ---- */

static void on_changed(void *ctx)
{
    struct change *change = ctx;
    struct dj_engine *engine = change->plain->options.engine;
    if (change->spec.done)
        change->spec.done(change->spec.ctx, change->status, &change->outcome);
    dj_value_unref(change->outcome.before);
    dj_value_unref(change->outcome.after);
    dj_free(change);
    dj_engine_leave(engine);
}

static void finish(struct change *change, enum deja_status status)
{
    struct dj_plain_loop *here = dj_plain_here(change->plain, change->home);
    if (change->line) {
        here->changes--;
        atomic_fetch_sub_explicit(&here->waiting, 1, memory_order_relaxed);
    }
    if (change->status == DEJA_OK)
        change->status = status;
    change->task = (struct dj_task){.run = on_changed, .ctx = change};
    dj_loop_post(change->origin, &change->task);
}

static struct change *first_of(const struct line *line)
{
    return DJ_CONTAINER(line->waiting.next, struct change, member);
}

static void forget(struct line *line)
{
    dj_value_unref(line->now);
    line->now = NULL;
    line->is_known = false;
    line->is_ours = false;
}

static void know(struct line *line, struct dj_value *taken, bool is_ours)
{
    forget(line);
    line->now = taken;
    line->is_known = true;
    line->is_ours = is_ours;
}

static void close_line(struct line *line)
{
    if (line->is_locked)
        dj_engine_unlock(engine_of(line), line->here->loop, &line->key, line->token);
    line->is_locked = false;
    line->is_open = false;
    line->version = 0;
    forget(line);
}

/* The id first: the table hashes by the first bytes. */
static void name_line(const struct dj_store_key *key, uint8_t out_name[2 * DJ_ID_BYTES])
{
    memcpy(out_name, key->id, DJ_ID_BYTES);
    memcpy(out_name + DJ_ID_BYTES, key->tenant, DJ_ID_BYTES);
}

static void end_line(struct line *line)
{
    uint8_t name[2 * DJ_ID_BYTES];
    name_line(&line->key, name);
    close_line(line);
    dj_map_remove(line->here->lines, deja_slice(name, sizeof name));
    dj_timer_destroy(line->timer);
    dj_free(line);
}

/* ---- writes ---- */

static void on_written(struct change *change, enum deja_status status)
{
    struct line *line = change->line;
    finish(change, status);
    line->writes--;
    if (line->state == DRAINING && line->writes == 0) {
        close_line(line);
        line->state = IDLE;
    }
    pump(line);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct change *change = ctx;
    change->outcome.is_stored = outcome->is_stored;
    change->outcome.is_outrun = outcome->is_outrun;
    change->outcome.missed = outcome->missed;
    on_written(change, status);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct change *change = ctx;
    if (change->spec.mode == DJ_PLAIN_BLIND)
        change->outcome.was_there = removed > 0;
    if (status == DEJA_OK && change->outcome.was_there)
        dj_engine_tell_key(change->plain->options.engine, change->home, &change->key, change->name,
                           change->name_space, change->user_tag.len > 0, change->spec.reason);
    on_written(change, status);
}

static bool is_too_long(const struct dj_plain_new *new)
{
    return new->body.len > DJ_PLAIN_VALUE_BYTES_MAX || new->tag_count > DJ_PLAIN_TAGS_MAX;
}

static bool has_tag(const struct dj_entry *entry, struct deja_slice name)
{
    for (size_t i = 0; i < entry->tag_count; i++)
        if (deja_slice_is_equal(entry->tags[i].name, name))
            return true;
    return false;
}

/* DEJA_ERR_LIMIT: there are too many. The user's own is the first and has room of its own. */
static enum deja_status add_tags(struct dj_entry *entry, const struct change *change,
                                 const struct deja_slice *tags, size_t count)
{
    size_t tags_max = DJ_PLAIN_TAGS_MAX + (change->user_tag.len > 0);
    for (size_t i = 0; i < count; i++) {
        if (has_tag(entry, tags[i]))
            continue;
        if (entry->tag_count == tags_max)
            return DEJA_ERR_LIMIT;
        entry->tags[entry->tag_count++].name = tags[i];
    }
    return DEJA_OK;
}

/* The kind's tags, in bytes; and its life, where it slides and its end was to be kept. */
static enum deja_status take_kind(const struct line *line, const struct change *change,
                                  const struct dj_kind_match *match, struct dj_buf *bytes,
                                  struct dj_entry *entry)
{
    const struct dj_entry *now = line->now ? dj_value_entry(line->now) : NULL;
    struct deja_slice tags[DJ_KIND_TAGS_MAX];
    size_t count = dj_kind_tags(match->kind, match->fields, match->field_count, bytes, tags);
    if (match->kind->is_sliding && now && now->expires_ms && now->expires_ms == entry->expires_ms)
        entry->expires_ms += entry->created_ms - now->created_ms;
    return bytes->status == DEJA_OK ? add_tags(entry, change, tags, count) : bytes->status;
}

static enum deja_status create_value(struct line *line, const struct change *change,
                                     const struct dj_plain_new *new, struct dj_value **out_value)
{
    const struct dj_entry *now = line->now ? dj_value_entry(line->now) : NULL;
    struct dj_kind_match match;
    const struct dj_kind *kind =
        dj_kinds_match(dj_kind_book_table(line->plain->options.kinds), change->name, &match);
    struct dj_buf tags = {0};
    struct dj_fill fill;
    struct dj_entry entry = {.kind = DJ_ENTRY_PLAIN,
                             .created_ms = dj_loop_now_ms(line->here->loop),
                             .expires_ms = new->expires_ms,
                             .query = change->name,
                             .name_space = change->name_space,
                             .metadata = new->metadata,
                             .make_ms = new->make_ms,
                             .body = new->body};
    if (is_too_long(new))
        return DEJA_ERR_LIMIT;
    memcpy(entry.tenant, change->key.tenant, sizeof entry.tenant);
    memcpy(entry.id, change->key.id, sizeof entry.id);
    memcpy(entry.exact, change->digest, sizeof entry.exact);
    if (change->user_tag.len)
        entry.tags[entry.tag_count++].name = change->user_tag;
    enum deja_status status = add_tags(&entry, change, new->tags, new->tag_count);
    if (status == DEJA_OK && kind)
        status = take_kind(line, change, &match, &tags, &entry);
    if (status != DEJA_OK) {
        dj_buf_fini(&tags);
        return status;
    }
    dj_engine_begin_fill(engine_of(line), &entry, &fill);
    if (line->version && change->spec.mode == DJ_PLAIN_LOOKING)
        entry.version = line->version;
    if (now && entry.version <= now->version)
        entry.version = now->version + 1;
    if (new->as_of) /* older than what is there, if need be: that stays then */
        entry.version = new->as_of;
    line->version = 0;
    status = dj_value_create(&entry, out_value);
    dj_buf_fini(&tags);
    if (status == DEJA_OK)
        dj_kind_book_note(line->plain->options.kinds, entry.tenant, kind, DJ_KIND_NOTE_PUT,
                          DJ_LEVEL_MEMORY, entry.body.len);
    return status;
}

/* Levels where it is not put. Looked at here, so that no copy of a value (a later end, what is
 * appended, its version before) leaves the levels it was kept to. */
static uint32_t skip_of(const struct line *line, const struct change *change,
                        const struct dj_plain_new *new)
{
    uint32_t skip = new->skip | dj_kind_skip(dj_plain_kind(line->plain, change->name));
    if (dj_slice_contains(new->metadata, DJ_PLAIN_SEALED_ONLY))
        skip |= line->plain->options.unsealed;
    return skip;
}

static void put(struct line *line, struct change *change, const struct dj_plain_new *new)
{
    uint32_t never = dj_kind_skip(dj_plain_kind(line->plain, change->name)); /* nor read there */
    uint32_t skip = skip_of(line, change, new);
    const struct dj_put_options options = {
        .skip = skip, .cleared = skip & ~never, .is_through = new->is_through, .as_of = new->as_of};
    struct dj_put_options through = options;
    struct dj_value *value = NULL;
    through.is_through = options.is_through || line->is_locked; /* (3) */
    enum deja_status status = create_value(line, change, new, &value);
    if (status == DEJA_OK)
        status =
            dj_engine_put_here(engine_of(line), line->here->loop, value, &through, change, on_put);
    if (status != DEJA_OK) {
        dj_value_unref(value);
        change->outcome.verdict = DJ_PLAIN_KEEP;
        finish(change, status);
        return;
    }
    dj_plain_note(line->here, line->key.tenant, DJ_PLAIN_WRITTEN, DJ_LEVEL_MEMORY);
    line->writes++;
    change->outcome.after = dj_value_ref(value);
    know(line, value, true);
    if (new->as_of) /* it may have been outrun: the next look is a read */
        forget(line);
}

static void remove_now(struct line *line, struct change *change)
{
    change->outcome.was_there = change->outcome.before != NULL;
    enum deja_status status =
        dj_engine_remove_here(engine_of(line), line->here->loop, &line->key, change, on_removed);
    if (status != DEJA_OK) {
        change->outcome.verdict = DJ_PLAIN_KEEP;
        finish(change, status);
        return;
    }
    dj_plain_note(line->here, line->key.tenant, DJ_PLAIN_REMOVED, DJ_LEVEL_MEMORY);
    line->writes++;
    line->version = 0;
    know(line, NULL, true);
}

/* What is there and may be served; what this line wrote may have been removed by another way. */
static struct dj_value *valid_now(const struct line *line)
{
    struct dj_engine *engine = engine_of(line);
    struct dj_loop *loop = line->here->loop;
    const struct dj_entry *entry = line->now ? dj_value_entry(line->now) : NULL;
    if (!line->is_known || !entry ||
        !dj_engine_is_valid(engine, line->key.tenant, entry, dj_loop_now_ms(loop), 0))
        return NULL;
    if (line->is_ours &&
        dj_tombstones_refuse(engine->tombstones[dj_loop_index(loop)], &line->key, entry->version))
        return NULL;
    return line->now;
}

static void decide(struct line *line, struct change *change)
{
    struct dj_plain_new new = {0};
    int64_t now_ms = dj_loop_now_ms(line->here->loop);
    bool is_looking = change->spec.mode == DJ_PLAIN_LOOKING;
    struct dj_value *before = is_looking ? valid_now(line) : NULL;
    bool is_serial = !line->plain->is_shared || line->is_open;
    if (before)
        change->outcome.before = dj_value_ref(before);
    enum dj_plain_verdict verdict =
        change->spec.change(change->spec.ctx, before ? dj_value_entry(before) : NULL, now_ms, &new);
    if (verdict == DJ_PLAIN_PUT && new.expires_ms &&new.expires_ms <= now_ms)
        verdict = DJ_PLAIN_REMOVE;
    change->outcome.verdict = verdict;
    if (line->left)
        line->left--;
    if (verdict == DJ_PLAIN_PUT) {
        put(line, change, &new);
    } else if (verdict == DJ_PLAIN_REMOVE) {
        remove_now(line, change);
    } else {
        if (before)
            change->outcome.after = dj_value_ref(before);
        finish(change, DEJA_OK);
    }
    if (!is_serial) /* by the next look another program may have written */
        forget(line);
}

/* ---- reads ---- */

static void on_read(void *ctx, struct dj_value *value, const char *level)
{
    struct line *line = ctx;
    (void)level;
    know(line, value, false);
    line->state = IDLE;
    pump(line);
}

static void begin_read(struct line *line)
{
    struct dj_engine *engine = engine_of(line);
    struct dj_loop *loop = line->here->loop;
    const struct dj_walk_options walk = {
        .key = line->key,
        .skip = line->is_locked ? ~DJ_LEVELS_SHARED : 0,
        .is_patient = true,
    };
    struct dj_value *value = NULL;
    line->version = line->is_locked ? dj_engine_next_version(engine) : 0;
    if (!line->is_locked)
        value = dj_engine_find(engine, loop, &line->key, 0);
    line->state = READING;
    if (!value && dj_engine_walk(engine, loop, &walk, line, NULL, on_read) == DEJA_OK)
        return;
    know(line, value, false);
    line->state = IDLE;
}

/* ---- the lock ---- */

static void fail_first(struct line *line, enum deja_status status)
{
    struct change *change = first_of(line);
    dj_list_remove(&change->member);
    finish(change, status);
    line->state = IDLE;
}

static void open_line(struct line *line, bool is_locked)
{
    line->is_open = true;
    line->is_locked = is_locked;
    line->left = BATCH_MAX;
    line->pause_ms = PAUSE_MIN_MS;
    line->state = IDLE;
}

static void ask_for_lock(struct line *line);

static void on_pause_over(void *ctx)
{
    struct line *line = ctx;
    ask_for_lock(line);
    if (line->state == IDLE)
        pump(line);
}

/* Half of it is chance, so that programs that wait for the same lock do not ask in step. */
static void pause_line(struct line *line)
{
    uint16_t chance = 0;
    if (!line->timer &&
        dj_timer_create(line->here->loop, line, on_pause_over, &line->timer) != DEJA_OK) {
        fail_first(line, DEJA_ERR_NOMEM);
        pump(line);
        return;
    }
    dj_random_bytes(&chance, sizeof chance);
    line->state = PAUSED;
    line->pause_ms = line->pause_ms < PAUSE_MAX_MS ? line->pause_ms * 2 : PAUSE_MAX_MS;
    dj_timer_start(line->timer, line->pause_ms / 2 + chance % (line->pause_ms / 2 + 1), 0);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct line *line = ctx;
    if (status == DEJA_OK && !is_held) {
        if (dj_loop_monotonic_us(line->here->loop) < first_of(line)->deadline_us) {
            pause_line(line);
            return;
        }
        fail_first(line, DEJA_ERR_BUSY);
    } else {
        open_line(line, status == DEJA_OK);
    }
    pump(line);
}

static void ask_for_lock(struct line *line)
{
    line->state = LOCKING;
    line->asked_us = dj_loop_monotonic_us(line->here->loop);
    if (dj_engine_lock(engine_of(line), line->here->loop, &line->key, line->token,
                       line->plain->options.lease_ms, line, on_locked) != DEJA_OK)
        open_line(line, false); /* (5) */
}

static void begin_lock(struct line *line)
{
    if (dj_loop_turn_us(line->here->loop) > first_of(line)->deadline_us) {
        fail_first(line, DEJA_ERR_BUSY);
        return;
    }
    dj_random_bytes(line->token, sizeof line->token);
    ask_for_lock(line);
}

static bool is_holding_over(const struct line *line)
{
    uint64_t held_us = dj_loop_turn_us(line->here->loop) - line->asked_us;
    uint64_t lease_us = (uint64_t)line->plain->options.lease_ms * US_PER_MS;
    return line->left == 0 || (line->is_locked && held_us > lease_us / 4 * 3);
}

/* ---- the line ---- */

/* True: the change has to wait, or was ended. */
static bool prepare(struct line *line, const struct change *change)
{
    if (change->spec.mode == DJ_PLAIN_BLIND)
        return false;
    bool is_shared = line->plain->is_shared;
    bool is_over = is_shared && line->is_open && is_holding_over(line);
    if (is_shared && (!line->is_open || is_over) && line->writes > 0) {
        line->state = DRAINING;
        return true;
    }
    if (is_over)
        close_line(line);
    if (is_shared && !line->is_open) {
        begin_lock(line);
        return true;
    }
    if (!line->is_known) {
        begin_read(line);
        return true;
    }
    return false;
}

/* Takes what can go on; may free the line. */
static void pump(struct line *line)
{
    while (line->state == IDLE && !dj_list_is_empty(&line->waiting)) {
        struct change *change = first_of(line);
        if (prepare(line, change))
            continue;
        dj_list_remove(&change->member);
        decide(line, change);
    }
    if (line->state == IDLE && line->writes == 0)
        end_line(line);
}

static struct line *line_of(struct dj_plain *plain, const struct change *change)
{
    struct dj_plain_loop *here = dj_plain_here(plain, change->home);
    uint8_t name[2 * DJ_ID_BYTES];
    name_line(&change->key, name);
    struct line *line = dj_map_find(here->lines, deja_slice(name, sizeof name));
    if (line)
        return line;
    line = dj_alloc_zeroed(1, sizeof *line);
    if (!line)
        return NULL;
    *line =
        (struct line){.plain = plain, .here = here, .key = change->key, .pause_ms = PAUSE_MIN_MS};
    dj_list_init(&line->waiting);
    if (dj_map_put(here->lines, deja_slice(name, sizeof name), line, NULL) != DEJA_OK) {
        dj_free(line);
        return NULL;
    }
    return line;
}

/* On home. */
static void arrive(void *ctx)
{
    struct change *change = ctx;
    struct dj_plain *plain = change->plain;
    struct dj_plain_loop *here = dj_plain_here(plain, change->home);
    bool has_room = here->changes < plain->options.changes_max;
    struct line *line = has_room ? line_of(plain, change) : NULL;
    if (!line) {
        finish(change, has_room ? DEJA_ERR_NOMEM : DEJA_ERR_BUSY);
        return;
    }
    uint64_t wait_us = ((uint64_t)plain->options.wait_ms + plain->options.lease_ms) * US_PER_MS;
    change->line = line;
    change->deadline_us = dj_loop_turn_us(change->home) + wait_us;
    here->changes++;
    atomic_fetch_add_explicit(&here->waiting, 1, memory_order_relaxed);
    dj_list_push_back(&line->waiting, &change->member);
    if (line->state == IDLE)
        pump(line);
}

enum deja_status dj_plain_change(struct dj_plain *plain, struct dj_loop *loop,
                                 const struct dj_plain_space *space, struct deja_slice key,
                                 const struct dj_plain_change *spec)
{
    struct dj_engine *engine = plain->options.engine;
    if (key.len == 0 || key.len > DJ_PLAIN_KEY_BYTES_MAX)
        return DEJA_ERR_INVALID;
    size_t len = key.len + space->name_space.len + space->user_tag.len + spec->reason.len;
    struct change *change = dj_alloc_zeroed(1, sizeof *change + len);
    if (!change)
        return DEJA_ERR_NOMEM;
    char *at = change->bytes;
    change->plain = plain;
    change->origin = loop;
    change->spec = *spec;
    change->name = dj_slice_place(&at, key);
    change->name_space = dj_slice_place(&at, space->name_space);
    change->user_tag = dj_slice_place(&at, space->user_tag);
    change->spec.reason = dj_slice_place(&at, spec->reason);
    dj_list_init(&change->member);
    dj_plain_digest(space, key, change->digest);
    memcpy(change->key.tenant, space->tenant, sizeof change->key.tenant);
    memcpy(change->key.id, change->digest, sizeof change->key.id);
    change->home = dj_engine_loop(engine, dj_engine_home(engine, &change->key));
    dj_engine_enter(engine);
    if (change->home == loop) {
        arrive(change);
    } else {
        change->task = (struct dj_task){.run = arrive, .ctx = change};
        dj_loop_post(change->home, &change->task);
    }
    return DEJA_OK;
}

static enum dj_plain_verdict remove_it(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    (void)ctx;
    (void)now;
    (void)now_ms;
    (void)out_new;
    return DJ_PLAIN_REMOVE;
}

enum deja_status dj_plain_remove(struct dj_plain *plain, struct dj_loop *loop,
                                 const struct dj_plain_space *space, struct deja_slice key,
                                 void *ctx, dj_plain_changed_fn *done)
{
    const struct dj_plain_change change = {
        .mode = DJ_PLAIN_BLIND, .change = remove_it, .done = done, .ctx = ctx};
    return dj_plain_change(plain, loop, space, key, &change);
}
