/* security/keyring_stored.c - a tenant's keys in the authority: found, made, followed, destroyed.
 *
 *   "TENANT"      the highest id there was, in decimal: where to begin to look; may be behind
 *   "TENANT.ID"   one data key (data_key.h)
 *   "TENANT.ID+"  how much it sealed, in decimal, as far as it was noted down
 *
 * (1) An id is made once: put is_new decides between nodes, and whoever was second takes the key of
 *     the first. (2) A document goes from alive to destroyed and never back: nothing rewrites one
 *     that is alive. (3) Ids are dense, and below a destroyed one all are.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/num.h"
#include "security/keyring_internal.h"

#define FETCH_PAUSE_MS 1000
#define IDS_MAX 4096u         /* looked at for one tenant: a rotation a day for ten years */
#define NOTED_STEP (1u << 16) /* things sealed before the authority is told again */

/* One document, out of its callback. */
struct text {
    uint8_t bytes[DJ_DATA_KEY_BYTES];
    size_t len;
    bool is_too_long;
};

/* A tenant's documents that matter. */
struct loaded {
    struct text texts[KEYRING_IDS_MAX]; /* alive, ascending */
    struct dj_data_key_document documents[KEYRING_IDS_MAX];
    bool is_damaged[KEYRING_IDS_MAX];
    uint64_t sealed[KEYRING_IDS_MAX];
    uint32_t count;
    uint32_t last;            /* highest id of any state; 0: none */
    uint32_t destroyed_below; /* 0: none known */
};

static void on_found(void *ctx, struct deja_slice value)
{
    struct text *text = ctx;
    text->is_too_long = value.len > sizeof text->bytes;
    text->len = text->is_too_long ? 0 : value.len;
    if (text->len)
        memcpy(text->bytes, value.data, text->len);
}

static enum deja_status get(struct dj_keyring *keyring, struct deja_slice name, struct text *out)
{
    const struct dj_authority *authority = keyring->authority;
    *out = (struct text){.len = 0};
    return authority->get(authority->ctx, DJ_KEYRING_TABLE, name, out, on_found);
}

static enum deja_status put(struct dj_keyring *keyring, struct deja_slice name, const void *bytes,
                            size_t len, bool is_new)
{
    const struct dj_authority *authority = keyring->authority;
    return authority->put(authority->ctx, DJ_KEYRING_TABLE, name, deja_slice(bytes, len), is_new);
}

/* "TENANT.ID" and what is beside it. */
struct names {
    char text[DJ_DATA_KEY_NAME_BYTES + 1];
    struct deja_slice tenant;
    struct deja_slice key;
    struct deja_slice sealed;
};

static void name(const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id, struct names *out)
{
    dj_data_key_name(tenant, id, out->text);
    out->text[DJ_DATA_KEY_NAME_BYTES] = '+';
    out->tenant = deja_slice(out->text, 2 * DJ_TENANT_BYTES);
    out->key = deja_slice(out->text, DJ_DATA_KEY_NAME_BYTES);
    out->sealed = deja_slice(out->text, DJ_DATA_KEY_NAME_BYTES + 1);
}

/* 0: there is none, or it is none. */
static enum deja_status get_number(struct dj_keyring *keyring, struct deja_slice at,
                                   uint64_t *out_number)
{
    struct text text;
    uint64_t number = 0;
    enum deja_status status = get(keyring, at, &text);
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    if (status == DEJA_OK && dj_num_parse_u64(deja_slice(text.bytes, text.len), &number) != DEJA_OK)
        number = 0;
    *out_number = number;
    return DEJA_OK;
}

static enum deja_status put_number(struct dj_keyring *keyring, struct deja_slice at,
                                   uint64_t number)
{
    char digits[DJ_NUM_U64_DIGITS_MAX];
    return put(keyring, at, digits, dj_num_write_u64(number, digits), false);
}

/* ---- looking ---- */

static void shift(struct loaded *loaded, uint32_t from, uint32_t to, uint32_t count)
{
    memmove(&loaded->texts[to], &loaded->texts[from], count * sizeof *loaded->texts);
    memmove(&loaded->documents[to], &loaded->documents[from], count * sizeof *loaded->documents);
    memmove(&loaded->is_damaged[to], &loaded->is_damaged[from], count * sizeof(bool));
    memmove(&loaded->sealed[to], &loaded->sealed[from], count * sizeof *loaded->sealed);
}

