/* disk_fixture.h - the engine with its embedded tier in a directory of its own, and the calls whose
 * tests need it. */
#ifndef DJ_TEST_CACHE_DISK_FIXTURE_H
#define DJ_TEST_CACHE_DISK_FIXTURE_H

#include "base/arena.h"
#include "engine_fixture.h"
#include "proto/json.h"
#include "store/directory.h"

struct disk {
    struct directory directory;
    struct fixture fixture;
};

static inline void disk_open(struct disk *disk)
{
    *disk = (struct disk){0};
    directory_create(&disk->directory);
    disk->fixture.directory = disk->directory.path;
    fixture_start(&disk->fixture);
}

static inline void disk_restart(struct disk *disk)
{
    fixture_close(&disk->fixture);
    disk->fixture = (struct fixture){.directory = disk->directory.path};
    fixture_start(&disk->fixture);
}

static inline void disk_close(struct disk *disk)
{
    fixture_close(&disk->fixture);
    directory_remove(&disk->directory);
}

/* ---- calls that the fixture has not ---- */

struct selecting {
    struct call call;
    const struct dj_selector *selector;
    bool is_removing;
    uint64_t count;
};

static inline void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    struct selecting *selecting = ctx;
    assert_true(dj_loop_is_current(caller(&selecting->call)));
    selecting->call.status = status;
    selecting->count = count;
    event_set(&selecting->call.ended);
}

static inline void start_select(void *ctx)
{
    struct selecting *s = ctx;
    struct call *call = &s->call;
    enum deja_status status = s->is_removing
                                  ? dj_engine_remove_selected(call->fixture->engine, caller(call),
                                                              tenant_a, s->selector, s, on_selected)
                                  : dj_engine_count(call->fixture->engine, caller(call), tenant_a,
                                                    s->selector, s, on_selected);
    assert_int_equal(status, DEJA_OK);
}

static inline uint64_t select_entries(struct fixture *fixture, const struct dj_selector *selector,
                                      bool is_removing)
{
    struct selecting s = {
        .call = {.fixture = fixture}, .selector = selector, .is_removing = is_removing};
    event_init(&s.call.ended);
    on_loop(caller(&s.call), start_select, &s);
    event_wait(&s.call.ended);
    assert_int_equal(s.call.status, DEJA_OK);
    return s.count;
}

static inline uint64_t count_of(struct fixture *fixture, const struct dj_selector *selector)
{
    return select_entries(fixture, selector, false);
}

static inline void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct call *call = ctx;
    call->value = value;
    snprintf(call->level, sizeof call->level, "%s", level ? level : "");
    event_set(&call->ended);
}

static inline void start_get(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(
        dj_engine_get(call->fixture->engine, caller(call), &call->key, call->skip, call, on_got),
        DEJA_OK);
}

static inline bool is_there(struct fixture *fixture, struct dj_store_key key)
{
    struct call call = {.fixture = fixture, .key = key};
    run_call(&call, start_get);
    assert_int_equal(call.status, DEJA_OK);
    dj_value_unref(call.value);
    return call.value != NULL;
}

/* Entry `number` of tenant a, with an id of two bytes. */
static inline struct dj_entry numbered(struct fixture *fixture, uint32_t number, const char *text)
{
    struct dj_fill fill;
    struct dj_entry entry = entry_of(fixture, tenant_a, 1, text);
    entry.id[0] = (uint8_t)number;
    entry.id[1] = (uint8_t)(number >> 8);
    entry.id[9] = (uint8_t)number;
    memcpy(entry.exact, entry.id, sizeof entry.id);
    dj_engine_begin_fill(fixture->engine, &entry, &fill);
    return entry;
}

static inline void put_all(struct fixture *fixture, struct dj_entry *entry)
{
    struct dj_fill fill;
    dj_engine_begin_fill(fixture->engine, entry, &fill);
    assert_true(put(fixture, entry));
}

static inline const struct dj_filter *filter_of(struct dj_arena *arena, const char *text)
{
    struct dj_json_doc *doc = NULL;
    const struct dj_filter *filter = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_filter_read(dj_json_root(doc), arena, &filter, NULL), DEJA_OK);
    dj_json_doc_destroy(doc);
    return filter;
}

#endif
