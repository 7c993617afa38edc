/* proxy/trace.c - see trace.h. */
#include "proxy/trace.h"

#include "base/num.h"
#include "base/slice.h"
#include "crypto/digest.h"

/* Lower case only: the recommendation calls upper case invalid. */
static bool is_hex(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.data[i] >= '0' && text.data[i] <= '9') ||
              (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    return true;
}

static bool is_zero(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != '0')
            return false;
    return true;
}

/* Later versions may be longer, after another dash. */
static bool is_traceparent(struct deja_slice value)
{
    static const size_t dashes[] = {2, 35, 52};
    const size_t len = DJ_TRACEPARENT_BYTES - 1;
    if (value.len < len || (value.len > len && value.data[len] != '-'))
        return false;
    for (size_t i = 0; i < sizeof dashes / sizeof *dashes; i++)
        if (value.data[dashes[i]] != '-')
            return false;
    struct deja_slice version = deja_slice(value.data, 2);
    struct deja_slice trace = deja_slice(value.data + 3, 32);
    struct deja_slice span = deja_slice(value.data + 36, 16);
    bool is_first_version = is_zero(version);
    return is_hex(version) && is_hex(trace) && is_hex(span) &&
           is_hex(deja_slice(value.data + 53, 2)) && !is_zero(trace) && !is_zero(span) &&
           !dj_slice_is(version, "ff") && (!is_first_version || value.len == len);
}

static void make_hex(size_t byte_count, char *out_text)
{
    uint8_t bytes[16];
    dj_random_bytes(bytes, byte_count);
    bytes[0] |= 1; /* all zeros would be no id */
    dj_hex_encode(bytes, byte_count, out_text);
}

void dj_trace_read(const struct dj_http_request *request, struct dj_trace *out_trace)
{
    struct deja_slice value = dj_http_find_header(request, "traceparent");
    if (!value.data)
        return;
    *out_trace = (struct dj_trace){.is_restarted = !is_traceparent(value)};
    if (out_trace->is_restarted) {
        make_hex(16, out_trace->id);
        memcpy(out_trace->flags, "00", sizeof "00");
        return;
    }
    memcpy(out_trace->id, value.data + 3, 32);
    memcpy(out_trace->flags, value.data + 53, 2);
}

void dj_trace_write(const struct dj_trace *trace, char out_text[DJ_TRACEPARENT_BYTES])
{
    char span[17];
    make_hex(8, span);
    memcpy(out_text, "00-", 3);
    memcpy(out_text + 3, trace->id, 32);
    out_text[35] = '-';
    memcpy(out_text + 36, span, 16);
    out_text[52] = '-';
    memcpy(out_text + 53, trace->flags, sizeof trace->flags);
}

const char *dj_trace_id(const struct dj_trace *trace)
{
    return trace->id[0] ? trace->id : NULL;
}
