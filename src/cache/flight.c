/* cache/flight.c - see flight.h.
 *
 *   first -> [sentinel] -> [chunk] -> [chunk] <- tail        a link, `first`, `tail` and each
 *                 ^ rider A      ^ rider B                    rider's `at` count one reference
 *
 * While recorded, `first` keeps everything. When recording stops `first` is given up and chunks die
 * behind the slowest rider. Freeing follows the links in a loop, not by recursion.
 */
#include "cache/flight.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/map.h"

#define FLIGHTS_MAX 65536u
#define PAUSE_LAG (1u << 20)

/* The riders of one loop; touched only there, but for `is_expected` (home) and `is_posted`. */
struct lane {
    struct dj_flight *flight;
    struct dj_loop *loop;
    struct dj_list riders;
    struct dj_task task;
    _Atomic bool is_posted;
    bool is_expected;
};

struct dj_flights {
    struct dj_loop *home;
    struct dj_map *map; /* key -> struct dj_flight */
    uint32_t loop_count;
};

struct dj_flight {
    _Atomic uint32_t refs;
    _Atomic int phase;
    uint8_t key[DJ_SHA256_BYTES];
    struct dj_flights *flights; /* home only; NULL once it left the table */
    struct dj_loop *home;
    struct dj_chunk *first; /* home only; NULL: not recorded */
    struct dj_chunk *tail;  /* home only */
    uint64_t record_bytes_max;
    _Atomic uint64_t bytes;    /* written by home */
    _Atomic uint64_t consumed; /* by the fastest rider */
    _Atomic uint32_t riders;
    uint32_t expected; /* home only: how many were ever let in */

    _Atomic bool is_paused;
    _Atomic bool is_drain_posted; /* `drained` is in home's queue, which it may enter once */
    struct dj_task drained;       /* posted by whoever clears is_paused; holds a reference */
    dj_task_fn *on_drained;
    void *drained_ctx;

    struct dj_flight_head head;
    struct dj_flight_end end;
    void *owner;
    void (*free_owner)(void *owner);
    uint32_t lane_count;
    struct lane lanes[];
};

enum deja_status dj_flights_create(struct dj_loop *home, uint32_t loop_count,
                                   struct dj_flights **out_flights)
{
    struct dj_flights *flights = dj_alloc_zeroed(1, sizeof *flights);
    if (!flights)
        return DEJA_ERR_NOMEM;
    if (dj_map_create(FLIGHTS_MAX, NULL, NULL, &flights->map) != DEJA_OK) {
        dj_free(flights);
        return DEJA_ERR_NOMEM;
    }
    flights->home = home;
    flights->loop_count = loop_count;
    *out_flights = flights;
    return DEJA_OK;
}

void dj_flights_destroy(struct dj_flights *flights)
{
    if (!flights)
        return;
    dj_map_destroy(flights->map);
    dj_free(flights);
}

uint32_t dj_flights_count(const struct dj_flights *flights)
{
    return (uint32_t)dj_map_count(flights->map);
}

/* ---- chunks ---- */

static struct dj_chunk *chunk_create(struct deja_slice bytes, uint64_t offset, bool is_usage_only)
{
    if (bytes.len > SIZE_MAX - sizeof(struct dj_chunk))
        return NULL;
    struct dj_chunk *chunk = dj_alloc(sizeof *chunk + bytes.len);
    if (!chunk)
        return NULL;
    atomic_init(&chunk->next, NULL);
    atomic_init(&chunk->refs, 1);
    chunk->is_usage_only = is_usage_only;
    chunk->offset = offset;
    chunk->len = bytes.len;
    if (bytes.len)
        memcpy(chunk->bytes, bytes.data, bytes.len);
    return chunk;
}

static struct dj_chunk *chunk_ref(struct dj_chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
    return chunk;
}

void dj_chunk_unref(struct dj_chunk *chunk)
{
    while (chunk && atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) == 1) {
        struct dj_chunk *next = atomic_load_explicit(&chunk->next, memory_order_acquire);
        dj_free(chunk);
        chunk = next;
    }
}

