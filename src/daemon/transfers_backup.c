/* daemon/transfers_backup.c - a backup written, and one read back; see transfers.h.
 *
 *   backup   documents (the secret that names entries; on request the tenants') ──> every entry
 *   restore  read once to the end, so that nothing damaged is begun ──> checks ──> put
 *
 * What was erased since stays erased; what was invalidated since stays void (cache/listing.h).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/lines.h"
#include "cache/listing.h"
#include "daemon/transfers_internal.h"
#include "proto/json.h"
#include "security/keyring.h"
#include "security/secret.h"

static const char *const config_tables[] = {"tenants_configured", "links", "api_keys", "schedules",
                                            "upstream_credentials"};
#define CONFIG_TABLES (sizeof config_tables / sizeof *config_tables)

/* ---- tenants ---- */

static void on_data_key(void *ctx, const struct dj_data_key *key)
{
    static const uint8_t nobody[DJ_TENANT_BYTES];
    if (!key->is_destroyed && memcmp(key->tenant, nobody, sizeof nobody) != 0)
        dj_transfer_add_tenant(ctx, key->tenant);
}

static bool on_configured(void *ctx, struct deja_slice key, struct deja_slice value)
{
    uint8_t tenant[DJ_TENANT_BYTES];
    (void)value;
    if (dj_tenant_parse(key, tenant) == DEJA_OK)
        dj_transfer_add_tenant(ctx, tenant);
    return true;
}

static bool on_derived(void *ctx, struct deja_slice key, struct deja_slice value)
{
    (void)value;
    if (key.len == DJ_TENANT_BYTES)
        dj_transfer_add_tenant(ctx, (const uint8_t *)key.data);
    return true;
}

enum deja_status transfer_find_tenants(struct transfer *transfer,
                                       struct dj_transfer_tenants *out_tenants,
                                       struct deja_error *error)
{
    const struct dj_daemon *daemon = transfer->transfers->daemon;
    struct dj_keyring *keyring = dj_encryption_keyring(daemon->encryption);
    const struct dj_authority *authority = daemon->authority;
    struct dj_transfer_tenants tenants = {.ids = NULL};
    uint8_t local[DJ_TENANT_BYTES];
    enum deja_status status = DEJA_OK;
    if (transfer->order.has_tenant) {
        dj_transfer_add_tenant(&tenants, transfer->order.tenant);
    } else {
        dj_tenant_derive(&daemon->root, deja_slice("", 0), local);
        dj_transfer_add_tenant(&tenants, local);
        dj_engine_tenants(daemon->engine, &tenants, dj_transfer_add_tenant);
        status = dj_lmdb_meta_walk(daemon->meta, "tenants", &tenants, on_derived);
        if (status == DEJA_OK)
            status = authority->walk(authority->ctx, "tenants_configured", &tenants, on_configured);
        if (status == DEJA_OK && keyring)
            status = dj_keyring_walk(keyring, &tenants, on_data_key);
    }
    if (status == DEJA_OK)
        status = tenants.status;
    if (status != DEJA_OK) {
        dj_transfer_tenants_fini(&tenants);
        return deja_error_set(error, status, "the tenants cannot be listed: %s",
                              deja_status_text(status));
    }
    dj_transfer_sort_tenants(&tenants);
    *out_tenants = tenants;
    return DEJA_OK;
}

/* ---- who was erased ---- */

struct erased {
    uint8_t tenant[DJ_TENANT_BYTES];
    bool has_user;
    char tag[DJ_USER_TAG_BYTES];
    int64_t at_ms;
};

struct transfer_erasures {
    struct erased *list;
    size_t count;
    size_t room;
    enum deja_status status;
};

static bool grow(struct transfer_erasures *erasures)
{
    size_t room = erasures->room ? erasures->room * 2 : 32;
    if (erasures->count < erasures->room)
        return true;
    struct erased *more = dj_realloc(erasures->list, room * sizeof *more);
    if (!more) {
        erasures->status = DEJA_ERR_NOMEM;
        return false;
    }
    erasures->list = more;
    erasures->room = room;
    return true;
}

