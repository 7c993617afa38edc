#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory_authority.h"
#include "security/keyring.h"
#include "store/archive.h"

#define NOW_MS INT64_C(1700000000000)

static int64_t now_ms(void)
{
    return NOW_MS;
}

static struct dj_keyring *keyring_make(struct memory_authority *memory, uint8_t master_byte)
{
    uint8_t master[32];
    struct dj_keyring *keyring;
    memset(master, master_byte, sizeof master);
    memory_authority_init(memory);
    const struct dj_keyring_options options = {
        .master = master, .authority = &memory->authority, .now_ms = now_ms};
    assert_int_equal(dj_keyring_create(&options, &keyring), DEJA_OK);
    return keyring;
}

/* ---- bytes in memory ---- */

struct memory_file {
    struct dj_buf bytes;
    size_t at;
    bool is_finished;
};

static enum deja_status write_memory(void *ctx, struct deja_slice bytes, struct deja_error *error)
{
    struct memory_file *file = ctx;
    (void)error;
    dj_buf_append_slice(&file->bytes, bytes);
    return file->bytes.status;
}

static enum deja_status finish_memory(void *ctx, struct deja_error *error)
{
    (void)error;
    ((struct memory_file *)ctx)->is_finished = true;
    return DEJA_OK;
}

static enum deja_status read_memory(void *ctx, char *out, size_t len, size_t *out_len,
                                    struct deja_error *error)
{
    struct memory_file *file = ctx;
    size_t left = file->bytes.len - file->at;
    (void)error;
    *out_len = len < left ? len : left;
    if (*out_len)
        memcpy(out, file->bytes.data + file->at, *out_len);
    file->at += *out_len;
    return DEJA_OK;
}

static void close_memory(void *ctx)
{
    (void)ctx;
}

static struct dj_archive_out out_of(struct memory_file *file)
{
    return (struct dj_archive_out){file, write_memory, finish_memory, close_memory};
}

static struct dj_archive_in in_of(struct memory_file *file)
{
    file->at = 0;
    return (struct dj_archive_in){file, read_memory, close_memory};
}

/* ---- contents ---- */

static struct dj_entry sample(unsigned index)
{
    struct dj_entry entry = {.kind = (uint8_t)(1 + index % 5),
                             .version = 100 + index,
                             .expires_ms = NOW_MS + index,
                             .tag_count = 1};
    entry.tenant[0] = (uint8_t)(1 + index / 4);
    entry.id[0] = (uint8_t)index;
    entry.query = deja_slice_text("a question");
    entry.body = deja_slice("an\0answer", 9);
    entry.tags[0] = (struct dj_entry_tag){deja_slice_text("geo"), 3};
    return entry;
}

static enum deja_status write_sample(struct memory_file *file, struct dj_keyring *keyring,
                                     struct deja_error *error)
{
    static const float vector[2] = {0.5f, -1.0f};
    const struct dj_archive_options options = {
        .keyring = keyring, .now_ms = NOW_MS, .secret_name = 7};
    const struct dj_archive_out out = out_of(file);
    const struct dj_archive_document document = {deja_slice_text("api_keys"),
                                                 deja_slice_text("name"), deja_slice_text("value")};
    struct dj_archive_writer *writer = NULL;
    struct dj_archive_end end;
    enum deja_status status = dj_archive_create(&options, &out, &writer, error);
    if (status == DEJA_OK)
        status = dj_archive_put_document(writer, &document, error);
    for (unsigned i = 0; i < 8 && status == DEJA_OK; i++) {
        struct dj_entry entry = sample(i);
        status = dj_archive_put(writer, &entry, i % 2 ? vector : NULL, 2, error);
    }
    if (status == DEJA_OK)
        status = dj_archive_finish(writer, &end, error);
    if (status == DEJA_OK) {
        assert_int_equal(end.entries, 8);
        assert_int_equal(end.documents, 1);
        assert_int_equal(end.blocks, 3); /* documents, two tenants */
    }
    dj_archive_destroy(writer);
    return status;
}

