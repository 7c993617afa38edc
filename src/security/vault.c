/* security/vault.c - see vault.h. A document is sealed JSON: {"scheme","value","set_ms"}. */
#include "security/vault.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/slice.h"
#include "crypto/digest.h"
#include "proto/json.h"

#define DOCUMENT_BYTES_MAX 32768u

static const struct {
    const char *name;
    const char *header;
    const char *start; /* of the value */
} schemes[DJ_VAULT_SCHEMES] = {
    [DJ_VAULT_BEARER] = {"bearer", "Authorization", "Bearer "},
    [DJ_VAULT_X_API_KEY] = {"x-api-key", "x-api-key", ""},
    [DJ_VAULT_API_KEY] = {"api-key", "api-key", ""},
    [DJ_VAULT_GOOGLE_KEY] = {"x-goog-api-key", "x-goog-api-key", ""},
};

/* One allocation, wiped when it goes. */
struct held {
    struct dj_vault_facts facts;
    uint64_t round;   /* of the reload, or of a change since, that told of it last */
    size_t value_len; /* of the whole header's value */
    char value[];
};

struct dj_vault {
    pthread_rwlock_t lock;
    pthread_mutex_t writing; /* one change at a time; taken before lock */
    struct dj_map *held;     /* by tenant; owned */
    uint64_t round;          /* reloads so far */
    const struct dj_authority *authority;
    struct dj_vault_sealer sealer;
    _Atomic size_t damaged;
};

const char *dj_vault_scheme_text(enum dj_vault_scheme scheme)
{
    return schemes[scheme].name;
}

enum deja_status dj_vault_scheme_of(struct deja_slice text, enum dj_vault_scheme *out_scheme)
{
    for (size_t i = 0; i < DJ_VAULT_SCHEMES; i++)
        if (dj_slice_is(text, schemes[i].name)) {
            *out_scheme = (enum dj_vault_scheme)i;
            return DEJA_OK;
        }
    return DEJA_ERR_INVALID;
}

static bool is_value(struct deja_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~')
            return false;
    return value.len > 0 && value.len <= DJ_VAULT_VALUE_BYTES_MAX;
}

static void end_held(struct held *held)
{
    if (!held)
        return;
    dj_wipe(held, sizeof *held + held->value_len);
    dj_free(held);
}

static struct held *make_held(const struct dj_vault_facts *facts, struct deja_slice value)
{
    const char *start = schemes[facts->scheme].start;
    size_t start_len = strlen(start);
    struct held *held = dj_alloc(sizeof *held + start_len + value.len);
    if (!held)
        return NULL;
    held->facts = *facts;
    held->value_len = start_len + value.len;
    memcpy(held->value, start, start_len);
    memcpy(held->value + start_len, value.data, value.len);
    return held;
}

/* held is taken, on DEJA_OK only. */
static enum deja_status place(struct dj_vault *vault, struct held *held)
{
    void *before = NULL;
    pthread_rwlock_wrlock(&vault->lock);
    held->round = vault->round;
    enum deja_status status =
        dj_map_put(vault->held, deja_slice(held->facts.tenant, DJ_TENANT_BYTES), held, &before);
    pthread_rwlock_unlock(&vault->lock);
    if (status == DEJA_OK)
        end_held(before);
    return status;
}

static void drop(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES])
{
    pthread_rwlock_wrlock(&vault->lock);
    struct held *held = dj_map_remove(vault->held, deja_slice(tenant, DJ_TENANT_BYTES));
    pthread_rwlock_unlock(&vault->lock);
    end_held(held);
}

/* ---- documents ---- */

static struct deja_slice bound_to(void)
{
    return deja_slice_text("upstream credential 1");
}

