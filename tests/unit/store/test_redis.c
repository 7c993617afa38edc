/* What of the Valkey/Redis tier needs no server: slots, replies within bounds, commands, options.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "check.h"
#include "entries.h"
#include "failing_malloc.h"
#include "loops.h"
#include "store/redis.h"
#include "store/redis_command.h"
#include "store/redis_reply.h"
#include "store/redis_slots.h"

static struct deja_slice text(const char *bytes)
{
    return deja_slice_text(bytes);
}

/* ---- slots and addresses ---- */

static void slots_are_those_of_the_cluster_specification(void **state)
{
    (void)state;
    assert_int_equal(dj_redis_slot(text("123456789")), 0x31c3);
    assert_int_equal(dj_redis_slot(text("")), 0);
    assert_int_equal(dj_redis_slot(text("foo")), 12182);
    assert_int_equal(dj_redis_slot(text("{user1000}.following")),
                     dj_redis_slot(text("{user1000}.followers")));
    assert_int_equal(dj_redis_slot(text("foo{}{bar}")), dj_redis_slot(text("foo{}{bar}")));
    assert_int_not_equal(dj_redis_slot(text("foo{}{bar}")), dj_redis_slot(text("bar")));
    assert_int_equal(dj_redis_slot(text("foo{{bar}}zap")), dj_redis_slot(text("{bar")));
    assert_int_equal(dj_redis_slot(text("foo{bar}{zap}")), dj_redis_slot(text("bar")));
}

static void addresses_are_read_in_their_usual_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        uint16_t port;
    } rows[] = {{"h", "h", 6379},        {"h:1", "h", 1},        {"127.0.0.1:70", "127.0.0.1", 70},
                {"[::1]:70", "::1", 70}, {"[::1]", "::1", 6379}, {"::1", "::1", 6379},
                {"", NULL, 0},           {":1", NULL, 0},        {"h:", NULL, 0},
                {"h:0", NULL, 0},        {"h:65536", NULL, 0},   {"h:x", NULL, 0},
                {"[::1", NULL, 0},       {"[::1]x", NULL, 0},    {"a b", NULL, 0},
                {"u@h", NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_redis_address address = {.port = 0};
        enum deja_status status = dj_redis_address_read(text(rows[i].text), 0, &address);
        assert_int_equal(status, rows[i].host ? DEJA_OK : DEJA_ERR_INVALID);
        if (rows[i].host) {
            assert_string_equal(address.host, rows[i].host);
            assert_int_equal(address.port, rows[i].port);
        }
    }
}

/* ---- replies ---- */

struct parser {
    redisContext wire;
    struct dj_redis_reader reader;
};

static void parser_begin(struct parser *parser, size_t bytes_max)
{
    memset(parser, 0, sizeof *parser);
    parser->wire.reader = redisReaderCreateWithFunctions(NULL);
    assert_non_null(parser->wire.reader);
    dj_redis_reader_attach(&parser->reader, &parser->wire, bytes_max);
}

static void parser_end(struct parser *parser)
{
    redisReaderFree(parser->wire.reader);
    dj_redis_reader_fini(&parser->reader);
}

static enum deja_status parse(struct parser *parser, const char *bytes,
                              const struct dj_redis_reply **out_reply)
{
    enum deja_status status = dj_redis_reader_feed(&parser->reader, text(bytes));
    assert_int_equal(status, DEJA_OK);
    *out_reply = NULL;
    return dj_redis_reader_next(&parser->reader, out_reply);
}

