/* daemon/schedules_document.c - a schedule as a document: what is kept, and what is told. */
#include "base/alloc.h"
#include "base/date.h"
#include "daemon/schedules_internal.h"

void dj_schedule_destroy(struct dj_schedule *schedule)
{
    if (!schedule)
        return;
    dj_free(schedule->document);
    dj_free(schedule);
}

static void put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    if (ms)
        dj_date_rfc3339(ms, text);
    dj_json_member_text(w, name, ms ? text : NULL);
}

void dj_schedule_put_text(struct dj_json_writer *w, const char *name, struct deja_slice text)
{
    dj_json_key(w, name);
    if (text.len)
        dj_json_put_string(w, text);
    else
        dj_json_put_null(w);
}

/* invalidate: its JSON. is_kept: with what only we read. */
void dj_schedule_write(struct dj_json_writer *w, const struct dj_schedule_facts *facts,
                       struct deja_slice invalidate, bool is_kept)
{
    char id[DJ_SCHEDULE_KEY_BYTES + 1];
    dj_schedule_key(facts->id, id);
    dj_json_begin_object(w);
    dj_json_member_text(w, "id", id);
    if (is_kept) {
        char tenant[DJ_TENANT_TEXT_BYTES];
        dj_tenant_text(facts->tenant, tenant);
        dj_json_member_text(w, "tenant", tenant);
        dj_json_member_u64(w, "next_ms", (uint64_t)facts->next_ms);
        dj_json_member_u64(w, "created_ms", (uint64_t)facts->created_ms);
        dj_json_member_u64(w, "last_ms", (uint64_t)facts->last_ms);
    } else {
        put_time(w, "next_at", facts->next_ms);
        put_time(w, "created_at", facts->created_ms);
        put_time(w, "last_run_at", facts->last_ms);
    }
    dj_schedule_put_text(w, "cron", facts->cron);
    dj_schedule_put_text(w, "by", facts->by);
    dj_json_member_u64(w, "runs", (uint64_t)facts->runs);
    dj_json_member_u64(w, "last_removed", (uint64_t)facts->last_removed);
    dj_schedule_put_text(w, "last_error", facts->last_error);
    dj_json_key(w, "invalidate");
    dj_json_put_raw(w, invalidate);
    dj_json_end_object(w);
}

/* Slices are borrowed from doc. */
enum deja_status dj_schedule_read(const struct dj_json *root, struct dj_schedule_facts *out_facts)
{
    struct dj_schedule_facts facts = {
        .cron = dj_json_string(dj_json_get(root, "cron")),
        .by = dj_json_string(dj_json_get(root, "by")),
        .created_ms = dj_json_i64(dj_json_get(root, "created_ms"), 0),
        .next_ms = dj_json_i64(dj_json_get(root, "next_ms"), -1),
        .last_ms = dj_json_i64(dj_json_get(root, "last_ms"), 0),
        .runs = dj_json_i64(dj_json_get(root, "runs"), 0),
        .last_removed = dj_json_i64(dj_json_get(root, "last_removed"), 0),
        .last_error = dj_json_string(dj_json_get(root, "last_error")),
    };
    if (dj_hex_decode(dj_json_string(dj_json_get(root, "id")), facts.id, sizeof facts.id) !=
            DEJA_OK ||
        dj_tenant_parse(dj_json_string(dj_json_get(root, "tenant")), facts.tenant) != DEJA_OK ||
        facts.next_ms < 0)
        return DEJA_ERR_INVALID;
    *out_facts = facts;
    return DEJA_OK;
}

enum deja_status dj_schedule_make(struct deja_slice document, struct dj_schedule **out_schedule)
{
    struct dj_json_doc *doc = NULL;
    struct dj_schedule_facts facts;
    enum deja_status status = dj_json_parse(document, &doc, NULL);
    if (status == DEJA_OK)
        status = dj_schedule_read(dj_json_root(doc), &facts);
    struct dj_schedule *made = status == DEJA_OK ? dj_alloc_zeroed(1, sizeof *made) : NULL;
    if (status == DEJA_OK && made) {
        dj_list_init(&made->node);
        memcpy(made->id, facts.id, sizeof made->id);
        memcpy(made->tenant, facts.tenant, sizeof made->tenant);
        made->next_ms = facts.next_ms;
        made->document = dj_strdup(document);
        made->document_len = document.len;
    }
    dj_json_doc_destroy(doc);
    if (status == DEJA_OK && (!made || !made->document)) {
        dj_schedule_destroy(made);
        return DEJA_ERR_NOMEM;
    }
    if (status == DEJA_OK)
        *out_schedule = made;
    return status;
}