static enum deja_status read_plain(const uint8_t tenant[DJ_TENANT_BYTES], struct deja_slice plain,
                                   struct held **out_held)
{
    struct dj_json_doc *doc = NULL;
    struct dj_vault_facts facts = {.set_ms = 0};
    enum deja_status status = dj_json_parse(plain, &doc, NULL);
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice value = dj_json_string(dj_json_get(root, "value"));
    if (status == DEJA_OK)
        status = dj_vault_scheme_of(dj_json_string(dj_json_get(root, "scheme")), &facts.scheme);
    if (status == DEJA_OK && !is_value(value))
        status = DEJA_ERR_CORRUPT;
    if (status == DEJA_OK) {
        facts.set_ms = dj_json_i64(dj_json_get(root, "set_ms"), 0);
        memcpy(facts.tenant, tenant, sizeof facts.tenant);
        *out_held = make_held(&facts, value);
        status = *out_held ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    if (value.len) /* the tree's copy of it */
        dj_wipe((void *)(uintptr_t)value.data, value.len);
    dj_json_doc_destroy(doc);
    return status;
}

static void end_secret(struct dj_buf *buf)
{
    if (buf->data)
        dj_wipe(buf->data, buf->cap);
    dj_buf_fini(buf);
}

/* What does not open is none. */
static enum deja_status take_document(struct dj_vault *vault, struct deja_slice key,
                                      struct deja_slice sealed)
{
    struct dj_buf plain;
    struct held *held = NULL;
    uint8_t tenant[DJ_TENANT_BYTES];
    if (dj_tenant_parse(key, tenant) != DEJA_OK)
        return DEJA_ERR_CORRUPT;
    dj_buf_init(&plain, DOCUMENT_BYTES_MAX);
    enum deja_status status =
        vault->sealer.open(vault->sealer.ctx, tenant, bound_to(), sealed, &plain);
    if (status == DEJA_OK)
        status = read_plain(tenant, dj_buf_slice(&plain), &held);
    end_secret(&plain);
    if (status == DEJA_OK) {
        status = place(vault, held);
        if (status != DEJA_OK)
            end_held(held);
        return status;
    }
    if (status != DEJA_ERR_NOMEM)
        atomic_fetch_add(&vault->damaged, 1);
    drop(vault, tenant);
    return status;
}

struct loading {
    struct dj_vault *vault;
    enum deja_status status;
};

static bool on_kept(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct loading *loading = ctx;
    enum deja_status status = take_document(loading->vault, key, value);
    if (status == DEJA_ERR_NOMEM || status == DEJA_ERR_LIMIT)
        loading->status = status;
    return loading->status == DEJA_OK;
}

enum deja_status dj_vault_create(const struct dj_authority *authority,
                                 const struct dj_vault_sealer *sealer, size_t tenants_max,
                                 struct dj_vault **out_vault)
{
    struct dj_vault *vault = dj_alloc_zeroed(1, sizeof *vault);
    if (!vault)
        return DEJA_ERR_NOMEM;
    pthread_rwlock_init(&vault->lock, NULL);
    pthread_mutex_init(&vault->writing, NULL);
    vault->authority = authority;
    vault->sealer = *sealer;
    /* Configured tenants have ids that nobody outside chooses. */
    enum deja_status status = dj_map_create(tenants_max, NULL, NULL, &vault->held);
    if (status != DEJA_OK) {
        dj_vault_destroy(vault);
        return status;
    }
    *out_vault = vault;
    return DEJA_OK;
}

void dj_vault_destroy(struct dj_vault *vault)
{
    size_t cursor = 0;
    struct deja_slice tenant;
    void *held = NULL;
    if (!vault)
        return;
    while (vault->held && dj_map_next(vault->held, &cursor, &tenant, &held))
        end_held(held);
    dj_map_destroy(vault->held);
    pthread_mutex_destroy(&vault->writing);
    pthread_rwlock_destroy(&vault->lock);
    dj_free(vault);
}

/* Those that the reload did not tell of. */
static void drop_old(struct dj_vault *vault)
{
    size_t cursor = 0;
    struct deja_slice tenant;
    void *value = NULL;
    pthread_rwlock_wrlock(&vault->lock);
    while (dj_map_next(vault->held, &cursor, &tenant, &value)) {
        struct held *held = value;
        if (held->round == vault->round)
            continue;
        dj_map_remove(vault->held, tenant);
        end_held(held);
        cursor = 0; /* the map has changed */
    }
    pthread_rwlock_unlock(&vault->lock);
}

enum deja_status dj_vault_reload(struct dj_vault *vault)
{
    const struct dj_authority *authority = vault->authority;
    struct loading loading = {.vault = vault, .status = DEJA_OK};
    if (!authority)
        return DEJA_OK;
    pthread_mutex_lock(&vault->writing);
    pthread_rwlock_wrlock(&vault->lock);
    vault->round++;
    pthread_rwlock_unlock(&vault->lock);
    enum deja_status status = authority->walk(authority->ctx, DJ_VAULT_TABLE, &loading, on_kept);
    if (status == DEJA_ERR_NOT_FOUND) /* nobody kept one yet */
        status = DEJA_OK;
    if (status == DEJA_OK)
        status = loading.status;
    if (status == DEJA_OK)
        drop_old(vault);
    pthread_mutex_unlock(&vault->writing);
    return status;
}

/* ---- looking ---- */

enum deja_status dj_vault_look(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                               struct dj_arena *arena, struct deja_slice *out_name,
                               struct deja_slice *out_value)
{
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    pthread_rwlock_rdlock(&vault->lock);
    const struct held *held = dj_map_find(vault->held, deja_slice(tenant, DJ_TENANT_BYTES));
    if (held) {
        struct deja_slice copy = dj_arena_copy(arena, deja_slice(held->value, held->value_len));
        status = copy.data ? DEJA_OK : DEJA_ERR_NOMEM;
        if (status == DEJA_OK) {
            *out_name = deja_slice_text(schemes[held->facts.scheme].header);
            *out_value = copy;
        }
    }
    pthread_rwlock_unlock(&vault->lock);
    return status;
}

enum deja_status dj_vault_get(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                              struct dj_vault_facts *out_facts)
{
    pthread_rwlock_rdlock(&vault->lock);
    const struct held *held = dj_map_find(vault->held, deja_slice(tenant, DJ_TENANT_BYTES));
    if (held)
        *out_facts = held->facts;
    pthread_rwlock_unlock(&vault->lock);
    return held ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

size_t dj_vault_damaged(const struct dj_vault *vault)
{
    return atomic_load(&vault->damaged);
}

/* ---- changing ---- */

static enum deja_status keep(struct dj_vault *vault, const struct dj_vault_facts *facts,
                             struct deja_slice value)
{
    const struct dj_authority *authority = vault->authority;
    struct dj_buf plain;
    struct dj_buf sealed;
    char name[DJ_TENANT_TEXT_BYTES];
    dj_buf_init(&plain, DOCUMENT_BYTES_MAX);
    dj_buf_init(&sealed, DOCUMENT_BYTES_MAX);
    struct dj_json_writer w = dj_json_writer(&plain);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "scheme", schemes[facts->scheme].name);
    dj_json_key(&w, "value");
    dj_json_put_string(&w, value);
    dj_json_member_u64(&w, "set_ms", (uint64_t)facts->set_ms);
    dj_json_end_object(&w);
    dj_tenant_text(facts->tenant, name);
    enum deja_status status = plain.status;
    if (status == DEJA_OK)
        status = vault->sealer.seal(vault->sealer.ctx, facts->tenant, bound_to(),
                                    dj_buf_slice(&plain), &sealed);
    if (status == DEJA_OK)
        status = authority->put(authority->ctx, DJ_VAULT_TABLE, deja_slice_text(name),
                                dj_buf_slice(&sealed), false);
    end_secret(&plain);
    dj_buf_fini(&sealed);
    return status;
}

enum deja_status dj_vault_set(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                              enum dj_vault_scheme scheme, struct deja_slice value, int64_t now_ms)
{
    struct dj_vault_facts facts = {.scheme = scheme, .set_ms = now_ms};
    if (!is_value(value))
        return DEJA_ERR_INVALID;
    memcpy(facts.tenant, tenant, sizeof facts.tenant);
    struct held *held = make_held(&facts, value);
    if (!held)
        return DEJA_ERR_NOMEM;
    pthread_mutex_lock(&vault->writing);
    enum deja_status status = vault->authority ? keep(vault, &facts, value) : DEJA_OK;
    if (status == DEJA_OK)
        status = place(vault, held);
    pthread_mutex_unlock(&vault->writing);
    if (status != DEJA_OK)
        end_held(held);
    return status;
}

enum deja_status dj_vault_remove(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_authority *authority = vault->authority;
    struct dj_vault_facts facts;
    char name[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(tenant, name);
    pthread_mutex_lock(&vault->writing);
    enum deja_status status =
        authority ? authority->remove(authority->ctx, DJ_VAULT_TABLE, deja_slice_text(name))
                  : dj_vault_get(vault, tenant, &facts);
    if (status == DEJA_OK || status == DEJA_ERR_NOT_FOUND)
        drop(vault, tenant);
    pthread_mutex_unlock(&vault->writing);
    return status;
}

void dj_vault_on_change(void *ctx, const char *table, struct deja_slice key,
                        struct deja_slice value)
{
    struct dj_vault *vault = ctx;
    uint8_t tenant[DJ_TENANT_BYTES];
    if (strcmp(table, DJ_VAULT_TABLE) != 0 || dj_tenant_parse(key, tenant) != DEJA_OK)
        return;
    /* One that cannot be taken is none: rather no credential than a former one. */
    if (!value.data || take_document(vault, key, value) != DEJA_OK)
        drop(vault, tenant);
}
