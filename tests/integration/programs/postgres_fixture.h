/* postgres_fixture.h - the tier of PostgreSQL at the server that DEJA_TEST_POSTGRES names, which
 * has the schema and nothing in it. Programs with it are run by test_postgres.py, one test by its
 * name at a time. */
#ifndef DJ_TEST_POSTGRES_FIXTURE_H
#define DJ_TEST_POSTGRES_FIXTURE_H

#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "entries.h"
#include "loops.h"
#include "store/postgres.h"

struct fixture {
    struct loops loops;
    struct dj_store *store;
    struct dj_postgres_options options;
    struct dj_postgres *tool;
};

static inline struct dj_loop *loop_of(struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

static inline struct dj_postgres_options default_options(void)
{
    return (struct dj_postgres_options){.url = getenv("DEJA_TEST_POSTGRES"),
                                        .connections_max = 3,
                                        .connect_timeout_ms = 20000,
                                        .timeout_ms = 60000,
                                        .history_max = 2,
                                        .upkeep_ms = 200};
}

static inline void create_with(struct fixture *fixture, struct dj_postgres_options options)
{
    struct deja_error error = {{0}};
    *fixture = (struct fixture){.options = options};
    loops_create(&fixture->loops, 2);
    if (dj_postgres_open(&fixture->options, &fixture->store, &error) != DEJA_OK)
        fail_msg("%s", error.message);
    loops_start(&fixture->loops);
    if (dj_postgres_connect(&fixture->options, &fixture->tool, &error) != DEJA_OK)
        fail_msg("%s", error.message);
}

static inline void create(struct fixture *fixture)
{
    create_with(fixture, default_options());
}

static inline void destroy(struct fixture *fixture)
{
    dj_postgres_disconnect(fixture->tool);
    loops_stop(&fixture->loops);
    fixture->store->ops->close(fixture->store);
    loops_destroy(&fixture->loops);
}

static inline enum deja_status put(struct fixture *fixture, struct dj_value *value)
{
    struct deja_error trouble;
    enum deja_status status = wait_put(fixture->store, loop_of(fixture), value);
    dj_postgres_trouble(fixture->store, &trouble);
    if (trouble.message[0])
        print_message("%s\n", trouble.message);
    return status;
}

static inline bool has(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_it = value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_it;
}

static inline bool is_miss(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_it = value == NULL;
    dj_value_unref(value);
    return is_it;
}

static inline uint64_t remove_up_to(struct fixture *fixture, uint32_t tenant, uint32_t id,
                                    uint64_t version)
{
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_REMOVE,
                        .key = key_of(tenant, id),
                        .version_max = version};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    return call.removed;
}

#endif
