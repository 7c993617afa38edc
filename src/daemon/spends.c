/* daemon/spends.c - see spends.h.
 *
 * A document: {"day":DAYS_SINCE_1970,"nano_usd":N}.
 */
#include "daemon/spends.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "loop/loop.h"
#include "proto/json.h"

#define PLACE_BYTES 8u
#define KEY_BYTES (2u * DJ_TENANT_BYTES + 1u + 2u * PLACE_BYTES + 1u)
#define DOCUMENT_BYTES_MAX 96u
#define ROWS_MAX 100000u
#define AT_ONCE 64u
#define KEEP_TICKS 10u
#define DAY_MS INT64_C(86400000)

struct dj_spends {
    struct dj_limiter *limiter;
    const struct dj_authority *authority;
    struct dj_pool *pool;
    char place[2 * PLACE_BYTES + 1];
    uint32_t ticks; /* since it was kept; loop 0's */
    struct dj_job job;
    _Atomic bool is_keeping;
};

struct key {
    char text[KEY_BYTES];
};

static struct key key_of(const struct dj_spends *spends, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct key key;
    dj_hex_encode(tenant, DJ_TENANT_BYTES, key.text);
    snprintf(key.text + 2 * DJ_TENANT_BYTES, sizeof key.text - 2 * DJ_TENANT_BYTES, ":%s",
             spends->place);
    return key;
}

/* ---- reading ---- */

struct reading {
    const struct dj_spends *spends;
    bool is_own; /* ours are wanted; else those of others */
    int64_t day;
    struct dj_limit_spent *rows; /* owned */
    size_t count;
    size_t cap;
    struct key *over; /* owned: of another day */
    size_t over_count;
};

static bool read_number(const struct dj_json *root, const char *name, uint64_t *out_number)
{
    return dj_num_parse_u64(dj_json_number_text(dj_json_get(root, name)), out_number) == DEJA_OK;
}

static bool read_document(struct deja_slice value, struct dj_limit_spent *out_spent)
{
    struct dj_json_doc *doc = NULL;
    uint64_t day = 0;
    if (dj_json_parse(value, &doc, NULL) != DEJA_OK)
        return false;
    const struct dj_json *root = dj_json_root(doc);
    bool is_read = read_number(root, "day", &day) &&
                   read_number(root, "nano_usd", &out_spent->nano_usd) && day < INT32_MAX;
    out_spent->day = (int64_t)day;
    dj_json_doc_destroy(doc);
    return is_read;
}

static bool add_row(struct reading *reading, const struct dj_limit_spent *spent)
{
    if (reading->count == reading->cap) {
        size_t cap = reading->cap ? 2 * reading->cap : AT_ONCE;
        struct dj_limit_spent *rows =
            cap <= ROWS_MAX ? dj_realloc(reading->rows, cap * sizeof *rows) : NULL;
        if (!rows)
            return false;
        reading->rows = rows;
        reading->cap = cap;
    }
    reading->rows[reading->count++] = *spent;
    return true;
}

/* A dj_authority_each_fn. */
static bool on_document(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct reading *reading = ctx;
    struct dj_limit_spent spent;
    if (key.len != KEY_BYTES - 1 || dj_hex_decode(deja_slice(key.data, 2 * DJ_TENANT_BYTES),
                                                  spent.tenant, DJ_TENANT_BYTES) != DEJA_OK)
        return true;
    bool is_own = memcmp((const char *)key.data + 2 * DJ_TENANT_BYTES + 1, reading->spends->place,
                         2 * PLACE_BYTES) == 0;
    if (!read_document(value, &spent) || spent.day < reading->day) {
        if (reading->over_count < AT_ONCE) {
            struct key *over = &reading->over[reading->over_count++];
            memcpy(over->text, key.data, key.len);
            over->text[key.len] = '\0';
        }
        return true;
    }
    return is_own != reading->is_own || add_row(reading, &spent);
}

static int compare_tenants(const void *a, const void *b)
{
    const struct dj_limit_spent *left = a;
    const struct dj_limit_spent *right = b;
    return memcmp(left->tenant, right->tenant, DJ_TENANT_BYTES);
}