/* Where the slices of documents point moves with their texts. */
static void settle(struct loaded *loaded)
{
    for (uint32_t i = 0; i < loaded->count; i++) {
        struct dj_data_key_document document;
        const struct text *text = &loaded->texts[i];
        if (!loaded->is_damaged[i] &&
            dj_data_key_read(deja_slice(text->bytes, text->len), &document) == DEJA_OK)
            loaded->documents[i] = document;
    }
}

/* is_up: behind the others, else before them; a full one gives up its lowest. */
static void add(struct loaded *loaded, uint32_t id, const struct text *text, bool is_up)
{
    struct dj_data_key_document document = {.id = id};
    bool is_damaged = dj_data_key_read(deja_slice(text->bytes, text->len), &document) != DEJA_OK ||
                      document.id != id;
    if (loaded->last < id)
        loaded->last = id;
    if (!is_damaged && document.is_destroyed) {
        if (loaded->destroyed_below <= id)
            loaded->destroyed_below = id + 1;
        return;
    }
    if (loaded->count == KEYRING_IDS_MAX && !is_up)
        return;
    if (loaded->count == KEYRING_IDS_MAX)
        shift(loaded, 1, 0, --loaded->count);
    uint32_t at = is_up ? loaded->count : 0;
    if (!is_up)
        shift(loaded, 0, 1, loaded->count);
    loaded->count++;
    loaded->texts[at] = *text;
    loaded->documents[at] = (struct dj_data_key_document){.id = id};
    loaded->is_damaged[at] = is_damaged;
    loaded->sealed[at] = 0;
}

static enum deja_status load(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                             struct loaded *out)
{
    struct names names;
    struct text text;
    uint64_t hint = 0;
    *out = (struct loaded){.count = 0};
    name(tenant, 1, &names);
    enum deja_status status = get_number(keyring, names.tenant, &hint);
    if (hint == 0 || hint > IDS_MAX)
        hint = 1;
    for (uint32_t id = (uint32_t)hint; status == DEJA_OK && id <= IDS_MAX; id++) {
        name(tenant, id, &names);
        status = get(keyring, names.key, &text);
        if (status == DEJA_OK)
            add(out, id, &text, true);
    }
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    for (uint32_t id = (uint32_t)hint - 1; id > out->destroyed_below && id > 0; id--) {
        name(tenant, id, &names);
        status = get(keyring, names.key, &text);
        if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
            return status;
        if (status == DEJA_OK)
            add(out, id, &text, false);
        if (out->destroyed_below > id)
            break;
    }
    status = DEJA_OK;
    settle(out);
    if (out->count) {
        name(tenant, out->last, &names);
        status = get_number(keyring, names.sealed, &out->sealed[out->count - 1]);
    }
    return status;
}

/* ---- into memory ---- */

const struct dj_hmac_key *keyring_master_of(const struct dj_keyring *keyring, uint64_t master_name)
{
    if (master_name == dj_master_key_name(keyring->master))
        return keyring->master;
    bool is_previous = keyring->previous && master_name == dj_master_key_name(keyring->previous);
    return is_previous ? keyring->previous : NULL;
}

/* The document's key, in key memory. */
static enum deja_status unwrap(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                               const struct dj_data_key_document *document,
                               struct dj_hmac_key **out_ready)
{
    uint8_t key[DJ_AEAD_KEY_BYTES];
    const struct dj_hmac_key *master = keyring_master_of(keyring, document->master_name);
    enum deja_status status =
        master ? dj_data_key_unwrap(keyring->aead, master, tenant, document, key) : DEJA_ERR_DENIED;
    if (status != DEJA_OK)
        return status;
    struct dj_hmac_key *ready = dj_key_memory_take(keyring->memory);
    if (ready)
        dj_hkdf_extract(key, ready);
    dj_wipe(key, sizeof key);
    *out_ready = ready;
    return ready ? DEJA_OK : DEJA_ERR_NOMEM;
}

static bool is_previous(const struct dj_keyring *keyring,
                        const struct dj_data_key_document *document)
{
    return keyring->previous &&
           keyring_master_of(keyring, document->master_name) == keyring->previous;
}

/* Under mutex. Appended: the ids come ascending. */
static enum deja_status hold(struct dj_keyring *keyring, struct ring *ring,
                             const struct dj_data_key_document *document, bool is_damaged,
                             uint64_t sealed_before)
{
    struct dj_hmac_key *ready = NULL;
    enum deja_status status =
        is_damaged ? DEJA_ERR_CORRUPT : unwrap(keyring, ring->tenant, document, &ready);
    if (status == DEJA_ERR_NOMEM)
        return status;
    if (ring->count == KEYRING_IDS_MAX)
        keyring_forget_key(keyring, ring, ring->keys[0].id);
    ring->keys[ring->count++] = (struct held_key){.id = document->id,
                                                  .is_locked = status != DEJA_OK,
                                                  .is_previous = is_previous(keyring, document),
                                                  .ready = ready,
                                                  .created_ms = document->created_ms,
                                                  .sealed_before = sealed_before};
    return DEJA_OK;
}

