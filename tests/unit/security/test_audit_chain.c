/* tests/unit/security/test_audit_chain.c - every way to tamper with a log is found and named. */
#include "security/audit_chain.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "check.h"

#define NODE "0123456789abcdef"
#define LINES 8u

static const struct dj_secret key = {{9, 8, 7}};

/* LINES lines, each second one signed. */
static void make_log(struct dj_buf *log)
{
    uint8_t hash[DJ_SHA256_BYTES] = {0};
    for (uint64_t seq = 1; seq <= LINES; seq++) {
        struct dj_buf line = {0};
        dj_buf_append_format(&line,
                             "{\"v\":1,\"seq\":%llu,\"node\":\"" NODE "\",\"operation\":\"o%llu\"",
                             (unsigned long long)seq, (unsigned long long)seq);
        assert_int_equal(dj_audit_line_end(&line, NODE, seq, seq % 2 == 0 ? &key : NULL, hash),
                         DEJA_OK);
        dj_buf_append_slice(log, dj_buf_slice(&line));
        dj_buf_append_byte(log, '\n');
        dj_buf_fini(&line);
    }
    assert_int_equal(log->status, DEJA_OK);
}

/* Line n (1-based) with its line feed. */
static struct deja_slice line_of(const struct dj_buf *log, uint32_t n)
{
    const char *at = log->data;
    const char *end = log->data + log->len;
    while (--n)
        at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
    return deja_slice(at, (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) + 1 - at));
}

static void check(struct deja_slice text, const struct dj_audit_head *head,
                  struct dj_audit_fault *out_fault, struct dj_audit_chain *out_chain)
{
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    assert_int_equal(dj_sign_public(&key, public_key), DEJA_OK);
    *out_chain = (struct dj_audit_chain){.public_key = public_key, .head = head};
    dj_audit_chain_check(out_chain, text, deja_slice(NULL, 0), out_fault);
    if (out_fault->verdict == DJ_AUDIT_INTACT)
        out_fault->verdict = dj_audit_chain_end(out_chain, &out_fault->reason);
    out_chain->public_key = NULL;
}

static void assert_fault(const struct dj_buf *text, enum dj_audit_verdict verdict, uint64_t line)
{
    struct dj_audit_fault fault;
    struct dj_audit_chain chain;
    check(dj_buf_slice(text), NULL, &fault, &chain);
    assert_string_equal(dj_audit_verdict_text(fault.verdict), dj_audit_verdict_text(verdict));
    assert_int_equal(fault.line, line);
    assert_true(fault.reason.message[0] != '\0');
}

static void what_was_written_is_intact(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_audit_fault fault;
    struct dj_audit_chain chain;
    struct dj_audit_line line;
    make_log(&log);
    check(dj_buf_slice(&log), NULL, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_INTACT);
    assert_int_equal(chain.lines, LINES);
    assert_int_equal(chain.first_seq, 1);
    assert_int_equal(chain.signatures, LINES / 2);
    assert_int_equal(chain.signed_seq, LINES);
    struct deja_slice last = line_of(&log, LINES);
    assert_int_equal(dj_audit_line_read(deja_slice(last.data, last.len - 1), &line), DEJA_OK);
    assert_int_equal(line.seq, LINES);
    assert_true(line.is_signed);
    assert_string_equal(line.node, NODE);
    dj_buf_fini(&log);
}

static void any_changed_byte_is_found_in_its_line_or_the_next(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    make_log(&log);
    for (size_t i = 0; i < log.len; i++) {
        struct dj_audit_fault fault;
        struct dj_audit_chain chain;
        uint64_t line = 1;
        for (size_t k = 0; k < i; k++)
            line += log.data[k] == '\n';
        log.data[i] = (char)(log.data[i] ^ 1);
        check(dj_buf_slice(&log), NULL, &fault, &chain);
        assert_int_not_equal(fault.verdict, DJ_AUDIT_INTACT);
        assert_in_range(fault.line, line > 1 ? line - 1 : 1, line + 1);
        log.data[i] = (char)(log.data[i] ^ 1);
    }
    dj_buf_fini(&log);
}

static void a_removed_line_is_named(void **state)
{
    (void)state;
    for (uint32_t gone = 2; gone < LINES; gone++) {
        struct dj_buf log = {0};
        struct dj_buf less = {0};
        make_log(&log);
        for (uint32_t n = 1; n <= LINES; n++)
            if (n != gone)
                dj_buf_append_slice(&less, line_of(&log, n));
        assert_fault(&less, DJ_AUDIT_REMOVED, gone);
        dj_buf_fini(&less);
        dj_buf_fini(&log);
    }
}

