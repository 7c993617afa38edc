/* daemon/transfers_migrate.c - entries of one tier into another one, and back until that is
 * confirmed; see transfers.h.
 *
 *   DATA/migrations/NAME/state    what, from where, to where, how far: written anew whole
 *                        journal  what each put made different, before it is made
 *
 *   piece: look at the target ── journal, synced ── put ── settled ── state ── next piece
 *
 * (1) Nothing is put that the journal does not know, so a rollback finds all of it, also after
 *     kill -9. (2) What the state has passed is in the target; a start under the same name goes on
 *     there. (3) The source is only read. (4) A rollback takes away what the migration brought and
 *     puts back what it replaced, unless something newer has come meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/little.h"
#include "base/num.h"
#include "cache/listing.h"
#include "daemon/transfers_internal.h"
#include "proto/frame.h"
#include "proto/json.h"
#include "store/data_dir.h"
#include "tools/file.h"

#define PIECE_MAX DJ_STORE_PAGE_MAX
#define STATE_BYTES_MAX 4096u
#define RECORD_BYTES_MAX (66u << 20)

/* A record of the journal: magic 4, what 1, zero 3, version 8, tenant 16, id 16, length 4, checksum
 * 8, and of what was replaced its frame. */
#define JOURNAL_MAGIC "DJMJ"
#define JOURNAL_HEAD_BYTES 60u
enum { WHAT_AT = 4, VERSION_AT = 8, TENANT_AT = 16, ID_AT = 32, LENGTH_AT = 48, SUM_AT = 52 };
enum { BROUGHT = 'B', REPLACED = 'R' };

struct piece_item {
    struct dj_value *value;
    float *vector; /* owned; NULL: none */
    uint32_t dim;
    struct dj_value *before; /* in the target; NULL: nothing */
};

struct migration {
    struct transfer *transfer;
    struct deja_error *error;
    char *folder; /* owned, as are the next */
    char *state_path;
    char *journal_path;
    int journal;
    uint32_t from;
    uint32_t to;
    bool is_ended;
    bool is_alike; /* both sides were compared after the end, and nothing was missing */
    uint8_t tenant[DJ_TENANT_BYTES]; /* the one `at` is in; zeros: none yet */
    struct dj_transfer_at at;
    struct piece_item piece[PIECE_MAX];
    size_t count;
};

static enum deja_status fail(struct migration *migration, const char *path)
{
    return deja_error_set(migration->error, DEJA_ERR_IO, "%s: %s", path, strerror(errno));
}

/* ---- state ---- */

static enum deja_status write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return DEJA_ERR_IO;
        data += done;
        len -= (size_t)done;
    }
    return DEJA_OK;
}

static void put_state(struct migration *migration, const struct dj_transfer_tenants *tenants,
                      struct dj_buf *out)
{
    const struct transfer *transfer = migration->transfer;
    struct dj_json_writer w = dj_json_writer(out);
    char tenant[DJ_TENANT_TEXT_BYTES];
    bool has_tenant = migration->at.tenant < tenants->count;
    if (has_tenant)
        dj_tenant_text(tenants->ids[migration->at.tenant], tenant);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "format", 1);
    dj_json_member_u64(&w, "from", migration->from);
    dj_json_member_u64(&w, "to", migration->to);
    dj_json_member_bool(&w, "ended", migration->is_ended);
    dj_json_member_bool(&w, "alike", migration->is_alike);
    dj_json_member_text(&w, "tenant", has_tenant ? tenant : NULL);
    dj_json_member_text(&w, "at", migration->at.listing);
    dj_json_member_u64(&w, "entries", atomic_load(&transfer->counts.items));
    dj_json_member_u64(&w, "stored", atomic_load(&transfer->counts.stored));
    dj_json_end_object(&w);
}

static enum deja_status save_state(struct migration *migration,
                                   const struct dj_transfer_tenants *tenants)
{
    struct dj_buf text = {0};
    put_state(migration, tenants, &text);
    enum deja_status status =
        text.status == DEJA_OK
            ? dj_tool_replace_file(migration->state_path, dj_buf_slice(&text), migration->error)
            : deja_error_set(migration->error, text.status, "out of memory");
    dj_buf_fini(&text);
    return status;
}

