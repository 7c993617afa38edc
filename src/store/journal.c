/* store/journal.c - see journal.h.
 *
 *   order:   oldest -> ... -> newest     every record
 *   puts:    oldest -> ... -> newest     records with a value, the first to give way
 *   keys:    (tenant, id) -> record      not those taken when something newer came
 *   tenants: tenant -> its records, and its clear
 *
 * (1) A record that is taken is not changed: what comes meanwhile makes a new one behind it.
 * (2) A tenant has at most one clear that is not taken. It may be moved behind what came
 *     after it: it then takes away more, never less.
 * (3) `spare` holds records made beforehand, so that a clear can be kept when memory is short.
 */
#include "store/journal.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/map.h"
#include "crypto/digest.h"

#define SPARE_RECORDS 64u

struct journal_tenant {
    uint8_t id[DJ_ID_BYTES];
    struct dj_list records;
    uint32_t count;
    struct dj_journal_record *clear; /* not taken; NULL: none */
};

struct dj_journal {
    uint8_t hash_key[16];
    struct dj_journal_options options;
    struct dj_list order;
    struct dj_list puts;
    struct dj_list spare;
    struct dj_map *keys;
    struct dj_map *tenants;
    struct dj_journal_figures figures; /* without removes */
    uint64_t put_only;                 /* records that take nothing away */
};

static uint64_t hash_key(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key); /* deletes name any id their client likes */
}

static struct deja_slice key_slice(const struct dj_store_key *key)
{
    static_assert(sizeof *key == 2 * DJ_ID_BYTES, "no padding between tenant and id");
    return deja_slice(key, sizeof *key);
}

static struct dj_journal_record *record_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct dj_journal_record, order);
}

static struct dj_journal_record *record_create(void)
{
    struct dj_journal_record *record = dj_alloc_zeroed(1, sizeof *record);
    if (!record)
        return NULL;
    dj_list_init(&record->order);
    dj_list_init(&record->puts);
    dj_list_init(&record->same);
    return record;
}

enum deja_status dj_journal_create(const struct dj_journal_options *options,
                                   struct dj_journal **out_journal)
{
    struct dj_journal *journal = dj_alloc_zeroed(1, sizeof *journal);
    if (!journal)
        return DEJA_ERR_NOMEM;
    journal->options = *options;
    dj_random_bytes(journal->hash_key, sizeof journal->hash_key);
    dj_list_init(&journal->order);
    dj_list_init(&journal->puts);
    dj_list_init(&journal->spare);
    /* Taken ones may be there twice: their place, and that of what came after them. */
    size_t most = 2 * (size_t)options->records_max + SPARE_RECORDS;
    enum deja_status status = dj_map_create(most, hash_key, journal->hash_key, &journal->keys);
    if (status == DEJA_OK)
        status = dj_map_create(most, NULL, NULL, &journal->tenants);
    for (uint32_t i = 0; i < SPARE_RECORDS && status == DEJA_OK; i++) {
        struct dj_journal_record *record = record_create();
        if (record)
            dj_list_push_back(&journal->spare, &record->order);
        else
            status = DEJA_ERR_NOMEM;
    }
    if (status != DEJA_OK) {
        dj_journal_destroy(journal);
        return status;
    }
    *out_journal = journal;
    return DEJA_OK;
}

static void drop_value(struct dj_journal *journal, struct dj_journal_record *record)
{
    if (!record->value)
        return;
    dj_list_remove(&record->puts);
    dj_value_unref(record->value);
    dj_free(record->vector);
    journal->figures.puts--;
    journal->figures.bytes -= record->bytes;
    if (record->kind == DJ_JOURNAL_KEY && !record->has_remove)
        journal->put_only--;
    record->value = NULL;
    record->vector = NULL;
    record->dim = 0;
    record->bytes = 0;
}

static void leave_tenant(struct dj_journal *journal, struct dj_journal_record *record)
{
    struct journal_tenant *tenant = record->tenant;
    if (!tenant)
        return;
    dj_list_remove(&record->same);
    if (tenant->clear == record)
        tenant->clear = NULL;
    if (--tenant->count == 0) {
        dj_map_remove(journal->tenants, deja_slice(tenant->id, sizeof tenant->id));
        dj_free(tenant);
    }
    record->tenant = NULL;
}

