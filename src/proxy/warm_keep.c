/* proxy/warm_keep.c - habits that outlive the process, and are shared by programs of one tier.
 *
 *   every KEEP_MS, for each tenant that changed:
 *     what the tiers have ─▶ merged into what is known ─▶ written, sealed, put into every tier
 *   at the start: tenants noted with the authority ─▶ read, opened, merged
 *
 * An entry like any other of the tenant (kind bytes, no query, never found by meaning): gone with
 * its other entries when they are cleared or erased. Sealed by itself, whatever the tiers seal,
 * with a key of its own for each writing: HKDF(fingerprint key of the tenant, purpose ‖ salt).
 *
 *   "DJWH" version:u32 salt[16] AES-256-GCM(asked_keep.c's bytes; bound: head and tenant)
 *
 * (1) One tenant at a time, all of it on loop 0 but for the jobs.
 * (2) Merging is idempotent, so nothing is counted twice, whoever writes last.
 */
#include <string.h>

#include "base/alloc.h"
#include "crypto/aead.h"
#include "proxy/warm_internal.h"
#include "security/authority.h"

#define KEEP_MS INT64_C(600000)
#define KEPT_BYTES_MAX (4u << 20)
#define LIFE_MS UINT64_C(4838400000) /* 8 weeks: then nothing of it counts any more */
#define MAGIC "DJWH"
#define VERSION 1u
#define SALT_BYTES 16u
#define HEAD_BYTES (8u + SALT_BYTES)
#define TABLE "warmup"

struct warm_keep {
    struct dj_warm *warm;
    struct dj_job job;
    uint8_t tenants[DJ_ASKED_TENANTS_MAX][DJ_ID_BYTES];
    size_t count;
    size_t at;
    bool is_busy;
    bool is_loading;
    int64_t saved_ms;
    struct dj_value *found; /* of the tenant at hand */
    struct dj_buf sealed;
    struct dj_aead *aead;
    enum deja_status status;
};

static void next_tenant(struct warm_keep *keep);

bool warm_keep_is_ready(const struct dj_warm *warm)
{
    return atomic_load(&warm->is_ready);
}

/* ---- sealing (worker) ---- */

static void derive(const struct dj_warm *warm, const uint8_t *tenant, const uint8_t *salt,
                   uint8_t out_key[DJ_AEAD_KEY_BYTES])
{
    static const char purpose[] = "deja warm habits 1";
    uint8_t info[sizeof purpose + SALT_BYTES];
    struct dj_secret secret;
    memcpy(info, purpose, sizeof purpose);
    memcpy(info + sizeof purpose, salt, SALT_BYTES);
    dj_tenant_fingerprint_key(warm->options.context->root, tenant, &secret);
    dj_hkdf(secret.bytes, deja_slice(info, sizeof info), out_key);
    dj_secret_fini(&secret);
}

static enum deja_status seal(struct warm_keep *keep, const uint8_t *tenant, struct deja_slice plain,
                             struct dj_buf *out)
{
    static const uint8_t nonce[DJ_AEAD_NONCE_BYTES]; /* each key seals once */
    const uint32_t version = VERSION;
    uint8_t salt[SALT_BYTES];
    uint8_t key[DJ_AEAD_KEY_BYTES];
    dj_random_bytes(salt, sizeof salt);
    derive(keep->warm, tenant, salt, key);
    dj_buf_append(out, MAGIC, 4);
    dj_buf_append(out, &version, sizeof version);
    dj_buf_append(out, salt, sizeof salt);
    char *room = dj_buf_reserve(out, plain.len + DJ_AEAD_TAG_BYTES);
    enum deja_status status = room ? DEJA_OK : DEJA_ERR_NOMEM;
    if (room) {
        const struct deja_slice bound[] = {deja_slice(out->data, HEAD_BYTES),
                                           deja_slice(tenant, DJ_ID_BYTES)};
        const struct dj_aead_call call = {
            .key = key, .nonce = nonce, .bound = bound, .bound_count = 2};
        status = dj_aead_seal(keep->aead, &call, plain, room);
        if (status == DEJA_OK)
            out->len += plain.len + DJ_AEAD_TAG_BYTES;
    }
    dj_wipe(key, sizeof key);
    return status;
}