/* DEJA_ERR_NOT_FOUND: there is none. */
static enum deja_status read_state(struct migration *migration)
{
    char bytes[STATE_BYTES_MAX];
    struct dj_json_doc *doc = NULL;
    int fd = open(migration->state_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND : fail(migration, migration->state_path);
    ssize_t len = read(fd, bytes, sizeof bytes);
    close(fd);
    enum deja_status status = DEJA_ERR_CORRUPT;
    if (len > 0)
        status = dj_json_parse(deja_slice(bytes, (size_t)len), &doc, NULL);
    const struct dj_json *root = doc ? dj_json_root(doc) : NULL;
    struct deja_slice at = dj_json_string(dj_json_get(root, "at"));
    struct deja_slice tenant = dj_json_string(dj_json_get(root, "tenant"));
    if (status == DEJA_OK && at.len < sizeof migration->at.listing) {
        migration->from = (uint32_t)dj_json_i64(dj_json_get(root, "from"), 0);
        migration->to = (uint32_t)dj_json_i64(dj_json_get(root, "to"), 0);
        migration->is_ended = dj_json_bool(dj_json_get(root, "ended"), false);
        migration->is_alike = dj_json_bool(dj_json_get(root, "alike"), false);
        if (at.len)
            memcpy(migration->at.listing, at.data, at.len);
        if (tenant.len && dj_tenant_parse(tenant, migration->tenant) != DEJA_OK)
            status = DEJA_ERR_CORRUPT;
    }
    dj_json_doc_destroy(doc);
    return status == DEJA_OK ? status
                             : deja_error_set(migration->error, DEJA_ERR_CORRUPT,
                                              "%s makes no sense", migration->state_path);
}

/* ---- journal ---- */

static uint64_t checksum(const char *head, struct deja_slice frame)
{
    return dj_hash64(frame.data, frame.len, dj_hash64(head, SUM_AT, 0));
}

static enum deja_status add_record(struct dj_buf *out, const struct piece_item *item)
{
    const struct dj_entry *entry = dj_value_entry(item->value);
    char head[JOURNAL_HEAD_BYTES] = JOURNAL_MAGIC;
    struct dj_buf frame = {0};
    enum deja_status status = DEJA_OK;
    if (item->before)
        status = dj_frame_encode(dj_value_entry(item->before), NULL, 0, &frame);
    head[WHAT_AT] = item->before ? REPLACED : BROUGHT;
    dj_little_put(head + VERSION_AT, entry->version, 8);
    memcpy(head + TENANT_AT, entry->tenant, DJ_ID_BYTES);
    memcpy(head + ID_AT, entry->id, DJ_ID_BYTES);
    dj_little_put(head + LENGTH_AT, frame.len, 4);
    dj_little_put(head + SUM_AT, checksum(head, dj_buf_slice(&frame)), 8);
    dj_buf_append(out, head, sizeof head);
    dj_buf_append_slice(out, dj_buf_slice(&frame));
    dj_buf_fini(&frame);
    return status == DEJA_OK ? out->status : status;
}

static enum deja_status write_journal(struct migration *migration)
{
    struct dj_buf bytes = {0};
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < migration->count && status == DEJA_OK; i++)
        status = add_record(&bytes, &migration->piece[i]);
    if (status != DEJA_OK)
        deja_error_set(migration->error, status, "the journal: %s", deja_status_text(status));
    else if (bytes.len && (write_all(migration->journal, bytes.data, bytes.len) != DEJA_OK ||
                           fdatasync(migration->journal) != 0))
        status = fail(migration, migration->journal_path);
    dj_buf_fini(&bytes);
    return status;
}

/* ---- a piece ---- */

