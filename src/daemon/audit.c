/* daemon/audit.c - the audit log of this daemon (DATA/audit, its head with the authority), and what
 * erasures ask of the parts. */
#include <stdio.h>
#include <unistd.h>

#include "api/idempotency.h"
#include "daemon/audit.h"
#include "daemon/daemon_internal.h"
#include "proto/json.h"
#include "security/audit_chain.h"
#include "security/directory.h"
#include "store/lmdb.h"

#define PATH_BYTES 4096u

void dj_daemon_place(const char *directory, char out_place[DJ_PLACE_BYTES])
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0'; /* the directory alone names it then */
    snprintf(out_place, DJ_PLACE_BYTES, "%s:%s", host, directory);
}

enum deja_status dj_daemon_open_audit(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings_audit *settings = &daemon->settings->audit;
    char directory[PATH_BYTES];
    char place[DJ_PLACE_BYTES];
    int len = snprintf(directory, sizeof directory, "%s/audit", daemon->settings->data_dir);
    if (len < 0 || (size_t)len >= sizeof directory)
        return deja_error_set(error, DEJA_ERR_CONFIG, "the data directory's name is too long");
    dj_daemon_place(directory, place);
    const struct dj_audit_options options = {
        .directory = directory,
        .file_bytes_max = settings->file_bytes_max,
        .file_age_ms = settings->file_age_ms,
        .keep_ms = settings->keep_ms,
        .authority = daemon->authority,
        .place = place,
        .now_ms = dj_clock_now_ms(),
    };
    return dj_audit_open(&options, &daemon->audit, error);
}

/* Habits hold requests: kept, they would be written again and asked again while a tier is away. */
static void forget(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_daemon *daemon = ctx;
    dj_warm_forget(daemon->warm, tenant);
}

/* What was removed from files, and answers that were to be repeated: those do not tell whose they
 * are. */
static enum deja_status wipe(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct dj_daemon *daemon = ctx;
    enum deja_status status = DEJA_OK;
    dj_warm_forget(daemon->warm, tenant);
    dj_idempotency_clear(daemon->api.idempotency);
    if (daemon->embedded)
        status = dj_lmdb_scrub(daemon->embedded);
    return status == DEJA_OK ? dj_lmdb_meta_scrub(daemon->meta) : status;
}

static enum deja_status drop_documents(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_daemon *daemon = ctx;
    return daemon->schedules ? dj_schedules_erase(daemon->schedules, tenant) : DEJA_OK;
}

static enum deja_status destroy_keys(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_daemon *daemon = ctx;
    struct dj_keyring *keyring = dj_encryption_keyring(daemon->encryption);
    uint32_t id_last = 0;
    return keyring ? dj_keyring_destroy_tenant(keyring, tenant, &id_last) : DEJA_OK;
}

static enum deja_status renew_keys(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_daemon *daemon = ctx;
    enum deja_status status = dj_encryption_rotate(daemon->encryption, tenant, false);
    return status == DEJA_ERR_UNSUPPORTED ? DEJA_OK : status;
}

enum deja_status dj_daemon_make_erasures(struct dj_daemon *daemon)
{
    const struct dj_erasures_options options = {
        .engine = daemon->engine,
        .loop = daemon->loops[0],
        .pool = daemon->work,
        .authority = daemon->authority,
        .audit = daemon->audit,
        .hooks_ctx = daemon,
        .destroy_keys = destroy_keys,
        .renew_keys = renew_keys,
        .forget = forget,
        .wipe = wipe,
        .drop_documents = drop_documents,
    };
    enum deja_status status = dj_erasures_create(&options, &daemon->erasures);
    if (status != DEJA_OK)
        return status;
    const struct dj_authority_watcher watcher = {
        .ctx = daemon->erasures, .changed = dj_erasures_on_change, .anew = dj_erasures_on_anew};
    dj_authorities_watch(daemon->authorities, &watcher);
    daemon->api.erase = dj_erasures_service(daemon->erasures);
    return DEJA_OK;
}

enum deja_status dj_daemon_make_schedules(struct dj_daemon *daemon)
{
    const struct dj_schedules_options options = {
        .engine = daemon->engine,
        .loop = daemon->loops[0],
        .pool = daemon->work,
        .authority = daemon->authority,
        .audit = daemon->audit,
        .telemetry = daemon->telemetry,
        .log = daemon->log,
    };
    enum deja_status status = dj_schedules_create(&options, &daemon->schedules);
    if (status != DEJA_OK)
        return status;
    const struct dj_authority_watcher watcher = {.ctx = daemon->schedules,
                                                 .changed = dj_schedules_on_change};
    dj_authorities_watch(daemon->authorities, &watcher);
    daemon->api.schedules = dj_schedules_service(daemon->schedules);
    return DEJA_OK;
}

struct head {
    enum deja_status status;
    struct dj_audit_head *head;
    uint8_t *public_key;
};

static void on_head(void *ctx, struct deja_slice value)
{
    struct head *head = ctx;
    head->status = dj_audit_head_read(value, head->head, head->public_key);
}

enum deja_status dj_daemon_read_head(void *settings, const char *node,
                                     struct dj_audit_head *out_head,
                                     uint8_t out_public[DJ_SIGN_PUBLIC_BYTES])
{
    const struct dj_settings *of = settings;
    struct head head = {.head = out_head, .public_key = out_public};
    enum deja_status status = dj_authority_peek(of->data_dir, DJ_AUDIT_HEADS_TABLE,
                                                deja_slice_text(node), &head, on_head);
    return status == DEJA_OK ? head.status : status;
}

struct looking {
    struct deja_slice name;
    bool is_found;
    char *id; /* DJ_TENANT_TEXT_BYTES */
};

static bool on_tenant(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct looking *looking = ctx;
    struct dj_json_doc *doc = NULL;
    uint8_t id[DJ_TENANT_BYTES];
    if (looking->is_found)
        return false;
    if (dj_json_parse(value, &doc, NULL) != DEJA_OK)
        return true; /* not of ours */
    struct deja_slice name = dj_json_string(dj_json_get(dj_json_root(doc), "name"));
    looking->is_found = looking->name.len && deja_slice_is_equal(name, looking->name) &&
                        dj_tenant_parse(key, id) == DEJA_OK;
    if (looking->is_found)
        dj_tenant_text(id, looking->id);
    dj_json_doc_destroy(doc);
    return !looking->is_found;
}

bool dj_daemon_find_tenant(void *settings, const char *name, char out_id[DJ_TENANT_TEXT_BYTES])
{
    const struct dj_settings *of = settings;
    struct looking looking = {.name = deja_slice_text(name), .id = out_id};
    return dj_authority_peek_all(of->data_dir, DJ_DIRECTORY_TENANTS, &looking, on_tenant) ==
               DEJA_OK &&
           looking.is_found;
}
