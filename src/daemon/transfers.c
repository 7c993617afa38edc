/* daemon/transfers.c - see transfers.h: the table, the threads, and what people are told. */
#include "daemon/transfers.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/num.h"
#include "daemon/transfers_internal.h"
#include "proto/json.h"

static const struct {
    const char *name;
    enum deja_status (*run)(struct transfer *transfer, struct deja_error *error);
} kinds[] = {
    [DJ_TRANSFER_BACKUP] = {"backup", transfer_backup},
    [DJ_TRANSFER_RESTORE] = {"restore", transfer_restore},
    [DJ_TRANSFER_VERIFY] = {"verify", transfer_verify},
    [DJ_TRANSFER_MIGRATE] = {"migrate", transfer_migrate},
    [DJ_TRANSFER_CONFIRM] = {"confirm", transfer_confirm},
    [DJ_TRANSFER_ROLLBACK] = {"rollback", transfer_rollback},
};
static const char *const states[] = {[TRANSFER_RUNNING] = "running",
                                     [TRANSFER_DONE] = "done",
                                     [TRANSFER_FAILED] = "failed",
                                     [TRANSFER_CANCELLED] = "cancelled"};

uint64_t dj_transfers_secret_name(const struct dj_tenant_root *root)
{
    static const char label[] = "deja\0backup";
    const struct deja_slice part = deja_slice(label, sizeof label - 1);
    uint8_t digest[DJ_SHA256_BYTES];
    uint64_t name = 0;
    dj_hmac_ready(&root->credentials, &part, 1, digest);
    memcpy(&name, digest, sizeof name);
    return name ? name : 1;
}

/* ---- what people are told ---- */

void transfer_put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    if (ms)
        dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, ms ? text : NULL);
}

static void put_level(struct dj_json_writer *w, const char *name, uint32_t levels)
{
    for (uint32_t level = 0; level < DJ_LEVEL_COUNT && levels; level++)
        if (levels == DJ_LEVEL_BIT(level))
            dj_json_member_text(w, name, dj_level_text((enum dj_level)level));
}

static void put_counts(struct dj_json_writer *w, const struct transfer *transfer)
{
    const struct dj_transfer_counts *counts = &transfer->counts;
    bool is_check = transfer->order.kind == DJ_TRANSFER_VERIFY;
    dj_json_member_u64(w, "entries", atomic_load(&counts->items));
    dj_json_member_u64(w, "bytes", atomic_load(&counts->bytes));
    if (atomic_load(&transfer->expected))
        dj_json_member_u64(w, "entries_expected", atomic_load(&transfer->expected));
    dj_json_member_u64(w, "documents", atomic_load(&transfer->documents));
    dj_json_member_u64(w, "stored", atomic_load(&counts->stored));
    dj_json_member_u64(w, "expired", atomic_load(&counts->expired));
    dj_json_member_u64(w, "voided", atomic_load(&counts->voided));
    dj_json_member_u64(w, "refused", atomic_load(&counts->refused));
    dj_json_member_u64(w, "failed", atomic_load(&counts->failed));
    dj_json_member_u64(w, "unreadable", atomic_load(&transfer->unreadable));
    if (!is_check && transfer->order.kind != DJ_TRANSFER_MIGRATE)
        return;
    dj_json_member_u64(w, "matched", atomic_load(&transfer->matched));
    dj_json_member_u64(w, "missing", atomic_load(&transfer->missing));
    dj_json_member_u64(w, "extra", atomic_load(&transfer->extra));
    dj_json_member_u64(w, "differing", atomic_load(&transfer->differing));
    dj_json_key(w, "mismatches");
    dj_json_begin_array(w);
    if (transfer->report.len)
        dj_json_put_raw(w, dj_buf_slice(&transfer->report));
    dj_json_end_array(w);
}

/* Under mutex. */
static void put_transfer(struct dj_json_writer *w, const struct transfer *transfer)
{
    char id[2 * DJ_TRANSFER_ID_BYTES + 1];
    dj_hex_encode(transfer->id, sizeof transfer->id, id);
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", id);
    dj_json_member_text(w, "kind", kinds[transfer->order.kind].name);
    dj_json_member_text(w, "state", states[transfer->state]);
    dj_json_member_text(w, "phase", atomic_load(&transfer->phase));
    dj_json_member_text(w, "file", transfer->file[0] ? transfer->file : NULL);
    if (transfer->file[0] && transfer->order.kind <= DJ_TRANSFER_VERIFY)
        transfer_put_path(w, transfer);
    put_level(w, "from", transfer->order.from);
    put_level(w, "to", transfer->order.to);
    transfer_put_time(w, "started_at", transfer->started_ms);
    transfer_put_time(w, "ended_at", transfer->ended_ms);
    if (atomic_load(&transfer->made_ms))
        transfer_put_time(w, "made_at", atomic_load(&transfer->made_ms));
    put_counts(w, transfer);
    dj_json_member_text(w, "error", transfer->error.message[0] ? transfer->error.message : NULL);
    dj_json_end_object(w);
}

/* ---- the thread ---- */

