/* security/directory_admin.c - see directory.h: documents written for administrators, and shown.
 *
 * A document goes to the authority, which tells dj_directory_changed before it returns; nothing is
 * changed here. What is asked of the tables before (is the name taken?) holds for this program: of
 * two programs that do the same at once, both may succeed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/slice.h"
#include "base/suggest.h"
#include "security/directory_internal.h"
#include "text/utf8.h"

#define LINKS_SHOWN_MAX 1000u
#define MESSAGE_BYTES 200u

/* What becomes a document. Texts are borrowed. */
struct draft {
    uint8_t id[DJ_TENANT_BYTES];
    uint8_t parent[DJ_TENANT_BYTES];
    bool has_parent;
    bool is_suspended;
    int64_t created_ms;
    int64_t updated_ms;
    struct deja_slice name;
    struct dj_buf config; /* owned */
};

struct faults {
    const struct dj_tenant_config_faults *told;
    bool is_faulty;
};

static void complain(struct faults *faults, const char *field, const char *rule,
                     const char *message)
{
    faults->is_faulty = true;
    faults->told->tell(faults->told->ctx, field, rule, message);
}

/* ---- reading what is wanted ---- */

static void check_members(const struct dj_json *wanted, bool is_new, struct faults *faults)
{
    static const char *const known[] = {"name", "inherits", "state", "config", "id"};
    size_t count = sizeof known / sizeof *known - (is_new ? 0 : 1);
    struct dj_json_walk walk = dj_json_walk(wanted);
    while (dj_json_walk_next(&walk)) {
        char word[DJ_SUGGEST_WORD_MAX + 1] = "";
        char message[MESSAGE_BYTES] = "no such member";
        bool is_known = false;
        if (walk.key.len <= DJ_SUGGEST_WORD_MAX)
            memcpy(word, walk.key.data, walk.key.len);
        struct dj_suggest suggest = dj_suggest(word);
        for (size_t i = 0; i < count; i++) {
            is_known = is_known || dj_slice_is(walk.key, known[i]);
            dj_suggest_offer(&suggest, known[i]);
        }
        if (suggest.best)
            snprintf(message, sizeof message, "no such member: did you mean %s?", suggest.best);
        if (!is_known)
            complain(faults, word, "unknown", message);
    }
}

static bool is_name(struct deja_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < ' ' || name.data[i] == 127)
            return false;
    return name.len <= DJ_DIRECTORY_NAME_BYTES_MAX && dj_utf8_is_valid(name);
}

static void read_name(const struct dj_json *wanted, struct draft *draft, struct faults *faults)
{
    const struct dj_json *name = dj_json_get(wanted, "name");
    if (name)
        draft->name = dj_json_string(name);
    if (!draft->name.len || !is_name(draft->name))
        complain(faults, "name", draft->name.len ? "value" : "required",
                 "must be text of 1 to 128 bytes without control characters");
}

static void read_state(const struct dj_json *wanted, struct draft *draft, struct faults *faults)
{
    const struct dj_json *state = dj_json_get(wanted, "state");
    struct deja_slice text = dj_json_string(state);
    bool is_suspended = dj_slice_is(text, "suspended");
    if (!state)
        return;
    if (is_suspended || dj_slice_is(text, "active"))
        draft->is_suspended = is_suspended;
    else
        complain(faults, "state", "value", "must be active or suspended");
}

/* Would this parent make a circle, or too long a chain? Under writes, so that nobody else here
 * changes the chain; another program might, which work_out bears. */
static void check_chain(struct dj_directory *directory, const struct draft *draft,
                        struct faults *faults)
{
    uint8_t at[DJ_TENANT_BYTES];
    size_t depth = 1;
    const char *fault = NULL;
    memcpy(at, draft->parent, sizeof at);
    pthread_rwlock_rdlock(&directory->table);
    while (!fault) {
        const struct dj_directory_entry *entry = dj_directory_entry_of(directory->tenants, at);
        if (memcmp(at, draft->id, sizeof at) == 0)
            fault = "would make a circle: that tenant inherits from this one";
        else if (!entry)
            fault = "there is no such tenant";
        else if (++depth > DJ_DIRECTORY_DEPTH_MAX)
            fault = "would make a chain of more than 8 tenants";
        else if (!entry->has_parent)
            break;
        else
            memcpy(at, entry->parent, sizeof at);
    }
    pthread_rwlock_unlock(&directory->table);
    if (fault)
        complain(faults, "inherits", "value", fault);
}

