/* cache/transfer.c - see transfer.h: out of the cache, and the run itself. */
#include "cache/transfer.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "cache/listing.h"
#include "cache/transfer_internal.h"

#define SEEN_MAX (1u << 24)

/* ---- waiting ---- */

void transfer_wait_init(struct transfer_wait *wait)
{
    pthread_mutex_init(&wait->mutex, NULL);
    pthread_cond_init(&wait->is_over, NULL);
    wait->is_told = false;
}

void transfer_wait_tell(struct transfer_wait *wait)
{
    pthread_mutex_lock(&wait->mutex);
    wait->is_told = true;
    pthread_cond_signal(&wait->is_over);
    pthread_mutex_unlock(&wait->mutex);
}

void transfer_wait_for(struct transfer_wait *wait)
{
    pthread_mutex_lock(&wait->mutex);
    while (!wait->is_told)
        pthread_cond_wait(&wait->is_over, &wait->mutex);
    pthread_mutex_unlock(&wait->mutex);
    pthread_cond_destroy(&wait->is_over);
    pthread_mutex_destroy(&wait->mutex);
}

/* ---- tenants ---- */

void dj_transfer_add_tenant(void *ctx, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_transfer_tenants *tenants = ctx;
    if (tenants->count == tenants->room) {
        size_t room = tenants->room ? tenants->room * 2 : 64;
        uint8_t(*more)[DJ_ID_BYTES] = NULL;
        if (room <= 2 * DJ_TRANSFER_TENANTS_MAX)
            more = dj_realloc(tenants->ids, room * sizeof *more);
        if (!more) {
            tenants->status = DEJA_ERR_NOMEM;
            return;
        }
        tenants->ids = more;
        tenants->room = room;
    }
    memcpy(tenants->ids[tenants->count++], tenant, DJ_ID_BYTES);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, DJ_ID_BYTES);
}

void dj_transfer_sort_tenants(struct dj_transfer_tenants *tenants)
{
    size_t count = 0;
    if (tenants->count)
        qsort(tenants->ids, tenants->count, sizeof *tenants->ids, compare_ids);
    for (size_t i = 0; i < tenants->count; i++)
        if (!count || compare_ids(tenants->ids[count - 1], tenants->ids[i]) != 0)
            memmove(tenants->ids[count++], tenants->ids[i], DJ_ID_BYTES);
    tenants->count = count;
}

void dj_transfer_tenants_fini(struct dj_transfer_tenants *tenants)
{
    dj_free(tenants->ids);
    *tenants = (struct dj_transfer_tenants){.ids = NULL};
}

/* ---- out of a cache ---- */

struct from {
    struct dj_transfer_from options;
    size_t tenant;
    struct dj_listing_at at;
    struct dj_map *seen; /* of this tenant: id -> version; NULL: one level alone */
    struct dj_listing_piece piece;
    uint32_t index; /* of the piece's next value */
    bool is_begun;  /* a piece is here */
    struct dj_entry entry;
    float *vector; /* DJ_VECTOR_DIM_MAX of them */
    /* of one call */
    struct transfer_wait wait;
    struct dj_task task;
    enum deja_status status;
};

static void on_listed(void *ctx, enum deja_status status, const struct dj_listing_piece *piece)
{
    struct from *from = ctx;
    from->status = status;
    if (piece)
        from->piece = *piece;
    transfer_wait_tell(&from->wait);
}

static void list(void *ctx)
{
    struct from *from = ctx;
    const struct dj_transfer_from *options = &from->options;
    struct dj_listing_options listing = {
        .levels = options->levels, .has_vectors = true, .is_whole = options->is_whole};
    memcpy(listing.tenant, options->tenants->ids[from->tenant], sizeof listing.tenant);
    enum deja_status status = dj_engine_list(options->lane.engine, options->lane.loop, &listing,
                                             &from->at, from, on_listed);
    if (status != DEJA_OK)
        on_listed(from, status, NULL);
}

static void drop_piece(struct from *from)
{
    for (uint32_t i = 0; from->is_begun && i < from->piece.count; i++)
        dj_value_unref(from->piece.values[i]);
    from->is_begun = false;
    from->index = 0;
}

static enum deja_status forget_seen(struct from *from)
{
    dj_map_destroy(from->seen);
    from->seen = NULL;
    bool is_one_level =
        from->options.levels && !(from->options.levels & (from->options.levels - 1));
    return is_one_level ? DEJA_OK : dj_map_create(SEEN_MAX, NULL, NULL, &from->seen);
}

/* Behind a piece: the next one, or the next tenant's first. */
static enum deja_status advance(struct from *from)
{
    bool is_last = from->piece.is_last;
    if (from->options.at)
        from->options.at->passed_over += from->piece.passed_over;
    from->at = from->piece.next;
    drop_piece(from);
    if (!is_last)
        return DEJA_OK;
    from->tenant++;
    from->at = (struct dj_listing_at){.place = 0};
    return forget_seen(from);
}

static void note_place(struct from *from)
{
    struct dj_transfer_at *at = from->options.at;
    if (!at)
        return;
    at->tenant = from->tenant;
    dj_listing_text(&from->at, at->listing);
}

static enum deja_status read_piece(struct from *from, struct deja_error *error)
{
    from->task = (struct dj_task){.run = list, .ctx = from};
    transfer_wait_init(&from->wait);
    dj_loop_post(from->options.lane.loop, &from->task);
    transfer_wait_for(&from->wait);
    from->is_begun = from->status == DEJA_OK;
    return from->status == DEJA_OK
               ? DEJA_OK
               : deja_error_set(error, from->status, "a tier cannot be listed: %s",
                                deja_status_text(from->status));
}

