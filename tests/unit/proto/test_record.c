#include "base/buf.h"
#include "base/hash.h"
#include "base/num.h"
#include "check.h"
#include "failing_malloc.h"
#include "proto/record.h"

#define PAYLOAD_MAX 100000u

static struct dj_entry sample(void)
{
    struct dj_entry entry = {
        .version = 0x0102030405060708u,
        .created_ms = 1700000000000,
        .expires_ms = 1700000600000,
        .stale_until_ms = -1,
        .kind = DJ_ENTRY_CHAT,
        .tenant_generation = 3,
        .input_tokens = 10,
        .output_tokens = 20,
        .cost_usd = 0.5,
        .make_ms = 1234,
        .query = deja_slice_text("q?"),
        .name_space = deja_slice_text(""),
        .model = deja_slice_text("m"),
        .provider = deja_slice_text("p"),
        .embedder_id = deja_slice_text("e"),
        .metadata = deja_slice_text("{}"),
        .body = deja_slice_text("{\"a\":1}"),
        .tag_count = 2,
        .tags = {{deja_slice_text("t1"), 5}, {deja_slice_text("t2"), UINT64_MAX}},
    };
    memset(entry.tenant, 0x11, sizeof entry.tenant);
    memset(entry.id, 0x22, sizeof entry.id);
    memset(entry.exact, 0x33, sizeof entry.exact);
    memset(entry.scope, 0x44, sizeof entry.scope);
    return entry;
}

/* What format version 1 looks like, for ever. */
static const char golden[] =
    "444a45310100000000000000d6000000d600000000000000c4ef86e25976fbf0111111111111111111111111"
    "1111111122222222222222222222222222222222333333333333333333333333333333333333333333333333"
    "33333333333333334444444444444444444444444444444408070605040302010068e5cf8b010000c08feecf"
    "8b010000ffffffffffffffff0300000000000000000000000000e03f0a00000014000000d204000001020000"
    "02000000713f00000000010000006d01000000700100000065020000007b7d070000007b2261223a317d0200"
    "000074310500000000000000020000007432ffffffffffffffff";

static void assert_text(struct deja_slice a, struct deja_slice b)
{
    assert_true(deja_slice_is_equal(a, b));
}

static void assert_same(const struct dj_entry *a, const struct dj_entry *b)
{
    assert_memory_equal(a->tenant, b->tenant, sizeof a->tenant);
    assert_memory_equal(a->id, b->id, sizeof a->id);
    assert_memory_equal(a->exact, b->exact, sizeof a->exact);
    assert_memory_equal(a->scope, b->scope, sizeof a->scope);
    assert_true(a->version == b->version && a->created_ms == b->created_ms);
    assert_true(a->expires_ms == b->expires_ms && a->stale_until_ms == b->stale_until_ms);
    assert_true(a->kind == b->kind && a->tenant_generation == b->tenant_generation);
    assert_true(a->input_tokens == b->input_tokens && a->output_tokens == b->output_tokens);
    assert_true(a->cost_usd == b->cost_usd && a->make_ms == b->make_ms);
    assert_text(a->query, b->query);
    assert_text(a->name_space, b->name_space);
    assert_text(a->model, b->model);
    assert_text(a->provider, b->provider);
    assert_text(a->embedder_id, b->embedder_id);
    assert_text(a->metadata, b->metadata);
    assert_text(a->body, b->body);
    assert_int_equal(a->tag_count, b->tag_count);
    for (size_t i = 0; i < a->tag_count; i++) {
        assert_text(a->tags[i].name, b->tags[i].name);
        assert_true(a->tags[i].generation == b->tags[i].generation);
    }
}

static void entry_comes_back_as_it_was(void **state)
{
    (void)state;
    char body[5000];
    memset(body, 'x', sizeof body);
    struct dj_entry entry = sample();
    for (unsigned round = 0; round < 2; round++) {
        struct dj_buf record = {0};
        struct dj_buf scratch = {0};
        struct dj_entry decoded;
        dj_buf_append_text(&record, "ahead");
        assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
        struct deja_slice bytes = deja_slice(record.data + 5, record.len - 5);
        assert_int_equal(dj_record_decode(bytes, PAYLOAD_MAX, &scratch, &decoded), DEJA_OK);
        assert_same(&entry, &decoded);
        memset(record.data, 0, record.len); /* the entry borrows from scratch alone */
        assert_same(&entry, &decoded);
        if (round)
            assert_true(record.len < 1000); /* packed */
        dj_buf_fini(&record);
        dj_buf_fini(&scratch);
        entry.body = deja_slice(body, sizeof body);
    }
}