static bool on_erasure(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct transfer_erasures *erasures = ctx;
    struct dj_json_doc *doc = NULL;
    struct erased erased = {.has_user = false};
    uint8_t user[DJ_USER_BYTES];
    (void)key;
    if (!grow(erasures))
        return false;
    if (dj_json_parse(value, &doc, NULL) != DEJA_OK)
        return true; /* not of ours */
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice user_text = dj_json_string(dj_json_get(root, "user_id"));
    erased.at_ms = dj_json_i64(dj_json_get(root, "requested_ms"), 0);
    erased.has_user = user_text.len > 0;
    bool is_ok =
        dj_tenant_parse(dj_json_string(dj_json_get(root, "tenant")), erased.tenant) == DEJA_OK &&
        (!erased.has_user || dj_hex_decode(user_text, user, sizeof user) == DEJA_OK);
    if (is_ok && erased.has_user)
        dj_user_tag(user, erased.tag);
    if (is_ok)
        erasures->list[erasures->count++] = erased;
    dj_json_doc_destroy(doc);
    return true;
}

enum deja_status transfer_erasures_read(struct transfer *transfer,
                                        struct transfer_erasures **out_erasures,
                                        struct deja_error *error)
{
    const struct dj_authority *authority = transfer->transfers->daemon->authority;
    struct transfer_erasures *erasures = dj_alloc_zeroed(1, sizeof *erasures);
    enum deja_status status = erasures ? DEJA_OK : DEJA_ERR_NOMEM;
    if (erasures)
        status = authority->walk(authority->ctx, "erasures", erasures, on_erasure);
    if (status == DEJA_OK)
        status = erasures->status;
    if (status != DEJA_OK) {
        transfer_erasures_destroy(erasures);
        return deja_error_set(error, status, "what was erased cannot be listed: %s",
                              deja_status_text(status));
    }
    *out_erasures = erasures;
    return DEJA_OK;
}

bool transfer_erasures_allow(void *ctx, const struct dj_entry *entry)
{
    const struct transfer_erasures *erasures = ctx;
    for (size_t i = 0; i < erasures->count; i++) {
        const struct erased *erased = &erasures->list[i];
        if (memcmp(erased->tenant, entry->tenant, sizeof erased->tenant) != 0 ||
            entry->created_ms > erased->at_ms)
            continue;
        if (!erased->has_user)
            return false;
        for (size_t tag = 0; tag < entry->tag_count; tag++)
            if (dj_slice_is(entry->tags[tag].name, erased->tag))
                return false;
    }
    return true;
}

void transfer_erasures_destroy(struct transfer_erasures *erasures)
{
    if (!erasures)
        return;
    dj_free(erasures->list);
    dj_free(erasures);
}

/* ---- backup ---- */

struct documents {
    struct transfer *transfer;
    struct dj_archive_writer *writer;
    const char *table;
    struct deja_error *error;
    enum deja_status status;
};

static bool on_document(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct documents *documents = ctx;
    const struct dj_archive_document document = {deja_slice_text(documents->table), key, value};
    documents->status = dj_archive_put_document(documents->writer, &document, documents->error);
    atomic_fetch_add(&documents->transfer->documents, 1);
    return documents->status == DEJA_OK;
}

/* Only sealed: whoever has it can name entries. */
static enum deja_status put_secret(struct documents *documents)
{
    const struct dj_daemon *daemon = documents->transfer->transfers->daemon;
    struct dj_tenant_root root;
    struct dj_secret secret;
    enum deja_status status = dj_secret_load(daemon->settings->secret, daemon->settings->data_dir,
                                             &secret, documents->error);
    if (status != DEJA_OK)
        return status;
    dj_tenant_root_init(&root, secret.bytes);
    documents->table = DJ_ARCHIVE_SECRET_TABLE;
    if (dj_transfers_secret_name(&root) == dj_transfers_secret_name(&daemon->root))
        on_document(documents, deja_slice("", 0), deja_slice(secret.bytes, sizeof secret.bytes));
    dj_tenant_root_fini(&root);
    dj_secret_fini(&secret);
    return documents->status;
}