static void read_parent(struct dj_directory *directory, const struct dj_json *wanted,
                        struct draft *draft, struct faults *faults)
{
    const struct dj_json *parent = dj_json_get(wanted, "inherits");
    if (parent && dj_json_is(parent, DJ_JSON_NULL))
        draft->has_parent = false;
    else if (parent && dj_tenant_parse(dj_json_string(parent), draft->parent) != DEJA_OK)
        complain(faults, "inherits", "type", "must be a tenant's id, or null");
    else if (parent)
        draft->has_parent = true;
    if (draft->has_parent && !faults->is_faulty)
        check_chain(directory, draft, faults);
}

/* A fault of the config is one of the request's. */
static void tell_of_config(void *ctx, const char *field, const char *rule, const char *message)
{
    const struct dj_tenant_config_faults *told = ctx;
    char whole[DJ_TENANT_FIELD_BYTES + sizeof "config."];
    bool is_config = strcmp(field, "config") == 0;
    snprintf(whole, sizeof whole, "config.%s", field);
    told->tell(told->ctx, is_config ? field : whole, rule, message);
}

/* draft->config as it stands, merged with or replaced by what is wanted, and checked. */
static enum deja_status read_config(struct dj_directory *directory, const struct dj_json *wanted,
                                    bool is_patch, struct draft *draft, struct faults *faults)
{
    const struct dj_json *config = dj_json_get(wanted, "config");
    struct dj_json_doc *before = NULL;
    struct dj_json_doc *after = NULL;
    struct dj_tenant_config *checked = NULL;
    struct dj_tenant_config_faults told = *faults->told;
    const struct dj_tenant_config_faults of_config = {.ctx = &told, .tell = tell_of_config};
    enum deja_status status = DEJA_OK;
    if (is_patch && draft->config.len)
        status = dj_json_parse(dj_buf_slice(&draft->config), &before, NULL);
    if (status == DEJA_ERR_INVALID)
        status = DEJA_OK; /* broken: it is replaced */
    if (config && !dj_json_is(config, DJ_JSON_OBJECT) && !dj_json_is(config, DJ_JSON_NULL))
        complain(faults, "config", "type", "must be an object");
    if (status == DEJA_OK && (config || !is_patch)) {
        dj_buf_clear(&draft->config);
        struct dj_json_writer w = dj_json_writer(&draft->config);
        dj_json_merge(&w, dj_json_root(before), config);
        status = draft->config.status;
    }
    if (status == DEJA_OK && draft->config.len)
        status = dj_json_parse(dj_buf_slice(&draft->config), &after, NULL);
    if (status == DEJA_OK)
        status = dj_tenant_config_read(dj_json_root(after), &directory->options.names, &of_config,
                                       &checked);
    dj_tenant_config_destroy(checked);
    dj_json_doc_destroy(before);
    dj_json_doc_destroy(after);
    return status;
}

static enum deja_status read_draft(struct dj_directory *directory, const struct dj_json *wanted,
                                   bool is_new, bool is_patch, struct draft *draft,
                                   const struct dj_tenant_config_faults *told)
{
    struct faults faults = {.told = told};
    if (!dj_json_is(wanted, DJ_JSON_OBJECT))
        complain(&faults, "", "type", "must be an object");
    check_members(wanted, is_new, &faults);
    read_name(wanted, draft, &faults);
    read_state(wanted, draft, &faults);
    read_parent(directory, wanted, draft, &faults);
    enum deja_status status = read_config(directory, wanted, is_patch, draft, &faults);
    return status == DEJA_OK && faults.is_faulty ? DEJA_ERR_INVALID : status;
}

