/* api/as_of.c - see as_of.h. */
#include "api/as_of.h"

#include "api/query.h"
#include "base/num.h"

#define AHEAD_MAX_US UINT64_C(1000000)
#define AGE_MAX_US (UINT64_C(3600) * 1000000)
#define TOO_OLD 1u
#define MAKE_MS_MAX 86400000u /* a day */

uint64_t dj_as_of_now(const struct dj_request *request)
{
    return dj_engine_next_version(request->api->proxy->engine);
}

void dj_as_of_tell(struct dj_request *request)
{
    const char *text = dj_request_text(request, "%llu", (unsigned long long)dj_as_of_now(request));
    dj_request_header(request, DJ_AS_OF_HEADER, text);
    dj_request_refusal_header(request, DJ_AS_OF_HEADER, text);
}

static bool take(struct dj_request *request, const char *name, uint64_t said, uint64_t *out_as_of)
{
    uint64_t now = dj_as_of_now(request);
    if (said == 0 || said > now + AHEAD_MAX_US) {
        dj_request_complain(request, "invalid_request", name, "range",
                            said ? "is in the future: hand back the number that the miss was "
                                   "answered with (microseconds of this server's clock)"
                                 : "must be the number that the miss was answered with");
        return false;
    }
    *out_as_of = now - said > AGE_MAX_US && said < now ? TOO_OLD : said;
    return true;
}

bool dj_as_of_read(struct dj_request *request, uint64_t *out_as_of)
{
    struct deja_slice text = dj_http_find_header(request->http, "x-deja-as-of");
    uint64_t said = 0;
    if (!text.data && !dj_query_url_member(request, "as_of", &text))
        return false;
    *out_as_of = 0;
    if (!text.data)
        return true;
    if (dj_num_parse_u64(text, &said) != DEJA_OK)
        said = 0;
    return take(request, DJ_AS_OF_HEADER, said, out_as_of);
}

bool dj_as_of_member(struct dj_request *request, const struct dj_json *object, const char *where,
                     uint64_t *as_of)
{
    const struct dj_json *member = dj_json_get(object, "as_of");
    int64_t said = dj_json_i64(member, 0);
    if (!member || dj_json_is(member, DJ_JSON_NULL))
        return true;
    return take(request, dj_request_text(request, "%sas_of", where), said > 0 ? (uint64_t)said : 0,
                as_of);
}

static uint32_t time_since(const struct dj_request *request, uint64_t as_of)
{
    uint64_t now = dj_as_of_now(request);
    return as_of > TOO_OLD && as_of < now ? (uint32_t)((now - as_of) / 1000) : 0;
}

bool dj_as_of_make_member(struct dj_request *request, const struct dj_json *object,
                          const char *where, uint64_t as_of, uint32_t *out_make_ms)
{
    static const double range[2] = {0, MAKE_MS_MAX};
    double said = time_since(request, as_of);
    if (!dj_query_number(request, object, "make_ms", where, range, &said))
        return false;
    *out_make_ms = (uint32_t)said;
    return true;
}

bool dj_as_of_make_read(struct dj_request *request, uint64_t as_of, uint32_t *out_make_ms)
{
    struct deja_slice text = dj_http_find_header(request->http, "x-deja-make-ms");
    uint64_t said = time_since(request, as_of);
    if (!text.data && !dj_query_url_member(request, "make_ms", &text))
        return false;
    if (text.data && (dj_num_parse_u64(text, &said) != DEJA_OK || said > MAKE_MS_MAX)) {
        dj_request_complain(request, "invalid_request", "X-Deja-Make-Ms", "range",
                            "must be milliseconds, at most a day: 0 to 86400000");
        return false;
    }
    *out_make_ms = (uint32_t)said;
    return true;
}

void dj_as_of_write(struct dj_json_writer *w, bool is_stored, bool is_outrun)
{
    if (is_stored)
        return;
    dj_json_member_bool(w, "stored", false);
    if (is_outrun)
        dj_json_member_text(w, "reason", "outrun");
}