static void say_end(const struct transfer *transfer)
{
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("kind", kinds[transfer->order.kind].name),
        DJ_LOG_TEXT("state", states[transfer->state]),
        DJ_LOG_I64("entries", (int64_t)atomic_load(&transfer->counts.items)),
        DJ_LOG_TEXT("reason", transfer->error.message),
        {.name = NULL}};
    dj_log_write(transfer->transfers->daemon->log,
                 transfer->state == TRANSFER_DONE ? DJ_LOG_INFO : DJ_LOG_WARN,
                 "a transfer has ended", fields);
}

static void *run(void *ctx)
{
    struct transfer *transfer = ctx;
    struct dj_transfers *transfers = transfer->transfers;
    struct deja_error error = {.message = ""};
    enum deja_status status = kinds[transfer->order.kind].run(transfer, &error);
    pthread_mutex_lock(&transfers->mutex);
    transfer->ended_ms = dj_clock_now_ms();
    transfer->state = status == DEJA_OK              ? TRANSFER_DONE
                      : status == DEJA_ERR_CANCELLED ? TRANSFER_CANCELLED
                                                     : TRANSFER_FAILED;
    if (status != DEJA_OK) {
        transfer->error = error;
        if (!error.message[0])
            deja_error_set(&transfer->error, status, "%s", deja_status_text(status));
    }
    atomic_store(&transfer->phase, "over");
    say_end(transfer);
    pthread_mutex_unlock(&transfers->mutex);
    return NULL;
}

static void transfer_destroy(struct transfer *transfer)
{
    if (!transfer)
        return;
    if (transfer->is_joinable)
        pthread_join(transfer->thread, NULL);
    dj_buf_fini(&transfer->report);
    dj_free(transfer);
}

static enum deja_status start_thread(struct transfer *transfer)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the daemon's */
    int code = pthread_create(&transfer->thread, NULL, run, transfer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    transfer->is_joinable = code == 0;
    return code == 0 ? DEJA_OK : DEJA_ERR_LIMIT;
}

/* ---- the service ---- */

/* A tier that is ordered is there, and, if it is to be written to, written to. */
static enum deja_status check_tier(const struct dj_transfers *transfers, uint32_t bit,
                                   bool is_written, struct deja_error *error)
{
    static const char *const cures[DJ_LEVEL_COUNT] = {
        [DJ_LEVEL_LMDB] = "lmdb.enabled",
        [DJ_LEVEL_REDIS] = "l2.redis.addresses",
        [DJ_LEVEL_POSTGRES] = "l3.postgres.url",
        [DJ_LEVEL_S3] = "l3.s3.enabled and l3.s3.bucket",
    };
    struct dj_engine_stats stats;
    const struct dj_tier_stats *tier = NULL;
    uint32_t level = 0;
    while (level < DJ_LEVEL_COUNT && bit != DJ_LEVEL_BIT(level))
        level++;
    if (level == DJ_LEVEL_COUNT || level == DJ_LEVEL_MEMORY)
        return DEJA_OK; /* none, or the one that is always there */
    dj_engine_stats(transfers->daemon->engine, NULL, &stats);
    for (uint32_t i = 0; i < stats.tier_count; i++)
        if (stats.tiers[i].place == (enum dj_level)level)
            tier = &stats.tiers[i];
    if (!tier)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s is not configured: set %s",
                              dj_level_text((enum dj_level)level), cures[level]);
    return tier->is_read_only && is_written
               ? deja_error_set(error, DEJA_ERR_INVALID, "%s is configured to be only read",
                                tier->level)
               : DEJA_OK;
}

/* What cannot be is refused before anything is begun. */
static enum deja_status check(const struct dj_transfers *transfers, struct dj_transfer_order *order,
                              struct deja_error *error)
{
    enum deja_status status = DEJA_OK;
    if (order->file.len)
        status = transfer_read_name(transfers, &order->file, error);
    if (status == DEJA_OK)
        status = check_tier(transfers, order->from, false, error);
    if (status == DEJA_OK)
        status = check_tier(transfers, order->to, order->kind != DJ_TRANSFER_VERIFY, error);
    return status;
}

/* Under mutex: the oldest makes room. */
static void add(struct dj_transfers *transfers, struct transfer *transfer)
{
    if (transfers->count == DJ_TRANSFERS_MAX)
        transfer_destroy(transfers->list[--transfers->count]); /* it has ended */
    memmove(transfers->list + 1, transfers->list, transfers->count * sizeof *transfers->list);
    transfers->list[0] = transfer;
    transfers->count++;
}

static struct transfer *make(struct dj_transfers *transfers, const struct dj_transfer_order *order)
{
    struct transfer *transfer = dj_alloc_zeroed(1, sizeof *transfer);
    if (!transfer)
        return NULL;
    transfer->transfers = transfers;
    transfer->order = *order;
    if (order->file.len)
        memcpy(transfer->file, order->file.data, order->file.len);
    transfer->order.file = deja_slice_text(transfer->file);
    transfer->lane = (struct dj_transfer_lane){.engine = transfers->daemon->engine,
                                               .loop = transfers->daemon->loops[0],
                                               .is_cancelled = &transfer->is_cancelled};
    transfer->started_ms = dj_clock_now_ms();
    atomic_init(&transfer->phase, "starting");
    dj_random_bytes(transfer->id, sizeof transfer->id);
    return transfer;
}