static enum deja_status put_documents(struct transfer *transfer, struct dj_archive_writer *writer,
                                      struct deja_error *error)
{
    const struct dj_daemon *daemon = transfer->transfers->daemon;
    const struct dj_authority *authority = daemon->authority;
    struct documents documents = {.transfer = transfer, .writer = writer, .error = error};
    enum deja_status status = DEJA_OK;
    if (dj_encryption_keyring(daemon->encryption))
        status = put_secret(&documents);
    for (size_t i = 0; i < CONFIG_TABLES && status == DEJA_OK && transfer->order.has_config; i++) {
        documents.table = config_tables[i];
        status = authority->walk(authority->ctx, config_tables[i], &documents, on_document);
        if (status != DEJA_OK)
            deja_error_set(error, status, "%s cannot be read: %s", config_tables[i],
                           deja_status_text(status));
        else
            status = documents.status;
    }
    return status;
}

static enum deja_status write_entries(struct transfer *transfer, struct dj_transfer_sink *sink,
                                      const struct dj_transfer_tenants *tenants,
                                      struct deja_error *error)
{
    const struct dj_transfer_from options = {
        .lane = transfer->lane, .tenants = tenants, .levels = transfer->order.from};
    struct dj_transfer_source source;
    enum deja_status status = dj_transfer_from_cache(&options, &source);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "out of memory");
    status = dj_transfer_run(&source, sink, &transfer->is_cancelled, &transfer->counts, error);
    source.close(source.ctx);
    return status;
}

/* out: taken in any case. */
static enum deja_status open_sink(struct transfer *transfer, const struct dj_archive_out *out,
                                  struct dj_transfer_sink *out_sink, struct deja_error *error)
{
    const struct dj_daemon *daemon = transfer->transfers->daemon;
    const struct dj_archive_options options = {.keyring = dj_encryption_keyring(daemon->encryption),
                                               .now_ms = transfer->started_ms,
                                               .secret_name =
                                                   dj_transfers_secret_name(&daemon->root)};
    struct dj_archive_writer *writer = NULL;
    enum deja_status status = DEJA_OK;
    if (transfer_is_lines(transfer)) {
        status = dj_transfer_into_lines(out, &transfer->lane, &transfer->counts, out_sink);
        if (status != DEJA_OK)
            out->close(out->ctx);
        return status;
    }
    status = dj_archive_create(&options, out, &writer, error);
    if (status != DEJA_OK)
        out->close(out->ctx);
    if (status == DEJA_OK)
        status = dj_transfer_into_archive(writer, out_sink);
    if (status == DEJA_OK)
        status = put_documents(transfer, writer, error);
    if (status != DEJA_OK && writer) {
        dj_archive_destroy(writer); /* and out with it */
        *out_sink = (struct dj_transfer_sink){.close = NULL};
    }
    return status;
}

enum deja_status transfer_backup(struct transfer *transfer, struct deja_error *error)
{
    struct dj_transfer_tenants tenants = {.ids = NULL};
    struct dj_transfer_sink sink = {.close = NULL};
    struct dj_archive_out out;
    enum deja_status status = transfer_find_tenants(transfer, &tenants, error);
    if (status == DEJA_OK) {
        atomic_store(&transfer->phase, "writing");
        status = transfer_open_out(transfer, &out, error);
    }
    if (status == DEJA_OK)
        status = open_sink(transfer, &out, &sink, error);
    if (status == DEJA_OK)
        status = write_entries(transfer, &sink, &tenants, error);
    if (sink.close)
        sink.close(sink.ctx);
    dj_transfer_tenants_fini(&tenants);
    return status;
}

/* ---- restore ---- */

static void count_item(struct transfer *transfer, const struct dj_archive_item *item)
{
    if (item->is_document) {
        atomic_fetch_add(&transfer->documents, 1);
        return;
    }
    atomic_fetch_add(&transfer->counts.items, 1);
    atomic_fetch_add(&transfer->counts.bytes, item->entry->body.len);
}