/* False: a tier above has told of it, in this version or a newer one. */
static bool is_news(struct from *from, const struct dj_entry *entry)
{
    struct deja_slice id = deja_slice(entry->id, sizeof entry->id);
    if (!from->seen)
        return true;
    uintptr_t noted = (uintptr_t)dj_map_find(from->seen, id);
    if (noted > entry->version)
        return false;
    void *note = (void *)(uintptr_t)(entry->version + 1);
    if (dj_map_put(from->seen, id, note, NULL) != DEJA_OK)
        return true; /* beyond its bound an entry may be told of twice: the same one */
    return true;
}

static void tell(struct from *from, const struct dj_entry *entry, struct dj_archive_item *out_item)
{
    size_t dim = entry->vector.len / sizeof(float);
    from->entry = *entry;
    from->entry.vector = deja_slice(NULL, 0);
    bool has_vector = dim > 0 && dim <= DJ_VECTOR_DIM_MAX;
    if (has_vector)
        memcpy(from->vector, entry->vector.data, dim * sizeof(float));
    *out_item = (struct dj_archive_item){.entry = &from->entry,
                                         .vector = has_vector ? from->vector : NULL,
                                         .dim = has_vector ? (uint32_t)dim : 0};
}

static enum deja_status next_from(void *ctx, struct dj_archive_item *out_item,
                                  struct deja_error *error)
{
    struct from *from = ctx;
    for (;;) {
        enum deja_status status = DEJA_OK;
        while (from->is_begun && from->index < from->piece.count) {
            const struct dj_entry *entry = dj_value_entry(from->piece.values[from->index++]);
            if (!is_news(from, entry))
                continue;
            tell(from, entry, out_item);
            return DEJA_OK;
        }
        if (from->is_begun)
            status = advance(from);
        note_place(from);
        if (status != DEJA_OK)
            return deja_error_set(error, status, "out of memory");
        if (from->tenant >= from->options.tenants->count)
            return DEJA_ERR_NOT_FOUND;
        if (atomic_load(from->options.lane.is_cancelled))
            return deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped");
        status = read_piece(from, error);
        if (status != DEJA_OK)
            return status;
    }
}

static void close_from(void *ctx)
{
    struct from *from = ctx;
    if (!from)
        return;
    drop_piece(from);
    dj_map_destroy(from->seen);
    dj_free(from->vector);
    dj_free(from);
}

enum deja_status dj_transfer_from_cache(const struct dj_transfer_from *options,
                                        struct dj_transfer_source *out_source)
{
    struct from *from = dj_alloc_zeroed(1, sizeof *from);
    enum deja_status status = from ? DEJA_OK : DEJA_ERR_NOMEM;
    if (from) {
        from->options = *options;
        from->vector = dj_alloc_zeroed(DJ_VECTOR_DIM_MAX, sizeof *from->vector);
        status = from->vector ? forget_seen(from) : DEJA_ERR_NOMEM;
    }
    if (status == DEJA_OK && options->at && options->at->listing[0]) {
        from->tenant = options->at->tenant;
        status = dj_listing_read(deja_slice_text(options->at->listing), &from->at);
    }
    if (status != DEJA_OK) {
        close_from(from);
        return status;
    }
    *out_source = (struct dj_transfer_source){.ctx = from, .next = next_from, .close = close_from};
    return DEJA_OK;
}

/* ---- backups ---- */

struct archive_end {
    struct dj_archive_reader *reader;
    struct dj_archive_writer *writer;
};

static enum deja_status next_archived(void *ctx, struct dj_archive_item *out_item,
                                      struct deja_error *error)
{
    return dj_archive_next(ctx, out_item, NULL, error);
}

static void close_reader(void *ctx)
{
    dj_archive_close(ctx);
}

enum deja_status dj_transfer_from_archive(struct dj_archive_reader *reader,
                                          struct dj_transfer_source *out_source)
{
    *out_source =
        (struct dj_transfer_source){.ctx = reader, .next = next_archived, .close = close_reader};
    return DEJA_OK;
}

static enum deja_status put_archive(void *ctx, const struct dj_archive_item *item,
                                    struct deja_error *error)
{
    return item->is_document ? dj_archive_put_document(ctx, &item->document, error)
                             : dj_archive_put(ctx, item->entry, item->vector, item->dim, error);
}

static enum deja_status finish_archive(void *ctx, struct deja_error *error)
{
    return dj_archive_finish(ctx, NULL, error);
}

static void close_writer(void *ctx)
{
    dj_archive_destroy(ctx);
}

enum deja_status dj_transfer_into_archive(struct dj_archive_writer *writer,
                                          struct dj_transfer_sink *out_sink)
{
    *out_sink = (struct dj_transfer_sink){
        .ctx = writer, .put = put_archive, .finish = finish_archive, .close = close_writer};
    return DEJA_OK;
}

/* ---- the run ---- */

enum deja_status dj_transfer_run(struct dj_transfer_source *source, struct dj_transfer_sink *sink,
                                 const _Atomic bool *is_cancelled,
                                 struct dj_transfer_counts *counts, struct deja_error *error)
{
    struct dj_archive_item item;
    enum deja_status status = DEJA_OK;
    while (status == DEJA_OK) {
        if (atomic_load(is_cancelled))
            return deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped");
        status = source->next(source->ctx, &item, error);
        if (status != DEJA_OK)
            break;
        if (!item.is_document) {
            atomic_fetch_add(&counts->items, 1);
            atomic_fetch_add(&counts->bytes, item.entry->body.len);
        }
        status = sink->put(sink->ctx, &item, error);
    }
    return status == DEJA_ERR_NOT_FOUND ? sink->finish(sink->ctx, error) : status;
}
