/* cache/notices.c - see notices.h.
 *
 * (1) Numbers grow by one; the notice of number n is in slot n % DJ_NOTICES_KEPT until another
 *     takes it or the bytes are needed. A slot without its number was lost.
 * (2) A reader is woken by its own task, which is under way at most once; a reader that is closed
 *     meanwhile is freed by the task.
 */
#include "cache/notices.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/date.h"
#include "base/list.h"
#include "security/tenant.h"
#include "text/utf8.h"

struct kept {
    struct dj_notice notice; /* first: what callers hold */
    _Atomic uint32_t refs;
    size_t bytes;
};

struct dj_notices {
    pthread_mutex_t lock;
    struct kept *slots[DJ_NOTICES_KEPT]; /* references */
    uint64_t last;                       /* number of the newest */
    uint64_t first;                      /* of the oldest that is kept; last + 1: none */
    size_t bytes;
    struct dj_list readers;
};

struct dj_notices_reader {
    struct dj_list node;
    struct dj_notices *notices;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    bool is_of_all;
    bool is_posted; /* under the lock, as is the next */
    bool is_closed;
    uint64_t place; /* the last number that was looked at; its loop's, as is the next */
    uint64_t lost;
    struct dj_task task;
    void *ctx;
    dj_notices_news_fn *news;
};

const char *dj_notice_source_text(enum dj_notice_source source)
{
    static const char *const texts[] = {"here", "node", "redis", "postgres"};
    return texts[source];
}

void dj_notice_put_text(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    char piece[256];
    dj_json_key(w, name);
    if (!text.len) {
        dj_json_put_null(w);
        return;
    }
    if (dj_utf8_is_valid(text)) {
        dj_json_put_string(w, text);
        return;
    }
    size_t len = text.len < sizeof piece ? text.len : sizeof piece;
    for (size_t i = 0; i < len; i++)
        piece[i] = (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
    dj_json_put_string(w, deja_slice(piece, len));
}

void dj_notice_write(struct dj_json_writer *w, const struct dj_notice *notice, bool is_for_all)
{
    char text[DJ_TENANT_TEXT_BYTES];
    char time[DJ_DATE_RFC3339_BYTES];
    dj_json_begin_object(w);
    dj_date_rfc3339(notice->time_ms, time);
    dj_json_member_text(w, "time", time);
    if (is_for_all) {
        dj_tenant_text(notice->tenant, text);
        dj_json_member_text(w, "tenant", text);
    }
    dj_json_member_text(w, "kind", notice->kind);
    dj_notice_put_text(w, "name", notice->name);
    dj_json_key(w, "namespace");
    if (notice->name_space.data)
        dj_json_put_string(w, notice->name_space);
    else
        dj_json_put_null(w);
    dj_notice_put_text(w, "reason", notice->reason);
    dj_json_member_u64(w, "removed", notice->removed);
    dj_json_member_text(w, "source", dj_notice_source_text(notice->source));
    dj_json_end_object(w);
}

static void unref(struct kept *kept)
{
    if (kept && atomic_fetch_sub(&kept->refs, 1) == 1)
        dj_free(kept);
}

void dj_notice_unref(const struct dj_notice *notice)
{
    unref((struct kept *)(uintptr_t)notice);
}

enum deja_status dj_notices_create(struct dj_notices **out_notices)
{
    struct dj_notices *notices = dj_alloc_zeroed(1, sizeof *notices);
    if (!notices)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&notices->lock, NULL) != 0) {
        dj_free(notices);
        return DEJA_ERR_NOMEM;
    }
    notices->first = 1;
    dj_list_init(&notices->readers);
    *out_notices = notices;
    return DEJA_OK;
}

void dj_notices_destroy(struct dj_notices *notices)
{
    if (!notices)
        return;
    for (size_t i = 0; i < DJ_NOTICES_KEPT; i++)
        unref(notices->slots[i]);
    pthread_mutex_destroy(&notices->lock);
    dj_free(notices);
}

/* ---- publishing ---- */

static struct deja_slice copy(char **cursor, struct deja_slice text, size_t len_max)
{
    size_t len = text.len < len_max ? text.len : len_max;
    char *at = *cursor;
    if (len)
        memcpy(at, text.data, len);
    *cursor += len;
    return deja_slice(text.data ? at : NULL, len);
}

static struct kept *keep(const struct dj_notice *notice)
{
    size_t name =
        notice->name.len < DJ_NOTICE_NAME_BYTES_MAX ? notice->name.len : DJ_NOTICE_NAME_BYTES_MAX;
    size_t reason = notice->reason.len < DJ_NOTICE_REASON_BYTES_MAX ? notice->reason.len
                                                                    : DJ_NOTICE_REASON_BYTES_MAX;
    size_t bytes = sizeof(struct kept) + name + reason + notice->name_space.len + 1;
    struct kept *kept = dj_alloc(bytes);
    if (!kept)
        return NULL;
    char *cursor = (char *)(kept + 1);
    kept->notice = *notice;
    kept->bytes = bytes;
    kept->notice.name = copy(&cursor, notice->name, name);
    kept->notice.name_space = copy(&cursor, notice->name_space, notice->name_space.len);
    kept->notice.reason = copy(&cursor, notice->reason, reason);
    atomic_init(&kept->refs, 1);
    return kept;
}

static void drop_first(struct dj_notices *notices)
{
    struct kept **slot = &notices->slots[notices->first % DJ_NOTICES_KEPT];
    if (*slot)
        notices->bytes -= (*slot)->bytes;
    unref(*slot);
    *slot = NULL;
    notices->first++;
}