static void swapped_lines_are_reordered(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_buf swapped = {0};
    make_log(&log);
    for (uint32_t n = 1; n <= LINES; n++)
        dj_buf_append_slice(&swapped, line_of(&log, n == 4 ? 5 : n == 5 ? 4 : n));
    assert_fault(&swapped, DJ_AUDIT_REORDERED, 4);
    dj_buf_fini(&swapped);
    dj_buf_fini(&log);
}

static void a_copied_line_is_inserted(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_buf more = {0};
    make_log(&log);
    for (uint32_t n = 1; n <= LINES; n++) {
        dj_buf_append_slice(&more, line_of(&log, n));
        if (n == 5)
            dj_buf_append_slice(&more, line_of(&log, 3));
    }
    assert_fault(&more, DJ_AUDIT_INSERTED, 6);
    dj_buf_fini(&more);
    dj_buf_fini(&log);
}

/* A line in place of line 5, well made: digests need no key. */
static void put_forged(const struct dj_buf *log, uint64_t seq, struct dj_buf *out)
{
    struct dj_audit_line before;
    struct dj_buf line = {0};
    struct deja_slice text = line_of(log, 4);
    uint8_t hash[DJ_SHA256_BYTES];
    assert_int_equal(dj_audit_line_read(deja_slice(text.data, text.len - 1), &before), DEJA_OK);
    memcpy(hash, before.hash, sizeof hash);
    dj_buf_append_format(&line, "{\"v\":1,\"seq\":%llu,\"node\":\"" NODE "\",\"operation\":\"x\"",
                         (unsigned long long)seq);
    assert_int_equal(dj_audit_line_end(&line, NODE, seq, NULL, hash), DEJA_OK);
    dj_buf_append_slice(out, dj_buf_slice(&line));
    dj_buf_append_byte(out, '\n');
    dj_buf_fini(&line);
}

static void a_line_that_was_made_anew_breaks_the_next_one(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_buf forged = {0};
    struct dj_buf inserted = {0};
    make_log(&log);
    for (uint32_t n = 1; n <= LINES; n++) {
        if (n == 5)
            put_forged(&log, 5, &inserted);
        dj_buf_append_slice(&inserted, line_of(&log, n));
        if (n == 5)
            put_forged(&log, 5, &forged);
        else
            dj_buf_append_slice(&forged, line_of(&log, n));
    }
    assert_fault(&forged, DJ_AUDIT_EDITED, 5);
    assert_fault(&inserted, DJ_AUDIT_INSERTED, 6);
    dj_buf_fini(&inserted);
    dj_buf_fini(&forged);
    dj_buf_fini(&log);
}

static void a_chain_that_was_made_anew_fails_its_signatures(void **state)
{
    (void)state;
    const struct dj_secret other = {{1}};
    struct dj_buf forged = {0};
    uint8_t hash[DJ_SHA256_BYTES] = {0};
    for (uint64_t seq = 1; seq <= 3; seq++) {
        struct dj_buf line = {0};
        dj_buf_append_format(&line, "{\"v\":1,\"seq\":%llu,\"node\":\"" NODE "\"",
                             (unsigned long long)seq);
        assert_int_equal(dj_audit_line_end(&line, NODE, seq, &other, hash), DEJA_OK);
        dj_buf_append_slice(&forged, dj_buf_slice(&line));
        dj_buf_append_byte(&forged, '\n');
        dj_buf_fini(&line);
    }
    assert_fault(&forged, DJ_AUDIT_EDITED, 1);
    dj_buf_fini(&forged);
}

static void a_cut_end_is_seen_by_who_knows_the_head(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_audit_line last;
    struct dj_audit_head head = {.seq = LINES, .first_seq = 1};
    struct dj_audit_fault fault;
    struct dj_audit_chain chain;
    make_log(&log);
    struct deja_slice text = line_of(&log, LINES);
    assert_int_equal(dj_audit_line_read(deja_slice(text.data, text.len - 1), &last), DEJA_OK);
    memcpy(head.hash, last.hash, sizeof head.hash);
    check(dj_buf_slice(&log), &head, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_INTACT);
    check(deja_slice(log.data, log.len - text.len), &head, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_TRUNCATED);
    check(deja_slice(NULL, 0), &head, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_TRUNCATED);
    check(deja_slice(log.data, log.len - 10), &head, &fault, &chain); /* within the line */
    assert_int_equal(fault.verdict, DJ_AUDIT_TRUNCATED);
    assert_int_equal(fault.line, LINES);
    size_t first = line_of(&log, 1).len;
    check(deja_slice(log.data + first, log.len - first), &head, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_REMOVED);
    head.hash[0] ^= 1;
    check(dj_buf_slice(&log), &head, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_EDITED);
    dj_buf_fini(&log);
}