/* ---- writing ---- */

static void put_id(struct dj_json_writer *w, const char *name, const uint8_t *id)
{
    char text[DJ_TENANT_TEXT_BYTES] = "";
    if (id)
        dj_tenant_text(id, text);
    dj_json_member_text(w, name, id ? text : NULL);
}

static enum deja_status write_draft(struct dj_directory *directory, const struct draft *draft,
                                    bool is_new)
{
    const struct dj_authority *authority = directory->options.authority;
    char key[DJ_TENANT_TEXT_BYTES];
    struct dj_buf text;
    dj_buf_init(&text, DJ_DIRECTORY_DOCUMENT_BYTES_MAX);
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    put_id(&w, "id", draft->id);
    dj_json_key(&w, "name");
    dj_json_put_string(&w, draft->name);
    dj_json_member_text(&w, "state", draft->is_suspended ? "suspended" : "active");
    dj_json_member_u64(&w, "created", (uint64_t)draft->created_ms);
    dj_json_member_u64(&w, "updated", (uint64_t)draft->updated_ms);
    put_id(&w, "inherits", draft->has_parent ? draft->parent : NULL);
    dj_json_key(&w, "config");
    dj_json_put_raw(&w, draft->config.len ? dj_buf_slice(&draft->config) : deja_slice_text("{}"));
    dj_json_end_object(&w);
    dj_tenant_text(draft->id, key);
    enum deja_status status = text.status;
    if (status == DEJA_OK)
        status = authority->put(authority->ctx, DJ_DIRECTORY_TENANTS, deja_slice_text(key),
                                dj_buf_slice(&text), is_new);
    dj_buf_fini(&text);
    return status;
}

/* Under writes. out_names: is there another tenant of that name? */
static bool is_name_taken(struct dj_directory *directory, const struct draft *draft)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    bool is_taken = false;
    pthread_rwlock_rdlock(&directory->table);
    while (!is_taken && dj_map_next(directory->tenants, &cursor, &key, &value)) {
        const struct dj_directory_entry *entry = value;
        is_taken = dj_slice_is(draft->name, entry->name) &&
                   memcmp(entry->id, draft->id, sizeof entry->id) != 0;
    }
    pthread_rwlock_unlock(&directory->table);
    return is_taken;
}

static bool has_entry(struct dj_directory *directory, const uint8_t tenant[DJ_TENANT_BYTES])
{
    pthread_rwlock_rdlock(&directory->table);
    bool has = dj_directory_entry_of(directory->tenants, tenant) != NULL;
    pthread_rwlock_unlock(&directory->table);
    return has;
}

static void make_id(uint8_t out_id[DJ_TENANT_BYTES])
{
    dj_random_bytes(out_id, DJ_TENANT_BYTES);
    out_id[6] = (uint8_t)((out_id[6] & 0x0f) | 0x40); /* UUIDv4 */
    out_id[8] = (uint8_t)((out_id[8] & 0x3f) | 0x80);
}

enum deja_status dj_directory_add(struct dj_directory *directory, const struct dj_json *wanted,
                                  int64_t now_ms, const struct dj_tenant_config_faults *faults,
                                  uint8_t out_tenant[DJ_TENANT_BYTES])
{
    const struct dj_json *id = dj_json_get(wanted, "id");
    struct draft draft = {.created_ms = now_ms, .updated_ms = now_ms};
    make_id(draft.id);
    if (id && dj_tenant_parse(dj_json_string(id), draft.id) != DEJA_OK) {
        faults->tell(faults->ctx, "id", "value", "must be a UUID in its usual form");
        return DEJA_ERR_INVALID;
    }
    pthread_mutex_lock(&directory->writes);
    enum deja_status status = read_draft(directory, wanted, true, false, &draft, faults);
    if (status == DEJA_OK && (has_entry(directory, draft.id) || is_name_taken(directory, &draft)))
        status = DEJA_ERR_BUSY;
    if (status == DEJA_OK && dj_directory_count(directory) >= directory->options.tenants_max)
        status = DEJA_ERR_LIMIT;
    if (status == DEJA_OK)
        status = write_draft(directory, &draft, true);
    pthread_mutex_unlock(&directory->writes);
    dj_buf_fini(&draft.config);
    if (status == DEJA_OK)
        memcpy(out_tenant, draft.id, sizeof draft.id);
    return status;
}

