/* store/redis_scan.c - what has to be looked for: a tenant's entries, piece by piece.
 *
 *   clear: SCAN ──> remove each key of the piece, all at once ──> SCAN … next master … done
 *   list:  SCAN ──> GET the piece's next keys, all at once ──> page
 *
 * (1) One SCAN at a time, and never more under way than the keys of its piece: a tenant of a
 * million entries takes many round trips and little memory, here and at the server. (2) A page's
 * place is a master and its cursor, and `after` within the piece of that cursor: the keys of a
 * piece are sorted, and the same cursor gives the same piece, so a piece of more keys than a page
 * takes is read again rather than kept. Trust: untrusted; a key that is not of the form asked for
 * is passed over.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/redis_internal.h"

/* Keys looked at by the server in one step. */
#define SCAN_COUNT 512u
/* More than a step gives by far (a bucket of the server's table may hold some more than asked). */
#define SCAN_KEYS_MAX 16384u
/* The cursor's bits of a page's place; above them the master. */
#define CURSOR_BITS 48u

struct scan;

/* One key of the piece. */
struct item {
    struct dj_redis_call call;
    struct scan *scan;
    struct dj_store_key key;
    struct dj_value *value; /* list */
};

struct scan {
    struct dj_redis_call call;
    struct dj_redis_link *link;
    uint8_t tenant[DJ_ID_BYTES];
    void *ctx;
    dj_store_done_fn *done;
    uint32_t node; /* master that is looked through */
    uint64_t cursor;
    uint64_t next_cursor;
    struct item *items;
    uint32_t item_count;
    uint32_t left; /* items without an answer */
    enum deja_status status;
    uint64_t removed;
    bool is_sending;
    struct dj_store_page *page; /* NULL: clear */
};

static void next_step(struct scan *scan);

static void finish(struct scan *scan, enum deja_status status, uint64_t count)
{
    for (uint32_t i = 0; i < scan->item_count; i++)
        dj_value_unref(scan->items[i].value);
    dj_free(scan->items);
    scan->done(scan->ctx, status, count);
    dj_free(scan);
}

/* The piece is through: the page is full of it, or the next one begins. */
static void finish_piece(struct scan *scan)
{
    struct dj_store_page *page = scan->page;
    if (scan->status != DEJA_OK) {
        finish(scan, scan->status, 0);
        return;
    }
    if (!page) {
        dj_free(scan->items);
        scan->items = NULL;
        scan->item_count = 0;
        next_step(scan);
        return;
    }
    page->count = 0;
    for (uint32_t i = 0; i < scan->item_count; i++) {
        if (scan->items[i].value)
            page->values[page->count++] = scan->items[i].value;
        scan->items[i].value = NULL;
    }
    finish(scan, DEJA_OK, page->count);
}

static void on_item(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct item *item = ctx;
    struct scan *scan = item->scan;
    int64_t removed = 0;
    if (status == DEJA_OK && scan->page)
        status = dj_redis_value(scan->link, &item->key, reply, &item->value);
    else if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK && !scan->page && dj_redis_integer(reply, &removed) && removed == 1)
        scan->removed++;
    if (status != DEJA_OK)
        scan->status = status;
    if (--scan->left == 0 && !scan->is_sending)
        finish_piece(scan);
}

static void fill_item(struct scan *scan, struct item *item)
{
    const struct dj_redis_options *options = &scan->link->redis->options;
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(options->prefix, &item->key, 'q', name);
    struct dj_buf *bytes = &item->call.bytes;
    dj_redis_call_key(&item->call, deja_slice(name, len));
    if (scan->page) {
        dj_redis_command(bytes, 2);
        dj_redis_argument_text(bytes, "GET");
        dj_redis_argument(bytes, deja_slice(name, len));
        return;
    }
    /* No tombstones: a million of them would stay, and late fills are kept out by the tenant's
     * generation, which is raised before its entries are cleared. */
    item->call.script = DJ_REDIS_CLEAR;
    dj_redis_command_script(bytes, DJ_REDIS_CLEAR, 1, 1);
    dj_redis_argument(bytes, deja_slice(name, len));
}

