/* cache/flight.h - single flight: many equal questions, one upstream call, everybody reads along.
 *
 *   PENDING --hit found-----------------------------> LANDED (value)
 *      |
 *      +----head of the upstream's answer--> RUNNING --whole--> LANDED (chunks, maybe a value)
 *      +----failure----------------------------+-------------> FAILED
 *
 * A flight lives on its key's home loop, which alone changes it. Riders, on any loop, hold a
 * reference, read what has been published and are woken by one coalesced message per loop. Chunks
 * are immutable and counted one by one; a rider keeps its place by holding a chunk.
 *
 * (1) What riders read is written before the phase that announces it (release, acquire).
 * (2) The tenant is part of the key, so riders share a tenant (I1).
 * (3) A rider that leaves ends nothing.
 * Bounds: riders_max; recording stops beyond record_bytes_max, then chunks live only as long as the
 * slowest rider, who is cut when he falls DJ_FLIGHT_LAG_MAX behind.
 */
#ifndef DJ_CACHE_FLIGHT_H
#define DJ_CACHE_FLIGHT_H

#include <deja/base.h>

#include "base/list.h"
#include "cache/engine.h"

/* 8 MiB, and the 1 MiB by which the fastest rider may be behind the upstream before it pauses. */
#define DJ_FLIGHT_LAG_MAX (9u << 20)

struct dj_flight;
struct dj_flights; /* the running flights of one home loop; loop-bound */

enum dj_flight_phase { DJ_FLIGHT_PENDING, DJ_FLIGHT_RUNNING, DJ_FLIGHT_LANDED, DJ_FLIGHT_FAILED };

/* Immutable once published. */
struct dj_chunk {
    _Atomic(struct dj_chunk *) next;
    _Atomic uint32_t refs;
    bool is_usage_only; /* an SSE event that only carries usage: dropped for who did not ask */
    uint64_t offset;    /* of its first byte in the answer */
    size_t len;
    char bytes[];
};

/* What the flight knows before the first byte of the body; set once before RUNNING. */
struct dj_flight_head {
    int status;
    bool is_stream;      /* text/event-stream */
    const void *headers; /* the proxy's copy (struct dj_http_header array) */
    size_t header_count;
};

/* How it ended; set once before LANDED or FAILED. Owned by the flight. */
struct dj_flight_end {
    struct dj_value *value;  /* of a hit, or what was recorded; may be NULL */
    struct dj_value **items; /* embeddings: one per input; NULL otherwise */
    size_t item_count;
    enum dj_hit_kind hit; /* DJ_HIT_NONE: came from upstream */
    bool is_stale;        /* the hit has expired */
    bool is_if_error;     /* and is served because the upstream failed */
    const char *level;    /* of a hit */
    const char *reason;   /* why there was no hit: constant */
    float similarity;
    double threshold;
    bool is_stored;
    enum deja_status failure; /* FAILED: what went wrong */
    const char *detail;       /* constant text */
};

/* One reader; embedded in its owner, loop-bound to the loop it joined from. */
typedef void dj_rider_fn(void *ctx);
struct dj_rider {
    struct dj_list link; /* the flight's list of that loop */
    struct dj_flight *flight;
    struct dj_chunk *at; /* last chunk read, counted */
    void *ctx;
    dj_rider_fn *on_wake; /* something new may be read; may leave inside */
};

/* home: the loop whose keys these are; loop_count: how many loops riders may come from. */
enum deja_status dj_flights_create(struct dj_loop *home, uint32_t loop_count,
                                   struct dj_flights **out_flights) DEJA_NODISCARD;
void dj_flights_destroy(struct dj_flights *flights); /* accepts NULL */
uint32_t dj_flights_count(const struct dj_flights *flights);

/* ---- on the home loop ---- */

/* The joinable flight of that key (a new reference), or NULL. */
struct dj_flight *dj_flights_find(struct dj_flights *flights, const uint8_t key[DJ_SHA256_BYTES],
                                  uint32_t riders_max);
/* A new one; the caller holds the home reference and ends it with land or fail. owner is the
 * proxy's, freed by free_owner with the flight. */
enum deja_status dj_flights_open(struct dj_flights *flights, const uint8_t key[DJ_SHA256_BYTES],
                                 uint64_t record_bytes_max, void *owner,
                                 void (*free_owner)(void *owner),
                                 struct dj_flight **out_flight) DEJA_NODISCARD;
/* A rider of that loop is about to come: keeps wake messages flowing there. The place in front of
 * the first chunk, counted, for dj_flight_board; NULL: not recorded any more, nobody may join. */
struct dj_chunk *dj_flight_expect(struct dj_flight *flight, struct dj_loop *loop) DEJA_NODISCARD;
void dj_flight_run(struct dj_flight *flight, const struct dj_flight_head *head);
/* DEJA_ERR_NOMEM: the flight should fail. */
enum deja_status dj_flight_append(struct dj_flight *flight, struct deja_slice bytes,
                                  bool is_usage_only) DEJA_NODISCARD;
/* Both leave the table, wake everybody and give up the home reference. end's value and items are
 * taken. */
void dj_flight_land(struct dj_flight *flight, const struct dj_flight_end *end);
void dj_flight_fail(struct dj_flight *flight, enum deja_status status, const char *detail);
bool dj_flight_is_recorded(const struct dj_flight *flight); /* every byte is still held */
uint64_t dj_flight_bytes(const struct dj_flight *flight);
/* False when nobody rides and nothing is recorded: the call may be cancelled. */
bool dj_flight_is_wanted(const struct dj_flight *flight);
bool dj_flight_is_joined(const struct dj_flight *flight); /* somebody was ever let in */
/* Back-pressure, once nothing is recorded: true when even the fastest rider is far behind; then
 * on_drained(ctx) runs once on home when he has caught up. */
bool dj_flight_must_pause(struct dj_flight *flight, void *ctx, dj_task_fn *on_drained);
/* Appends all recorded bytes; only while recorded. */
void dj_flight_copy(const struct dj_flight *flight, struct dj_buf *out);

/* ---- on the rider's loop ---- */

/* Takes over a reference of the flight and start; on_wake comes later, never inside. */
void dj_flight_board(struct dj_flight *flight, struct dj_chunk *start, struct dj_rider *rider,
                     struct dj_loop *loop, void *ctx, dj_rider_fn *on_wake);
void dj_flight_leave(struct dj_rider *rider); /* accepts one that never boarded (zeroed) */
enum dj_flight_phase dj_flight_phase(const struct dj_flight *flight);
const struct dj_flight_head *dj_flight_head(const struct dj_flight *flight); /* from RUNNING on */
const struct dj_flight_end *dj_flight_end(const struct dj_flight *flight); /* from LANDED, FAILED */
/* Next unread chunk, or NULL; valid until the next call or leave. */
const struct dj_chunk *dj_rider_next(struct dj_rider *rider);
bool dj_rider_is_cut(const struct dj_rider *rider); /* fell too far behind: its answer is broken */
void *dj_flight_owner(const struct dj_flight *flight);

void dj_flight_ref(struct dj_flight *flight);
void dj_flight_unref(struct dj_flight *flight); /* accepts NULL */
void dj_chunk_unref(struct dj_chunk *chunk);    /* accepts NULL */

#endif