static void format_has_not_changed(void **state)
{
    (void)state;
    struct dj_entry entry = sample();
    struct dj_buf record = {0};
    assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
    char text[2 * 512 + 1];
    assert_true(record.len <= 512);
    dj_hex_encode((const uint8_t *)record.data, record.len, text);
    assert_string_equal(text, golden);
    dj_buf_fini(&record);
}

static void packed_record_of_an_older_build_is_read(void **state)
{
    (void)state;
    static const char packed[] =
        "444a4531010100000000000077000000fb010000000000004f0e5abd0ca377c028b52ffd60fb006d03002246"
        "1420902bad019f5b436dbacecc7491fe9356b9f37f2ebc4572b33908e96f846c29537777777788cf01728b5c"
        "8689e4b678395e8dd7478fdb563b98133e8832d36d2a968b72d1309625e70104048a440182020a0031050003"
        "3714a042c01197ec4a6b4127a039d03119b401";
    uint8_t bytes[512];
    struct dj_buf scratch = {0};
    struct dj_entry decoded;
    struct dj_entry entry = sample();
    char body[300];
    memset(body, 'y', sizeof body);
    entry.body = deja_slice(body, sizeof body);
    size_t len = (sizeof packed - 1) / 2;
    assert_int_equal(dj_hex_decode(deja_slice_text(packed), bytes, len), DEJA_OK);
    assert_int_equal(dj_record_decode(deja_slice(bytes, len), PAYLOAD_MAX, &scratch, &decoded),
                     DEJA_OK);
    assert_same(&entry, &decoded);
    dj_buf_fini(&scratch);
}

static void every_flipped_byte_and_every_cut_is_noticed(void **state)
{
    (void)state;
    char body[300];
    memset(body, 'z', sizeof body);
    struct dj_entry entry = sample();
    for (unsigned round = 0; round < 2; round++) {
        struct dj_buf record = {0};
        struct dj_buf scratch = {0};
        struct dj_entry decoded;
        assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
        for (size_t i = 0; i < record.len; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                record.data[i] = (char)(record.data[i] ^ (1 << bit));
                enum deja_status status =
                    dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded);
                /* A larger version number is taken for a newer format. */
                assert_true(status == DEJA_ERR_CORRUPT ||
                            (i == 4 && status == DEJA_ERR_UNSUPPORTED));
                record.data[i] = (char)(record.data[i] ^ (1 << bit));
            }
        }
        for (size_t len = 0; len < record.len; len++)
            assert_int_equal(
                dj_record_decode(deja_slice(record.data, len), PAYLOAD_MAX, &scratch, &decoded),
                DEJA_ERR_CORRUPT);
        dj_buf_append_byte(&record, 'x');
        assert_int_equal(dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded),
                         DEJA_ERR_CORRUPT);
        dj_buf_fini(&record);
        dj_buf_fini(&scratch);
        entry.body = deja_slice(body, sizeof body);
    }
}

static void set_number(struct dj_buf *record, size_t at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        record->data[at + i] = (char)(value >> (8 * i) & 0xff);
}

/* Makes the checksum right again, as one who can write to our files would. */
static void sign(struct dj_buf *record)
{
    uint64_t sum = dj_hash64(record->data + 32, record->len - 32, dj_hash64(record->data, 24, 0));
    set_number(record, 24, (uint32_t)sum);
    set_number(record, 28, (uint32_t)(sum >> 32));
}

static void hostile_lengths_are_refused_although_the_checksum_is_right(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 3, 255, 0x7fffffff, 0x80000000u, 0xffffffffu};
    struct dj_entry entry = sample();
    struct dj_buf scratch = {0};
    struct dj_entry decoded;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for (size_t at = 0; at < 100; at++) {
            struct dj_buf record = {0};
            assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
            size_t place = at < 1 ? 16 : 32 + 140 + at - 1; /* unpacked length, then text lengths */
            if (place + 4 > record.len) {
                dj_buf_fini(&record);
                break;
            }
            set_number(&record, place, values[i]);
            sign(&record);
            enum deja_status status =
                dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded);
            assert_true(status == DEJA_OK || status == DEJA_ERR_CORRUPT ||
                        status == DEJA_ERR_LIMIT || status == DEJA_ERR_UNSUPPORTED);
            assert_true(at || status != DEJA_OK);
            dj_buf_fini(&record);
        }
    }
    dj_buf_fini(&scratch);
}

