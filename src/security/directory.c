/* security/directory.c - see directory.h: the tables, and how they follow the authority.
 *
 * An entry's rules are the deployment's defaults, then what its ancestors say, the oldest first,
 * then what it says itself. They are worked out when it or one of its ancestors changes, so that a
 * look-up finds them ready. (1) What cannot be worked out (a document that cannot be read, an
 * ancestor that is not there, a chain that is too long) is suspended: no limit may fall away by an
 * accident. (2) What a lack of memory keeps from being noted is a reload that is due.
 */
#include "security/directory_internal.h"

#include "base/alloc.h"
#include "base/slice.h"

#define RELOAD_TRIES 3

/* ---- entries ---- */

static void entry_destroy(struct dj_directory_entry *entry)
{
    if (!entry)
        return;
    dj_free(entry->name);
    dj_free(entry->config_text);
    dj_tenant_config_destroy(entry->config);
    dj_rules_unref(entry->rules);
    dj_free(entry);
}

static enum deja_status copy_config(struct dj_directory_entry *entry, const struct dj_json *config)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_merge(&w, config, NULL);
    entry->config_text = dj_buf_take_text(&text);
    return entry->config_text ? DEJA_OK : DEJA_ERR_NOMEM;
}

/* Members of a document; what is not as it should be makes the entry a broken one. */
static enum deja_status fill_entry(struct dj_directory_entry *entry, const struct dj_json *root,
                                   const struct dj_tenant_config_names *names)
{
    struct deja_slice name = dj_json_string(dj_json_get(root, "name"));
    struct deja_slice state = dj_json_string(dj_json_get(root, "state"));
    struct deja_slice parent = dj_json_string(dj_json_get(root, "inherits"));
    const struct dj_json *config = dj_json_get(root, "config");
    bool is_active = dj_slice_is(state, "active");
    bool is_suspended = dj_slice_is(state, "suspended");
    entry->is_suspended = is_suspended;
    entry->has_parent = parent.data && dj_tenant_parse(parent, entry->parent) == DEJA_OK;
    entry->created_ms = dj_json_i64(dj_json_get(root, "created"), 0);
    entry->updated_ms = dj_json_i64(dj_json_get(root, "updated"), entry->created_ms);
    entry->name = dj_strdup(name);
    enum deja_status status = entry->name ? copy_config(entry, config) : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_tenant_config_read(config, names, NULL, &entry->config);
    if (status != DEJA_OK)
        return status;
    entry->is_broken = (!is_active && !is_suspended) || (parent.data && !entry->has_parent) ||
                       dj_tenant_config_is_broken(entry->config);
    return DEJA_OK;
}

/* DEJA_ERR_INVALID: the key is no tenant's. */
static enum deja_status read_entry(const struct dj_directory *directory, struct deja_slice key,
                                   struct deja_slice value, struct dj_directory_entry **out_entry)
{
    struct dj_json_doc *doc = NULL;
    struct dj_directory_entry *entry = dj_alloc_zeroed(1, sizeof *entry);
    if (!entry)
        return DEJA_ERR_NOMEM;
    enum deja_status status = dj_tenant_parse(key, entry->id);
    if (status == DEJA_OK && dj_json_parse(value, &doc, NULL) == DEJA_ERR_NOMEM)
        status = DEJA_ERR_NOMEM;
    if (status == DEJA_OK) /* no document: broken */
        status = fill_entry(entry, dj_json_root(doc), &directory->options.names);
    dj_json_doc_destroy(doc);
    if (status != DEJA_OK) {
        entry_destroy(entry);
        return status;
    }
    *out_entry = entry;
    return DEJA_OK;
}