static void send_items(struct scan *scan)
{
    scan->is_sending = true;
    for (uint32_t i = 0; i < scan->item_count && scan->status == DEJA_OK; i++) {
        struct item *item = &scan->items[i];
        item->scan = scan;
        dj_redis_call_init(&item->call, item, on_item);
        fill_item(scan, item);
        enum deja_status status = dj_redis_send(scan->link, &item->call);
        if (status == DEJA_OK)
            scan->left++;
        else
            scan->status = status;
    }
    scan->is_sending = false;
    if (scan->left == 0)
        finish_piece(scan);
}

static int compare_items(const void *a, const void *b)
{
    return memcmp(((const struct item *)a)->key.id, ((const struct item *)b)->key.id, DJ_ID_BYTES);
}

/* The piece's keys, sorted, each once. */
static enum deja_status take_keys(struct scan *scan, const struct dj_redis_reply *keys)
{
    uint32_t count = 0;
    if (keys->count > SCAN_KEYS_MAX)
        return DEJA_ERR_CORRUPT;
    if (keys->count == 0)
        return DEJA_OK;
    scan->items = dj_alloc_zeroed(keys->count, sizeof *scan->items);
    if (!scan->items)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < keys->count; i++) {
        struct deja_slice name;
        struct item *item = &scan->items[count];
        memcpy(item->key.tenant, scan->tenant, DJ_ID_BYTES);
        if (dj_redis_text(dj_redis_at(keys, i), &name) && dj_redis_key_id(name, item->key.id))
            count++;
    }
    qsort(scan->items, count, sizeof *scan->items, compare_items);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || compare_items(&scan->items[kept - 1], &scan->items[i]) != 0)
            scan->items[kept++] = scan->items[i];
    scan->item_count = kept;
    return DEJA_OK;
}

/* Leaves the page's share of the piece and notes where the next page begins. */
static void cut_page(struct scan *scan)
{
    static const uint8_t none[DJ_ID_BYTES] = {0};
    struct dj_store_page *page = scan->page;
    uint32_t first = 0;
    if (memcmp(page->after, none, sizeof none) != 0)
        while (first < scan->item_count &&
               memcmp(scan->items[first].key.id, page->after, DJ_ID_BYTES) <= 0)
            first++;
    uint32_t rest = scan->item_count - first;
    uint32_t taken = rest < DJ_STORE_PAGE_MAX ? rest : DJ_STORE_PAGE_MAX;
    if (taken > 0 && first > 0)
        memmove(scan->items, scan->items + first, taken * sizeof *scan->items);
    scan->item_count = taken;
    if (taken < rest) {
        memcpy(page->after, scan->items[taken - 1].key.id, DJ_ID_BYTES);
        return;
    }
    memset(page->after, 0, sizeof page->after);
    uint32_t node = scan->node;
    if (scan->next_cursor == 0)
        node = dj_redis_next_master(scan->link, scan->node + 1);
    page->is_last = node == DJ_REDIS_NODE_NONE;
    page->position = page->is_last ? 0 : (uint64_t)node << CURSOR_BITS | scan->next_cursor;
}

static void on_scanned(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct scan *scan = ctx;
    int64_t cursor = 0;
    const struct dj_redis_reply *keys = NULL;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK) {
        keys = dj_redis_at(reply, 1);
        /* Servers make small cursors: the bits of their table, and of a slot. */
        if (!dj_redis_integer(dj_redis_at(reply, 0), &cursor) || !keys ||
            keys->type != DJ_REDIS_ARRAY || cursor < 0 || cursor >> CURSOR_BITS != 0)
            status = DEJA_ERR_CORRUPT;
    }
    if (status == DEJA_OK)
        status = take_keys(scan, keys);
    if (status != DEJA_OK) {
        finish(scan, status, 0);
        return;
    }
    scan->next_cursor = (uint64_t)cursor;
    if (scan->page) {
        cut_page(scan);
    } else {
        scan->cursor = scan->next_cursor;
        if (scan->cursor == 0)
            scan->node = dj_redis_next_master(scan->link, scan->node + 1);
    }
    send_items(scan);
}