/* False: out of memory. */
static bool join_tenant(struct dj_journal *journal, struct dj_journal_record *record)
{
    struct deja_slice id = deja_slice(record->key.tenant, DJ_ID_BYTES);
    struct journal_tenant *tenant = dj_map_find(journal->tenants, id);
    if (!tenant) {
        tenant = dj_alloc_zeroed(1, sizeof *tenant);
        if (!tenant)
            return false;
        memcpy(tenant->id, id.data, id.len);
        dj_list_init(&tenant->records);
        if (dj_map_put(journal->tenants, id, tenant, NULL) != DEJA_OK) {
            dj_free(tenant);
            return false;
        }
    }
    dj_list_push_back(&tenant->records, &record->same);
    tenant->count++;
    record->tenant = tenant;
    return true;
}

static void record_free(struct dj_journal *journal, struct dj_journal_record *record)
{
    drop_value(journal, record);
    if (record->kind == DJ_JOURNAL_KEY &&
        dj_map_find(journal->keys, key_slice(&record->key)) == record)
        dj_map_remove(journal->keys, key_slice(&record->key));
    leave_tenant(journal, record);
    dj_list_remove(&record->order);
    journal->figures.records--;
    dj_free(record->tag);
    dj_free(record);
}

static void free_spares(struct dj_journal *journal)
{
    while (!dj_list_is_empty(&journal->spare)) {
        struct dj_journal_record *record = record_of(journal->spare.next);
        dj_list_remove(&record->order);
        dj_free(record);
    }
}

void dj_journal_destroy(struct dj_journal *journal)
{
    if (!journal)
        return;
    while (!dj_list_is_empty(&journal->order))
        record_free(journal, record_of(journal->order.next));
    free_spares(journal);
    dj_map_destroy(journal->keys);
    dj_map_destroy(journal->tenants);
    dj_free(journal);
}

static void append(struct dj_journal *journal, struct dj_journal_record *record)
{
    dj_list_push_back(&journal->order, &record->order);
    journal->figures.records++;
}

static void move_last(struct dj_journal *journal, struct dj_journal_record *record)
{
    dj_list_remove(&record->order);
    dj_list_push_back(&journal->order, &record->order);
}

/* ---- giving way ---- */

static struct dj_journal_record *take_spare(struct dj_journal *journal)
{
    if (dj_list_is_empty(&journal->spare))
        return NULL;
    struct dj_journal_record *record = record_of(journal->spare.next);
    dj_list_remove(&record->order);
    return record;
}

/* The tenant's clear, at the end of the order; NULL: lost. */
static struct dj_journal_record *clear_record(struct dj_journal *journal,
                                              const uint8_t tenant[DJ_ID_BYTES])
{
    struct journal_tenant *own = dj_map_find(journal->tenants, deja_slice(tenant, DJ_ID_BYTES));
    if (own && own->clear) {
        move_last(journal, own->clear);
        return own->clear;
    }
    struct dj_journal_record *record = record_create();
    if (!record)
        record = take_spare(journal); /* (3) */
    if (!record) {
        journal->figures.is_lost = true;
        return NULL;
    }
    record->kind = DJ_JOURNAL_CLEAR;
    memcpy(record->key.tenant, tenant, DJ_ID_BYTES);
    append(journal, record);
    if (join_tenant(journal, record))
        record->tenant->clear = record; /* else only a second one is not spared */
    return record;
}

/* What the tenant had before is void. is_room: raises of tags give way too, to one of the tenant.
 */
static void clear_tenant(struct dj_journal *journal, const uint8_t tenant[DJ_ID_BYTES],
                         bool is_raised, bool is_room)
{
    struct dj_journal_record *clear = clear_record(journal, tenant);
    if (!clear)
        return;
    clear->is_raised = clear->is_raised || is_raised;
    if (!clear->tenant)
        return;
    for (struct dj_list *node = clear->tenant->records.next; node != &clear->tenant->records;) {
        struct dj_journal_record *record = DJ_CONTAINER(node, struct dj_journal_record, same);
        node = node->next;
        if (record == clear || record->is_taken || (record->kind == DJ_JOURNAL_RAISE && !is_room))
            continue;
        clear->is_raised = clear->is_raised || record->kind == DJ_JOURNAL_RAISE;
        journal->figures.puts_dropped += is_room && record->value;
        record_free(journal, record);
    }
}

