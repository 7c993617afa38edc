/* daemon/transfers_report.c - what a check found, told one by one; see transfers.h. */
#include "base/base64.h"
#include "base/num.h"
#include "daemon/transfers_internal.h"
#include "proto/entry_json.h"
#include "proto/json.h"
#include "security/detector.h"
#include "text/utf8.h"

#define NAME_BYTES_MAX 200u

static bool is_sensitive(const struct transfer *transfer, struct deja_slice text)
{
    struct dj_findings findings = {.spans = NULL};
    enum deja_status status =
        dj_detector_scan(transfer->transfers->daemon->detector, DJ_SENSITIVE_ALL, text, &findings);
    bool is_found = status != DEJA_OK || findings.classes || findings.is_limited;
    dj_findings_fini(&findings);
    return is_found;
}

/* Without half a character at its end. */
static struct deja_slice cut(struct deja_slice text)
{
    size_t len = text.len < NAME_BYTES_MAX ? text.len : NAME_BYTES_MAX;
    while (len < text.len && len && ((unsigned char)text.data[len] & 0xc0) == 0x80)
        len--;
    return deja_slice(text.data, len);
}

/* A plain key, or the question. */
static void put_name(struct dj_json_writer *w, const struct transfer *transfer,
                     const struct dj_entry *entry)
{
    bool is_key = entry->kind == DJ_ENTRY_PLAIN;
    struct deja_slice name = entry->query;
    struct dj_buf coded = {0};
    if (is_sensitive(transfer, name)) {
        dj_json_member_bool(w, "sensitive", true);
    } else if (name.len && dj_utf8_is_valid(name)) {
        dj_json_key(w, is_key ? "key" : "query");
        dj_json_put_string(w, cut(name));
    } else if (name.len) {
        dj_base64_encode(
            deja_slice(name.data, name.len < NAME_BYTES_MAX ? name.len : NAME_BYTES_MAX), &coded);
        dj_json_key(w, is_key ? "key_base64" : "query_base64");
        dj_json_put_string(w, dj_buf_slice(&coded));
    }
    dj_buf_fini(&coded);
}

static void put_side(struct dj_json_writer *w, const char *side, const struct dj_entry *entry)
{
    if (!entry)
        return;
    dj_json_key(w, side);
    dj_json_begin_object(w);
    dj_json_member_u64(w, "version", entry->version);
    dj_json_member_u64(w, "bytes", entry->body.len);
    transfer_put_time(w, "expires_at", entry->expires_ms);
    dj_json_end_object(w);
}

static void put_difference(struct dj_json_writer *w, const struct transfer *transfer,
                           const struct transfer_difference *difference)
{
    const struct dj_entry *entry = difference->source ? difference->source : difference->target;
    char id[2 * DJ_ID_BYTES + 1];
    char tenant[DJ_TENANT_TEXT_BYTES];
    dj_hex_encode(entry->id, sizeof entry->id, id);
    dj_tenant_text(entry->tenant, tenant);
    dj_json_begin_object(w);
    dj_json_member_text(w, "what", difference->what);
    dj_json_member_text(w, "tenant", tenant);
    dj_json_member_text(w, "id", id);
    dj_json_member_text(w, "kind", dj_entry_kind_text(entry->kind));
    put_name(w, transfer, entry);
    if (difference->fields)
        dj_json_member_text(w, "fields", difference->fields);
    put_side(w, "source", difference->source);
    put_side(w, "target", difference->target);
    dj_json_end_object(w);
}

void transfer_report(struct transfer *transfer, const struct transfer_difference *difference)
{
    struct dj_buf item = {0};
    struct dj_json_writer w = dj_json_writer(&item);
    if (transfer->report_count >= TRANSFER_REPORT_MAX)
        return; /* written by this thread alone */
    put_difference(&w, transfer, difference);
    pthread_mutex_lock(&transfer->transfers->mutex);
    if (item.status == DEJA_OK) {
        if (transfer->report_count++)
            dj_buf_append_byte(&transfer->report, ',');
        dj_buf_append_slice(&transfer->report, dj_buf_slice(&item));
    }
    pthread_mutex_unlock(&transfer->transfers->mutex);
    dj_buf_fini(&item);
}