static void what_a_newer_build_wrote_is_unsupported_not_corrupt(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        char value;
    } rows[] = {{4, 2}, {5, 4}, {32 + 140, 9}};
    struct dj_entry entry = sample();
    struct dj_buf scratch = {0};
    struct dj_entry decoded;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf record = {0};
        assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
        record.data[rows[i].at] = rows[i].value;
        sign(&record);
        assert_int_equal(dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded),
                         DEJA_ERR_UNSUPPORTED);
        dj_buf_fini(&record);
    }
    dj_buf_fini(&scratch);
}

static void bounds_hold_in_both_directions(void **state)
{
    (void)state;
    static char name[5000];
    struct dj_entry entry = sample();
    struct dj_entry decoded = sample();
    struct dj_buf record = {0};
    struct dj_buf scratch = {0};
    assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
    assert_int_equal(dj_record_decode(dj_buf_slice(&record), 100, &scratch, &decoded),
                     DEJA_ERR_LIMIT);
    assert_same(&entry, &decoded); /* untouched */
    size_t len = record.len;
    entry.model = deja_slice(name, sizeof name);
    assert_int_equal(dj_record_encode(&entry, &record), DEJA_ERR_LIMIT);
    entry = sample();
    entry.tags[1].name = deja_slice(name, sizeof name);
    assert_int_equal(dj_record_encode(&entry, &record), DEJA_ERR_LIMIT);
    entry = sample();
    entry.tag_count = DJ_ENTRY_TAGS_MAX + 1;
    assert_int_equal(dj_record_encode(&entry, &record), DEJA_ERR_LIMIT);
    assert_int_equal(record.len, len);
    dj_buf_fini(&record);
    dj_buf_fini(&scratch);
}

/* The context that is kept between records holds nothing of them. */
static void one_unpacker_serves_records_whatever_came_before(void **state)
{
    (void)state;
    struct dj_unpacker *unpacker = dj_unpacker_create();
    assert_non_null(unpacker);
    char body[5000];
    memset(body, 'x', sizeof body);
    for (size_t len = 1; len <= sizeof body; len += 833) {
        struct dj_entry entry = sample();
        entry.body = deja_slice(body, len);
        struct dj_buf record = {0};
        struct dj_buf scratch = {0};
        struct dj_entry decoded;
        assert_int_equal(dj_record_encode(&entry, &record), DEJA_OK);
        struct deja_slice whole = dj_buf_slice(&record);
        struct deja_slice cut = deja_slice(whole.data, whole.len - 1);
        assert_int_equal(dj_record_decode_with(unpacker, cut, PAYLOAD_MAX, &scratch, &decoded),
                         DEJA_ERR_CORRUPT);
        assert_int_equal(dj_record_decode_with(unpacker, whole, PAYLOAD_MAX, &scratch, &decoded),
                         DEJA_OK);
        assert_same(&entry, &decoded);
        dj_buf_fini(&record);
        dj_buf_fini(&scratch);
    }
    dj_unpacker_destroy(unpacker);
    dj_unpacker_destroy(NULL);
}

/* An entry whose body repeats itself, of that length. */
static struct dj_entry long_sample(size_t len)
{
    static char body[8192];
    struct dj_entry entry = sample();
    assert_true(len <= sizeof body);
    for (size_t i = 0; i < len; i++)
        body[i] = "the same again, "[i % 16];
    entry.body = deja_slice(body, len);
    return entry;
}

static size_t packed_bytes(const struct dj_packing *packing, const struct dj_entry *entry)
{
    struct dj_buf record = {0};
    struct dj_buf scratch = {0};
    struct dj_entry decoded;
    assert_int_equal(dj_record_encode_with(packing, entry, &record), DEJA_OK);
    assert_int_equal(dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded),
                     DEJA_OK);
    assert_same(entry, &decoded);
    size_t len = record.len;
    dj_buf_fini(&record);
    dj_buf_fini(&scratch);
    return len;
}

