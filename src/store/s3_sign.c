/* store/s3_sign.c - see s3_sign.h.
 *
 *   canonical request = method, path, query, headers, their names, payload hash; a line each
 *   text to sign      = "AWS4-HMAC-SHA256", time, scope, SHA-256 of the canonical request
 *   key               = HMAC chain over secret, date, region, "s3", "aws4_request"
 *
 * The rules are those AWS publishes ("Create a signed AWS API request"); the unit test holds the
 * four signatures that its documentation of S3 works out, and an integration test compares with a
 * server that checks them.
 */
#include "store/s3_sign.h"

#include <assert.h>
#include <stdio.h>

#include "base/date.h"
#include "base/num.h"
#include "crypto/digest.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

enum { HEX_BYTES = 2 * DJ_SHA256_BYTES + 1, DATE_LEN = 8 };

void dj_s3_time(int64_t now_ms, char out_text[DJ_S3_TIME_BYTES])
{
    char rfc3339[DJ_DATE_RFC3339_BYTES];
    dj_date_rfc3339(now_ms, rfc3339); /* "2013-05-24T00:00:00.000Z" */
    size_t len = 0;
    for (size_t i = 0; i < 19; i++)
        if (rfc3339[i] != '-' && rfc3339[i] != ':')
            out_text[len++] = rfc3339[i];
    memcpy(out_text + len, "Z", 2);
}

void dj_s3_encode(struct dj_buf *buf, struct deja_slice text, bool is_path)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && is_path)) {
            dj_buf_append_byte(buf, (char)c);
        } else {
            const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
            dj_buf_append(buf, escape, sizeof escape);
        }
    }
}

void dj_s3_query_append(struct dj_buf *query, const char *name, struct deja_slice value)
{
    if (query->len)
        dj_buf_append_byte(query, '&');
    dj_s3_encode(query, deja_slice_text(name), false);
    dj_buf_append_byte(query, '=');
    dj_s3_encode(query, value, false);
}

/* Indices of the headers in the order of their names: insertion sort, there are few. */
static void sort_headers(const struct dj_s3_signing *signing, uint8_t *out_order)
{
    for (size_t i = 0; i < signing->header_count; i++) {
        struct deja_slice name = signing->headers[i].name;
        size_t at = i;
        for (; at; at--) {
            struct deja_slice before = signing->headers[out_order[at - 1]].name;
            size_t len = before.len < name.len ? before.len : name.len;
            int order = memcmp(before.data, name.data, len);
            if (order < 0 || (order == 0 && before.len <= name.len))
                break;
            out_order[at] = out_order[at - 1];
        }
        out_order[at] = (uint8_t)i;
    }
}

static void append_names(const struct dj_s3_signing *signing, const uint8_t *order,
                         struct dj_buf *buf)
{
    for (size_t i = 0; i < signing->header_count; i++) {
        if (i)
            dj_buf_append_byte(buf, ';');
        dj_buf_append_slice(buf, signing->headers[order[i]].name);
    }
}

/* Blanks at the ends do not count, and a run of them inside is one. */
static void append_value(struct dj_buf *buf, struct deja_slice value)
{
    bool has_text = false;
    bool is_pending = false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == ' ' || value.data[i] == '\t') {
            is_pending = has_text;
            continue;
        }
        if (is_pending)
            dj_buf_append_byte(buf, ' ');
        is_pending = false;
        has_text = true;
        dj_buf_append_byte(buf, value.data[i]);
    }
}

static void append_canonical(const struct dj_s3_signing *signing, const uint8_t *order,
                             struct dj_buf *buf)
{
    dj_buf_append_text(buf, signing->method);
    dj_buf_append_byte(buf, '\n');
    dj_buf_append_slice(buf, signing->path);
    dj_buf_append_byte(buf, '\n');
    dj_buf_append_slice(buf, signing->query);
    dj_buf_append_byte(buf, '\n');
    for (size_t i = 0; i < signing->header_count; i++) {
        const struct dj_http_header *header = &signing->headers[order[i]];
        dj_buf_append_slice(buf, header->name);
        dj_buf_append_byte(buf, ':');
        append_value(buf, header->value);
        dj_buf_append_byte(buf, '\n');
    }
    dj_buf_append_byte(buf, '\n');
    append_names(signing, order, buf);
    dj_buf_append_byte(buf, '\n');
    dj_buf_append_text(buf, signing->payload_hash);
}

static void derive_key(const struct dj_s3_signing *signing, struct deja_slice date,
                       uint8_t out_key[DJ_SHA256_BYTES], struct dj_buf *scratch)
{
    const struct deja_slice parts[] = {date, deja_slice_text(signing->region),
                                       deja_slice_text("s3"), deja_slice_text("aws4_request")};
    dj_buf_append_text(scratch, "AWS4");
    dj_buf_append_slice(scratch, signing->identity.secret_key);
    dj_hmac_any(dj_buf_slice(scratch), &parts[0], 1, out_key);
    if (scratch->data)
        dj_wipe(scratch->data, scratch->len);
    for (size_t i = 1; i < sizeof parts / sizeof *parts; i++)
        dj_hmac(out_key, &parts[i], 1, out_key);
}

enum deja_status dj_s3_sign(const struct dj_s3_signing *signing, struct dj_buf *out_authorization)
{
    assert(signing->header_count && signing->header_count <= DJ_S3_SIGNED_HEADERS_MAX);
    struct deja_slice date = deja_slice(signing->time, DATE_LEN);
    uint8_t order[DJ_S3_SIGNED_HEADERS_MAX];
    uint8_t digest[DJ_SHA256_BYTES];
    uint8_t key[DJ_SHA256_BYTES];
    char hex[HEX_BYTES];
    struct dj_buf text = {0};
    sort_headers(signing, order);
    append_canonical(signing, order, &text);
    dj_sha256(dj_buf_slice(&text), digest);
    dj_hex_encode(digest, sizeof digest, hex);
    enum deja_status status = text.status;
    dj_buf_fini(&text);

    dj_buf_append_format(&text, ALGORITHM "\n%s\n%.8s/%s/s3/aws4_request\n%s", signing->time,
                         signing->time, signing->region, hex);
    /* Reserved whole: growing would leave a copy of the secret behind in freed memory. */
    struct dj_buf secret = {0};
    if (dj_buf_reserve(&secret, signing->identity.secret_key.len + 4))
        derive_key(signing, date, key, &secret);
    if (status == DEJA_OK)
        status = text.status != DEJA_OK ? text.status : secret.status;
    if (status == DEJA_OK) {
        struct deja_slice whole = dj_buf_slice(&text);
        dj_hmac(key, &whole, 1, digest);
        dj_hex_encode(digest, sizeof digest, hex);
        dj_buf_append_text(out_authorization, ALGORITHM " Credential=");
        dj_buf_append_slice(out_authorization, signing->identity.access_key);
        dj_buf_append_format(out_authorization,
                             "/%.8s/%s/s3/aws4_request,SignedHeaders=", signing->time,
                             signing->region);
        append_names(signing, order, out_authorization);
        dj_buf_append_format(out_authorization, ",Signature=%s", hex);
        status = out_authorization->status;
    }
    dj_wipe(key, sizeof key);
    dj_buf_fini(&secret);
    dj_buf_fini(&text);
    return status;
}
