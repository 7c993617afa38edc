/* daemon/savings.c - see savings.h.
 *
 * One line for each bucket: {"tenant":HEX,"kind":NAME,"hour":N,"sums":[…]}, or "day"; N counts from
 * 1970, sums are those of enum dj_ledger_sum in their order, later ones may be missing.
 */
#include "daemon/savings.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/num.h"
#include "proto/json.h"
#include "tools/file.h"

#define BYTES_MAX ((size_t)64 << 20) /* of DJ_LEDGER_ACCOUNTS_MAX accounts, and room to spare */
#define KEEP_TICKS 60u
#define HOUR_MS INT64_C(3600000)
#define DAY_MS ((int64_t)DJ_LEDGER_DAY_MS)

struct dj_savings {
    struct dj_ledger *ledger;
    struct dj_pool *pool;
    struct dj_log *log;
    char *path;     /* owned */
    uint64_t kept;  /* hash of what the file holds; who keeps */
    uint32_t ticks; /* since it was looked at; loop 0's */
    struct dj_job job;
    _Atomic bool is_keeping;
};

static void warn(const struct dj_savings *savings, const char *message, const char *why)
{
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("file", savings->path), DJ_LOG_TEXT("error", why), {.name = NULL}};
    dj_log_write(savings->log, DJ_LOG_WARN, message, fields);
}

/* ---- reading ---- */

static bool read_bucket(const struct dj_json *root, struct dj_ledger_bucket *out_bucket)
{
    const struct dj_json *day = dj_json_get(root, "day");
    struct deja_slice kind = dj_json_string(dj_json_get(root, "kind"));
    int64_t number = dj_json_i64(day ? day : dj_json_get(root, "hour"), 0);
    *out_bucket = (struct dj_ledger_bucket){.is_day = day != NULL};
    if (number <= 0 || number > INT32_MAX || !kind.len || kind.len >= sizeof out_bucket->kind ||
        dj_hex_decode(dj_json_string(dj_json_get(root, "tenant")), out_bucket->tenant,
                      sizeof out_bucket->tenant) != DEJA_OK)
        return false;
    out_bucket->at_ms = number * (day ? DAY_MS : HOUR_MS);
    memcpy(out_bucket->kind, kind.data, kind.len);
    struct dj_json_walk w = dj_json_walk(dj_json_get(root, "sums"));
    for (size_t i = 0; i < DJ_LEDGER_SUM_COUNT && dj_json_walk_next(&w); i++)
        if (dj_num_parse_u64(dj_json_number_text(w.value), &out_bucket->sums[i]) != DEJA_OK)
            return false;
    return true;
}

/* False: that line is none of ours. */
static bool read_line(struct dj_ledger *ledger, struct deja_slice line)
{
    struct dj_json_doc *doc = NULL;
    struct dj_ledger_bucket bucket;
    if (dj_json_parse(line, &doc, NULL) != DEJA_OK)
        return false;
    bool is_read = read_bucket(dj_json_root(doc), &bucket);
    dj_json_doc_destroy(doc);
    if (is_read)
        dj_ledger_restore(ledger, &bucket);
    return is_read;
}

static void read_lines(struct dj_savings *savings, struct deja_slice text)
{
    bool is_whole = true;
    savings->kept = dj_hash64(text.data, text.len, 0);
    while (text.len) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        is_whole &= read_line(savings->ledger, deja_slice(text.data, len));
        len += end != NULL;
        text = deja_slice(text.data + len, text.len - len);
    }
    if (!is_whole)
        warn(savings, "some sums of past hours and days are left out", "damaged lines");
}

static void take_over(struct dj_savings *savings)
{
    struct dj_buf text;
    struct deja_error error = {.message = ""};
    dj_buf_init(&text, BYTES_MAX);
    enum deja_status status = dj_tool_read_file(savings->path, &text, &error);
    if (status == DEJA_OK)
        read_lines(savings, dj_buf_slice(&text));
    else if (status != DEJA_ERR_NOT_FOUND)
        warn(savings, "the sums of past hours and days begin anew", error.message);
    dj_buf_fini(&text);
}

/* ---- writing ---- */

static bool is_label(const char *kind)
{
    return strspn(kind, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(kind);
}

/* A dj_ledger_each_fn. */
static void write_bucket(void *ctx, const struct dj_ledger_bucket *bucket)
{
    struct dj_buf *out = ctx;
    struct dj_json_writer w = dj_json_writer(out);
    char tenant[2 * DJ_ID_BYTES + 1];
    dj_hex_encode(bucket->tenant, DJ_ID_BYTES, tenant);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "tenant", tenant);
    dj_json_member_text(&w, "kind", is_label(bucket->kind) ? bucket->kind : "other");
    dj_json_member_u64(&w, bucket->is_day ? "day" : "hour",
                       (uint64_t)(bucket->at_ms / (bucket->is_day ? DAY_MS : HOUR_MS)));
    dj_json_key(&w, "sums");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < DJ_LEDGER_SUM_COUNT; i++)
        dj_json_put_u64(&w, bucket->sums[i]);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_buf_append(out, "\n", 1);
}

void dj_savings_keep(struct dj_savings *savings)
{
    struct dj_buf text;
    struct deja_error error = {.message = "out of memory"};
    dj_buf_init(&text, BYTES_MAX);
    dj_ledger_walk(savings->ledger, &text, write_bucket);
    enum deja_status status = text.status;
    uint64_t hash = dj_hash64(text.data, text.len, 0);
    if (status == DEJA_OK && hash != savings->kept)
        status = dj_tool_replace_file(savings->path, dj_buf_slice(&text), &error);
    if (status == DEJA_OK)
        savings->kept = hash;
    else
        warn(savings, "the sums of past hours and days are not kept", error.message);
    dj_buf_fini(&text);
}

static void keep(void *ctx)
{
    struct dj_savings *savings = ctx;
    dj_savings_keep(savings);
    atomic_store(&savings->is_keeping, false);
}

void dj_savings_tick(struct dj_savings *savings)
{
    if (++savings->ticks < KEEP_TICKS || atomic_exchange(&savings->is_keeping, true))
        return;
    savings->ticks = 0;
    savings->job = (struct dj_job){.work = keep, .ctx = savings};
    if (dj_pool_submit(savings->pool, &savings->job) != DEJA_OK)
        atomic_store(&savings->is_keeping, false);
}

/* ---- life ---- */

enum deja_status dj_savings_create(const struct dj_savings_options *options,
                                   struct dj_savings **out_savings)
{
    struct dj_buf path = {0};
    struct dj_savings *savings = dj_alloc(sizeof *savings);
    dj_buf_append_format(&path, "%s/savings", options->data_dir);
    char *text = dj_buf_take_text(&path);
    if (!savings || !text) {
        dj_free(savings);
        dj_free(text);
        return DEJA_ERR_NOMEM;
    }
    *savings = (struct dj_savings){
        .ledger = options->ledger, .pool = options->pool, .log = options->log, .path = text};
    take_over(savings);
    *out_savings = savings;
    return DEJA_OK;
}

void dj_savings_destroy(struct dj_savings *savings)
{
    if (!savings)
        return;
    dj_free(savings->path);
    dj_free(savings);
}