static enum deja_status open_sealed(struct warm_keep *keep, const uint8_t *tenant,
                                    struct deja_slice sealed, struct dj_buf *out)
{
    static const uint8_t nonce[DJ_AEAD_NONCE_BYTES];
    uint32_t version = 0;
    uint8_t key[DJ_AEAD_KEY_BYTES];
    if (sealed.len < HEAD_BYTES + DJ_AEAD_TAG_BYTES || memcmp(sealed.data, MAGIC, 4) != 0)
        return DEJA_ERR_CORRUPT;
    memcpy(&version, sealed.data + 4, sizeof version);
    if (version != VERSION)
        return DEJA_ERR_UNSUPPORTED;
    size_t len = sealed.len - HEAD_BYTES - DJ_AEAD_TAG_BYTES;
    char *room = dj_buf_reserve(out, len + 1);
    if (!room)
        return DEJA_ERR_NOMEM;
    derive(keep->warm, tenant, (const uint8_t *)sealed.data + 8, key);
    const struct deja_slice bound[] = {deja_slice(sealed.data, HEAD_BYTES),
                                       deja_slice(tenant, DJ_ID_BYTES)};
    const struct dj_aead_call call = {.key = key, .nonce = nonce, .bound = bound, .bound_count = 2};
    enum deja_status status = dj_aead_open(
        keep->aead, &call, deja_slice(sealed.data + HEAD_BYTES, sealed.len - HEAD_BYTES), room);
    if (status == DEJA_OK)
        out->len += len;
    dj_wipe(key, sizeof key);
    return status;
}

/* ---- one tenant ---- */

static void key_of(const struct dj_warm *warm, const uint8_t *tenant, struct dj_store_key *out_key)
{
    static const char purpose[] = "deja warm habits";
    const struct deja_slice part = deja_slice_text(purpose);
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_secret secret;
    dj_tenant_fingerprint_key(warm->options.context->root, tenant, &secret);
    dj_hmac(secret.bytes, &part, 1, digest);
    dj_secret_fini(&secret);
    memcpy(out_key->tenant, tenant, DJ_ID_BYTES);
    memcpy(out_key->id, digest, DJ_ID_BYTES);
}

static void wipe_buf(struct dj_buf *buf)
{
    if (buf->data)
        dj_wipe(buf->data, buf->len);
    dj_buf_fini(buf);
}

/* Worker. */
static void merge_and_write(void *ctx)
{
    struct warm_keep *keep = ctx;
    struct dj_asked *asked = keep->warm->asked;
    const uint8_t *tenant = keep->tenants[keep->at];
    struct dj_buf plain = {0};
    keep->status = DEJA_OK;
    if (keep->found &&
        open_sealed(keep, tenant, dj_value_entry(keep->found)->body, &plain) == DEJA_OK)
        keep->status = dj_asked_read(asked, tenant, dj_buf_slice(&plain));
    wipe_buf(&plain);
    plain = (struct dj_buf){.status = DEJA_OK};
    if (keep->is_loading)
        return;
    const struct dj_authority *authority = keep->warm->options.authority;
    char name[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(tenant, name);
    if (authority) /* where it cannot be noted now, the next time will do */
        keep->status = authority->put(authority->ctx, TABLE, deja_slice_text(name),
                                      deja_slice_text("1"), false);
    keep->status = dj_asked_write(asked, tenant, KEPT_BYTES_MAX, &plain);
    if (keep->status == DEJA_OK)
        keep->status = seal(keep, tenant, dj_buf_slice(&plain), &keep->sealed);
    wipe_buf(&plain);
}

static void put_sealed(struct warm_keep *keep, const uint8_t *tenant)
{
    struct dj_warm *warm = keep->warm;
    struct dj_engine *engine = warm->options.context->engine;
    struct dj_entry entry = {.kind = DJ_ENTRY_BYTES,
                             .provider = deja_slice_text("deja"),
                             .body = dj_buf_slice(&keep->sealed)};
    struct dj_store_key key;
    struct dj_fill fill;
    key_of(warm, tenant, &key);
    memcpy(entry.tenant, key.tenant, sizeof entry.tenant);
    memcpy(entry.id, key.id, sizeof entry.id);
    entry.created_ms = dj_loop_now_ms(warm->options.loop);
    entry.expires_ms = dj_engine_expiry(engine, warm->options.loop, LIFE_MS, LIFE_MS);
    dj_engine_begin_fill(engine, &entry, &fill);
    if (dj_engine_put(engine, warm->options.loop, &entry, NULL, NULL, NULL) != DEJA_OK)
        keep->status = DEJA_ERR_NOMEM; /* it is written again when it has changed */
}

static void on_worked(void *ctx)
{
    struct warm_keep *keep = ctx;
    if (!keep->is_loading && keep->status == DEJA_OK)
        put_sealed(keep, keep->tenants[keep->at]);
    dj_value_unref(keep->found);
    keep->found = NULL;
    dj_buf_fini(&keep->sealed);
    keep->at++;
    next_tenant(keep);
}

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct warm_keep *keep = ctx;
    (void)level;
    keep->found = value;
    keep->job = (struct dj_job){
        .work = merge_and_write, .done = on_worked, .ctx = keep, .loop = keep->warm->options.loop};
    if (dj_pool_submit(keep->warm->options.context->pool, &keep->job) == DEJA_OK)
        return;
    keep->status = DEJA_ERR_BUSY;
    on_worked(keep);
}