/* The ring becomes what was loaded; counts of keys that stay are kept. */
static enum deja_status install(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                const struct loaded *loaded)
{
    enum deja_status status = DEJA_OK;
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find_or_make(keyring, tenant);
    if (!ring)
        status = DEJA_ERR_NOMEM;
    for (uint32_t i = ring ? ring->count : 0; i > 0; i--) {
        bool is_there = false;
        for (uint32_t k = 0; k < loaded->count; k++)
            is_there |= loaded->documents[k].id == ring->keys[i - 1].id;
        if (!is_there || ring->keys[i - 1].is_locked)
            keyring_forget_key(keyring, ring, ring->keys[i - 1].id);
    }
    for (uint32_t k = 0; ring && k < loaded->count && status == DEJA_OK; k++)
        if (!keyring_key(ring, loaded->documents[k].id))
            status = hold(keyring, ring, &loaded->documents[k], loaded->is_damaged[k],
                          loaded->sealed[k]);
    for (uint32_t i = 1; ring && i < ring->count; i++) /* few, and nearly always in order */
        for (uint32_t k = i; k > 0 && ring->keys[k].id < ring->keys[k - 1].id; k--) {
            struct held_key key = ring->keys[k];
            ring->keys[k] = ring->keys[k - 1];
            ring->keys[k - 1] = key;
        }
    if (ring && status == DEJA_OK) {
        const struct held_key *active = keyring_active_key(ring);
        ring->destroyed_below = loaded->destroyed_below;
        ring->fetched_ms = keyring->now_ms();
        if (active && active->is_locked)
            status = DEJA_ERR_DENIED;
    }
    pthread_mutex_unlock(&keyring->mutex);
    return status;
}

/* DEJA_ERR_BUSY: somebody else has made it. */
static enum deja_status make(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                             uint32_t id)
{
    uint8_t key[DJ_AEAD_KEY_BYTES];
    uint8_t bytes[DJ_DATA_KEY_BYTES];
    struct names names;
    if (id > IDS_MAX)
        return DEJA_ERR_LIMIT;
    dj_random_bytes(key, sizeof key);
    enum deja_status status =
        dj_data_key_wrap(keyring->aead, keyring->master, tenant, id, keyring->now_ms(), key, bytes);
    dj_wipe(key, sizeof key);
    name(tenant, id, &names);
    if (status == DEJA_OK)
        status = put(keyring, names.key, bytes, sizeof bytes, true);
    if (status == DEJA_OK && put_number(keyring, names.tenant, id) != DEJA_OK)
        return DEJA_OK; /* a look from further below finds it all the same */
    return status;
}

static enum deja_status make_and_load(struct dj_keyring *keyring,
                                      const uint8_t tenant[DJ_TENANT_BYTES], struct loaded *loaded)
{
    enum deja_status status = make(keyring, tenant, loaded->last + 1);
    if (status == DEJA_OK || status == DEJA_ERR_BUSY)
        status = load(keyring, tenant, loaded);
    return status;
}

static bool is_fresh(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                     enum deja_status *out_status)
{
    int64_t now_ms = keyring->now_ms();
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find(keyring, tenant);
    const struct held_key *active = ring ? keyring_active_key(ring) : NULL;
    bool is_new =
        active && now_ms >= ring->fetched_ms && now_ms - ring->fetched_ms < FETCH_PAUSE_MS;
    *out_status = active && active->is_locked ? DEJA_ERR_DENIED : DEJA_OK;
    pthread_mutex_unlock(&keyring->mutex);
    return is_new;
}

enum deja_status dj_keyring_fetch(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct loaded loaded;
    enum deja_status status;
    pthread_mutex_lock(&keyring->making);
    if (!is_fresh(keyring, tenant, &status)) {
        status = load(keyring, tenant, &loaded);
        if (status == DEJA_OK && loaded.count == 0)
            status = make_and_load(keyring, tenant, &loaded);
        if (status == DEJA_OK)
            status = install(keyring, tenant, &loaded);
    }
    pthread_mutex_unlock(&keyring->making);
    return status;
}

