/* store/s3_list.c - a tenant's entries in pieces, and all of them removed.
 *
 *   list:  GET ?list-type=2 ──▶ up to 64 ids ──▶ their objects, 8 at a time ──▶ done
 *   clear: GET ?list-type=2 ──▶ up to 1,000 ids ──▶ DELETEs, 16 at a time ──▶ the next page … done
 *
 * Pages begin after the last name (start-after), so nothing is kept at the service between them.
 * Single DELETEs rather than ?delete with a list: not every service has the latter, at AWS they are
 * free, and a clear is rare.
 *
 * (1) Only names that are folder + id are touched: what others put beside ours stays.
 * (2) A clear removes tombstones too; that nothing older comes back is for generations to see to.
 */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/s3_internal.h"

struct walk;

/* One of several requests or gets that run at the same time. */
struct lane {
    struct walk *walk;
    struct dj_s3_call call; /* a delete's */
    char name[DJ_S3_NAME_BYTES];
    uint32_t slot; /* list: place of the value */
    bool is_running;
};

struct walk {
    struct dj_s3_op op;         /* first; its call asks for pages; key.tenant */
    struct dj_store_page *page; /* NULL: a clear */
    struct dj_s3_listing *listing;
    struct dj_buf query;
    char folder[DJ_S3_NAME_BYTES];
    char after[DJ_S3_NAME_BYTES_MAX + 1]; /* empty: from the beginning */
    struct dj_value *values[DJ_STORE_PAGE_MAX];
    uint8_t ids[DJ_STORE_PAGE_MAX][DJ_ID_BYTES];
    uint32_t id_count;
    uint64_t page_bytes;
    bool is_last;
    uint32_t next; /* of listing->items or ids */
    uint32_t running;
    enum deja_status failure; /* the first */
    struct lane lanes[DJ_S3_DELETES_AT_ONCE];
};

static void fini_walk(struct dj_s3_op *op)
{
    struct walk *walk = (struct walk *)op;
    for (uint32_t i = 0; i < DJ_S3_DELETES_AT_ONCE; i++)
        dj_s3_call_fini(&walk->lanes[i].call);
    for (uint32_t i = 0; i < DJ_STORE_PAGE_MAX; i++)
        dj_value_unref(walk->values[i]);
    dj_buf_fini(&walk->query);
    dj_free(walk->listing);
}

static void on_page(void *ctx, enum deja_status status);

static enum deja_status ask_page(struct walk *walk)
{
    char number[16];
    snprintf(number, sizeof number, "%d", walk->page ? 100 : DJ_S3_LISTED_MAX);
    dj_buf_clear(&walk->query);
    dj_s3_query_append(&walk->query, "list-type", deja_slice_text("2"));
    dj_s3_query_append(&walk->query, "max-keys", deja_slice_text(number));
    dj_s3_query_append(&walk->query, "prefix", deja_slice_text(walk->folder));
    if (walk->after[0])
        dj_s3_query_append(&walk->query, "start-after", deja_slice_text(walk->after));
    if (walk->query.status != DEJA_OK)
        return walk->query.status;
    const struct dj_s3_request request = {
        .method = "GET",
        .query = dj_buf_slice(&walk->query),
        .reply_bytes_max = DJ_S3_DOCUMENT_BYTES_MAX,
    };
    return dj_s3_call_start(&walk->op.call, walk->op.s3, walk->op.loop, &request, walk, on_page);
}

static void next_page(struct walk *walk)
{
    memcpy(walk->after, walk->listing->last, sizeof walk->after);
    enum deja_status status = ask_page(walk);
    if (status != DEJA_OK)
        dj_s3_op_finish(&walk->op, status);
}

/* Every value is in its place, or one could not be had. */
static void finish_list(struct walk *walk)
{
    struct dj_store_page *page = walk->page;
    if (walk->failure != DEJA_OK) {
        dj_s3_op_finish(&walk->op, walk->failure);
        return;
    }
    page->count = 0;
    for (uint32_t i = 0; i < walk->id_count; i++) {
        if (walk->values[i])
            page->values[page->count++] = walk->values[i];
        walk->values[i] = NULL;
    }
    page->is_last = walk->is_last;
    if (walk->id_count) {
        page->position = 1;
        memcpy(page->after, walk->ids[walk->id_count - 1], DJ_ID_BYTES);
    }
    walk->op.count = page->count;
    dj_s3_op_finish(&walk->op, DEJA_OK);
}

static void get_values(struct walk *walk);

static void on_value(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct lane *lane = ctx;
    struct walk *walk = lane->walk;
    lane->is_running = false;
    walk->running--;
    walk->values[lane->slot] = value;
    if (status != DEJA_OK && walk->failure == DEJA_OK)
        walk->failure = status;
    get_values(walk);
}

static void get_values(struct walk *walk)
{
    for (uint32_t i = 0; i < DJ_S3_GETS_AT_ONCE; i++) {
        struct lane *lane = &walk->lanes[i];
        if (lane->is_running || walk->failure != DEJA_OK || walk->next == walk->id_count)
            continue;
        struct dj_store_key key = walk->op.key;
        lane->walk = walk;
        lane->slot = walk->next;
        memcpy(key.id, walk->ids[walk->next], DJ_ID_BYTES);
        enum deja_status status =
            dj_s3_get(&walk->op.s3->store, walk->op.loop, &key, lane, on_value);
        if (status != DEJA_OK) {
            walk->failure = status;
            break;
        }
        lane->is_running = true;
        walk->running++;
        walk->next++;
    }
    if (!walk->running)
        finish_list(walk);
}