static enum deja_status verify_lines(struct transfer *transfer, struct deja_error *error)
{
    struct dj_transfer_source source;
    struct dj_archive_item item;
    uint64_t count = 0;
    enum deja_status status = transfer_open_source(transfer, &source, error);
    if (status != DEJA_OK)
        return status;
    while ((status = source.next(source.ctx, &item, error)) == DEJA_OK &&
           !atomic_load(&transfer->is_cancelled)) {
        count++;
        if (transfer->order.is_check)
            count_item(transfer, &item);
    }
    source.close(source.ctx);
    atomic_store(&transfer->expected, count);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK
           : status == DEJA_OK ? deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped")
                               : status;
}

static enum deja_status verify_whole(struct transfer *transfer, struct deja_error *error)
{
    struct dj_archive_reader *reader = NULL;
    struct dj_archive_item item;
    struct dj_archive_end end;
    atomic_store(&transfer->phase, "verifying the backup");
    if (transfer_is_lines(transfer))
        return verify_lines(transfer, error);
    enum deja_status status = transfer_open_reader(transfer, &reader, error);
    uint64_t own = dj_transfers_secret_name(&transfer->transfers->daemon->root);
    if (status == DEJA_OK)
        atomic_store(&transfer->made_ms, dj_archive_header_of(reader)->created_ms);
    if (status == DEJA_OK && !transfer->order.is_check &&
        dj_archive_header_of(reader)->secret_name != own)
        status = deja_error_set(
            error, DEJA_ERR_MISMATCH,
            "the backup's entries are named under another deployment secret, so nobody would find "
            "them here: stop this daemon and use deja restore --offline into an empty data "
            "directory, or set security.secret to the one of the deployment that wrote it");
    while (status == DEJA_OK) {
        if (atomic_load(&transfer->is_cancelled))
            status = deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped");
        else
            status = dj_archive_next(reader, &item, &end, error);
        if (status == DEJA_OK && transfer->order.is_check)
            count_item(transfer, &item);
    }
    dj_archive_close(reader);
    if (status != DEJA_ERR_NOT_FOUND)
        return status;
    atomic_store(&transfer->expected, end.entries);
    return DEJA_OK;
}

static enum deja_status require_empty(struct transfer *transfer,
                                      const struct dj_transfer_tenants *tenants,
                                      struct deja_error *error)
{
    const struct dj_transfer_from options = {.lane = transfer->lane, .tenants = tenants};
    struct dj_transfer_source source;
    struct dj_archive_item item;
    enum deja_status status = dj_transfer_from_cache(&options, &source);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "out of memory");
    status = source.next(source.ctx, &item, error);
    source.close(source.ctx);
    if (status == DEJA_ERR_NOT_FOUND)
        return DEJA_OK;
    return status == DEJA_OK
               ? deja_error_set(error, DEJA_ERR_BUSY,
                                "the cache is not empty: \"into\": \"merge\" (--merge) puts the "
                                "backup's entries beside what is there; newer versions stay")
               : status;
}

/* A schedule of a tenant that was erased since is erased with it. */
static bool is_allowed(const struct transfer_erasures *erasures,
                       const struct dj_archive_document *document)
{
    struct dj_json_doc *doc = NULL;
    uint8_t tenant[DJ_TENANT_BYTES];
    if (!dj_slice_is(document->table, "schedules"))
        return true;
    bool is_read = dj_json_parse(document->value, &doc, NULL) == DEJA_OK &&
                   dj_tenant_parse(dj_json_string(dj_json_get(dj_json_root(doc), "tenant")),
                                   tenant) == DEJA_OK;
    int64_t created_ms = dj_json_i64(dj_json_get(dj_json_root(doc), "created_ms"), 0);
    for (size_t i = 0; i < erasures->count && is_read; i++) {
        const struct erased *erased = &erasures->list[i];
        if (!erased->has_user && memcmp(erased->tenant, tenant, sizeof tenant) == 0 &&
            created_ms <= erased->at_ms)
            is_read = false;
    }
    dj_json_doc_destroy(doc);
    return is_read;
}