/* The put becomes the end of what is older. */
static void drop_put(struct dj_journal *journal, struct dj_journal_record *record)
{
    uint64_t version = dj_value_entry(record->value)->version;
    drop_value(journal, record);
    journal->figures.puts_dropped++;
    uint64_t older_max = version ? version - 1 : 0;
    if (!record->has_remove || record->version_max < older_max)
        record->version_max = older_max;
    record->has_remove = true;
}

void dj_journal_drop_put(struct dj_journal *journal, struct dj_journal_record *record)
{
    assert(record->is_taken);
    if (record->value)
        drop_put(journal, record);
}

static bool is_over(const struct dj_journal *journal)
{
    return journal->figures.records > journal->options.records_max;
}

/* Whose records gain the most by giving way; NULL: nobody's gain any. */
static const struct journal_tenant *largest(const struct dj_journal *journal)
{
    const struct journal_tenant *most = NULL;
    size_t cursor = 0;
    struct deja_slice id;
    void *value;
    while (dj_map_next(journal->tenants, &cursor, &id, &value)) {
        const struct journal_tenant *tenant = value;
        if (tenant->count >= 2 && (!most || tenant->count > most->count))
            most = tenant;
    }
    return most;
}

/* Taken records keep their values: take() takes them out of `puts`. */
static void make_room(struct dj_journal *journal)
{
    while (journal->figures.bytes > journal->options.bytes_max && !dj_list_is_empty(&journal->puts))
        drop_put(journal, DJ_CONTAINER(journal->puts.next, struct dj_journal_record, puts));
    while (is_over(journal)) {
        const struct journal_tenant *tenant = largest(journal);
        uint64_t before = journal->figures.records;
        if (tenant) {
            uint8_t id[DJ_ID_BYTES];
            memcpy(id, tenant->id, sizeof id);
            clear_tenant(journal, id, false, true);
            journal->figures.tenants_voided++;
        }
        if (journal->figures.records < before)
            continue;
        struct dj_list *last = journal->order.prev; /* what was asked last is forgotten */
        while (last != &journal->order && record_of(last)->is_taken)
            last = last->prev;
        journal->figures.is_lost = true;
        if (last == &journal->order)
            return;
        record_free(journal, record_of(last));
    }
}

/* ---- adding ---- */

/* The key's record, at the end of the order; NULL: out of memory. */
static struct dj_journal_record *key_record(struct dj_journal *journal,
                                            const struct dj_store_key *key)
{
    struct dj_journal_record *record = dj_map_find(journal->keys, key_slice(key));
    if (record && !record->is_taken) {
        move_last(journal, record);
        return record;
    }
    record = record_create();
    if (!record)
        return NULL;
    record->kind = DJ_JOURNAL_KEY;
    record->key = *key;
    append(journal, record);
    if (!join_tenant(journal, record) ||
        dj_map_put(journal->keys, key_slice(key), record, NULL) != DEJA_OK) {
        record_free(journal, record);
        return NULL;
    }
    return record;
}

void dj_journal_put(struct dj_journal *journal, struct dj_value *value, const float *vector,
                    uint32_t dim)
{
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    struct dj_journal_record *record = key_record(journal, &key);
    if (!record) {
        journal->figures.puts_dropped++;
        clear_tenant(journal, key.tenant, false, true);
        make_room(journal);
        return;
    }
    if (record->value && dj_value_entry(record->value)->version >= entry->version)
        return;
    float *copy = vector && dim ? dj_alloc(sizeof *copy * dim) : NULL;
    drop_value(journal, record);
    if (copy)
        memcpy(copy, vector, sizeof *copy * dim);
    record->value = dj_value_ref(value); /* without its vector it is found by its words only */
    record->vector = copy;
    record->dim = copy ? dim : 0;
    record->failures = 0;
    record->bytes = dj_value_bytes(value) + sizeof *copy * record->dim;
    journal->figures.puts++;
    journal->figures.bytes += record->bytes;
    journal->put_only += !record->has_remove;
    dj_list_push_back(&journal->puts, &record->puts);
    make_room(journal);
}