/* *out_entries: told before the end, or before it was refused. */
static enum deja_status read_all(struct memory_file *file, struct dj_keyring *keyring,
                                 unsigned *out_entries, struct deja_error *error)
{
    const struct dj_archive_in in = in_of(file);
    struct dj_archive_reader *reader = NULL;
    struct dj_archive_item item;
    struct dj_archive_end end;
    unsigned entries = 0;
    enum deja_status status = dj_archive_open(&in, keyring, &reader, error);
    while (status == DEJA_OK) {
        status = dj_archive_next(reader, &item, &end, error);
        if (status != DEJA_OK || item.is_document)
            continue;
        struct dj_entry expected = sample(item.entry->id[0]);
        assert_memory_equal(item.entry->tenant, expected.tenant, DJ_ID_BYTES);
        assert_int_equal(item.entry->version, expected.version);
        assert_int_equal(item.entry->kind, expected.kind);
        assert_int_equal(item.entry->expires_ms, expected.expires_ms);
        assert_true(deja_slice_is_equal(item.entry->body, expected.body));
        assert_int_equal(item.entry->tags[0].generation, 3);
        assert_int_equal(item.dim, item.entry->id[0] % 2 ? 2 : 0);
        entries++;
    }
    dj_archive_close(reader);
    *out_entries = entries;
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

static void backup_is_read_as_it_was_written(void **state)
{
    (void)state;
    for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
        struct memory_authority memory;
        struct dj_keyring *keyring = is_sealed ? keyring_make(&memory, 1) : NULL;
        struct memory_file file = {.at = 0};
        struct deja_error error;
        unsigned entries = 0;
        assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
        assert_true(file.is_finished);
        assert_int_equal(read_all(&file, keyring, &entries, &error), DEJA_OK);
        assert_int_equal(entries, 8);
        dj_buf_fini(&file.bytes);
        dj_keyring_destroy(keyring);
    }
}

static void sealed_backup_shows_nothing_of_what_it_holds(void **state)
{
    (void)state;
    struct memory_authority memory;
    struct dj_keyring *keyring = keyring_make(&memory, 1);
    struct memory_file file = {.at = 0};
    struct deja_error error;
    assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
    for (size_t at = 0; at + 10 <= file.bytes.len; at++) {
        assert_memory_not_equal(file.bytes.data + at, "a question", 10);
        assert_memory_not_equal(file.bytes.data + at, "api_keys", 8);
    }
    dj_buf_fini(&file.bytes);
    dj_keyring_destroy(keyring);
}

static void backup_of_another_master_key_is_denied_with_what_to_do(void **state)
{
    (void)state;
    struct memory_authority memory;
    struct memory_authority others;
    struct dj_keyring *keyring = keyring_make(&memory, 1);
    struct dj_keyring *other = keyring_make(&others, 2);
    struct memory_file file = {.at = 0};
    struct deja_error error;
    unsigned entries;
    assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
    assert_int_equal(read_all(&file, other, &entries, &error), DEJA_ERR_DENIED);
    assert_non_null(strstr(error.message, "master.key"));
    assert_int_equal(read_all(&file, NULL, &entries, &error), DEJA_ERR_DENIED);
    dj_buf_fini(&file.bytes);
    dj_keyring_destroy(keyring);
    dj_keyring_destroy(other);
}

static void every_flipped_byte_is_refused_and_its_place_is_told(void **state)
{
    (void)state;
    for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
        struct memory_authority memory;
        struct dj_keyring *keyring = is_sealed ? keyring_make(&memory, 1) : NULL;
        struct memory_file file = {.at = 0};
        struct deja_error error;
        unsigned entries = 0;
        assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
        for (size_t at = 0; at < file.bytes.len; at++) {
            file.bytes.data[at] = (char)(file.bytes.data[at] ^ 0x10);
            enum deja_status status = read_all(&file, keyring, &entries, &error);
            assert_int_not_equal(status, DEJA_OK);
            bool is_told =
                strstr(error.message, "at byte") || strstr(error.message, "not a backup");
            if (!is_told)
                fail_msg("byte %zu: %s", at, error.message);
            file.bytes.data[at] = (char)(file.bytes.data[at] ^ 0x10);
        }
        dj_buf_fini(&file.bytes);
        dj_keyring_destroy(keyring);
    }
}

static void every_cut_and_every_addition_is_refused(void **state)
{
    (void)state;
    struct memory_authority memory;
    struct dj_keyring *keyring = keyring_make(&memory, 1);
    struct memory_file file = {.at = 0};
    struct deja_error error;
    unsigned entries = 0;
    assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
    size_t len = file.bytes.len;
    for (size_t cut = 0; cut < len; cut++) {
        file.bytes.len = cut;
        assert_int_not_equal(read_all(&file, keyring, &entries, &error), DEJA_OK);
    }
    file.bytes.len = len;
    dj_buf_append_byte(&file.bytes, 'x');
    assert_int_equal(read_all(&file, keyring, &entries, &error), DEJA_ERR_CORRUPT);
    assert_non_null(strstr(error.message, "behind the end"));
    dj_buf_fini(&file.bytes);
    dj_keyring_destroy(keyring);
}

