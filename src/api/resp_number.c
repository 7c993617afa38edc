/* api/resp_number.c - INCR and its kin, APPEND: values made of the ones before. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "base/num.h"
#include "proxy/tenant_rules.h"

static const char not_integer[] = "ERR value is not an integer or out of range";
static const char not_float[] = "ERR value is not a valid float";

/* ---- INCR ---- */

/* As dj_resp_take_integer. */
static bool read_integer(struct deja_slice text, int64_t *out_value)
{
    size_t sign = text.len > 0 && text.data[0] == '-';
    bool is_plain = text.len > sign && text.data[sign] >= '0' && text.data[sign] <= '9' &&
                    (text.data[sign] != '0' || text.len == 1);
    return is_plain && dj_num_parse_i64(text, out_value) == DEJA_OK;
}

/* What is there with another body. */
static enum dj_plain_verdict put_text(struct dj_resp_write *write, const struct dj_entry *now,
                                      struct deja_slice body, struct dj_plain_new *out_new)
{
    if (now)
        dj_resp_copy_entry(write, now, out_new);
    else if (write->cut_ms)
        out_new->expires_ms = write->cut_ms;
    if (!now)
        out_new->metadata = write->parts->metadata; /* of its key */
    out_new->body = body;
    return DJ_PLAIN_PUT;
}

static enum dj_plain_verdict add_integer(struct dj_resp_part *part, const struct dj_entry *now,
                                         int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    int64_t value = 0;
    (void)now_ms;
    write->fault = NULL;
    if (now && !read_integer(now->body, &value))
        write->fault = not_integer;
    else if (__builtin_add_overflow(value, write->number, &value))
        write->fault = "ERR increment or decrement would overflow";
    if (write->fault)
        return DJ_PLAIN_KEEP;
    int len = snprintf(write->text, sizeof write->text, "%lld", (long long)value);
    return put_text(write, now, deja_slice(write->text, (size_t)len), out_new);
}

static void reply_number(struct dj_resp_write *write, struct dj_buf *out)
{
    dj_buf_append_byte(out, ':');
    dj_buf_append_text(out, write->text);
    dj_buf_append(out, "\r\n", 2);
}

/* Of a number only the key is looked at: a counter that happens to look like a card is none. */
static enum dj_resp_flow start(struct dj_resp_client *client, struct dj_resp_write *write,
                               struct dj_buf *out)
{
    write->cut_ms = dj_resp_cut_expiry(client, 0, dj_loop_now_ms(client->loop));
    return dj_resp_write_judge(write, out);
}

static enum dj_resp_flow add(struct dj_resp_client *client, const struct dj_resp_args *args,
                             int64_t number, struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    write->number = number;
    write->change = add_integer;
    write->written = reply_number;
    return start(client, write, out);
}

enum dj_resp_flow dj_resp_incr(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    return add(client, args, 1, out);
}

enum dj_resp_flow dj_resp_decr(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    return add(client, args, -1, out);
}

enum dj_resp_flow dj_resp_incrby(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    int64_t number = 0;
    return dj_resp_take_integer(args->items[2], &number, out) ? add(client, args, number, out)
                                                              : DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_decrby(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    int64_t number = 0;
    if (!dj_resp_take_integer(args->items[2], &number, out))
        return DJ_RESP_ANSWERED;
    if (number == INT64_MIN) {
        dj_resp_put_error(out, "ERR decrement would overflow");
        return DJ_RESP_ANSWERED;
    }
    return add(client, args, -number, out);
}

/* ---- INCRBYFLOAT ---- */

/* Decimal, as Redis writes and reads them: long double, so that 0.1 + 0.2 is 0.3. Infinities and
 * hexadecimal numbers are none. */
static bool read_real(struct deja_slice text, long double *out_value)
{
    char copy[256];
    char *end = NULL;
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!memchr("0123456789+-.eE", text.data[i], 15))
            return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    long double value = strtold(copy, &end);
    if (end != copy + text.len || (errno == ERANGE && (isinf(value) || value == 0)))
        return false;
    *out_value = value;
    return true;
}