/* ---- life ---- */

void dj_flight_ref(struct dj_flight *flight)
{
    atomic_fetch_add_explicit(&flight->refs, 1, memory_order_relaxed);
}

void dj_flight_unref(struct dj_flight *flight)
{
    if (!flight || atomic_fetch_sub_explicit(&flight->refs, 1, memory_order_acq_rel) != 1)
        return;
    dj_chunk_unref(flight->first);
    dj_chunk_unref(flight->tail);
    dj_value_unref(flight->end.value);
    for (size_t i = 0; i < flight->end.item_count; i++)
        dj_value_unref(flight->end.items[i]);
    dj_free(flight->end.items);
    if (flight->free_owner)
        flight->free_owner(flight->owner);
    dj_free(flight);
}

struct dj_flight *dj_flights_find(struct dj_flights *flights, const uint8_t key[DJ_SHA256_BYTES],
                                  uint32_t riders_max)
{
    assert(dj_loop_is_current(flights->home));
    struct dj_flight *flight = dj_map_find(flights->map, deja_slice(key, DJ_SHA256_BYTES));
    if (!flight || !flight->first || flight->expected >= riders_max)
        return NULL;
    dj_flight_ref(flight);
    return flight;
}

enum deja_status dj_flights_open(struct dj_flights *flights, const uint8_t key[DJ_SHA256_BYTES],
                                 uint64_t record_bytes_max, void *owner,
                                 void (*free_owner)(void *owner), struct dj_flight **out_flight)
{
    uint32_t lanes = flights->loop_count;
    struct dj_flight *flight = dj_alloc_zeroed(1, sizeof *flight + lanes * sizeof *flight->lanes);
    struct dj_chunk *sentinel = chunk_create(deja_slice(NULL, 0), 0, false);
    enum deja_status status = flight && sentinel ? DEJA_OK : DEJA_ERR_NOMEM;
    /* A flight of the same key that takes no riders any more leaves the table to the new one. */
    void *old = NULL;
    if (status == DEJA_OK)
        status = dj_map_put(flights->map, deja_slice(key, DJ_SHA256_BYTES), flight, &old);
    if (status != DEJA_OK) {
        dj_chunk_unref(sentinel);
        dj_free(flight);
        return status;
    }
    if (old)
        ((struct dj_flight *)old)->flights = NULL;
    atomic_init(&flight->refs, 1);
    atomic_init(&flight->phase, DJ_FLIGHT_PENDING);
    memcpy(flight->key, key, DJ_SHA256_BYTES);
    flight->flights = flights;
    flight->home = flights->home;
    flight->first = sentinel;
    flight->tail = chunk_ref(sentinel);
    flight->record_bytes_max = record_bytes_max;
    flight->owner = owner;
    flight->free_owner = free_owner;
    flight->lane_count = lanes;
    for (uint32_t i = 0; i < lanes; i++) {
        flight->lanes[i].flight = flight;
        dj_list_init(&flight->lanes[i].riders);
    }
    *out_flight = flight;
    return DEJA_OK;
}

struct dj_chunk *dj_flight_expect(struct dj_flight *flight, struct dj_loop *loop)
{
    struct lane *lane = &flight->lanes[dj_loop_index(loop)];
    if (!flight->first)
        return NULL;
    lane->loop = loop;
    lane->is_expected = true;
    flight->expected++;
    atomic_fetch_add(&flight->riders, 1); /* from here on: it is on its way */
    return chunk_ref(flight->first);
}

/* ---- waking ---- */

/* On the lane's loop. on_wake may leave the list or end its owner. */
static void wake_riders(void *ctx)
{
    struct lane *lane = ctx;
    struct dj_flight *flight = lane->flight;
    struct dj_list round;
    atomic_store(&lane->is_posted, false);
    dj_list_init(&round);
    while (!dj_list_is_empty(&lane->riders)) {
        struct dj_list *link = lane->riders.next;
        dj_list_remove(link);
        dj_list_push_back(&round, link);
    }
    while (!dj_list_is_empty(&round)) {
        struct dj_list *link = round.next;
        struct dj_rider *rider = DJ_CONTAINER(link, struct dj_rider, link);
        dj_list_remove(link);
        dj_list_push_back(&lane->riders, link);
        rider->on_wake(rider->ctx);
    }
    dj_flight_unref(flight);
}