void dj_journal_remove(struct dj_journal *journal, const struct dj_store_key *key,
                       uint64_t version_max)
{
    struct dj_journal_record *record = key_record(journal, key);
    if (!record) {
        clear_tenant(journal, key->tenant, false, true);
        make_room(journal);
        return;
    }
    if (record->value && dj_value_entry(record->value)->version <= version_max)
        drop_value(journal, record);
    journal->put_only -= record->value && !record->has_remove;
    if (!record->has_remove || record->version_max < version_max)
        record->version_max = version_max;
    record->has_remove = true;
    make_room(journal);
}

void dj_journal_clear(struct dj_journal *journal, const uint8_t tenant[DJ_ID_BYTES])
{
    clear_tenant(journal, tenant, false, false);
    make_room(journal);
}

void dj_journal_raise(struct dj_journal *journal, const uint8_t tenant[DJ_ID_BYTES],
                      struct deja_slice tag)
{
    struct dj_journal_record *record = record_create();
    if (record) {
        record->kind = DJ_JOURNAL_RAISE;
        memcpy(record->key.tenant, tenant, DJ_ID_BYTES);
        record->tag = tag.len ? dj_alloc(tag.len) : NULL;
        record->tag_len = tag.len;
        append(journal, record);
        if (record->tag)
            memcpy(record->tag, tag.data, tag.len);
        if ((tag.len && !record->tag) || !join_tenant(journal, record)) {
            record_free(journal, record);
            record = NULL;
        }
    }
    if (!record)
        clear_tenant(journal, tenant, true, true);
    make_room(journal);
}

/* ---- replaying ---- */

size_t dj_journal_take(struct dj_journal *journal, struct dj_journal_record **out_records,
                       size_t count)
{
    size_t taken = 0;
    for (struct dj_list *node = journal->order.next; node != &journal->order && taken < count;
         node = node->next) {
        struct dj_journal_record *record = record_of(node);
        if (record->kind == DJ_JOURNAL_CLEAR && (taken || node->prev != &journal->order))
            break;
        if (record->is_taken && record->kind == DJ_JOURNAL_CLEAR)
            break;
        if (record->is_taken)
            continue;
        record->is_taken = true;
        if (record->tenant && record->tenant->clear == record)
            record->tenant->clear = NULL; /* (1): a new one is made behind it */
        dj_list_remove(&record->puts);
        out_records[taken++] = record;
        if (record->kind == DJ_JOURNAL_CLEAR)
            break;
    }
    return taken;
}

void dj_journal_give_back(struct dj_journal *journal, struct dj_journal_record *record,
                          bool is_done)
{
    assert(record->is_taken);
    record->is_taken = false;
    if (is_done)
        record_free(journal, record);
    else if (record->value)
        dj_list_push_front(&journal->puts, &record->puts);
    else if (record->kind == DJ_JOURNAL_CLEAR && record->tenant && !record->tenant->clear)
        record->tenant->clear = record;
}

bool dj_journal_concerns(const struct dj_journal *journal, const struct dj_store_key *key)
{
    const struct journal_tenant *tenant =
        dj_map_find(journal->tenants, deja_slice(key->tenant, sizeof key->tenant));
    return journal->figures.is_lost || (tenant && tenant->clear) ||
           dj_map_find(journal->keys, key_slice(key)) != NULL;
}

bool dj_journal_is_empty(const struct dj_journal *journal)
{
    return dj_list_is_empty(&journal->order) && !journal->figures.is_lost;
}

void dj_journal_look(const struct dj_journal *journal, struct dj_journal_figures *out_figures)
{
    *out_figures = journal->figures;
    out_figures->removes = journal->figures.records - journal->put_only;
}

size_t dj_journal_probes_max(const struct dj_journal *journal)
{
    return dj_map_probes_max(journal->keys);
}