static void on_posted(void *ctx)
{
    struct dj_notices_reader *reader = ctx;
    pthread_mutex_lock(&reader->notices->lock);
    reader->is_posted = false;
    bool is_closed = reader->is_closed;
    pthread_mutex_unlock(&reader->notices->lock);
    if (is_closed)
        dj_free(reader);
    else
        reader->news(reader->ctx);
}

/* Under the lock. */
static void wake(struct dj_notices_reader *reader)
{
    if (reader->is_posted)
        return;
    reader->is_posted = true;
    reader->task = (struct dj_task){.run = on_posted, .ctx = reader};
    dj_loop_post(reader->loop, &reader->task);
}

static bool is_for(const struct dj_notices_reader *reader, const struct dj_notice *notice)
{
    return reader->is_of_all || memcmp(reader->tenant, notice->tenant, DJ_ID_BYTES) == 0;
}

void dj_notices_publish(struct dj_notices *notices, const struct dj_notice *notice)
{
    if (!notices)
        return;
    struct kept *kept = keep(notice);
    pthread_mutex_lock(&notices->lock);
    uint64_t number = ++notices->last;
    while (notices->last - notices->first >= DJ_NOTICES_KEPT ||
           (kept && notices->first < number && notices->bytes + kept->bytes > DJ_NOTICES_BYTES_MAX))
        drop_first(notices);
    notices->slots[number % DJ_NOTICES_KEPT] = kept;
    if (kept) {
        kept->notice.number = number;
        notices->bytes += kept->bytes;
    }
    for (struct dj_list *node = notices->readers.next; node != &notices->readers;
         node = node->next) {
        struct dj_notices_reader *reader = DJ_CONTAINER(node, struct dj_notices_reader, node);
        if (!kept || is_for(reader, notice))
            wake(reader);
    }
    pthread_mutex_unlock(&notices->lock);
}

uint64_t dj_notices_last(struct dj_notices *notices)
{
    pthread_mutex_lock(&notices->lock);
    uint64_t last = notices->last;
    pthread_mutex_unlock(&notices->lock);
    return last;
}

/* ---- reading ---- */

/* Under the lock: may one of that tenant begin? NULL: of all, of which there are few. */
static bool has_room(const struct dj_notices *notices, const uint8_t *tenant)
{
    uint32_t count = 0;
    uint32_t own = 0;
    for (struct dj_list *node = notices->readers.next; tenant && node != &notices->readers;
         node = node->next) {
        const struct dj_notices_reader *reader = DJ_CONTAINER(node, struct dj_notices_reader, node);
        count += !reader->is_of_all;
        own += !reader->is_of_all && memcmp(reader->tenant, tenant, DJ_ID_BYTES) == 0;
    }
    return count < DJ_NOTICES_READERS_MAX && own < DJ_NOTICES_TENANT_READERS_MAX;
}

enum deja_status dj_notices_open(struct dj_notices *notices, struct dj_loop *loop,
                                 const uint8_t *tenant, uint64_t after, void *ctx,
                                 dj_notices_news_fn *news, struct dj_notices_reader **out_reader)
{
    struct dj_notices_reader *reader = dj_alloc_zeroed(1, sizeof *reader);
    if (!reader)
        return DEJA_ERR_NOMEM;
    *reader = (struct dj_notices_reader){
        .notices = notices, .loop = loop, .is_of_all = !tenant, .ctx = ctx, .news = news};
    if (tenant)
        memcpy(reader->tenant, tenant, DJ_ID_BYTES);
    pthread_mutex_lock(&notices->lock);
    bool is_taken = has_room(notices, tenant);
    if (is_taken) {
        dj_list_push_back(&notices->readers, &reader->node);
        reader->place = after < notices->last ? after : notices->last;
        if (reader->place < notices->last)
            wake(reader);
    }
    pthread_mutex_unlock(&notices->lock);
    if (!is_taken) {
        dj_free(reader);
        return DEJA_ERR_LIMIT;
    }
    *out_reader = reader;
    return DEJA_OK;
}

void dj_notices_close(struct dj_notices_reader *reader)
{
    if (!reader)
        return;
    struct dj_notices *notices = reader->notices;
    pthread_mutex_lock(&notices->lock);
    dj_list_remove(&reader->node);
    reader->is_closed = true;
    bool is_posted = reader->is_posted;
    pthread_mutex_unlock(&notices->lock);
    if (!is_posted)
        dj_free(reader);
}

const struct dj_notice *dj_notices_next(struct dj_notices_reader *reader, uint64_t *out_lost)
{
    struct dj_notices *notices = reader->notices;
    struct kept *found = NULL;
    uint64_t lost = 0;
    pthread_mutex_lock(&notices->lock);
    if (reader->place + 1 < notices->first) {
        lost = notices->first - 1 - reader->place;
        reader->place = notices->first - 1;
    }
    while (!found && reader->place < notices->last) {
        struct kept *kept = notices->slots[++reader->place % DJ_NOTICES_KEPT];
        if (!kept)
            lost++; /* there was no memory for it */
        else if (is_for(reader, &kept->notice))
            found = kept;
    }
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&notices->lock);
    if (out_lost)
        *out_lost = lost;
    return found ? &found->notice : NULL;
}

uint64_t dj_notices_place(const struct dj_notices_reader *reader)
{
    return reader->place;
}