/* "%.17Lf" without the zeros at its end; false: too long for anybody. */
static bool write_real(long double value, char **out_text, size_t *out_len)
{
    char text[5 * 1024];
    int len = snprintf(text, sizeof text, "%.17Lf", value);
    if (len <= 0 || (size_t)len >= sizeof text)
        return false;
    while (len > 1 && text[len - 1] == '0')
        len--;
    if (text[len - 1] == '.')
        len--;
    if (len == 2 && text[0] == '-' && text[1] == '0') {
        text[0] = '0';
        len = 1;
    }
    *out_text = dj_strdup(deja_slice(text, (size_t)len));
    *out_len = (size_t)len;
    return *out_text != NULL;
}

static enum dj_plain_verdict add_real(struct dj_resp_part *part, const struct dj_entry *now,
                                      int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    long double value = 0;
    size_t len = 0;
    (void)now_ms;
    write->fault = NULL;
    if (now && !read_real(now->body, &value))
        write->fault = not_float;
    value += write->real;
    if (!write->fault && (isnan(value) || isinf(value)))
        write->fault = "ERR increment would produce NaN or Infinity";
    if (write->fault)
        return DJ_PLAIN_KEEP;
    dj_free(write->made);
    write->made = NULL;
    if (!write_real(value, &write->made, &len)) {
        write->fault = "OOM out of memory";
        return DJ_PLAIN_KEEP;
    }
    return put_text(write, now, deja_slice(write->made, len), out_new);
}

static void reply_made(struct dj_resp_write *write, struct dj_buf *out)
{
    dj_resp_put_text(out, write->made);
}

enum dj_resp_flow dj_resp_incrbyfloat(struct dj_resp_client *client,
                                      const struct dj_resp_args *args, struct dj_buf *out)
{
    long double number = 0;
    if (!read_real(args->items[2], &number)) {
        dj_resp_put_error(out, "%s", not_float);
        return DJ_RESP_ANSWERED;
    }
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    write->real = number;
    write->change = add_real;
    write->written = reply_made;
    return start(client, write, out);
}

/* ---- APPEND ---- */

static enum dj_plain_verdict append(struct dj_resp_part *part, const struct dj_entry *now,
                                    int64_t now_ms, struct dj_plain_new *out_new)
{
    struct dj_resp_write *write = part->write;
    struct deja_slice head = now ? now->body : deja_slice(NULL, 0);
    size_t len = head.len + part->value.len;
    (void)now_ms;
    write->fault = NULL;
    dj_free(write->made);
    write->made = NULL;
    if (len > (size_t)write->number)
        write->fault = "ERR string exceeds maximum allowed size";
    else if (!(write->made = dj_alloc(len ? len : 1)))
        write->fault = "OOM out of memory";
    if (write->fault)
        return DJ_PLAIN_KEEP;
    if (head.len)
        memcpy(write->made, head.data, head.len);
    if (part->value.len)
        memcpy(write->made + head.len, part->value.data, part->value.len);
    enum dj_plain_verdict verdict = put_text(write, now, deja_slice(write->made, len), out_new);
    if (!dj_resp_judge_made(part, head.len, out_new))
        return DJ_PLAIN_KEEP;
    snprintf(write->text, sizeof write->text, "%zu", out_new->body.len);
    return verdict;
}

enum dj_resp_flow dj_resp_append(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 2, 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    const struct dj_rules *rules = client->who.rules;
    uint64_t own_max = rules ? dj_rules_of(rules)->limits.entry_bytes_max : 0;
    write->number =
        (int64_t)(own_max && own_max < DJ_PLAIN_VALUE_BYTES_MAX ? own_max
                                                                : DJ_PLAIN_VALUE_BYTES_MAX);
    write->change = append;
    write->written = reply_number;
    dj_resp_write_keep_rules(write);
    return start(client, write, out);
}