/* ---- destroying ---- */

static enum deja_status destroy_ids(struct dj_keyring *keyring,
                                    const uint8_t tenant[DJ_TENANT_BYTES],
                                    const struct loaded *loaded, uint32_t id_below,
                                    bool is_only_locked)
{
    enum deja_status status = DEJA_OK;
    for (uint32_t i = 0; i < loaded->count && status == DEJA_OK; i++) {
        const struct dj_data_key_document *document = &loaded->documents[i];
        uint8_t bytes[DJ_DATA_KEY_DESTROYED_BYTES];
        struct names names;
        bool is_locked =
            loaded->is_damaged[i] || !keyring_master_of(keyring, document->master_name);
        if (document->id >= id_below || (is_only_locked && !is_locked))
            continue;
        dj_data_key_destroyed(document->id, document->created_ms, bytes);
        name(tenant, document->id, &names);
        status = put(keyring, names.key, bytes, sizeof bytes, false);
        const struct dj_authority *authority = keyring->authority;
        if (status == DEJA_OK &&
            authority->remove(authority->ctx, DJ_KEYRING_TABLE, names.sealed) != DEJA_OK)
            continue; /* a number that nobody asks for any more */
    }
    return status;
}

static enum deja_status reload(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                               struct loaded *loaded)
{
    enum deja_status status = load(keyring, tenant, loaded);
    return status == DEJA_OK ? install(keyring, tenant, loaded) : status;
}

enum deja_status dj_keyring_destroy_old(struct dj_keyring *keyring,
                                        const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id_below)
{
    struct loaded loaded;
    pthread_mutex_lock(&keyring->making);
    enum deja_status status = load(keyring, tenant, &loaded);
    if (status == DEJA_OK && id_below > loaded.last)
        status = DEJA_ERR_INVALID; /* the active one is destroyed with its tenant only */
    if (status == DEJA_OK)
        status = destroy_ids(keyring, tenant, &loaded, id_below, false);
    if (status == DEJA_OK)
        status = reload(keyring, tenant, &loaded);
    pthread_mutex_unlock(&keyring->making);
    return status;
}

enum deja_status dj_keyring_destroy_tenant(struct dj_keyring *keyring,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           uint32_t *out_id_last)
{
    struct loaded loaded;
    pthread_mutex_lock(&keyring->making);
    enum deja_status status = load(keyring, tenant, &loaded);
    /* In passes: a tenant may have more keys than are looked at together. */
    for (uint32_t i = 0; status == DEJA_OK && loaded.count && i < IDS_MAX; i++) {
        status = destroy_ids(keyring, tenant, &loaded, UINT32_MAX, false);
        if (status == DEJA_OK)
            status = reload(keyring, tenant, &loaded);
    }
    pthread_mutex_unlock(&keyring->making);
    if (status == DEJA_OK)
        *out_id_last = loaded.last;
    return status;
}

enum deja_status dj_keyring_rotate(struct dj_keyring *keyring,
                                   const uint8_t tenant[DJ_TENANT_BYTES], bool has_lost_master)
{
    struct loaded loaded;
    pthread_mutex_lock(&keyring->making);
    enum deja_status status = reload(keyring, tenant, &loaded);
    if (status == DEJA_ERR_DENIED && has_lost_master)
        status = DEJA_OK;
    if (status == DEJA_OK)
        status = make_and_load(keyring, tenant, &loaded);
    if (status == DEJA_OK && has_lost_master) {
        status = destroy_ids(keyring, tenant, &loaded, loaded.last, true);
        if (status == DEJA_OK)
            status = load(keyring, tenant, &loaded);
    }
    if (status == DEJA_OK)
        status = install(keyring, tenant, &loaded);
    pthread_mutex_unlock(&keyring->making);
    return status;
}

/* ---- following ---- */

void dj_keyring_changed(void *ctx, const char *table, struct deja_slice key,
                        struct deja_slice value)
{
    struct dj_keyring *keyring = ctx;
    struct dj_data_key_document document;
    uint8_t tenant[DJ_TENANT_BYTES];
    uint32_t id;
    if (strcmp(table, DJ_KEYRING_TABLE) != 0 || !value.data ||
        !dj_data_key_name_read(key, tenant, &id) || dj_data_key_read(value, &document) != DEJA_OK ||
        document.id != id)
        return;
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = dj_map_find(keyring->rings, deja_slice(tenant, sizeof tenant));
    const struct held_key *active = ring ? keyring_active_key(ring) : NULL;
    if (ring && document.is_destroyed) {
        keyring_forget_key(keyring, ring, id);
        if (ring->destroyed_below <= id)
            ring->destroyed_below = id + 1;
    } else if (ring && id >= ring->destroyed_below && (!active || active->id < id) &&
               hold(keyring, ring, &document, false, 0) != DEJA_OK) {
        ring->fetched_ms = 0; /* without memory: it is fetched when it is needed */
    }
    pthread_mutex_unlock(&keyring->mutex);
}

