/* security/audit_recover.c - what a start finds of an audit log, compared with what the authority
 * knows of it; each difference is an event. */
#include <stdio.h>

#include "base/num.h"
#include "base/slice.h"
#include "proto/json.h"
#include "security/audit_internal.h"

enum deja_status dj_audit_head_read(struct deja_slice document, struct dj_audit_head *out_head,
                                    uint8_t out_public[DJ_SIGN_PUBLIC_BYTES])
{
    struct dj_json_doc *doc = NULL;
    struct dj_audit_head head = {.seq = 0};
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    enum deja_status status = dj_json_parse(document, &doc, NULL);
    if (status != DEJA_OK)
        return status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
    const struct dj_json *root = dj_json_root(doc);
    int64_t seq = dj_json_i64(dj_json_get(root, "seq"), -1);
    int64_t first_seq = dj_json_i64(dj_json_get(root, "first_seq"), -1);
    bool is_right = seq >= 0 && first_seq >= 0 &&
                    dj_hex_decode(dj_json_string(dj_json_get(root, "hash")), head.hash,
                                  sizeof head.hash) == DEJA_OK &&
                    dj_hex_decode(dj_json_string(dj_json_get(root, "public_key")), public_key,
                                  sizeof public_key) == DEJA_OK;
    dj_json_doc_destroy(doc);
    if (!is_right)
        return DEJA_ERR_CORRUPT;
    head.seq = (uint64_t)seq;
    head.first_seq = (uint64_t)first_seq;
    *out_head = head;
    memcpy(out_public, public_key, sizeof public_key);
    return DEJA_OK;
}

struct reading {
    bool is_found;
    struct dj_audit_head head;
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
};

static void on_head(void *ctx, struct deja_slice value)
{
    struct reading *reading = ctx;
    reading->is_found = dj_audit_head_read(value, &reading->head, reading->public_key) == DEJA_OK;
}

/* Heads of a log that was here and is not any more. */
struct search {
    const struct dj_audit_folder *folder;
    const char *place;
    struct dj_audit *audit;
    int64_t now_ms;
};

static bool on_each_head(void *ctx, struct deja_slice key, struct deja_slice value)
{
    const struct search *search = ctx;
    struct dj_json_doc *doc = NULL;
    struct reading other = {.is_found = false};
    on_head(&other, value);
    if (!other.is_found || dj_slice_is(key, search->folder->node) ||
        dj_json_parse(value, &doc, NULL) != DEJA_OK)
        return true;
    bool was_here =
        dj_slice_is(dj_json_string(dj_json_get(dj_json_root(doc), "place")), search->place);
    dj_json_doc_destroy(doc);
    if (was_here && key.len < DJ_AUDIT_NODE_TEXT_BYTES) {
        char metadata[96];
        snprintf(metadata, sizeof metadata, "{\"node\":\"%.*s\",\"lines\":%llu}", (int)key.len,
                 key.data, (unsigned long long)other.head.seq);
        const struct dj_audit_event event = {.type = DJ_AUDIT_LOG,
                                             .operation = "audit.missing",
                                             .is_failure = true,
                                             .metadata = metadata};
        dj_audit_note(search->audit, &event, search->now_ms);
    }
    return true;
}

static void note_found(struct dj_audit *audit, const char *operation, const char *member,
                       uint64_t value, int64_t now_ms)
{
    char metadata[96];
    snprintf(metadata, sizeof metadata, "{\"%s\":%llu}", member, (unsigned long long)value);
    const struct dj_audit_event event = {
        .type = DJ_AUDIT_LOG,
        .operation = operation,
        .is_failure = strcmp(operation, "audit.opened") != 0,
        .metadata = metadata,
    };
    dj_audit_note(audit, &event, now_ms);
}

void dj_audit_recover(const struct dj_authority *authority, const char *place,
                      struct dj_audit_folder *folder, const struct dj_audit_found *found,
                      struct dj_audit *audit, int64_t now_ms)
{
    struct reading known = {.is_found = false};
    uint64_t there = folder->seq;
    if (authority) {
        struct search search = {folder, place, audit, now_ms};
        /* One that cannot be asked tells nothing: the log goes on as it is. */
        if (authority->get(authority->ctx, DJ_AUDIT_HEADS_TABLE, deja_slice_text(folder->node),
                           &known, on_head) != DEJA_OK)
            known.is_found = false;
        if (found->is_new && authority->walk(authority->ctx, DJ_AUDIT_HEADS_TABLE, &search,
                                             on_each_head) != DEJA_OK) {
            /* Likewise. */
        }
    }
    bool is_short = known.is_found && known.head.seq > folder->seq;
    if (is_short || (found->is_damaged && known.is_found && known.head.seq == folder->seq)) {
        /* It goes on after what is known to have been written: the gap stays to be seen. */
        folder->seq = known.head.seq;
        memcpy(folder->hash, known.head.hash, sizeof folder->hash);
    }
    note_found(audit, "audit.opened", "lines", there, now_ms);
    if (found->torn_bytes)
        note_found(audit, "audit.torn", "bytes", found->torn_bytes, now_ms);
    if (found->is_damaged)
        note_found(audit, "audit.damaged", "line", there, now_ms);
    if (is_short)
        note_found(audit, "audit.truncated", "lines_known", known.head.seq, now_ms);
}
