/* security/audit_event.c - an event as the middle of its line. The order of members is fixed, and
 * no value is left to the reader: what is not there is not written. */
#include "security/audit_internal.h"

#include "base/date.h"
#include "base/num.h"
#include "base/slice.h"
#include "proto/json.h"
#include "text/utf8.h"

#define EVENT_ID_BYTES 16u

const char *dj_audit_type_text(enum dj_audit_type type)
{
    static const char *const texts[DJ_AUDIT_TYPE_COUNT] = {
        [DJ_AUDIT_ADMIN] = "admin",     [DJ_AUDIT_KEY] = "key",
        [DJ_AUDIT_ERASURE] = "erasure", [DJ_AUDIT_ACCESS] = "access",
        [DJ_AUDIT_LOG] = "audit",       [DJ_AUDIT_CACHE_OPERATION] = "cache_operation",
    };
    return texts[type];
}

static const char *origin_text(const struct dj_principal *who)
{
    static const char *const texts[] = {
        [DJ_ORIGIN_LOCAL] = "local",       [DJ_ORIGIN_CREDENTIAL] = "credential",
        [DJ_ORIGIN_KEY] = "key",           [DJ_ORIGIN_CERTIFICATE] = "certificate",
        [DJ_ORIGIN_OPERATOR] = "operator",
    };
    return who ? texts[who->origin] : "deja";
}

/* Bounded, and valid UTF-8 whatever it was. */
static void put_safe(struct dj_json_writer *w, const char *name, const char *text)
{
    char safe[DJ_AUDIT_TEXT_BYTES_MAX];
    size_t len = text ? strlen(text) : 0;
    if (!text)
        return;
    len = len < sizeof safe ? len : sizeof safe;
    memcpy(safe, text, len);
    if (!dj_utf8_is_valid(deja_slice(safe, len)))
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)safe[i] >= 0x80)
                safe[i] = '?';
    dj_json_key(w, name);
    dj_json_put_string(w, deja_slice(safe, len));
}

static void put_id(struct dj_json_writer *w, const char *name, const uint8_t *bytes, size_t len)
{
    char hex[2 * EVENT_ID_BYTES + 1];
    dj_hex_encode(bytes, len, hex);
    dj_json_member_text(w, name, hex);
}

/* The caller's object, if it is one and not too long, with the error as its first member. */
static void put_metadata(struct dj_json_writer *w, const struct dj_audit_event *event)
{
    struct deja_slice text = deja_slice_text(event->metadata);
    struct dj_json_doc *doc = NULL;
    bool is_object = text.len && text.len <= DJ_AUDIT_METADATA_BYTES_MAX &&
                     dj_json_parse(text, &doc, NULL) == DEJA_OK &&
                     dj_json_is(dj_json_root(doc), DJ_JSON_OBJECT);
    if (is_object || event->error || text.len) {
        dj_json_key(w, "metadata");
        dj_json_begin_object(w);
        put_safe(w, "error", event->error);
        if (is_object)
            for (struct dj_json_walk member = dj_json_walk(dj_json_root(doc));
                 dj_json_walk_next(&member);) {
                if (event->error && dj_slice_is(member.key, "error"))
                    continue;
                dj_json_key_slice(w, member.key);
                dj_json_put_value(w, member.value);
            }
        else if (text.len)
            dj_json_member_bool(w, "metadata_left_out", true);
        dj_json_end_object(w);
    }
    dj_json_doc_destroy(doc);
}

static void put_who(struct dj_json_writer *w, const struct dj_audit_event *event)
{
    const struct dj_principal *who = event->who;
    const uint8_t *tenant = event->tenant            ? event->tenant
                            : who && who->has_tenant ? who->tenant
                                                     : NULL;
    char text[DJ_TENANT_TEXT_BYTES];
    dj_json_member_text(w, "actor", origin_text(who));
    if (tenant) {
        dj_tenant_text(tenant, text);
        dj_json_member_text(w, "tenant_id", text);
    }
    if (who && who->has_tenant && event->tenant && who->origin != DJ_ORIGIN_OPERATOR &&
        memcmp(who->tenant, event->tenant, DJ_TENANT_BYTES) != 0) {
        dj_tenant_text(who->tenant, text);
        dj_json_member_text(w, "actor_tenant_id", text);
    }
    if (who && who->key_id[0])
        put_safe(w, "key_id", who->key_id);
    if (who && who->has_user)
        put_id(w, "user_id", who->user, sizeof who->user);
}

enum deja_status dj_audit_event_write(const struct dj_audit_event *event, int64_t now_ms,
                                      struct dj_buf *out)
{
    uint8_t id[EVENT_ID_BYTES];
    char time[DJ_DATE_RFC3339_BYTES];
    struct dj_buf object = {0};
    struct dj_json_writer w = dj_json_writer(&object);
    dj_random_bytes(id, sizeof id);
    dj_date_rfc3339(now_ms, time);
    dj_json_begin_object(&w);
    put_id(&w, "event_id", id, sizeof id);
    dj_json_member_text(&w, "time", time);
    dj_json_member_text(&w, "event_type", dj_audit_type_text(event->type));
    put_safe(&w, "operation", event->operation);
    dj_json_member_text(&w, "result", event->is_failure ? "failure" : "success");
    put_who(&w, event);
    put_safe(&w, "resource", event->resource);
    if (event->duration_us)
        dj_json_member_u64(&w, "duration_us", event->duration_us);
    put_metadata(&w, event);
    put_safe(&w, "request_id", event->request_id);
    put_safe(&w, "trace_id", event->trace_id);
    dj_json_end_object(&w);
    if (object.status == DEJA_OK) {
        dj_buf_append_byte(out, ',');
        dj_buf_append(out, object.data + 1, object.len - 2); /* without its braces */
    }
    enum deja_status status = object.status == DEJA_OK ? out->status : object.status;
    dj_buf_fini(&object);
    return status;
}