static void take_over(const struct dj_spends *spends, const struct reading *reading,
                      int64_t wall_ms)
{
    uint64_t now_us = dj_clock_monotonic_us();
    if (reading->count)
        qsort(reading->rows, reading->count, sizeof *reading->rows, compare_tenants);
    for (size_t i = 0; i < reading->count;) {
        struct dj_limit_spent sum = reading->rows[i++];
        for (; i < reading->count && compare_tenants(&sum, &reading->rows[i]) == 0; i++)
            sum.nano_usd += reading->rows[i].nano_usd;
        if (reading->is_own)
            dj_limiter_restore(spends->limiter, &sum, now_us, wall_ms);
        else
            dj_limiter_set_elsewhere(spends->limiter, &sum, now_us, wall_ms);
    }
}

static void read_all(const struct dj_spends *spends, bool is_own)
{
    const struct dj_authority *authority = spends->authority;
    int64_t wall_ms = dj_clock_now_ms();
    struct reading reading = {.spends = spends, .is_own = is_own, .day = wall_ms / DAY_MS};
    reading.over = dj_alloc_zeroed(AT_ONCE, sizeof *reading.over);
    if (reading.over &&
        authority->walk(authority->ctx, DJ_SPENDS_TABLE, &reading, on_document) == DEJA_OK)
        take_over(spends, &reading, wall_ms);
    for (size_t i = 0; i < reading.over_count; i++) {
        enum deja_status status = authority->remove(authority->ctx, DJ_SPENDS_TABLE,
                                                    deja_slice_text(reading.over[i].text));
        if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
            break; /* the next time */
    }
    dj_free(reading.over);
    dj_free(reading.rows);
}

/* ---- writing ---- */

static enum deja_status write_one(const struct dj_spends *spends,
                                  const struct dj_limit_spent *spent)
{
    const struct dj_authority *authority = spends->authority;
    struct key key = key_of(spends, spent->tenant);
    char document[DOCUMENT_BYTES_MAX];
    int len = snprintf(document, sizeof document, "{\"day\":%lld,\"nano_usd\":%llu}",
                       (long long)spent->day, (unsigned long long)spent->nano_usd);
    return authority->put(authority->ctx, DJ_SPENDS_TABLE, deja_slice_text(key.text),
                          deja_slice(document, (size_t)len), false);
}

static enum deja_status write_shard(const struct dj_spends *spends, size_t shard)
{
    struct dj_limit_spent spent[AT_ONCE];
    size_t count = dj_limiter_unkept(spends->limiter, shard, dj_clock_now_ms(), spent, AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        enum deja_status status = write_one(spends, &spent[i]);
        if (status != DEJA_OK)
            return status;
        dj_limiter_note_kept(spends->limiter, &spent[i]);
    }
    return DEJA_OK;
}

void dj_spends_keep(struct dj_spends *spends)
{
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < DJ_LIMITER_SHARDS && status == DEJA_OK; i++)
        status = write_shard(spends, i);
    if (spends->authority->pull)
        read_all(spends, false);
}

static void keep(void *ctx)
{
    struct dj_spends *spends = ctx;
    dj_spends_keep(spends);
    atomic_store(&spends->is_keeping, false);
}

void dj_spends_tick(struct dj_spends *spends)
{
    if (++spends->ticks < KEEP_TICKS || atomic_exchange(&spends->is_keeping, true))
        return;
    spends->ticks = 0;
    spends->job = (struct dj_job){.work = keep, .ctx = spends};
    if (dj_pool_submit(spends->pool, &spends->job) != DEJA_OK)
        atomic_store(&spends->is_keeping, false);
}

/* ---- life ---- */

enum deja_status dj_spends_create(const struct dj_spends_options *options,
                                  struct dj_spends **out_spends)
{
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_spends *spends = dj_alloc(sizeof *spends);
    if (!spends)
        return DEJA_ERR_NOMEM;
    *spends = (struct dj_spends){
        .limiter = options->limiter, .authority = options->authority, .pool = options->pool};
    dj_sha256(deja_slice_text(options->place), digest);
    dj_hex_encode(digest, PLACE_BYTES, spends->place);
    read_all(spends, true);
    if (options->authority->pull)
        read_all(spends, false);
    *out_spends = spends;
    return DEJA_OK;
}

void dj_spends_destroy(struct dj_spends *spends)
{
    dj_free(spends);
}