/* What is there; *out_name is the caller's. */
static enum deja_status begin_draft(struct dj_directory *directory,
                                    const uint8_t tenant[DJ_TENANT_BYTES], struct draft *draft,
                                    char **out_name)
{
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    pthread_rwlock_rdlock(&directory->table);
    const struct dj_directory_entry *entry = dj_directory_entry_of(directory->tenants, tenant);
    if (entry) {
        memcpy(draft->id, entry->id, sizeof draft->id);
        memcpy(draft->parent, entry->parent, sizeof draft->parent);
        draft->has_parent = entry->has_parent;
        draft->is_suspended = entry->is_suspended;
        draft->created_ms = entry->created_ms;
        dj_buf_append_text(&draft->config, entry->config_text);
        *out_name = dj_strdup(deja_slice_text(entry->name));
        status = *out_name ? draft->config.status : DEJA_ERR_NOMEM;
    }
    pthread_rwlock_unlock(&directory->table);
    draft->name = deja_slice_text(*out_name);
    return status;
}

enum deja_status dj_directory_set(struct dj_directory *directory,
                                  const uint8_t tenant[DJ_TENANT_BYTES],
                                  const struct dj_json *wanted, bool is_patch, int64_t now_ms,
                                  const struct dj_tenant_config_faults *faults)
{
    struct draft draft = {.updated_ms = now_ms};
    char *name = NULL;
    pthread_mutex_lock(&directory->writes);
    enum deja_status status = begin_draft(directory, tenant, &draft, &name);
    if (status == DEJA_OK)
        status = read_draft(directory, wanted, false, is_patch, &draft, faults);
    if (status == DEJA_OK && is_name_taken(directory, &draft))
        status = DEJA_ERR_BUSY;
    if (status == DEJA_OK)
        status = write_draft(directory, &draft, false);
    pthread_mutex_unlock(&directory->writes);
    dj_buf_fini(&draft.config);
    dj_free(name);
    return status;
}

/* ---- links ---- */

/* Ids of the tenant's links, from the first: up to count; how many. Copied under the lock. */
static size_t links_of(struct dj_directory *directory, const uint8_t tenant[DJ_TENANT_BYTES],
                       size_t count, uint8_t (*out_ids)[DJ_TENANT_BYTES])
{
    size_t found = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_rwlock_rdlock(&directory->table);
    while (found < count && dj_map_next(directory->links, &cursor, &key, &value)) {
        const struct dj_directory_link *link = value;
        if (memcmp(link->tenant, tenant, sizeof link->tenant) == 0)
            memcpy(out_ids[found++], key.data, DJ_TENANT_BYTES);
    }
    pthread_rwlock_unlock(&directory->table);
    return found;
}

static bool has_heirs(struct dj_directory *directory, const uint8_t tenant[DJ_TENANT_BYTES])
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    bool has = false;
    pthread_rwlock_rdlock(&directory->table);
    while (!has && dj_map_next(directory->tenants, &cursor, &key, &value)) {
        const struct dj_directory_entry *entry = value;
        has = entry->has_parent && memcmp(entry->parent, tenant, sizeof entry->parent) == 0;
    }
    pthread_rwlock_unlock(&directory->table);
    return has;
}