static void lines_left_out_of_an_export_are_still_chained(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    struct dj_buf export = {0};
    struct dj_audit_fault fault;
    struct dj_audit_chain chain;
    make_log(&log);
    for (uint32_t n = 1; n <= LINES; n++) {
        struct dj_audit_line line;
        struct deja_slice text = line_of(&log, n);
        assert_int_equal(dj_audit_line_read(deja_slice(text.data, text.len - 1), &line), DEJA_OK);
        if (n == 1 || n == 5) {
            dj_buf_append_slice(&export, text);
        } else {
            dj_audit_line_skip(&line, &export);
            dj_buf_append_byte(&export, '\n');
        }
    }
    assert_false(dj_slice_contains(dj_buf_slice(&export), "\"o2\""));
    check(dj_buf_slice(&export), NULL, &fault, &chain);
    assert_int_equal(fault.verdict, DJ_AUDIT_INTACT);
    assert_int_equal(chain.skipped, LINES - 2);
    assert_int_equal(chain.signed_seq, LINES);
    for (size_t i = 0; i < export.len; i++) {
        export.data[i] = (char)(export.data[i] ^ 1);
        check(dj_buf_slice(&export), NULL, &fault, &chain);
        assert_int_not_equal(fault.verdict, DJ_AUDIT_INTACT);
        export.data[i] = (char)(export.data[i] ^ 1);
    }
    dj_buf_fini(&export);
    dj_buf_fini(&log);
}

static void another_nodes_line_is_foreign(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    uint8_t hash[DJ_SHA256_BYTES] = {0};
    struct dj_buf line = {0};
    make_log(&log);
    dj_buf_append_text(&line, "{\"v\":1,\"seq\":9,\"node\":\"ffffffffffffffff\"");
    assert_int_equal(dj_audit_line_end(&line, "ffffffffffffffff", 9, NULL, hash), DEJA_OK);
    dj_buf_append_slice(&log, dj_buf_slice(&line));
    dj_buf_append_byte(&log, '\n');
    assert_fault(&log, DJ_AUDIT_FOREIGN, LINES + 1);
    dj_buf_fini(&line);
    dj_buf_fini(&log);
}

static void ending_a_line_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_buf line = {0};
        uint8_t hash[DJ_SHA256_BYTES] = {7};
        dj_buf_append_text(&line, "{\"v\":1,\"seq\":1,\"node\":\"" NODE "\"");
        failing_malloc_arm(n);
        enum deja_status status = dj_audit_line_end(&line, NODE, 1, &key, hash);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (has_failed)
            assert_int_equal(hash[0], 7); /* the chain is where it was */
        dj_buf_fini(&line);
        if (!has_failed)
            break;
    }
}

/* What is no line is said to be none, whatever it is; reading never goes outside. */
static void any_bytes_are_read_without_harm(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    uint32_t seed = 12345;
    make_log(&log);
    struct deja_slice whole = line_of(&log, 2);
    for (uint32_t round = 0; round < 20000; round++) {
        size_t len = whole.len - 1;
        char *bytes = dj_alloc(len + 1); /* exact: a sanitizer sees what is read beyond */
        struct dj_audit_line line;
        memcpy(bytes, whole.data, len);
        for (uint32_t k = 0; k < 1 + round % 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = (seed >> 8) % len;
            seed = seed * 1664525u + 1013904223u;
            bytes[at] = (char)(seed >> 24);
            if (round % 7 == 0)
                len = at + 1;
        }
        if (dj_audit_line_read(deja_slice(bytes, len), &line) == DEJA_OK)
            assert_true(line.seq > 0);
        struct dj_audit_chain chain = {.public_key = NULL};
        struct dj_audit_fault fault;
        dj_audit_chain_check(&chain, deja_slice(bytes, len), deja_slice(bytes, len), &fault);
        assert_int_not_equal(fault.verdict, DJ_AUDIT_INTACT);
        dj_free(bytes);
    }
    dj_buf_fini(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_intact),
        cmocka_unit_test(any_changed_byte_is_found_in_its_line_or_the_next),
        cmocka_unit_test(a_removed_line_is_named),
        cmocka_unit_test(swapped_lines_are_reordered),
        cmocka_unit_test(a_copied_line_is_inserted),
        cmocka_unit_test(a_line_that_was_made_anew_breaks_the_next_one),
        cmocka_unit_test(a_chain_that_was_made_anew_fails_its_signatures),
        cmocka_unit_test(a_cut_end_is_seen_by_who_knows_the_head),
        cmocka_unit_test(lines_left_out_of_an_export_are_still_chained),
        cmocka_unit_test(another_nodes_line_is_foreign),
        cmocka_unit_test(ending_a_line_survives_each_failed_allocation),
        cmocka_unit_test(any_bytes_are_read_without_harm),
    };
    return RUN_TESTS(tests);
}
