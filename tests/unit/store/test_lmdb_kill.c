/* kill -9 under write load: what was acknowledged is there, and nothing is torn. */
#include "check.h"

#include <signal.h>
#include <sys/wait.h>

#include "directory.h"
#include "entries.h"
#include "loops.h"
#include "store/lmdb.h"

enum { ROUNDS = 10, IDS = 300, OUTSTANDING = 64, BODY_MAX = 9000 };

/* What a body of this id and version looks like. */
static size_t make_body(uint32_t id, uint64_t version, char body[BODY_MAX])
{
    uint32_t seed = id * 2654435761u + (uint32_t)version;
    size_t len = 16 + seed % (BODY_MAX - 16);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        body[i] = (char)(seed >> 24);
    }
    return len;
}

struct writer {
    struct dj_store *store;
    struct dj_loop *loop;
    int pipe;
    uint64_t next; /* write number: also the version */
    struct slot {
        struct writer *writer;
        uint64_t number;
    } slots[OUTSTANDING];
    struct dj_task task;
};

static void write_next(struct slot *slot);

static void on_written(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    struct slot *slot = ctx;
    if (status != DEJA_OK ||
        write(slot->writer->pipe, &slot->number, sizeof slot->number) != sizeof slot->number)
        _exit(3);
    write_next(slot);
}

static void write_next(struct slot *slot)
{
    struct writer *writer = slot->writer;
    char body[BODY_MAX];
    slot->number = writer->next++;
    uint32_t id = (uint32_t)(slot->number % IDS);
    struct dj_entry entry = entry_of(1, id, slot->number, "");
    entry.body = deja_slice(body, make_body(id, slot->number, body));
    struct dj_value *value;
    if (dj_value_create(&entry, &value) != DEJA_OK ||
        writer->store->ops->put(writer->store, writer->loop, value, NULL, 0, slot, on_written) !=
            DEJA_OK)
        _exit(4);
    dj_value_unref(value);
}

static void on_begin(void *ctx)
{
    struct writer *writer = ctx;
    for (int i = 0; i < OUTSTANDING; i++) {
        writer->slots[i].writer = writer;
        write_next(&writer->slots[i]);
    }
}

struct parts {
    struct loops loops;
    struct dj_pool *pool;
    struct dj_store *store;
    bool is_discarded;
};

static enum deja_status open_parts(struct parts *parts, const char *path)
{
    loops_create(&parts->loops, 1);
    enum deja_status status = dj_pool_create("test", 1, 1000, &parts->pool);
    if (status != DEJA_OK)
        return status;
    struct dj_lmdb_options options = {.directory = path,
                                      .bytes_max = 256 << 20,
                                      .durability = DJ_DURABILITY_EVERYSEC,
                                      .pool = parts->pool};
    status = dj_lmdb_open(&options, &parts->store, &parts->is_discarded, NULL);
    if (status == DEJA_OK)
        loops_start(&parts->loops);
    return status;
}

static void close_parts(struct parts *parts)
{
    loops_stop(&parts->loops);
    parts->store->ops->close(parts->store);
    dj_pool_destroy(parts->pool);
    loops_destroy(&parts->loops);
}

/* Writes until it is killed. */
static void run_child(const char *path, int pipe, uint64_t first, bool is_other_boot)
{
    static struct parts parts;
    static struct writer writer;
    if (open_parts(&parts, path) != DEJA_OK)
        _exit(1);
    if (is_other_boot &&
        dj_lmdb_meta_put(dj_lmdb_meta_of(parts.store), "state", deja_slice_text("boot"),
                         deja_slice_text("another")) != DEJA_OK)
        _exit(2);
    writer = (struct writer){.store = parts.store, .loop = parts.loops.loop[0], .pipe = pipe};
    writer.next = first;
    writer.task = (struct dj_task){.run = on_begin, .ctx = &writer};
    dj_loop_post(writer.loop, &writer.task);
    for (;;)
        pause();
}

/* Versions acknowledged per id, before and after the kill. */
static void read_acks(int pipe, uint64_t count_max, uint64_t acknowledged[IDS], uint64_t *last)
{
    uint64_t number;
    for (uint64_t i = 0; i < count_max && read(pipe, &number, sizeof number) == sizeof number;
         i++) {
        if (number > acknowledged[number % IDS])
            acknowledged[number % IDS] = number;
        if (number > *last)
            *last = number;
    }
}

static void check(const char *path, const uint64_t acknowledged[IDS])
{
    struct parts parts;
    assert_int_equal(open_parts(&parts, path), DEJA_OK);
    assert_false(parts.is_discarded); /* every other round all pages were counted and read */
    char body[BODY_MAX];
    for (uint32_t id = 0; id < IDS; id++) {
        struct dj_value *value = wait_get(parts.store, parts.loops.loop[0], key_of(1, id));
        if (!value) {
            assert_int_equal(acknowledged[id], 0);
            continue;
        }
        const struct dj_entry *entry = dj_value_entry(value);
        assert_true(entry->version >= acknowledged[id]);
        size_t len = make_body(id, entry->version, body);
        assert_true(deja_slice_is_equal(entry->body, deja_slice(body, len)));
        dj_value_unref(value);
    }
    struct dj_store_stats stats;
    parts.store->ops->stats(parts.store, NULL, &stats);
    assert_int_equal(stats.corrupt, 0);
    close_parts(&parts);
}

static void killed_writer_loses_nothing_acknowledged_and_tears_nothing(void **state)
{
    (void)state;
    struct directory directory;
    directory_create(&directory);
    uint64_t acknowledged[IDS] = {0};
    uint64_t last = 0;
    uint32_t seed = (uint32_t)getpid();
    for (int round = 0; round < ROUNDS; round++) {
        int acks[2];
        assert_int_equal(pipe(acks), 0);
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(acks[0]);
            run_child(directory.path, acks[1], last + 1 + OUTSTANDING, round % 2);
        }
        close(acks[1]);
        seed = seed * 1664525u + 1013904223u;
        read_acks(acks[0], 1 + (seed >> 16) % 1500, acknowledged, &last);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        read_acks(acks[0], UINT64_MAX, acknowledged, &last);
        close(acks[0]);
        check(directory.path, acknowledged);
    }
    assert_true(last > 0);
    directory_remove(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_writer_loses_nothing_acknowledged_and_tears_nothing),
    };
    return RUN_TESTS(tests);
}