static enum deja_status step(struct scan *scan)
{
    char glob[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_tenant_glob(scan->link->redis->options.prefix, scan->tenant, glob);
    dj_redis_call_init(&scan->call, scan, on_scanned);
    if (scan->link->redis->options.mode == DJ_REDIS_CLUSTER)
        scan->call.node = scan->node;
    dj_redis_command(&scan->call.bytes, 6);
    dj_redis_argument_text(&scan->call.bytes, "SCAN");
    dj_redis_argument_u64(&scan->call.bytes, scan->cursor);
    dj_redis_argument_text(&scan->call.bytes, "MATCH");
    dj_redis_argument(&scan->call.bytes, deja_slice(glob, len));
    dj_redis_argument_text(&scan->call.bytes, "COUNT");
    dj_redis_argument_u64(&scan->call.bytes, SCAN_COUNT);
    return dj_redis_send(scan->link, &scan->call);
}

static void next_step(struct scan *scan)
{
    if (scan->node == DJ_REDIS_NODE_NONE) {
        finish(scan, DEJA_OK, scan->removed);
        return;
    }
    enum deja_status status = step(scan);
    if (status != DEJA_OK)
        finish(scan, status, scan->removed);
}

/* The masters of a cluster nothing was asked of yet are not known: that comes first. */
static void on_opened(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct scan *scan = ctx;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK &&
        !dj_redis_slots_take(scan->link, scan->link->redis->addresses[0].host, reply))
        status = DEJA_ERR_IO;
    scan->node = dj_redis_next_master(scan->link, 0);
    if (status == DEJA_OK && scan->node == DJ_REDIS_NODE_NONE)
        status = DEJA_ERR_IO;
    if (status != DEJA_OK) {
        finish(scan, status, 0);
        return;
    }
    next_step(scan);
}

static enum deja_status start(struct scan *scan)
{
    /* Not in a cluster: the master, which a call without a server of its own may wait for. */
    bool is_known = dj_redis_next_master(scan->link, 0) != DJ_REDIS_NODE_NONE;
    if (is_known || scan->link->redis->options.mode != DJ_REDIS_CLUSTER)
        return step(scan);
    dj_redis_call_init(&scan->call, scan, on_opened);
    dj_redis_ask_slots(&scan->call.bytes);
    return dj_redis_send(scan->link, &scan->call);
}

static enum deja_status begin(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], struct scan *from)
{
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &from->link);
    if (status != DEJA_OK)
        return status;
    struct scan *scan = dj_alloc(sizeof *scan);
    if (!scan)
        return DEJA_ERR_NOMEM;
    *scan = *from;
    memcpy(scan->tenant, tenant, DJ_ID_BYTES);
    scan->node = dj_redis_next_master(scan->link, scan->node);
    status = start(scan);
    if (status != DEJA_OK)
        dj_free(scan);
    return status;
}

enum deja_status dj_redis_clear(struct dj_store *store, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                dj_store_done_fn *done)
{
    struct scan scan = {.ctx = ctx, .done = done};
    return begin(store, loop, tenant, &scan);
}

enum deja_status dj_redis_list(struct dj_store *store, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                               void *ctx, dj_store_done_fn *done)
{
    struct scan scan = {.ctx = ctx, .done = done, .page = page};
    scan.node = (uint32_t)(page->position >> CURSOR_BITS);
    scan.cursor = page->position & ((1ull << CURSOR_BITS) - 1);
    return begin(store, loop, tenant, &scan);
}