static void post_lane(struct lane *lane)
{
    if (atomic_exchange(&lane->is_posted, true))
        return;
    dj_flight_ref(lane->flight);
    lane->task = (struct dj_task){.run = wake_riders, .ctx = lane};
    dj_loop_post(lane->loop, &lane->task);
}

static void wake_all(struct dj_flight *flight)
{
    for (uint32_t i = 0; i < flight->lane_count; i++)
        if (flight->lanes[i].is_expected)
            post_lane(&flight->lanes[i]);
}

/* ---- home ---- */

void dj_flight_run(struct dj_flight *flight, const struct dj_flight_head *head)
{
    flight->head = *head;
    atomic_store_explicit(&flight->phase, DJ_FLIGHT_RUNNING, memory_order_release);
    wake_all(flight);
}

enum deja_status dj_flight_append(struct dj_flight *flight, struct deja_slice bytes,
                                  bool is_usage_only)
{
    uint64_t offset = atomic_load_explicit(&flight->bytes, memory_order_relaxed);
    struct dj_chunk *chunk = chunk_create(bytes, offset, is_usage_only);
    if (!chunk)
        return DEJA_ERR_NOMEM;
    struct dj_chunk *tail = flight->tail;
    flight->tail = chunk_ref(chunk); /* the link owns the other reference */
    atomic_store_explicit(&tail->next, chunk, memory_order_release);
    dj_chunk_unref(tail);
    atomic_store_explicit(&flight->bytes, offset + bytes.len, memory_order_release);
    if (flight->first && offset + bytes.len > flight->record_bytes_max) {
        dj_chunk_unref(flight->first);
        flight->first = NULL;
    }
    wake_all(flight);
    return DEJA_OK;
}

static void leave_table(struct dj_flight *flight)
{
    if (flight->flights)
        dj_map_remove(flight->flights->map, deja_slice(flight->key, DJ_SHA256_BYTES));
    flight->flights = NULL;
}

static void end_flight(struct dj_flight *flight, enum dj_flight_phase phase)
{
    leave_table(flight);
    atomic_store_explicit(&flight->phase, phase, memory_order_release);
    wake_all(flight);
    dj_flight_unref(flight);
}

void dj_flight_land(struct dj_flight *flight, const struct dj_flight_end *end)
{
    flight->end = *end;
    end_flight(flight, DJ_FLIGHT_LANDED);
}

void dj_flight_fail(struct dj_flight *flight, enum deja_status status, const char *detail)
{
    flight->end.failure = status;
    flight->end.detail = detail;
    end_flight(flight, DJ_FLIGHT_FAILED);
}

bool dj_flight_is_recorded(const struct dj_flight *flight)
{
    return flight->first != NULL;
}

uint64_t dj_flight_bytes(const struct dj_flight *flight)
{
    return atomic_load_explicit(&flight->bytes, memory_order_relaxed);
}

bool dj_flight_is_wanted(const struct dj_flight *flight)
{
    return flight->first || atomic_load(&flight->riders) > 0;
}

bool dj_flight_is_joined(const struct dj_flight *flight)
{
    return flight->expected > 0;
}

bool dj_flight_must_pause(struct dj_flight *flight, void *ctx, dj_task_fn *on_drained)
{
    if (flight->first)
        return false; /* bounded by the recorder */
    flight->on_drained = on_drained;
    flight->drained_ctx = ctx;
    atomic_store(&flight->is_paused, true);
    if (atomic_load(&flight->bytes) - atomic_load(&flight->consumed) > PAUSE_LAG &&
        atomic_load(&flight->riders) > 0)
        return true;
    /* Not far behind, or drained since: whoever clears the flag first decides. */
    return !atomic_exchange(&flight->is_paused, false);
}