static void replies_of_every_kind_are_read(void **state)
{
    (void)state;
    struct parser parser;
    const struct dj_redis_reply *reply = NULL;
    int64_t number = 0;
    parser_begin(&parser, 1 << 16);
    assert_int_equal(parse(&parser, ":-7\r\n", &reply), DEJA_OK);
    assert_true(dj_redis_integer(reply, &number) && number == -7);
    assert_int_equal(parse(&parser, "$2\r\n42\r\n", &reply), DEJA_OK);
    assert_true(dj_redis_integer(reply, &number) && number == 42);
    assert_int_equal(parse(&parser, "$0\r\n\r\n", &reply), DEJA_OK);
    assert_int_equal(reply->type, DJ_REDIS_TEXT);
    assert_int_equal(reply->text.len, 0);
    assert_int_equal(parse(&parser, "$-1\r\n", &reply), DEJA_OK);
    assert_int_equal(reply->type, DJ_REDIS_NIL);
    assert_int_equal(parse(&parser, "_\r\n", &reply), DEJA_OK);
    assert_int_equal(reply->type, DJ_REDIS_NIL);
    assert_int_equal(parse(&parser, "#t\r\n", &reply), DEJA_OK);
    assert_int_equal(reply->integer, 1);
    assert_int_equal(parse(&parser, "=7\r\ntxt:abc\r\n", &reply), DEJA_OK);
    assert_memory_equal(reply->text.data, "abc", 3);
    assert_int_equal(parse(&parser, "%1\r\n+a\r\n*2\r\n:1\r\n$-1\r\n", &reply), DEJA_OK);
    assert_int_equal(reply->count, 2);
    assert_int_equal(dj_redis_at(dj_redis_at(reply, 1), 0)->integer, 1);
    assert_null(dj_redis_at(reply, 2));
    assert_int_equal(parse(&parser, "-MOVED 1 h:2\r\n", &reply), DEJA_OK);
    assert_true(dj_redis_is_error(reply, "MOVED"));
    assert_false(dj_redis_is_error(reply, "MOVE"));
    parser_end(&parser);
}

static void a_reply_comes_in_pieces(void **state)
{
    (void)state;
    static const char bytes[] = "*2\r\n$5\r\nhello\r\n*1\r\n:12\r\n";
    struct parser parser;
    const struct dj_redis_reply *reply = NULL;
    parser_begin(&parser, 1 << 16);
    for (size_t i = 0; i + 1 < sizeof bytes; i++) {
        char one[2] = {bytes[i], '\0'};
        assert_int_equal(parse(&parser, one, &reply), DEJA_OK);
        assert_int_equal(reply != NULL, i + 2 == sizeof bytes);
    }
    assert_memory_equal(dj_redis_at(reply, 0)->text.data, "hello", 5);
    parser_end(&parser);
}

static void replies_past_their_bounds_end_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t repeats;
        enum deja_status status;
    } rows[] = {{"*1\r\n", 20, DEJA_ERR_LIMIT},
                {"*2147483648\r\n", 1, DEJA_ERR_CORRUPT},
                {"*65536\r\n", 2, DEJA_ERR_LIMIT},
                {"+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 4000, DEJA_ERR_LIMIT},
                {"$99999999999999999999\r\n", 1, DEJA_ERR_CORRUPT},
                {"GET / HTTP/1.1\r\n", 1, DEJA_ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parser parser;
        const struct dj_redis_reply *reply = NULL;
        enum deja_status status = DEJA_OK;
        parser_begin(&parser, 1 << 16);
        for (uint32_t j = 0; j < rows[i].repeats && status == DEJA_OK; j++)
            status = parse(&parser, rows[i].bytes, &reply);
        assert_int_equal(status, rows[i].status);
        parser_end(&parser);
    }
}

static void errors_mean_what_a_store_can_say(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum deja_status status;
    } rows[] = {{"+OK\r\n", DEJA_OK},
                {"-NOAUTH Authentication required.\r\n", DEJA_ERR_DENIED},
                {"-WRONGPASS x\r\n", DEJA_ERR_DENIED},
                {"-NOPERM x\r\n", DEJA_ERR_DENIED},
                {"-OOM command not allowed\r\n", DEJA_ERR_LIMIT},
                {"-WRONGTYPE x\r\n", DEJA_ERR_CORRUPT},
                {"-LOADING x\r\n", DEJA_ERR_IO},
                {"-ERR x\r\n", DEJA_ERR_IO}};
    struct parser parser;
    const struct dj_redis_reply *reply = NULL;
    parser_begin(&parser, 1 << 16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(&parser, rows[i].bytes, &reply), DEJA_OK);
        assert_int_equal(dj_redis_status_of(reply), rows[i].status);
    }
    assert_int_equal(dj_redis_status_of(NULL), DEJA_ERR_CORRUPT);
    parser_end(&parser);
}