/* A document that is there already stays. */
static enum deja_status restore_document(struct transfer *transfer,
                                         const struct transfer_erasures *erasures,
                                         const struct dj_archive_document *document,
                                         struct deja_error *error)
{
    const struct dj_authority *authority = transfer->transfers->daemon->authority;
    if (!is_allowed(erasures, document)) {
        atomic_fetch_add(&transfer->counts.voided, 1);
        return DEJA_OK;
    }
    for (size_t i = 0; i < CONFIG_TABLES && transfer->order.has_config; i++) {
        if (!dj_slice_is(document->table, config_tables[i]))
            continue;
        enum deja_status status =
            authority->put(authority->ctx, config_tables[i], document->key, document->value, true);
        if (status == DEJA_OK)
            atomic_fetch_add(&transfer->documents, 1);
        if (status != DEJA_OK && status != DEJA_ERR_BUSY)
            return deja_error_set(error, status, "%s cannot be written: %s", config_tables[i],
                                  deja_status_text(status));
    }
    return DEJA_OK;
}

static bool is_ordered(const struct transfer *transfer, const struct dj_entry *entry)
{
    return !transfer->order.has_tenant ||
           memcmp(entry->tenant, transfer->order.tenant, DJ_TENANT_BYTES) == 0;
}

static enum deja_status put_all(struct transfer *transfer, const struct transfer_erasures *erasures,
                                struct dj_transfer_source *source, struct dj_transfer_sink *sink,
                                struct deja_error *error)
{
    struct dj_archive_item item;
    enum deja_status status = DEJA_OK;
    atomic_store(&transfer->phase, "writing");
    while (status == DEJA_OK) {
        if (atomic_load(&transfer->is_cancelled))
            return deja_error_set(error, DEJA_ERR_CANCELLED,
                                  "it was stopped: restoring again goes over what is there");
        status = source->next(source->ctx, &item, error);
        if (status == DEJA_OK && item.is_document)
            status = restore_document(transfer, erasures, &item.document, error);
        else if (status == DEJA_OK && is_ordered(transfer, item.entry)) {
            count_item(transfer, &item);
            status = sink->put(sink->ctx, &item, error);
        }
    }
    return status == DEJA_ERR_NOT_FOUND ? sink->finish(sink->ctx, error) : status;
}

static enum deja_status restore_entries(struct transfer *transfer, struct deja_error *error)
{
    struct transfer_erasures *erasures = NULL;
    struct dj_transfer_source source = {.close = NULL};
    struct dj_transfer_sink sink = {.close = NULL};
    enum deja_status status = transfer_erasures_read(transfer, &erasures, error);
    if (status == DEJA_OK)
        status = transfer_open_source(transfer, &source, error);
    if (status == DEJA_OK) {
        const struct dj_transfer_into options = {.lane = transfer->lane,
                                                 .levels = transfer->order.to,
                                                 .counts = &transfer->counts,
                                                 .is_wanted = transfer_erasures_allow,
                                                 .wanted_ctx = erasures};
        status = dj_transfer_into_cache(&options, &sink);
        if (status != DEJA_OK)
            deja_error_set(error, status, "out of memory");
    }
    atomic_store(&transfer->unreadable, 0); /* lines are read a second time */
    if (status == DEJA_OK)
        status = put_all(transfer, erasures, &source, &sink, error);
    if (sink.close)
        sink.close(sink.ctx);
    if (source.close)
        source.close(source.ctx);
    transfer_erasures_destroy(erasures);
    return status;
}

enum deja_status transfer_restore(struct transfer *transfer, struct deja_error *error)
{
    struct dj_transfer_tenants tenants = {.ids = NULL};
    enum deja_status status = verify_whole(transfer, error);
    if (status != DEJA_OK || transfer->order.is_check)
        return status;
    if (status == DEJA_OK)
        status = transfer_find_tenants(transfer, &tenants, error);
    if (status == DEJA_OK && !transfer->order.is_merge)
        status = require_empty(transfer, &tenants, error);
    dj_transfer_tenants_fini(&tenants);
    return status == DEJA_OK ? restore_entries(transfer, error) : status;
}