static void next_tenant(struct warm_keep *keep)
{
    struct dj_warm *warm = keep->warm;
    struct dj_store_key key;
    for (; keep->at < keep->count && !warm->is_stopping; keep->at++) {
        key_of(warm, keep->tenants[keep->at], &key);
        if (dj_engine_get(warm->options.context->engine, warm->options.loop, &key, 0, keep,
                          on_got) == DEJA_OK)
            return;
    }
    keep->is_busy = false;
    atomic_store(&warm->is_ready, true);
    keep->is_loading = false;
    keep->saved_ms = dj_loop_now_ms(warm->options.loop);
}

/* ---- the start ---- */

static bool take_name(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct warm_keep *keep = ctx;
    (void)value;
    if (dj_tenant_parse(key, keep->tenants[keep->count]) == DEJA_OK)
        keep->count++;
    return keep->count < DJ_ASKED_TENANTS_MAX;
}

/* Worker. */
static void find_tenants(void *ctx)
{
    struct warm_keep *keep = ctx;
    const struct dj_authority *authority = keep->warm->options.authority;
    keep->status = authority->walk(authority->ctx, TABLE, keep, take_name);
}

static void on_tenants(void *ctx)
{
    next_tenant(ctx);
}

static void start_loading(struct dj_warm *warm)
{
    struct warm_keep *keep = dj_alloc_zeroed(1, sizeof *keep);
    if (!keep)
        return; /* the next tick tries again */
    keep->warm = warm;
    if (dj_aead_create(&keep->aead) != DEJA_OK) {
        dj_free(keep);
        return;
    }
    warm->keep = keep;
    keep->is_loading = keep->is_busy = true;
    keep->job = (struct dj_job){
        .work = find_tenants, .done = on_tenants, .ctx = keep, .loop = warm->options.loop};
    if (!warm->options.authority ||
        dj_pool_submit(warm->options.context->pool, &keep->job) != DEJA_OK)
        next_tenant(keep);
}

/* The daemon ends: written as it is, without looking at what others know. */
static void save_at_once(struct warm_keep *keep)
{
    keep->is_loading = false;
    keep->count = dj_asked_tenants(keep->warm->asked, true, keep->tenants, DJ_ASKED_TENANTS_MAX);
    for (keep->at = 0; keep->at < keep->count; keep->at++) {
        merge_and_write(keep);
        if (keep->status == DEJA_OK)
            put_sealed(keep, keep->tenants[keep->at]);
        dj_buf_fini(&keep->sealed);
    }
}

void warm_keep_tick(struct dj_warm *warm, int64_t now_ms, bool is_last)
{
    struct warm_keep *keep = warm->keep;
    if (!dj_asked_is_learning(warm->asked))
        return;
    if (!keep) {
        if (!is_last)
            start_loading(warm);
        return;
    }
    if (keep->is_busy)
        return;
    if (is_last) {
        save_at_once(keep);
        return;
    }
    if (now_ms - keep->saved_ms < KEEP_MS)
        return;
    keep->count = dj_asked_tenants(warm->asked, true, keep->tenants, DJ_ASKED_TENANTS_MAX);
    keep->at = 0;
    keep->saved_ms = now_ms;
    if (!keep->count)
        return;
    keep->is_busy = true;
    next_tenant(keep);
}

void warm_keep_destroy(struct dj_warm *warm)
{
    if (!warm->keep)
        return;
    dj_value_unref(warm->keep->found);
    wipe_buf(&warm->keep->sealed);
    dj_aead_destroy(warm->keep->aead);
    dj_free(warm->keep);
}