void dj_flight_copy(const struct dj_flight *flight, struct dj_buf *out)
{
    for (const struct dj_chunk *chunk = flight->first; chunk;
         chunk = atomic_load_explicit(&chunk->next, memory_order_acquire))
        dj_buf_append(out, chunk->bytes, chunk->len);
}

/* ---- riders ---- */

void dj_flight_board(struct dj_flight *flight, struct dj_chunk *start, struct dj_rider *rider,
                     struct dj_loop *loop, void *ctx, dj_rider_fn *on_wake)
{
    struct lane *lane = &flight->lanes[dj_loop_index(loop)];
    *rider = (struct dj_rider){.flight = flight, .at = start, .ctx = ctx, .on_wake = on_wake};
    dj_list_push_back(&lane->riders, &rider->link);
    /* What was published before it came is read in the next round. */
    if (!atomic_exchange(&lane->is_posted, true)) {
        dj_flight_ref(flight);
        lane->task = (struct dj_task){.run = wake_riders, .ctx = lane};
        dj_loop_post(loop, &lane->task);
    }
}

/* On home; the flight may have ended since. */
static void run_drained(void *ctx)
{
    struct dj_flight *flight = ctx;
    atomic_store(&flight->is_drain_posted, false);
    if (dj_flight_phase(flight) == DJ_FLIGHT_RUNNING)
        flight->on_drained(flight->drained_ctx);
    dj_flight_unref(flight);
}

/* Tells home that the fastest rider caught up, or that nobody is left to wait for. */
static void resume_home(struct dj_flight *flight)
{
    /* Home may have paused again before it ran the last message: that one serves both. */
    if (!atomic_exchange(&flight->is_paused, false) ||
        atomic_exchange(&flight->is_drain_posted, true))
        return;
    dj_flight_ref(flight);
    flight->drained = (struct dj_task){.run = run_drained, .ctx = flight};
    dj_loop_post(flight->home, &flight->drained);
}

void dj_flight_leave(struct dj_rider *rider)
{
    struct dj_flight *flight = rider->flight;
    if (!flight)
        return;
    dj_list_remove(&rider->link);
    dj_chunk_unref(rider->at);
    rider->at = NULL;
    rider->flight = NULL;
    if (atomic_fetch_sub(&flight->riders, 1) == 1)
        resume_home(flight);
    dj_flight_unref(flight);
}

enum dj_flight_phase dj_flight_phase(const struct dj_flight *flight)
{
    return (enum dj_flight_phase)atomic_load_explicit(&flight->phase, memory_order_acquire);
}

const struct dj_flight_head *dj_flight_head(const struct dj_flight *flight)
{
    return &flight->head;
}

const struct dj_flight_end *dj_flight_end(const struct dj_flight *flight)
{
    return &flight->end;
}

void *dj_flight_owner(const struct dj_flight *flight)
{
    return flight->owner;
}

static void note_progress(struct dj_flight *flight, uint64_t consumed)
{
    uint64_t seen = atomic_load(&flight->consumed);
    while (seen < consumed && !atomic_compare_exchange_weak(&flight->consumed, &seen, consumed)) {
    }
    if (atomic_load(&flight->is_paused) && atomic_load(&flight->bytes) - consumed < PAUSE_LAG / 2)
        resume_home(flight);
}

const struct dj_chunk *dj_rider_next(struct dj_rider *rider)
{
    struct dj_chunk *next = atomic_load_explicit(&rider->at->next, memory_order_acquire);
    if (!next)
        return NULL;
    chunk_ref(next);
    dj_chunk_unref(rider->at);
    rider->at = next;
    note_progress(rider->flight, next->offset + next->len);
    return next;
}

bool dj_rider_is_cut(const struct dj_rider *rider)
{
    const struct dj_flight *flight = rider->flight;
    uint64_t bytes = atomic_load_explicit(&flight->bytes, memory_order_acquire);
    uint64_t read = rider->at->offset + rider->at->len;
    return bytes > flight->record_bytes_max && bytes - read > DJ_FLIGHT_LAG_MAX;
}