static void redirects_are_read_and_doubtful_ones_are_not(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *host; /* NULL: no redirect */
        uint16_t slot, port;
        bool is_asking;
    } rows[] = {{"-MOVED 3999 127.0.0.1:6381\r\n", "127.0.0.1", 3999, 6381, false},
                {"-ASK 1 h:2\r\n", "h", 1, 2, true},
                {"-MOVED 1 :6381\r\n", "asked", 1, 6381, false},
                {"-MOVED 1 2001:db8::1:6381\r\n", "2001:db8::1", 1, 6381, false},
                {"-MOVED 16384 h:1\r\n", NULL, 0, 0, false},
                {"-MOVED x h:1\r\n", NULL, 0, 0, false},
                {"-MOVED 1 h\r\n", NULL, 0, 0, false},
                {"-MOVED 1\r\n", NULL, 0, 0, false},
                {"-MOVED\r\n", NULL, 0, 0, false},
                {"-ASK \r\n", NULL, 0, 0, false},
                {"-ERR MOVED 1 h:1\r\n", NULL, 0, 0, false},
                {"+MOVED 1 h:1\r\n", NULL, 0, 0, false}};
    struct parser parser;
    const struct dj_redis_reply *reply = NULL;
    parser_begin(&parser, 1 << 16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_redis_redirect redirect;
        assert_int_equal(parse(&parser, rows[i].bytes, &reply), DEJA_OK);
        assert_int_equal(dj_redis_redirect_parse(reply, "asked", &redirect), rows[i].host != NULL);
        if (!rows[i].host)
            continue;
        assert_string_equal(redirect.address.host, rows[i].host);
        assert_int_equal(redirect.address.port, rows[i].port);
        assert_int_equal(redirect.slot, rows[i].slot);
        assert_int_equal(redirect.is_asking, rows[i].is_asking);
    }
    parser_end(&parser);
}

static bool count_range(void *ctx, uint16_t first, uint16_t last,
                        const struct dj_redis_address *master)
{
    uint32_t *sum = ctx;
    *sum += (uint32_t)(last - first) + 1;
    assert_true(strcmp(master->host, "h") == 0 || strcmp(master->host, "asked") == 0);
    return true;
}

static void the_map_of_slots_is_read_and_garbage_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool is_map;
        uint32_t slots;
    } rows[] = {
        {"*2\r\n*3\r\n:0\r\n:99\r\n*2\r\n$1\r\nh\r\n:1\r\n*4\r\n:100\r\n:16383\r\n*2\r\n$0\r\n\r\n:"
         "2\r\n"
         "*2\r\n$1\r\nr\r\n:3\r\n",
         true, 16384},
        {"*1\r\n*3\r\n:5\r\n:5\r\n*2\r\n$-1\r\n:1\r\n", true, 1},
        {"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\nh\r\n:1\r\n", false, 0},
        {"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n", false, 0},
        {"*1\r\n*3\r\n:-1\r\n:4\r\n*2\r\n$1\r\nh\r\n:1\r\n", false, 0},
        {"*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n$1\r\nh\r\n:0\r\n", false, 0},
        {"*1\r\n*2\r\n:0\r\n:4\r\n", false, 0},
        {"*1\r\n:1\r\n", false, 0},
        {":1\r\n", false, 0},
    };
    struct parser parser;
    const struct dj_redis_reply *reply = NULL;
    parser_begin(&parser, 1 << 16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t sum = 0;
        assert_int_equal(parse(&parser, rows[i].bytes, &reply), DEJA_OK);
        assert_int_equal(dj_redis_slots_parse(reply, "asked", &sum, count_range), rows[i].is_map);
        assert_int_equal(sum, rows[i].slots);
    }
    parser_end(&parser);
}

/* ---- commands ---- */

static void commands_are_arrays_of_texts(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    dj_redis_command(&buf, 3);
    dj_redis_argument_text(&buf, "SET");
    dj_redis_argument(&buf, deja_slice("a\0b", 3));
    dj_redis_argument_u64(&buf, 18446744073709551615u);
    static const char expected[] =
        "*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$20\r\n18446744073709551615\r\n";
    assert_int_equal(buf.len, sizeof expected - 1);
    assert_memory_equal(buf.data, expected, buf.len);
    dj_buf_fini(&buf);
}