static void drop_piece(struct migration *migration)
{
    for (size_t i = 0; i < migration->count; i++) {
        dj_value_unref(migration->piece[i].value);
        dj_value_unref(migration->piece[i].before);
        dj_free(migration->piece[i].vector);
    }
    migration->count = 0;
}

/* False: the target has it in this version, or a newer one. */
static enum deja_status look_at_target(struct migration *migration, struct piece_item *item,
                                       bool *out_is_needed)
{
    const struct dj_entry *entry = dj_value_entry(item->value);
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    enum deja_status status =
        dj_transfer_get(&migration->transfer->lane, &key, migration->to, &item->before);
    if (status != DEJA_OK)
        return deja_error_set(migration->error, status, "the target cannot be read: %s",
                              deja_status_text(status));
    *out_is_needed = !item->before || dj_value_entry(item->before)->version < entry->version;
    return DEJA_OK;
}

static enum deja_status take(struct migration *migration, const struct dj_archive_item *item)
{
    struct piece_item *kept = &migration->piece[migration->count];
    struct transfer *transfer = migration->transfer;
    bool is_needed = false;
    *kept = (struct piece_item){.dim = item->dim};
    atomic_fetch_add(&transfer->counts.items, 1);
    atomic_fetch_add(&transfer->counts.bytes, item->entry->body.len);
    enum deja_status status = dj_value_create(item->entry, &kept->value);
    if (status == DEJA_OK && item->vector) {
        kept->vector = dj_alloc(item->dim * sizeof *kept->vector);
        status = kept->vector ? DEJA_OK : DEJA_ERR_NOMEM;
        if (kept->vector)
            memcpy(kept->vector, item->vector, item->dim * sizeof *kept->vector);
    }
    if (status != DEJA_OK)
        deja_error_set(migration->error, status, "out of memory");
    else
        status = look_at_target(migration, kept, &is_needed);
    migration->count++;
    if (status != DEJA_OK || is_needed)
        return status;
    atomic_fetch_add(&transfer->matched, 1);
    dj_value_unref(kept->value);
    dj_value_unref(kept->before);
    dj_free(kept->vector);
    migration->count--;
    return DEJA_OK;
}

static enum deja_status put_piece(struct migration *migration)
{
    struct transfer *transfer = migration->transfer;
    const struct dj_transfer_into options = {
        .lane = transfer->lane, .levels = migration->to, .counts = &transfer->counts};
    struct dj_transfer_sink sink;
    enum deja_status status = migration->count ? write_journal(migration) : DEJA_OK;
    if (status == DEJA_OK)
        status = dj_transfer_into_cache(&options, &sink);
    else
        return status;
    if (status != DEJA_OK)
        return deja_error_set(migration->error, status, "out of memory");
    for (size_t i = 0; i < migration->count && status == DEJA_OK; i++) {
        const struct piece_item *kept = &migration->piece[i];
        const struct dj_archive_item item = {
            .entry = dj_value_entry(kept->value), .vector = kept->vector, .dim = kept->dim};
        status = sink.put(sink.ctx, &item, migration->error);
    }
    if (status == DEJA_OK)
        status = sink.finish(sink.ctx, migration->error);
    sink.close(sink.ctx);
    drop_piece(migration);
    return status;
}

/* ---- the run ---- */

/* Goes on with the tenant that the state names, or the one after it if that is gone. */
static void find_place(struct migration *migration, const struct dj_transfer_tenants *tenants)
{
    static const uint8_t none[DJ_TENANT_BYTES];
    size_t index = 0;
    if (!migration->at.listing[0] || memcmp(migration->tenant, none, sizeof none) == 0) {
        migration->at = (struct dj_transfer_at){.tenant = 0};
        return;
    }
    while (index < tenants->count &&
           memcmp(tenants->ids[index], migration->tenant, DJ_TENANT_BYTES) < 0)
        index++;
    bool is_there = index < tenants->count &&
                    memcmp(tenants->ids[index], migration->tenant, DJ_TENANT_BYTES) == 0;
    migration->at.tenant = index;
    if (!is_there)
        migration->at.listing[0] = '\0';
}