/* False: the piece is full. */
static bool take_ids(struct walk *walk)
{
    const struct dj_s3_listing *listing = walk->listing;
    for (uint32_t i = 0; i < listing->count; i++) {
        const struct dj_s3_listed *item = &listing->items[i];
        bool is_full = walk->id_count == DJ_STORE_PAGE_MAX ||
                       (walk->id_count && walk->page_bytes + item->bytes > DJ_S3_PAGE_BYTES_MAX);
        if (is_full)
            return false;
        memcpy(walk->ids[walk->id_count++], item->id, DJ_ID_BYTES);
        walk->page_bytes += item->bytes < DJ_S3_PAGE_BYTES_MAX ? item->bytes : DJ_S3_PAGE_BYTES_MAX;
    }
    return true;
}

static void delete_items(struct walk *walk);

static void on_deleted(void *ctx, enum deja_status status)
{
    struct lane *lane = ctx;
    struct walk *walk = lane->walk;
    int http_status = lane->call.head.http_status;
    lane->is_running = false;
    walk->running--;
    if (status == DEJA_OK && http_status >= 200 && http_status < 300)
        walk->op.count++;
    else if (status == DEJA_OK && http_status != 404)
        status = dj_s3_call_fault(&lane->call, NULL);
    if (status != DEJA_OK && walk->failure == DEJA_OK)
        walk->failure = status;
    delete_items(walk);
}

static enum deja_status delete_item(struct walk *walk, struct lane *lane)
{
    struct dj_store_key key = walk->op.key;
    memcpy(key.id, walk->listing->items[walk->next].id, DJ_ID_BYTES);
    dj_s3_name_object(walk->op.s3, &key, lane->name);
    lane->walk = walk;
    const struct dj_s3_request request = {
        .method = "DELETE",
        .name = deja_slice_text(lane->name),
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    enum deja_status status =
        dj_s3_call_start(&lane->call, walk->op.s3, walk->op.loop, &request, lane, on_deleted);
    if (status == DEJA_OK) {
        lane->is_running = true;
        walk->running++;
        walk->next++;
    }
    return status;
}

static void delete_items(struct walk *walk)
{
    for (uint32_t i = 0; i < DJ_S3_DELETES_AT_ONCE; i++) {
        struct lane *lane = &walk->lanes[i];
        if (lane->is_running || walk->failure != DEJA_OK || walk->next == walk->listing->count)
            continue;
        walk->failure = delete_item(walk, lane);
    }
    if (walk->running)
        return;
    if (walk->failure != DEJA_OK || !walk->listing->is_truncated)
        dj_s3_op_finish(&walk->op, walk->failure);
    else
        next_page(walk);
}

static void on_page(void *ctx, enum deja_status status)
{
    struct walk *walk = ctx;
    struct dj_s3_call *call = &walk->op.call;
    if (status == DEJA_OK && call->head.http_status == 200) {
        struct dj_buf scratch = {0};
        status =
            dj_s3_read_listing(dj_buf_slice(&call->body), walk->folder, &scratch, walk->listing);
        dj_buf_fini(&scratch);
    } else if (status == DEJA_OK) {
        status = dj_s3_call_fault(call, NULL);
    }
    if (status == DEJA_ERR_CORRUPT)
        status = dj_s3_call_fault(call, NULL); /* its words: this is no S3 service */
    /* A page that does not go on would be asked for without end. */
    if (status == DEJA_OK && walk->listing->is_truncated &&
        strcmp(walk->listing->last, walk->after) <= 0)
        status = DEJA_ERR_CORRUPT;
    if (status != DEJA_OK) {
        dj_s3_op_finish(&walk->op, status);
        return;
    }
    walk->next = 0;
    if (!walk->page) {
        delete_items(walk);
        return;
    }
    bool has_room = take_ids(walk);
    if (has_room && walk->listing->is_truncated && walk->id_count < DJ_STORE_PAGE_MAX) {
        next_page(walk);
        return;
    }
    walk->is_last = has_room && !walk->listing->is_truncated;
    get_values(walk);
}

static enum deja_status start(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                              void *ctx, dj_store_done_fn *done)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    void *made = NULL;
    enum deja_status status = dj_s3_op_create(s3, loop, sizeof(struct walk), &made);
    if (status != DEJA_OK)
        return status;
    struct walk *walk = made;
    walk->op.ctx = ctx;
    walk->op.done = done;
    walk->op.fini = fini_walk;
    walk->page = page;
    memcpy(walk->op.key.tenant, tenant, DJ_ID_BYTES);
    dj_s3_name_folder(s3, tenant, walk->folder);
    if (page && page->position) {
        memcpy(walk->op.key.id, page->after, DJ_ID_BYTES);
        dj_s3_name_object(s3, &walk->op.key, walk->after);
    }
    walk->listing = dj_alloc(sizeof *walk->listing);
    status = walk->listing ? ask_page(walk) : DEJA_ERR_NOMEM;
    if (status != DEJA_OK)
        dj_s3_op_destroy(&walk->op);
    return status;
}

enum deja_status dj_s3_list(struct dj_store *store, struct dj_loop *loop,
                            const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                            void *ctx, dj_store_done_fn *done)
{
    return start(store, loop, tenant, page, ctx, done);
}

enum deja_status dj_s3_clear(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], void *ctx, dj_store_done_fn *done)
{
    return start(store, loop, tenant, NULL, ctx, done);
}