static void a_script_is_sent_whole_where_it_is_not_known(void **state)
{
    (void)state;
    for (int script = 0; script < DJ_REDIS_SCRIPT_COUNT; script++) {
        struct dj_buf named = {0};
        struct dj_buf whole = {0};
        struct dj_buf expected = {0};
        dj_redis_command_script(&named, (enum dj_redis_script)script, 1, 2);
        dj_redis_argument_text(&named, "key");
        dj_redis_argument_text(&named, "argument");
        dj_redis_command_eval(&whole, (enum dj_redis_script)script, dj_buf_slice(&named));
        dj_redis_command(&expected, 5);
        dj_redis_argument_text(&expected, "EVAL");
        dj_redis_argument_text(&expected, dj_redis_script_text((enum dj_redis_script)script));
        dj_redis_argument_text(&expected, "1");
        dj_redis_argument_text(&expected, "key");
        dj_redis_argument_text(&expected, "argument");
        assert_true(deja_slice_is_equal(dj_buf_slice(&whole), dj_buf_slice(&expected)));
        dj_buf_fini(&named);
        dj_buf_fini(&whole);
        dj_buf_fini(&expected);
    }
}

static void keys_name_shard_tenant_and_id(void **state)
{
    (void)state;
    struct dj_store_key key = key_of(1, 2);
    char name[DJ_REDIS_KEY_BYTES];
    char glob[DJ_REDIS_KEY_BYTES];
    uint8_t id[DJ_ID_BYTES];
    size_t len = dj_redis_key("deja", &key, 'q', name);
    char expected[DJ_REDIS_KEY_BYTES];
    int expected_len = snprintf(expected, sizeof expected,
                                "deja:{v:%u}:01000000-0000-0000-0000-000000000000:q:"
                                "02000000000000000000000000000000",
                                dj_redis_shard(&key));
    assert_int_equal(len, expected_len);
    assert_string_equal(name, expected);
    assert_true(dj_redis_shard(&key) < DJ_REDIS_SHARDS);
    assert_true(dj_redis_key_id(deja_slice(name, len), id));
    assert_memory_equal(id, key.id, sizeof id);
    assert_false(dj_redis_key_id(deja_slice(name, len - 1), id));
    assert_false(dj_redis_key_id(text("q:"), id));
    dj_redis_tenant_glob("deja", key.tenant, glob);
    assert_string_equal(glob, "deja:{v:*}:01000000-0000-0000-0000-000000000000:q:*");
}

static void versions_keep_their_order_as_bytes(void **state)
{
    (void)state;
    static const uint64_t versions[] = {
        0, 1, 255, 256, 1ull << 53, (1ull << 53) + 1, UINT64_MAX - 1, UINT64_MAX};
    char before[DJ_REDIS_VERSION_BYTES];
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        char bytes[DJ_REDIS_VERSION_BYTES];
        dj_redis_version_write(versions[i], bytes);
        assert_true(dj_redis_version_read(bytes) == versions[i]);
        assert_true(i == 0 || memcmp(before, bytes, sizeof bytes) < 0);
        memcpy(before, bytes, sizeof bytes);
    }
}

/* ---- opening ---- */

static const struct dj_redis_address nobody = {"127.0.0.1", 1};

