/* proxy/audit_note.c - see audit_note.h. */
#include "proxy/audit_note.h"

#include <stdio.h>

#include "base/num.h"

#define METADATA_BYTES 160u /* constant words only */

static bool is_looked_for(enum dj_result result)
{
    return result != DJ_RESULT_BYPASS && result != DJ_RESULT_REFRESH;
}

void dj_audit_note_lookup(struct dj_audit *audit, const struct dj_lookup_note *note)
{
    char id[2 * DJ_ID_BYTES + 1] = "";
    char metadata[METADATA_BYTES];
    if (!audit || !dj_audit_wants(note->who->rules, false) || !is_looked_for(note->result))
        return;
    if (note->entry_id)
        dj_hex_encode(note->entry_id, DJ_ID_BYTES, id);
    snprintf(metadata, sizeof metadata, "{\"api\":\"%s\",\"result\":\"%s\",\"tier\":\"%s\"}",
             note->api, dj_result_text(note->result), note->level);
    const struct dj_audit_event event = {.type = DJ_AUDIT_CACHE_OPERATION,
                                         .who = note->who,
                                         .operation = "entry.lookup",
                                         .resource = note->entry_id ? id : NULL,
                                         .is_failure = note->result == DJ_RESULT_ERROR,
                                         .duration_us = note->duration_us,
                                         .metadata = metadata,
                                         .request_id = note->request_id,
                                         .trace_id = note->trace_id};
    dj_audit_note(audit, &event, note->now_ms);
}

void dj_audit_note_store(struct dj_audit *audit, const struct dj_store_note *note)
{
    char id[2 * DJ_ID_BYTES + 1];
    if (!audit || !dj_audit_wants(note->rules, true))
        return;
    dj_hex_encode(note->key.id, DJ_ID_BYTES, id);
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_CACHE_OPERATION,
        .tenant = note->key.tenant,
        .operation = "entry.put",
        .resource = id,
        .is_failure = note->status != DEJA_OK,
        .error = note->status != DEJA_OK ? deja_status_text(note->status) : NULL,
        .duration_us = note->duration_us,
        .metadata = note->is_stored ? "{\"by\":\"proxy\"}" : "{\"by\":\"proxy\",\"outrun\":true}"};
    dj_audit_note(audit, &event, note->now_ms);
}