/* Out of the chain in tenants, where entry need not be. */
static enum deja_status work_out(const struct dj_directory *directory, const struct dj_map *tenants,
                                 const struct dj_directory_entry *entry,
                                 struct dj_rules **out_rules)
{
    const struct dj_directory_entry *chain[DJ_DIRECTORY_DEPTH_MAX];
    struct dj_rules_values values = directory->defaults;
    size_t depth = 0;
    const struct dj_directory_entry *at = entry;
    bool is_broken = false;
    while (at && depth < DJ_DIRECTORY_DEPTH_MAX) {
        is_broken = is_broken || at->is_broken;
        chain[depth++] = at;
        if (!at->has_parent)
            break;
        at = dj_directory_entry_of(tenants, at->parent);
    }
    if (!at || chain[depth - 1]->has_parent)
        is_broken = true; /* the chain does not end */
    while (depth > 0)
        dj_tenant_config_apply(chain[--depth]->config, &values);
    values.is_configured = true;
    values.is_suspended = entry->is_suspended || is_broken;
    return dj_rules_create(&values, out_rules);
}

/* Is id among those that entry inherits from? */
static bool is_below(const struct dj_map *tenants, const struct dj_directory_entry *entry,
                     const uint8_t id[DJ_TENANT_BYTES])
{
    for (size_t depth = 0; entry && entry->has_parent && depth < DJ_DIRECTORY_DEPTH_MAX; depth++) {
        if (memcmp(entry->parent, id, DJ_TENANT_BYTES) == 0)
            return true;
        entry = dj_directory_entry_of(tenants, entry->parent);
    }
    return false;
}

/* ---- one change; under changes ---- */

static void set_rules(struct dj_directory *directory, struct dj_directory_entry *entry,
                      struct dj_rules *rules)
{
    pthread_rwlock_wrlock(&directory->table);
    struct dj_rules *old = entry->rules;
    entry->rules = rules;
    pthread_rwlock_unlock(&directory->table);
    dj_rules_unref(old);
}

/* Those who inherit from it follow. */
static void follow(struct dj_directory *directory, const uint8_t id[DJ_TENANT_BYTES])
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    while (dj_map_next(directory->tenants, &cursor, &key, &value)) {
        struct dj_directory_entry *entry = value;
        struct dj_rules *rules = NULL;
        if (!is_below(directory->tenants, entry, id))
            continue;
        if (work_out(directory, directory->tenants, entry, &rules) == DEJA_OK)
            set_rules(directory, entry, rules);
        else
            atomic_store(&directory->is_missed, true);
    }
}

static enum deja_status put_entry(struct dj_directory *directory, struct dj_directory_entry *entry)
{
    void *old = NULL;
    enum deja_status status = work_out(directory, directory->tenants, entry, &entry->rules);
    if (status != DEJA_OK)
        return status;
    pthread_rwlock_wrlock(&directory->table);
    status = dj_map_put(directory->tenants, deja_slice(entry->id, sizeof entry->id), entry, &old);
    pthread_rwlock_unlock(&directory->table);
    if (status == DEJA_OK) {
        follow(directory, entry->id);
        entry_destroy(old);
    }
    return status;
}

static void remove_entry(struct dj_directory *directory, struct deja_slice id)
{
    pthread_rwlock_wrlock(&directory->table);
    struct dj_directory_entry *old = dj_map_remove(directory->tenants, id);
    pthread_rwlock_unlock(&directory->table);
    if (old)
        follow(directory, old->id);
    entry_destroy(old);
}

static void change_tenant(struct dj_directory *directory, struct deja_slice key,
                          struct deja_slice value)
{
    struct dj_directory_entry *entry = NULL;
    uint8_t id[DJ_TENANT_BYTES];
    if (dj_tenant_parse(key, id) != DEJA_OK)
        return;
    if (!value.data) {
        remove_entry(directory, deja_slice(id, sizeof id));
    } else {
        enum deja_status status = read_entry(directory, key, value, &entry);
        if (status == DEJA_OK)
            status = put_entry(directory, entry);
        if (status != DEJA_OK) {
            entry_destroy(entry);
            atomic_store(&directory->is_missed, true);
        }
    }
    atomic_store(&directory->tenant_count, dj_map_count(directory->tenants));
}