static void records_are_packed_as_they_are_to_be_and_read_whatever_was_done(void **state)
{
    (void)state;
    const struct dj_packing none = {.packer = DJ_PACKER_NONE};
    const struct dj_packing small = {.bytes_min = 64};
    const struct dj_packing gzip = {.packer = DJ_PACKER_GZIP};
    const struct dj_packing gzip_best = {.packer = DJ_PACKER_GZIP, .level = 9};
    const struct dj_packing zstd_best = {.level = 19};
    struct dj_entry entry = long_sample(8000);
    size_t plain = packed_bytes(&none, &entry);
    assert_true(plain > 8000);
    const struct dj_packing *const packers[] = {NULL, &small, &gzip, &gzip_best, &zstd_best};
    for (size_t i = 0; i < sizeof packers / sizeof *packers; i++)
        assert_true(packed_bytes(packers[i], &entry) < plain / 8);
    entry = long_sample(600); /* below what is packed by default */
    plain = packed_bytes(&none, &entry);
    assert_int_equal(packed_bytes(NULL, &entry), plain);
    assert_int_equal(packed_bytes(&gzip, &entry), plain);
    assert_true(packed_bytes(&small, &entry) < plain);
}

static void damaged_gzip_is_corrupt(void **state)
{
    (void)state;
    const struct dj_packing gzip = {.packer = DJ_PACKER_GZIP};
    struct dj_entry entry = long_sample(4000);
    struct dj_buf whole = {0};
    struct dj_buf scratch = {0};
    struct dj_entry decoded;
    assert_int_equal(dj_record_encode_with(&gzip, &entry, &whole), DEJA_OK);
    for (size_t at = 32; at < whole.len; at++) {
        struct dj_buf record = {0};
        dj_buf_append_slice(&record, dj_buf_slice(&whole));
        record.data[at] = (char)~record.data[at];
        sign(&record);
        enum deja_status status =
            dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded);
        /* Some bytes of gzip's head say nothing that matters: the time, the system. */
        bool is_idle = at >= 32 + 4 && at < 32 + 10;
        assert_true(status == DEJA_ERR_CORRUPT || (is_idle && status == DEJA_OK));
        dj_buf_fini(&record);
    }
    dj_buf_fini(&whole);
    dj_buf_fini(&scratch);
}

static void packing_by_gzip_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_packing gzip = {.packer = DJ_PACKER_GZIP};
    struct dj_entry entry = long_sample(4000);
    for (size_t n = 1;; n++) {
        struct dj_buf record = {0};
        struct dj_buf scratch = {0};
        struct dj_entry decoded;
        failing_malloc_arm(n);
        enum deja_status status = dj_record_encode_with(&gzip, &entry, &record);
        if (status == DEJA_OK)
            status = dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (status == DEJA_OK)
            assert_same(&entry, &decoded);
        dj_buf_fini(&record);
        dj_buf_fini(&scratch);
        if (!has_failed)
            break;
    }
}

static void record_survives_each_failed_allocation(void **state)
{
    (void)state;
    char body[1000];
    memset(body, 'w', sizeof body);
    struct dj_entry entry = sample();
    entry.body = deja_slice(body, sizeof body);
    for (size_t n = 1;; n++) {
        struct dj_buf record = {0};
        struct dj_buf scratch = {0};
        struct dj_entry decoded;
        failing_malloc_arm(n);
        enum deja_status status = dj_record_encode(&entry, &record);
        if (status == DEJA_OK) /* possibly unpacked, for want of memory */
            status = dj_record_decode(dj_buf_slice(&record), PAYLOAD_MAX, &scratch, &decoded);
        struct dj_unpacker *unpacker = dj_unpacker_create(); /* NULL: one is made for each */
        if (status == DEJA_OK)
            status = dj_record_decode_with(unpacker, dj_buf_slice(&record), PAYLOAD_MAX, &scratch,
                                           &decoded);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (status == DEJA_OK)
            assert_same(&entry, &decoded);
        dj_unpacker_destroy(unpacker);
        dj_buf_fini(&record);
        dj_buf_fini(&scratch);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_comes_back_as_it_was),
        cmocka_unit_test(format_has_not_changed),
        cmocka_unit_test(packed_record_of_an_older_build_is_read),
        cmocka_unit_test(every_flipped_byte_and_every_cut_is_noticed),
        cmocka_unit_test(hostile_lengths_are_refused_although_the_checksum_is_right),
        cmocka_unit_test(what_a_newer_build_wrote_is_unsupported_not_corrupt),
        cmocka_unit_test(bounds_hold_in_both_directions),
        cmocka_unit_test(one_unpacker_serves_records_whatever_came_before),
        cmocka_unit_test(records_are_packed_as_they_are_to_be_and_read_whatever_was_done),
        cmocka_unit_test(damaged_gzip_is_corrupt),
        cmocka_unit_test(packing_by_gzip_survives_each_failed_allocation),
        cmocka_unit_test(record_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
