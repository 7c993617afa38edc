/* store/guarded.h - a store that may fail, made safe to ask: the same table around another one.
 *
 * Each call has a deadline, retries within a budget, a circuit breaker and a bulkhead
 * (guarded/sentry.h). While the store is down or behind:
 *
 *   get, list, search, pull, lock   answered at once with DEJA_ERR_CIRCUIT_OPEN: a miss (I4)
 *   put, remove, clear, raise       kept in a journal (store/journal.h), and answered with why the
 *                                   store does not have it yet: DEJA_ERR_CIRCUIT_OPEN or what
 *                                   failed. They are done when it is back, in order, newest wins;
 *                                   by then a put or remove of a key of which nothing is kept goes
 *                                   to the store at once
 *
 *   UP --a write failed, or the breaker opened--> DOWN --a probe succeeded--> BEHIND --journal is
 *   empty--> UP
 *
 * Nothing is read before the journal is empty, so no answer whose removal is still waiting comes
 * back (trust-I3). Calls that were given up may still be answered by the inner store: entries that
 * come late are offered to on_late.
 *
 * A member of the table is NULL where the inner store's is. Threads: as any store.
 */
#ifndef DJ_STORE_GUARDED_H
#define DJ_STORE_GUARDED_H

#include "guarded/board.h"
#include "guarded/sentry.h"
#include "store/journal.h"
#include "store/store.h"

/* Any thread; quick; must not call the store. */
struct dj_guarded_events {
    /* Each attempt of a call that ended; operation: constant, "get". */
    void (*attempted)(void *ctx, const char *level, const char *operation, enum deja_status status,
                      uint64_t took_us);
    /* The breaker changed; text: of the last failure. */
    void (*changed)(void *ctx, const char *level, enum dj_breaker_state state, const char *text);
    /* The store has all that it missed; replayed: how many records that were. */
    void (*caught_up)(void *ctx, const char *level, uint64_t replayed);
    /* It is closed before it could be given what it missed: that is lost. */
    void (*left_behind)(void *ctx, const char *level, uint64_t puts, uint64_t removes);
    /* An entry that was found after its caller had been told DEJA_ERR_TIMEOUT; borrowed. On the
     * loop that asked. */
    void (*late)(void *ctx, struct dj_loop *loop, struct dj_value *value);
};

struct dj_guarded_options {
    struct dj_sentry_options sentry;
    uint32_t get_ms;     /* deadlines: get, search, pull, lock */
    uint32_t put_ms;     /* put, raise, list */
    uint32_t remove_ms;  /* remove, unlock */
    uint32_t health_ms;  /* probe */
    uint32_t long_ms;    /* clear, evict: as much as a tenant has */
    uint32_t attempt_ms; /* of one attempt; 0: the deadline alone */
    uint64_t probe_ms;   /* between recovery probes */
    struct dj_journal_options journal;
};
/* TRUST §3: 1 s, 2 s, 1 s, 5 s, probes every 30 s; low latency: 500 ms, 1 s, 1 s, 5 s, 5 s. A
 * journal of 50,000 records and 64 MB. */
struct dj_guarded_options dj_guarded_options_of(bool is_low_latency);

/* inner: taken on DEJA_OK. loop: where probes and replays run; borrowed until close, which is after
 * the loops have ended and before they are destroyed. events (NULL: nobody is told) and ctx: until
 * close returned. */
enum deja_status dj_guarded_store_open(struct dj_store *inner, struct dj_loop *loop,
                                       const struct dj_guarded_options *options,
                                       const struct dj_guarded_events *events, void *ctx,
                                       struct dj_store **out_store) DEJA_NODISCARD;

/* The calls below: any thread, on a store this header opened. */
bool dj_store_is_guarded(const struct dj_store *store);          /* of any store; NULL: no */
struct dj_store *dj_guarded_store_inner(struct dj_store *store); /* borrowed */
/* In force for what begins afterwards; not the bounds of the journal. */
void dj_guarded_store_set_options(struct dj_store *store, const struct dj_guarded_options *options);

enum dj_tier_state {
    DJ_TIER_UP,
    DJ_TIER_BEHIND, /* answers, but has not got all it missed: not read yet */
    DJ_TIER_DOWN,   /* the breaker is open */
    DJ_TIER_LOST    /* missed more than could be kept: not read until it was emptied and Deja
                       started again */
};
const char *dj_tier_state_text(enum dj_tier_state state); /* "up", "behind", "down", "lost" */

struct dj_guarded_report {
    enum dj_tier_state state;
    struct dj_sentry_report sentry;
    struct dj_journal_figures journal;
    uint64_t replayed;       /* records, since open */
    uint64_t replay_dropped; /* records the store does not want: too large, … */
    uint64_t missed_reads;   /* answered without asking */
};
void dj_guarded_store_report(struct dj_store *store, struct dj_guarded_report *out_report);
/* The same for a board; store: a struct dj_store. */
void dj_guarded_store_look(void *store, struct dj_sentry_sight *out_sight);

#endif