static enum deja_status read_link(struct deja_slice value, struct dj_directory_link **out_link)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(value, &doc, NULL);
    if (status != DEJA_OK)
        return status;
    struct dj_directory_link *link = dj_alloc_zeroed(1, sizeof *link);
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice name = dj_json_string(dj_json_get(root, "name"));
    status = link ? dj_tenant_parse(dj_json_string(dj_json_get(root, "tenant")), link->tenant)
                  : DEJA_ERR_NOMEM;
    if (status == DEJA_OK) {
        link->created_ms = dj_json_i64(dj_json_get(root, "created"), 0);
        if (name.len && name.len < sizeof link->name)
            memcpy(link->name, name.data, name.len);
        *out_link = link;
    } else {
        dj_free(link);
    }
    dj_json_doc_destroy(doc);
    return status;
}

static void change_link(struct dj_directory *directory, struct deja_slice key,
                        struct deja_slice value)
{
    struct dj_directory_link *link = NULL;
    uint8_t derived[DJ_TENANT_BYTES];
    void *old = NULL;
    if (dj_tenant_parse(key, derived) != DEJA_OK)
        return;
    struct deja_slice id = deja_slice(derived, sizeof derived);
    enum deja_status status = value.data ? read_link(value, &link) : DEJA_ERR_NOT_FOUND;
    if (status == DEJA_ERR_NOMEM) {
        atomic_store(&directory->is_missed, true);
        return;
    }
    pthread_rwlock_wrlock(&directory->table);
    if (link)
        status = dj_map_put(directory->links, id, link, &old);
    else
        old = dj_map_remove(directory->links, id);
    pthread_rwlock_unlock(&directory->table);
    if (link && status != DEJA_OK) {
        dj_free(link);
        atomic_store(&directory->is_missed, true);
    }
    dj_free(old);
}

void dj_directory_changed(void *ctx, const char *table, struct deja_slice key,
                          struct deja_slice value)
{
    struct dj_directory *directory = ctx;
    bool is_tenant = strcmp(table, DJ_DIRECTORY_TENANTS) == 0;
    if (!is_tenant && strcmp(table, DJ_DIRECTORY_LINKS) != 0)
        return;
    pthread_mutex_lock(&directory->changes);
    directory->change_count++;
    if (is_tenant)
        change_tenant(directory, key, value);
    else
        change_link(directory, key, value);
    pthread_mutex_unlock(&directory->changes);
}

/* ---- everything anew ---- */

struct reload {
    struct dj_directory *directory;
    struct dj_map *tenants;
    struct dj_map *links;
    enum deja_status status;
};

static void maps_destroy(struct dj_map *tenants, struct dj_map *links)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    while (tenants && dj_map_next(tenants, &cursor, &key, &value))
        entry_destroy(value);
    cursor = 0;
    while (links && dj_map_next(links, &cursor, &key, &value))
        dj_free(value);
    dj_map_destroy(tenants);
    dj_map_destroy(links);
}

static enum deja_status maps_create(const struct dj_directory *directory,
                                    struct dj_map **out_tenants, struct dj_map **out_links)
{
    /* Ids are random, chosen by administrators, or digests: nobody aims at a slot. */
    enum deja_status status =
        dj_map_create(directory->options.tenants_max, NULL, NULL, out_tenants);
    return status == DEJA_OK ? dj_map_create(DJ_DIRECTORY_LINKS_MAX, NULL, NULL, out_links)
                             : status;
}

