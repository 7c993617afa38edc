/* Small values out of text: what is read is written and read again as the same; what is refused
 * changes nothing. The first byte says which kind.
 */
#include "fuzz.h"

#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/num.h"
#include "config/option_value.h"
#include "net/outbound.h"
#include "proto/form.h"
#include "base/base64.h"
#include "security/tenant.h"

#define UNSET 0x5a5a5a5a5a5a5a5a

static void check_integers(struct deja_slice text)
{
    uint64_t u = UNSET;
    uint64_t u_again = 0;
    int64_t i = UNSET;
    int64_t i_again = 0;
    char digits[32];
    if (dj_num_parse_u64(text, &u) == DEJA_OK) {
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)u);
        FUZZ_CHECK(dj_num_parse_u64(deja_slice_text(digits), &u_again) == DEJA_OK && u == u_again);
    } else {
        FUZZ_CHECK(u == UNSET);
    }
    if (dj_num_parse_i64(text, &i) == DEJA_OK) {
        snprintf(digits, sizeof digits, "%lld", (long long)i);
        FUZZ_CHECK(dj_num_parse_i64(deja_slice_text(digits), &i_again) == DEJA_OK && i == i_again);
    } else {
        FUZZ_CHECK(i == UNSET);
    }
}

static void check_double(struct deja_slice text)
{
    double value = NAN;
    double again = NAN;
    char digits[48];
    if (dj_num_parse_double(text, &value) == DEJA_OK) {
        FUZZ_CHECK(isfinite(value));
        snprintf(digits, sizeof digits, "%.17g", value);
        FUZZ_CHECK(dj_num_parse_double(deja_slice_text(digits), &again) == DEJA_OK);
        FUZZ_CHECK(value == again);
    } else {
        FUZZ_CHECK(isnan(value));
    }
}

static void check_units(struct deja_slice text)
{
    struct dj_buf shown = {0};
    uint64_t value = UNSET;
    uint64_t again = 0;
    if (dj_num_parse_duration(text, &value) == DEJA_OK) {
        dj_duration_show(value, &shown);
        FUZZ_CHECK(dj_num_parse_duration(dj_buf_slice(&shown), &again) == DEJA_OK);
        FUZZ_CHECK(value == again);
    } else {
        FUZZ_CHECK(value == UNSET);
    }
    dj_buf_clear(&shown);
    value = UNSET;
    if (dj_num_parse_size(text, &value) == DEJA_OK) {
        dj_size_show(value, &shown);
        FUZZ_CHECK(dj_num_parse_size(dj_buf_slice(&shown), &again) == DEJA_OK && value == again);
    } else {
        FUZZ_CHECK(value == UNSET);
    }
    dj_buf_fini(&shown);
}

static void check_base64(struct deja_slice text)
{
    struct dj_buf bytes = {0};
    struct dj_buf again = {0};
    struct dj_buf text_again = {0};
    if (dj_base64_decode(text, &bytes) == DEJA_OK) {
        /* Not always the same text: the last digit may have bits to spare. */
        dj_base64_encode(dj_buf_slice(&bytes), &text_again);
        FUZZ_CHECK(text_again.len == text.len);
        FUZZ_CHECK(dj_base64_decode(dj_buf_slice(&text_again), &again) == DEJA_OK);
        FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&again), dj_buf_slice(&bytes)));
    } else {
        FUZZ_CHECK(bytes.len == 0);
    }
    dj_buf_fini(&text_again);
    dj_buf_clear(&bytes);
    dj_buf_clear(&again);
    dj_base64_encode(text, &again);
    FUZZ_CHECK(dj_base64_decode(dj_buf_slice(&again), &bytes) == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&bytes), text));
    dj_buf_fini(&bytes);
    dj_buf_fini(&again);
}

static void check_hex(struct deja_slice text)
{
    uint8_t bytes[64] = {0};
    uint8_t tenant[DJ_TENANT_BYTES] = {0};
    uint8_t tenant_again[DJ_TENANT_BYTES] = {0};
    char shown[2 * sizeof bytes + 1];
    uint8_t bytes_again[64];
    size_t len = text.len / 2 < sizeof bytes ? text.len / 2 : sizeof bytes;
    if (dj_hex_decode(text, bytes, len) == DEJA_OK) {
        FUZZ_CHECK(text.len == 2 * len);
        dj_hex_encode(bytes, len, shown);
        FUZZ_CHECK(dj_hex_decode(deja_slice_text(shown), bytes_again, len) == DEJA_OK);
        FUZZ_CHECK(memcmp(bytes, bytes_again, len) == 0);
    }
    if (dj_tenant_parse(text, tenant) == DEJA_OK) {
        char uuid[DJ_TENANT_TEXT_BYTES];
        dj_tenant_text(tenant, uuid);
        FUZZ_CHECK(text.len == DJ_TENANT_TEXT_BYTES - 1);
        FUZZ_CHECK(dj_tenant_parse(deja_slice_text(uuid), tenant_again) == DEJA_OK);
        FUZZ_CHECK(memcmp(tenant, tenant_again, sizeof tenant) == 0);
    }
}

/* A member found in a query; whatever bytes, escaped whole they come back. */
static void check_form(struct deja_slice text)
{
    struct dj_buf value = {0};
    struct dj_buf query = {0};
    char hex[4];
    enum deja_status status = dj_form_get(text, "q", &value);
    FUZZ_CHECK(status == DEJA_OK || value.len == 0);
    FUZZ_CHECK(status == DEJA_OK || status == DEJA_ERR_NOT_FOUND || status == DEJA_ERR_INVALID);
    struct dj_buf bounded;
    dj_buf_init(&bounded, 8);
    status = dj_form_get(text, "q", &bounded);
    FUZZ_CHECK(status == DEJA_OK ? bounded.len == value.len : bounded.len == 0);
    dj_buf_append_text(&query, "a=1&q=");
    for (size_t i = 0; i < text.len; i++) {
        snprintf(hex, sizeof hex, "%%%02X", (unsigned)(unsigned char)text.data[i]);
        dj_buf_append_text(&query, hex);
    }
    dj_buf_append_text(&query, "&q=2");
    dj_buf_clear(&value);
    FUZZ_CHECK(dj_form_get(dj_buf_slice(&query), "q", &value) == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&value), text));
    dj_buf_clear(&value);
    status = dj_form_segment(text, &value);
    FUZZ_CHECK(status == DEJA_OK ? value.len <= text.len : value.len == 0);
    dj_buf_fini(&bounded);
    dj_buf_fini(&value);
    dj_buf_fini(&query);
}

static void check_url(struct deja_slice text)
{
    struct dj_buf url = {0};
    struct deja_error error = {""};
    dj_buf_append_slice(&url, text);
    dj_buf_append_byte(&url, '\0');
    if (dj_outbound_check_url(url.data, &error) == DEJA_OK) {
        FUZZ_CHECK(strncmp(url.data, "http", 4) == 0 || strncmp(url.data, "HTTP", 4) == 0 ||
                   (url.data[0] | 0x20) == 'h');
        for (const char *c = url.data; *c; c++)
            FUZZ_CHECK((unsigned char)*c > 0x20 && *c != 0x7f);
    } else {
        FUZZ_CHECK(error.message[0]);
    }
    dj_buf_fini(&url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const checks[])(struct deja_slice) = {
        check_integers, check_double, check_units, check_base64, check_hex, check_form, check_url};
    if (len < 2 || len > 4096)
        return 0;
    checks[data[0] % (sizeof checks / sizeof *checks)](deja_slice(data + 1, len - 1));
    return 0;
}