static enum deja_status remove_document(struct dj_directory *directory, const char *table,
                                        const uint8_t id[DJ_TENANT_BYTES])
{
    const struct dj_authority *authority = directory->options.authority;
    char key[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(id, key);
    return authority->remove(authority->ctx, table, deja_slice_text(key));
}

static enum deja_status remove_links(struct dj_directory *directory,
                                     const uint8_t tenant[DJ_TENANT_BYTES])
{
    uint8_t ids[16][DJ_TENANT_BYTES];
    enum deja_status status = DEJA_OK;
    size_t count = 0;
    while (status == DEJA_OK &&
           (count = links_of(directory, tenant, sizeof ids / sizeof *ids, ids)) > 0)
        for (size_t i = 0; i < count && status == DEJA_OK; i++) {
            status = remove_document(directory, DJ_DIRECTORY_LINKS, ids[i]);
            if (status == DEJA_ERR_NOT_FOUND) {
                char key[DJ_TENANT_TEXT_BYTES];
                dj_tenant_text(ids[i], key); /* another program was faster */
                dj_directory_changed(directory, DJ_DIRECTORY_LINKS, deja_slice_text(key),
                                     deja_slice(NULL, 0));
                status = DEJA_OK;
            }
        }
    return status;
}

enum deja_status dj_directory_remove(struct dj_directory *directory,
                                     const uint8_t tenant[DJ_TENANT_BYTES])
{
    enum deja_status status = DEJA_OK;
    pthread_mutex_lock(&directory->writes);
    if (!has_entry(directory, tenant))
        status = DEJA_ERR_NOT_FOUND;
    else if (has_heirs(directory, tenant))
        status = DEJA_ERR_BUSY;
    if (status == DEJA_OK)
        status = remove_links(directory, tenant);
    if (status == DEJA_OK)
        status = remove_document(directory, DJ_DIRECTORY_TENANTS, tenant);
    pthread_mutex_unlock(&directory->writes);
    return status;
}

enum deja_status dj_directory_add_link(struct dj_directory *directory,
                                       const uint8_t derived[DJ_TENANT_BYTES],
                                       const uint8_t tenant[DJ_TENANT_BYTES],
                                       struct deja_slice name, int64_t now_ms)
{
    const struct dj_authority *authority = directory->options.authority;
    char key[DJ_TENANT_TEXT_BYTES];
    struct dj_buf text = {0};
    if (!is_name(name))
        return DEJA_ERR_INVALID;
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    put_id(&w, "tenant", tenant);
    dj_json_key(&w, "name");
    dj_json_put_string(&w, name);
    dj_json_member_u64(&w, "created", (uint64_t)now_ms);
    dj_json_end_object(&w);
    dj_tenant_text(derived, key);
    pthread_mutex_lock(&directory->writes);
    enum deja_status status = has_entry(directory, tenant) ? text.status : DEJA_ERR_NOT_FOUND;
    pthread_rwlock_rdlock(&directory->table);
    if (status == DEJA_OK && dj_map_count(directory->links) >= DJ_DIRECTORY_LINKS_MAX)
        status = DEJA_ERR_LIMIT;
    pthread_rwlock_unlock(&directory->table);
    if (status == DEJA_OK)
        status = authority->put(authority->ctx, DJ_DIRECTORY_LINKS, deja_slice_text(key),
                                dj_buf_slice(&text), false);
    pthread_mutex_unlock(&directory->writes);
    dj_buf_fini(&text);
    return status;
}

enum deja_status dj_directory_remove_link(struct dj_directory *directory,
                                          const uint8_t derived[DJ_TENANT_BYTES],
                                          const uint8_t tenant[DJ_TENANT_BYTES])
{
    uint8_t owner[DJ_TENANT_BYTES];
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    pthread_mutex_lock(&directory->writes);
    if (dj_directory_link(directory, derived, owner) && memcmp(owner, tenant, sizeof owner) == 0)
        status = remove_document(directory, DJ_DIRECTORY_LINKS, derived);
    pthread_mutex_unlock(&directory->writes);
    return status;
}

/* ---- showing ---- */

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, text);
}