static bool on_tenant(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct reload *reload = ctx;
    struct dj_directory_entry *entry = NULL;
    enum deja_status status = read_entry(reload->directory, key, value, &entry);
    if (status == DEJA_ERR_INVALID)
        return true; /* not under a tenant's id: not ours */
    if (status == DEJA_OK)
        status = dj_map_put(reload->tenants, deja_slice(entry->id, sizeof entry->id), entry, NULL);
    if (status != DEJA_OK)
        entry_destroy(entry);
    reload->status = status;
    return status == DEJA_OK;
}

static bool on_link(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct reload *reload = ctx;
    struct dj_directory_link *link = NULL;
    uint8_t derived[DJ_TENANT_BYTES];
    if (dj_tenant_parse(key, derived) != DEJA_OK)
        return true;
    enum deja_status status = read_link(value, &link);
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM)
        return true; /* it names nobody */
    if (status == DEJA_OK)
        status = dj_map_put(reload->links, deja_slice(derived, sizeof derived), link, NULL);
    if (status != DEJA_OK)
        dj_free(link);
    reload->status = status;
    return status == DEJA_OK;
}

static enum deja_status read_all(struct reload *reload)
{
    const struct dj_authority *authority = reload->directory->options.authority;
    enum deja_status status = maps_create(reload->directory, &reload->tenants, &reload->links);
    if (status == DEJA_OK)
        status = authority->walk(authority->ctx, DJ_DIRECTORY_TENANTS, reload, on_tenant);
    if (status == DEJA_OK || status == DEJA_ERR_NOT_FOUND)
        status = reload->status;
    if (status == DEJA_OK)
        status = authority->walk(authority->ctx, DJ_DIRECTORY_LINKS, reload, on_link);
    if (status == DEJA_OK || status == DEJA_ERR_NOT_FOUND)
        status = reload->status;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    while (status == DEJA_OK && dj_map_next(reload->tenants, &cursor, &key, &value)) {
        struct dj_directory_entry *entry = value;
        status = work_out(reload->directory, reload->tenants, entry, &entry->rules);
    }
    return status;
}

/* DEJA_ERR_BUSY: something changed since count; what was read may be older. */
static enum deja_status swap_maps(struct dj_directory *directory, struct reload *reload,
                                  uint64_t count, int64_t now_ms)
{
    enum deja_status status = DEJA_ERR_BUSY;
    pthread_mutex_lock(&directory->changes);
    if (directory->change_count == count) {
        struct dj_map *tenants = directory->tenants;
        struct dj_map *links = directory->links;
        pthread_rwlock_wrlock(&directory->table);
        directory->tenants = reload->tenants;
        directory->links = reload->links;
        pthread_rwlock_unlock(&directory->table);
        reload->tenants = tenants;
        reload->links = links;
        atomic_store(&directory->tenant_count, dj_map_count(directory->tenants));
        atomic_store(&directory->is_missed, false);
        atomic_store(&directory->loaded_ms, now_ms);
        status = DEJA_OK;
    }
    pthread_mutex_unlock(&directory->changes);
    return status;
}

enum deja_status dj_directory_reload(struct dj_directory *directory, int64_t now_ms)
{
    enum deja_status status = DEJA_ERR_BUSY;
    for (int i = 0; i < RELOAD_TRIES && status == DEJA_ERR_BUSY; i++) {
        struct reload reload = {.directory = directory};
        pthread_mutex_lock(&directory->changes);
        uint64_t count = directory->change_count;
        pthread_mutex_unlock(&directory->changes);
        status = read_all(&reload);
        if (status == DEJA_OK)
            status = swap_maps(directory, &reload, count, now_ms);
        maps_destroy(reload.tenants, reload.links);
    }
    return status;
}

/* ---- one anew ---- */

struct one {
    struct dj_directory *directory;
    struct deja_slice key;
};

static void on_one(void *ctx, struct deja_slice value)
{
    const struct one *one = ctx;
    dj_directory_changed(one->directory, DJ_DIRECTORY_TENANTS, one->key, value);
}