static void what_cannot_be_is_said_when_opening(void **state)
{
    (void)state;
    static const struct {
        struct dj_redis_options options;
        const char *what;
    } rows[] = {
        {{.addresses = &nobody, .address_count = 0}, "name 1 to"},
        {{.addresses = &nobody, .address_count = 1, .prefix = "a{b}"}, "key prefix"},
        {{.addresses = &nobody, .address_count = 1, .prefix = ""}, "key prefix"},
        {{.addresses = &nobody, .address_count = 1, .mode = DJ_REDIS_CLUSTER, .db = 1},
         "only database 0"},
        {{.addresses = &nobody, .address_count = 1, .is_tls = true, .ca_file = "/nonexistent"},
         "/nonexistent"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deja_error error = {.message = ""};
        struct dj_store *store = NULL;
        assert_int_equal(dj_redis_open(&rows[i].options, &store, &error), DEJA_ERR_CONFIG);
        assert_non_null(strstr(error.message, rows[i].what));
        assert_null(store);
    }
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_redis_options options = {
        .addresses = &nobody, .address_count = 1, .user = "u", .password = "p", .ca_file = NULL};
    for (size_t n = 1;; n++) {
        struct dj_store *store = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_redis_open(&options, &store, NULL);
        bool has_failed = failing_malloc_disarm();
        if (!has_failed) {
            assert_int_equal(status, DEJA_OK);
            store->ops->close(store);
            return;
        }
        assert_int_not_equal(status, DEJA_OK);
        assert_null(store);
    }
}

struct asked {
    struct dj_store *store;
    struct dj_loop *loop;
    struct dj_task task;
    size_t failing; /* 0: none */
    bool has_failed;
    enum deja_status status;
    uint32_t called;
};

static void on_asked(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct asked *asked = ctx;
    asked->called++;
    asked->status = status;
    assert_null(value);
}

static void on_ask(void *ctx)
{
    struct asked *asked = ctx;
    struct dj_store_key key = key_of(1, 1);
    failing_malloc_arm(asked->failing);
    enum deja_status status =
        asked->store->ops->get(asked->store, asked->loop, &key, asked, on_asked);
    asked->has_failed = failing_malloc_disarm();
    assert_int_equal(asked->called, 0);
    if (status != DEJA_OK)
        asked->status = status;
    asked->store->ops->leave(asked->store, asked->loop);
    dj_loop_stop(asked->loop);
}

/* Asks on a loop that is left at once. */
static struct asked ask_and_leave(size_t failing)
{
    struct asked asked = {.failing = failing};
    const struct dj_redis_options options = {.addresses = &nobody, .address_count = 1};
    assert_int_equal(dj_redis_open(&options, &asked.store, NULL), DEJA_OK);
    assert_int_equal(dj_loop_create(0, &asked.loop), DEJA_OK);
    asked.task = (struct dj_task){.run = on_ask, .ctx = &asked};
    dj_loop_post(asked.loop, &asked.task);
    dj_loop_run(asked.loop);
    struct dj_store_key key = key_of(1, 1);
    assert_int_equal(asked.store->ops->get(asked.store, asked.loop, &key, &asked, on_asked),
                     DEJA_ERR_CANCELLED);
    asked.store->ops->close(asked.store);
    dj_loop_destroy(asked.loop);
    return asked;
}

static void a_loop_that_is_left_ends_what_is_under_way(void **state)
{
    (void)state;
    struct asked asked = ask_and_leave(0);
    assert_int_equal(asked.called, 1);
    assert_true(asked.status == DEJA_ERR_CANCELLED || asked.status == DEJA_ERR_IO);
}

static void a_get_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct asked asked = ask_and_leave(n);
        assert_true(asked.called <= 1);
        assert_int_not_equal(asked.status, DEJA_OK);
        if (!asked.has_failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_the_cluster_specification),
        cmocka_unit_test(addresses_are_read_in_their_usual_forms),
        cmocka_unit_test(replies_of_every_kind_are_read),
        cmocka_unit_test(a_reply_comes_in_pieces),
        cmocka_unit_test(replies_past_their_bounds_end_the_connection),
        cmocka_unit_test(errors_mean_what_a_store_can_say),
        cmocka_unit_test(redirects_are_read_and_doubtful_ones_are_not),
        cmocka_unit_test(the_map_of_slots_is_read_and_garbage_is_not),
        cmocka_unit_test(commands_are_arrays_of_texts),
        cmocka_unit_test(a_script_is_sent_whole_where_it_is_not_known),
        cmocka_unit_test(keys_name_shard_tenant_and_id),
        cmocka_unit_test(versions_keep_their_order_as_bytes),
        cmocka_unit_test(what_cannot_be_is_said_when_opening),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(a_loop_that_is_left_ends_what_is_under_way),
        cmocka_unit_test(a_get_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