/* Under table. */
static void put_links(struct dj_directory *directory, const uint8_t tenant[DJ_TENANT_BYTES],
                      struct dj_json_writer *w)
{
    size_t cursor = 0;
    size_t shown = 0;
    struct deja_slice key;
    void *value = NULL;
    dj_json_key(w, "links");
    dj_json_begin_array(w);
    while (shown < LINKS_SHOWN_MAX && dj_map_next(directory->links, &cursor, &key, &value)) {
        const struct dj_directory_link *link = value;
        if (memcmp(link->tenant, tenant, sizeof link->tenant) != 0)
            continue;
        dj_json_begin_object(w);
        put_id(w, "id", (const uint8_t *)key.data);
        dj_json_member_text(w, "name", link->name);
        put_time(w, "created", link->created_ms);
        dj_json_end_object(w);
        shown++;
    }
    dj_json_end_array(w);
}

/* Under table. */
static void put_entry(struct dj_directory *directory, const struct dj_directory_entry *entry,
                      bool is_whole, struct dj_json_writer *w)
{
    dj_json_begin_object(w);
    put_id(w, "id", entry->id);
    dj_json_member_text(w, "name", entry->name);
    dj_json_member_text(w, "state", entry->is_suspended ? "suspended" : "active");
    put_time(w, "created", entry->created_ms);
    put_time(w, "updated", entry->updated_ms);
    put_id(w, "inherits", entry->has_parent ? entry->parent : NULL);
    dj_json_key(w, "config");
    dj_json_put_raw(w, deja_slice_text(entry->config_text));
    /* Suspended though nobody said so: what it inherits, or its own document, cannot be used. */
    if (dj_rules_of(entry->rules)->is_suspended && !entry->is_suspended)
        dj_json_member_bool(w, "broken", true);
    if (is_whole) {
        dj_json_key(w, "effective");
        dj_json_begin_object(w);
        dj_tenant_config_put(w, &directory->options.names, dj_rules_of(entry->rules));
        dj_json_end_object(w);
        put_links(directory, entry->id, w);
    }
    dj_json_end_object(w);
}

enum deja_status dj_directory_put(struct dj_directory *directory,
                                  const uint8_t tenant[DJ_TENANT_BYTES], bool is_whole,
                                  struct dj_json_writer *w)
{
    pthread_rwlock_rdlock(&directory->table);
    const struct dj_directory_entry *entry = dj_directory_entry_of(directory->tenants, tenant);
    if (entry)
        put_entry(directory, entry, is_whole, w);
    pthread_rwlock_unlock(&directory->table);
    return entry ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, DJ_TENANT_BYTES);
}

/* Under table: ids behind `after`, of that name, sorted; how many. */
static size_t collect(const struct dj_directory *directory, const uint8_t *after,
                      struct deja_slice name, uint8_t (*out_ids)[DJ_TENANT_BYTES])
{
    size_t found = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    while (dj_map_next(directory->tenants, &cursor, &key, &value)) {
        const struct dj_directory_entry *entry = value;
        if ((after && memcmp(entry->id, after, DJ_TENANT_BYTES) <= 0) ||
            (name.len && !dj_slice_is(name, entry->name)))
            continue;
        memcpy(out_ids[found++], entry->id, DJ_TENANT_BYTES);
    }
    qsort(out_ids, found, DJ_TENANT_BYTES, compare_ids);
    return found;
}

enum deja_status dj_directory_list(struct dj_directory *directory, const uint8_t *after,
                                   struct deja_slice name, size_t count, struct dj_json_writer *w,
                                   uint8_t out_next[DJ_TENANT_BYTES], bool *out_has_more)
{
    enum deja_status status = DEJA_ERR_NOMEM;
    pthread_rwlock_rdlock(&directory->table);
    uint8_t(*ids)[DJ_TENANT_BYTES] =
        dj_alloc_zeroed(dj_map_count(directory->tenants) + 1, DJ_TENANT_BYTES);
    if (ids) {
        size_t found = collect(directory, after, name, ids);
        size_t shown = found < count ? found : count;
        for (size_t i = 0; i < shown; i++)
            put_entry(directory, dj_directory_entry_of(directory->tenants, ids[i]), false, w);
        *out_has_more = found > shown;
        if (shown)
            memcpy(out_next, ids[shown - 1], DJ_TENANT_BYTES);
        status = DEJA_OK;
    }
    pthread_rwlock_unlock(&directory->table);
    dj_free(ids);
    return status;
}