enum deja_status dj_directory_invalidate(struct dj_directory *directory,
                                         const uint8_t tenant[DJ_TENANT_BYTES])
{
    const struct dj_authority *authority = directory->options.authority;
    char text[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(tenant, text);
    struct one one = {.directory = directory, .key = deja_slice_text(text)};
    enum deja_status status =
        authority->get(authority->ctx, DJ_DIRECTORY_TENANTS, one.key, &one, on_one);
    if (status == DEJA_ERR_NOT_FOUND)
        dj_directory_changed(directory, DJ_DIRECTORY_TENANTS, one.key, deja_slice(NULL, 0));
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

bool dj_directory_is_due(const struct dj_directory *directory, int64_t now_ms)
{
    int64_t loaded_ms = atomic_load(&directory->loaded_ms);
    return !loaded_ms || atomic_load(&directory->is_missed) ||
           now_ms - loaded_ms >= DJ_DIRECTORY_AGE_MS;
}

void dj_directory_expire(void *ctx)
{
    struct dj_directory *directory = ctx;
    atomic_store(&directory->is_missed, true);
}

/* ---- life ---- */

enum deja_status dj_directory_create(const struct dj_directory_options *options,
                                     struct dj_directory **out_directory)
{
    struct dj_directory *directory = dj_alloc_zeroed(1, sizeof *directory);
    if (!directory)
        return DEJA_ERR_NOMEM;
    directory->options = *options;
    directory->defaults = *options->defaults;
    directory->options.defaults = &directory->defaults;
    if (!directory->options.tenants_max)
        directory->options.tenants_max = DJ_DIRECTORY_TENANTS_MAX;
    pthread_mutex_init(&directory->writes, NULL);
    pthread_mutex_init(&directory->changes, NULL);
    pthread_rwlock_init(&directory->table, NULL);
    enum deja_status status = maps_create(directory, &directory->tenants, &directory->links);
    if (status != DEJA_OK) {
        dj_directory_destroy(directory);
        return status;
    }
    *out_directory = directory;
    return DEJA_OK;
}

void dj_directory_destroy(struct dj_directory *directory)
{
    if (!directory)
        return;
    maps_destroy(directory->tenants, directory->links);
    pthread_rwlock_destroy(&directory->table);
    pthread_mutex_destroy(&directory->changes);
    pthread_mutex_destroy(&directory->writes);
    dj_free(directory);
}

/* ---- on the way of a request ---- */

struct dj_rules *dj_directory_find(struct dj_directory *directory,
                                   const uint8_t tenant[DJ_TENANT_BYTES])
{
    if (!atomic_load_explicit(&directory->tenant_count, memory_order_relaxed))
        return NULL;
    pthread_rwlock_rdlock(&directory->table);
    const struct dj_directory_entry *entry = dj_directory_entry_of(directory->tenants, tenant);
    struct dj_rules *rules = entry ? dj_rules_ref(entry->rules) : NULL;
    pthread_rwlock_unlock(&directory->table);
    return rules;
}

bool dj_directory_link(struct dj_directory *directory, const uint8_t derived[DJ_TENANT_BYTES],
                       uint8_t out_tenant[DJ_TENANT_BYTES])
{
    if (!atomic_load_explicit(&directory->tenant_count, memory_order_relaxed))
        return false;
    pthread_rwlock_rdlock(&directory->table);
    const struct dj_directory_link *link =
        dj_map_find(directory->links, deja_slice(derived, DJ_TENANT_BYTES));
    if (link)
        memcpy(out_tenant, link->tenant, DJ_TENANT_BYTES);
    pthread_rwlock_unlock(&directory->table);
    return link != NULL;
}

bool dj_directory_has_tenants(const struct dj_directory *directory)
{
    return atomic_load_explicit(&directory->tenant_count, memory_order_relaxed) > 0;
}

size_t dj_directory_count(const struct dj_directory *directory)
{
    return atomic_load(&directory->tenant_count);
}