static enum deja_status start(void *ctx, const struct dj_transfer_order *order,
                              uint8_t out_id[DJ_TRANSFER_ID_BYTES], struct deja_error *error)
{
    struct dj_transfers *transfers = ctx;
    struct dj_transfer_order checked = *order;
    enum deja_status status = check(transfers, &checked, error);
    if (status != DEJA_OK)
        return status;
    struct transfer *transfer = make(transfers, &checked);
    if (!transfer)
        return DEJA_ERR_NOMEM;
    pthread_mutex_lock(&transfers->mutex);
    if (transfers->is_stopping ||
        (transfers->count && transfers->list[0]->state == TRANSFER_RUNNING))
        status = DEJA_ERR_BUSY;
    if (status == DEJA_OK)
        status = start_thread(transfer);
    if (status == DEJA_OK) {
        memcpy(out_id, transfer->id, DJ_TRANSFER_ID_BYTES);
        add(transfers, transfer);
    }
    pthread_mutex_unlock(&transfers->mutex);
    if (status != DEJA_OK)
        transfer_destroy(transfer);
    return status;
}

/* Under mutex. */
static struct transfer *find(const struct dj_transfers *transfers,
                             const uint8_t id[DJ_TRANSFER_ID_BYTES])
{
    for (size_t i = 0; i < transfers->count; i++)
        if (memcmp(transfers->list[i]->id, id, DJ_TRANSFER_ID_BYTES) == 0)
            return transfers->list[i];
    return NULL;
}

static bool write_one(void *ctx, const uint8_t id[DJ_TRANSFER_ID_BYTES], struct dj_json_writer *w)
{
    struct dj_transfers *transfers = ctx;
    pthread_mutex_lock(&transfers->mutex);
    const struct transfer *transfer = find(transfers, id);
    if (transfer)
        put_transfer(w, transfer);
    pthread_mutex_unlock(&transfers->mutex);
    return transfer != NULL;
}

static void write_all(void *ctx, struct dj_json_writer *w)
{
    struct dj_transfers *transfers = ctx;
    pthread_mutex_lock(&transfers->mutex);
    for (size_t i = 0; i < transfers->count; i++)
        put_transfer(w, transfers->list[i]);
    pthread_mutex_unlock(&transfers->mutex);
}

static bool cancel(void *ctx, const uint8_t id[DJ_TRANSFER_ID_BYTES])
{
    struct dj_transfers *transfers = ctx;
    pthread_mutex_lock(&transfers->mutex);
    struct transfer *transfer = find(transfers, id);
    bool is_running = transfer && transfer->state == TRANSFER_RUNNING;
    if (is_running)
        atomic_store(&transfer->is_cancelled, true);
    pthread_mutex_unlock(&transfers->mutex);
    return is_running;
}

/* ---- life ---- */

enum deja_status dj_transfers_create(struct dj_daemon *daemon, struct dj_transfers **out_transfers)
{
    struct dj_transfers *transfers = dj_alloc_zeroed(1, sizeof *transfers);
    if (!transfers)
        return DEJA_ERR_NOMEM;
    transfers->daemon = daemon;
    transfers->service = (struct dj_transfer_service){
        .ctx = transfers, .start = start, .write = write_one, .list = write_all, .cancel = cancel};
    transfers->folder = transfer_folder(daemon->settings);
    if (!transfers->folder) {
        dj_free(transfers);
        return DEJA_ERR_NOMEM;
    }
    int code = pthread_mutex_init(&transfers->mutex, NULL);
    assert(code == 0);
    *out_transfers = transfers;
    return DEJA_OK;
}

void dj_transfers_stop(struct dj_transfers *transfers)
{
    if (!transfers)
        return;
    pthread_mutex_lock(&transfers->mutex);
    transfers->is_stopping = true;
    for (size_t i = 0; i < transfers->count; i++)
        atomic_store(&transfers->list[i]->is_cancelled, true);
    pthread_mutex_unlock(&transfers->mutex);
}

bool dj_transfers_is_running(struct dj_transfers *transfers)
{
    if (!transfers)
        return false;
    pthread_mutex_lock(&transfers->mutex);
    bool is_running = transfers->count && transfers->list[0]->state == TRANSFER_RUNNING;
    pthread_mutex_unlock(&transfers->mutex);
    return is_running;
}

void dj_transfers_destroy(struct dj_transfers *transfers)
{
    if (!transfers)
        return;
    for (size_t i = 0; i < transfers->count; i++)
        transfer_destroy(transfers->list[i]);
    pthread_mutex_destroy(&transfers->mutex);
    dj_free(transfers->folder);
    dj_free(transfers);
}

const struct dj_transfer_service *dj_transfers_service(struct dj_transfers *transfers)
{
    return &transfers->service;
}