/* As somebody would who cannot seal, but can count: a whole block is left out. */
static void block_that_was_taken_out_is_missed(void **state)
{
    (void)state;
    struct memory_file file = {.at = 0};
    struct dj_archive_block block;
    struct deja_error error;
    unsigned entries = 0;
    assert_int_equal(write_sample(&file, NULL, &error), DEJA_OK);
    const char *first = file.bytes.data + DJ_ARCHIVE_HEADER_BYTES;
    assert_int_equal(dj_archive_block_read(deja_slice(first, DJ_ARCHIVE_HEAD_BYTES), &block),
                     DEJA_OK);
    size_t gone = DJ_ARCHIVE_HEAD_BYTES + block.stored_bytes;
    memmove(file.bytes.data + DJ_ARCHIVE_HEADER_BYTES, first + gone,
            file.bytes.len - DJ_ARCHIVE_HEADER_BYTES - gone);
    file.bytes.len -= gone;
    assert_int_equal(read_all(&file, NULL, &entries, &error), DEJA_ERR_CORRUPT);
    assert_non_null(strstr(error.message, "block 0 at byte 192"));
    assert_int_equal(entries, 0);
    dj_buf_fini(&file.bytes);
}

static void file_is_there_only_when_it_is_finished(void **state)
{
    (void)state;
    char folder[64];
    char path[96];
    struct dj_archive_out out;
    struct dj_archive_in in;
    struct deja_error error;
    char bytes[8];
    size_t len = 0;
    snprintf(folder, sizeof folder, "%s/archive-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.djb", folder);
    assert_int_equal(dj_archive_file_create(path, &out, &error), DEJA_OK);
    assert_int_equal(out.write(out.ctx, deja_slice_text("bytes"), &error), DEJA_OK);
    assert_int_equal(dj_archive_file_open(path, &in, &error), DEJA_ERR_IO);
    out.close(out.ctx);
    assert_int_equal(rmdir(folder), 0); /* nothing was left behind */
    assert_int_equal(dj_archive_file_create(path, &out, &error), DEJA_ERR_IO);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(dj_archive_file_create(path, &out, &error), DEJA_OK);
    assert_int_equal(out.write(out.ctx, deja_slice_text("bytes"), &error), DEJA_OK);
    assert_int_equal(out.finish(out.ctx, &error), DEJA_OK);
    out.close(out.ctx);
    assert_int_equal(dj_archive_file_open(path, &in, &error), DEJA_OK);
    assert_int_equal(in.read(in.ctx, bytes, sizeof bytes, &len, &error), DEJA_OK);
    assert_int_equal(len, 5);
    in.close(in.ctx);
    assert_int_equal(dj_archive_file_create(path, &out, &error), DEJA_ERR_BUSY);
    unlink(path);
    rmdir(folder);
}

static void writer_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct memory_authority memory;
    struct dj_keyring *keyring = keyring_make(&memory, 1);
    for (size_t n = 1;; n++) {
        struct memory_file file = {.at = 0};
        struct deja_error error;
        failing_malloc_arm(n);
        enum deja_status status = write_sample(&file, keyring, &error);
        bool has_failed = failing_malloc_disarm();
        dj_buf_fini(&file.bytes);
        assert_true(status == DEJA_OK || has_failed);
        if (!has_failed)
            break;
    }
    dj_keyring_destroy(keyring);
}

static void reader_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct memory_authority memory;
    struct dj_keyring *keyring = keyring_make(&memory, 1);
    struct memory_file file = {.at = 0};
    struct deja_error error;
    assert_int_equal(write_sample(&file, keyring, &error), DEJA_OK);
    for (size_t n = 1;; n++) {
        unsigned entries = 0;
        failing_malloc_arm(n);
        enum deja_status status = read_all(&file, keyring, &entries, &error);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || has_failed);
        if (!has_failed)
            break;
    }
    dj_buf_fini(&file.bytes);
    dj_keyring_destroy(keyring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backup_is_read_as_it_was_written),
        cmocka_unit_test(sealed_backup_shows_nothing_of_what_it_holds),
        cmocka_unit_test(backup_of_another_master_key_is_denied_with_what_to_do),
        cmocka_unit_test(every_flipped_byte_is_refused_and_its_place_is_told),
        cmocka_unit_test(every_cut_and_every_addition_is_refused),
        cmocka_unit_test(block_that_was_taken_out_is_missed),
        cmocka_unit_test(file_is_there_only_when_it_is_finished),
        cmocka_unit_test(writer_survives_each_failed_allocation),
        cmocka_unit_test(reader_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