/* The next count worth noting down; false: none. */
static bool next_count(struct dj_keyring *keyring, struct names *out_names, uint64_t *out_sealed)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value;
    bool is_found = false;
    pthread_mutex_lock(&keyring->mutex);
    while (!is_found && dj_map_next(keyring->rings, &cursor, &key, &value)) {
        struct ring *ring = value;
        struct held_key *active = keyring_active_key(ring);
        if (!active || active->sealed - active->sealed_noted < NOTED_STEP)
            continue;
        is_found = true;
        active->sealed_noted = active->sealed;
        *out_sealed = active->sealed_before + active->sealed;
        name(ring->tenant, active->id, out_names);
    }
    pthread_mutex_unlock(&keyring->mutex);
    return is_found;
}

enum deja_status dj_keyring_refresh(struct dj_keyring *keyring)
{
    const struct dj_authority *authority = keyring->authority;
    struct names names;
    uint64_t sealed;
    enum deja_status status = DEJA_OK;
    pthread_mutex_lock(&keyring->making);
    if (authority->pull)
        status = authority->pull(authority->ctx, keyring->pulled, keyring, dj_keyring_changed,
                                 &keyring->pulled);
    while (status == DEJA_OK && next_count(keyring, &names, &sealed))
        status = put_number(keyring, names.sealed, sealed);
    pthread_mutex_unlock(&keyring->making);
    return status;
}

/* ---- listing ---- */

struct walk {
    struct dj_keyring *keyring;
    void *ctx;
    dj_data_key_fn *each;
};

static bool on_each(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct walk *walk = ctx;
    struct dj_data_key_document document;
    struct dj_data_key told = {.id = 0};
    if (!dj_data_key_name_read(key, told.tenant, &told.id))
        return true;
    if (dj_data_key_read(value, &document) != DEJA_OK || document.id != told.id) {
        told.is_locked = true;
    } else {
        told.created_ms = document.created_ms;
        told.is_locked =
            !document.is_destroyed && !keyring_master_of(walk->keyring, document.master_name);
        told.is_previous = !document.is_destroyed && is_previous(walk->keyring, &document);
        told.is_destroyed = document.is_destroyed;
    }
    walk->each(walk->ctx, &told);
    return true;
}

enum deja_status dj_keyring_walk(struct dj_keyring *keyring, void *ctx, dj_data_key_fn *each)
{
    struct walk walk = {.keyring = keyring, .ctx = ctx, .each = each};
    const struct dj_authority *authority = keyring->authority;
    return authority->walk(authority->ctx, DJ_KEYRING_TABLE, &walk, on_each);
}

/* ---- apart ---- */

enum deja_status dj_keyring_wrap_apart(struct dj_keyring *keyring,
                                       const uint8_t name[DJ_TENANT_BYTES],
                                       uint8_t out_key[DJ_KEYRING_KEY_BYTES], uint8_t *out_document)
{
    uint8_t key[DJ_KEYRING_KEY_BYTES];
    dj_random_bytes(key, sizeof key);
    enum deja_status status = dj_data_key_wrap(keyring->aead, keyring->master, name, 1,
                                               keyring->now_ms(), key, out_document);
    if (status == DEJA_OK)
        memcpy(out_key, key, sizeof key);
    dj_wipe(key, sizeof key);
    return status;
}

enum deja_status dj_keyring_unwrap_apart(struct dj_keyring *keyring,
                                         const uint8_t name[DJ_TENANT_BYTES],
                                         struct deja_slice document,
                                         uint8_t out_key[DJ_KEYRING_KEY_BYTES])
{
    struct dj_data_key_document wrapped;
    enum deja_status status = dj_data_key_read(document, &wrapped);
    if (status == DEJA_OK && wrapped.is_destroyed)
        status = DEJA_ERR_CORRUPT;
    if (status != DEJA_OK)
        return status;
    const struct dj_hmac_key *master = keyring_master_of(keyring, wrapped.master_name);
    return master ? dj_data_key_unwrap(keyring->aead, master, name, &wrapped, out_key)
                  : DEJA_ERR_DENIED;
}