static enum deja_status move_all(struct migration *migration,
                                 const struct dj_transfer_tenants *tenants)
{
    struct transfer *transfer = migration->transfer;
    find_place(migration, tenants);
    struct dj_transfer_at at = migration->at;
    const struct dj_transfer_from options = {
        .lane = transfer->lane, .tenants = tenants, .levels = migration->from, .at = &at};
    struct dj_transfer_source source;
    struct dj_archive_item item;
    enum deja_status status = save_state(migration, tenants); /* a rollback knows the target */
    if (status != DEJA_OK)
        return status;
    status = dj_transfer_from_cache(&options, &source);
    if (status != DEJA_OK)
        return deja_error_set(migration->error, status, "out of memory");
    while (status == DEJA_OK) {
        status = source.next(source.ctx, &item, migration->error);
        bool is_end = status == DEJA_ERR_NOT_FOUND;
        bool is_piece =
            is_end || (status == DEJA_OK && (at.tenant != migration->at.tenant ||
                                             strcmp(at.listing, migration->at.listing) != 0));
        if (is_piece || migration->count == PIECE_MAX) {
            enum deja_status put = put_piece(migration);
            if (put == DEJA_OK && is_piece) {
                migration->at = at; /* what lies before it is in the target */
                migration->is_ended = is_end;
                put = save_state(migration, tenants);
            }
            status = put == DEJA_OK ? status : put;
        }
        if (status == DEJA_OK)
            status = take(migration, &item);
    }
    drop_piece(migration);
    source.close(source.ctx);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

static char *join(const char *folder, const char *name)
{
    struct dj_buf path = {0};
    dj_buf_append_format(&path, "%s/%s", folder, name);
    return dj_buf_take_text(&path);
}

static enum deja_status open_folder(struct migration *migration, struct transfer *transfer,
                                    struct deja_error *error)
{
    const struct dj_settings *settings = transfer->transfers->daemon->settings;
    *migration = (struct migration){.transfer = transfer, .error = error, .journal = -1};
    if (!transfer->file[0] && transfer->order.from && transfer->order.to)
        snprintf(transfer->file, sizeof transfer->file, "%s-to-%s",
                 dj_level_text((enum dj_level)__builtin_ctz(transfer->order.from)),
                 dj_level_text((enum dj_level)__builtin_ctz(transfer->order.to)));
    char *parent = join(settings->data_dir, "migrations");
    migration->folder = parent ? join(parent, transfer->file) : NULL;
    dj_free(parent);
    if (migration->folder) {
        migration->state_path = join(migration->folder, "state");
        migration->journal_path = join(migration->folder, "journal");
    }
    return migration->state_path && migration->journal_path
               ? DEJA_OK
               : deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
}

static void migration_fini(struct migration *migration)
{
    if (migration->journal >= 0)
        close(migration->journal);
    dj_free(migration->folder);
    dj_free(migration->state_path);
    dj_free(migration->journal_path);
}

static enum deja_status begin(struct migration *migration)
{
    const struct dj_transfer_order *order = &migration->transfer->order;
    enum deja_status status = dj_data_dir_make(migration->folder, migration->error);
    if (status != DEJA_OK)
        return status;
    status = read_state(migration);
    if (status == DEJA_OK && migration->is_ended && migration->is_alike)
        return deja_error_set(migration->error, DEJA_ERR_BUSY,
                              "the migration %s has ended: confirm it or roll it back first",
                              migration->transfer->file);
    if (status == DEJA_OK && (migration->from != order->from || migration->to != order->to))
        return deja_error_set(migration->error, DEJA_ERR_BUSY,
                              "the migration %s is one between other tiers: give this one a name",
                              migration->transfer->file);
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    if (migration->is_ended) { /* something was missing: what is there already is passed over */
        migration->is_ended = false;
        migration->at = (struct dj_transfer_at){.tenant = 0};
    }
    migration->from = order->from;
    migration->to = order->to;
    migration->journal =
        open(migration->journal_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return migration->journal >= 0 ? DEJA_OK : fail(migration, migration->journal_path);
}

/* Both sides have the same afterwards; what differs is in the report. */
static enum deja_status check(struct migration *migration)
{
    struct transfer *transfer = migration->transfer;
    uint64_t items = atomic_load(&transfer->counts.items);
    uint64_t bytes = atomic_load(&transfer->counts.bytes);
    atomic_store(&transfer->matched, 0);
    atomic_store(&transfer->expected, items);
    enum deja_status status = transfer_verify(transfer, migration->error);
    atomic_store(&transfer->counts.items, items);
    atomic_store(&transfer->counts.bytes, bytes);
    /* The target may have had more than the source, and newer: that is no fault of a copy. */
    if (status == DEJA_ERR_MISMATCH && !atomic_load(&transfer->missing) &&
        !atomic_load(&transfer->differing))
        return DEJA_OK;
    return status;
}

enum deja_status transfer_migrate(struct transfer *transfer, struct deja_error *error)
{
    struct dj_transfer_tenants tenants = {.ids = NULL};
    struct migration *migration = dj_alloc_zeroed(1, sizeof *migration);
    if (!migration)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    atomic_store(&transfer->phase, "writing");
    enum deja_status status = open_folder(migration, transfer, error);
    if (status == DEJA_OK)
        status = begin(migration);
    if (status == DEJA_OK)
        status = transfer_find_tenants(transfer, &tenants, error);
    if (status == DEJA_OK)
        status = move_all(migration, &tenants);
    if (status == DEJA_OK) {
        char name[TRANSFER_FILE_BYTES];
        memcpy(name, transfer->file, sizeof name);
        transfer->file[0] = '\0'; /* tier against tier */
        status = check(migration);
        memcpy(transfer->file, name, sizeof name);
        if (status == DEJA_OK) {
            migration->is_alike = true;
            status = save_state(migration, &tenants);
        }
    }
    dj_transfer_tenants_fini(&tenants);
    migration_fini(migration);
    dj_free(migration);
    return status;
}

/* ---- confirming, rolling back ---- */

static enum deja_status forget(struct migration *migration)
{
    if ((unlink(migration->journal_path) != 0 && errno != ENOENT) ||
        (unlink(migration->state_path) != 0 && errno != ENOENT) || rmdir(migration->folder) != 0)
        return fail(migration, migration->folder);
    return DEJA_OK;
}

static enum deja_status need_state(struct migration *migration)
{
    enum deja_status status = read_state(migration);
    return status == DEJA_ERR_NOT_FOUND
               ? deja_error_set(migration->error, status,
                                "there is no migration %s to confirm or to roll back",
                                migration->transfer->file)
               : status;
}

enum deja_status transfer_confirm(struct transfer *transfer, struct deja_error *error)
{
    struct migration *migration = dj_alloc_zeroed(1, sizeof *migration);
    if (!migration)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    enum deja_status status = open_folder(migration, transfer, error);
    if (status == DEJA_OK)
        status = need_state(migration);
    if (status == DEJA_OK && !migration->is_ended)
        status = deja_error_set(error, DEJA_ERR_INVALID,
                                "the migration %s has not ended: go on with it first, or roll it "
                                "back",
                                transfer->file);
    else if (status == DEJA_OK && !migration->is_alike && !transfer->order.is_forced)
        status = deja_error_set(error, DEJA_ERR_INVALID,
                                "something was missing or different when the migration %s had "
                                "ended: start it again, roll it back, or confirm it as it is by "
                                "\"force\": true (--force)",
                                transfer->file);
    if (status == DEJA_OK)
        status = forget(migration);
    migration_fini(migration);
    dj_free(migration);
    return status;
}

/* One record of the journal. DEJA_ERR_NOT_FOUND: the end, or a record that was never whole. */
static enum deja_status read_record(int fd, char head[JOURNAL_HEAD_BYTES], struct dj_buf *frame)
{
    ssize_t len = read(fd, head, JOURNAL_HEAD_BYTES);
    dj_buf_clear(frame);
    if (len != (ssize_t)JOURNAL_HEAD_BYTES || memcmp(head, JOURNAL_MAGIC, 4) != 0)
        return DEJA_ERR_NOT_FOUND;
    size_t frame_len = (size_t)dj_little_get(head + LENGTH_AT, 4);
    if (frame_len > RECORD_BYTES_MAX)
        return DEJA_ERR_NOT_FOUND;
    char *room = frame_len ? dj_buf_reserve(frame, frame_len) : head;
    if (!room)
        return DEJA_ERR_NOMEM;
    if (frame_len && read(fd, room, frame_len) != (ssize_t)frame_len)
        return DEJA_ERR_NOT_FOUND;
    frame->len = frame_len;
    bool is_whole = dj_little_get(head + SUM_AT, 8) == checksum(head, dj_buf_slice(frame));
    return is_whole ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

static enum deja_status put_back(struct migration *migration, struct dj_transfer_sink *sink,
                                 struct deja_slice bytes, uint64_t version)
{
    struct dj_frame frame;
    struct dj_buf payload = {0};
    struct dj_entry entry;
    enum deja_status status = dj_frame_decode(bytes, &frame);
    if (status == DEJA_OK)
        status = dj_record_decode(frame.record, RECORD_BYTES_MAX, &payload, &entry);
    if (status == DEJA_OK) {
        /* What took its place has left its version behind in tiers that others share. */
        entry.version = version + 1;
        const struct dj_archive_item item = {.entry = &entry};
        status = sink->put(sink->ctx, &item, migration->error);
    }
    dj_buf_fini(&payload);
    return status;
}

static enum deja_status roll_back(struct migration *migration, struct dj_transfer_sink *sink)
{
    struct transfer *transfer = migration->transfer;
    char head[JOURNAL_HEAD_BYTES];
    struct dj_buf frame = {0};
    enum deja_status status = DEJA_OK;
    while (status == DEJA_OK) {
        struct dj_store_key key;
        status = read_record(migration->journal, head, &frame);
        if (status != DEJA_OK)
            break;
        uint64_t version = dj_little_get(head + VERSION_AT, 8);
        memcpy(key.tenant, head + TENANT_AT, sizeof key.tenant);
        memcpy(key.id, head + ID_AT, sizeof key.id);
        atomic_fetch_add(&transfer->counts.items, 1);
        status = dj_transfer_remove(&transfer->lane, &key, migration->to, version);
        if (status == DEJA_OK && head[WHAT_AT] == REPLACED)
            status = put_back(migration, sink, dj_buf_slice(&frame), version);
        if (status != DEJA_OK)
            deja_error_set(migration->error, status,
                           "an entry cannot be taken back: %s; do it again",
                           deja_status_text(status));
    }
    dj_buf_fini(&frame);
    return status == DEJA_ERR_NOT_FOUND ? sink->finish(sink->ctx, migration->error) : status;
}

enum deja_status transfer_rollback(struct transfer *transfer, struct deja_error *error)
{
    struct migration *migration = dj_alloc_zeroed(1, sizeof *migration);
    struct dj_transfer_sink sink = {.close = NULL};
    if (!migration)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    atomic_store(&transfer->phase, "taking back");
    enum deja_status status = open_folder(migration, transfer, error);
    if (status == DEJA_OK)
        status = need_state(migration);
    if (status == DEJA_OK) {
        const struct dj_transfer_into options = {
            .lane = transfer->lane, .levels = migration->to, .counts = &transfer->counts};
        migration->journal = open(migration->journal_path, O_RDONLY | O_CLOEXEC);
        status = migration->journal >= 0 ? dj_transfer_into_cache(&options, &sink)
                                         : fail(migration, migration->journal_path);
    }
    if (status == DEJA_OK)
        status = roll_back(migration, &sink);
    if (sink.close)
        sink.close(sink.ctx);
    if (status == DEJA_OK)
        status = forget(migration);
    migration_fini(migration);
    dj_free(migration);
    return status;
}
