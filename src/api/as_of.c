/* api/as_of.c - see as_of.h. */
#include "api/as_of.h"

#include "api/query.h"
#include "base/num.h"

#define AHEAD_MAX_US UINT64_C(1000000)
#define AGE_MAX_US (UINT64_C(3600) * 1000000)
#define TOO_OLD 1u

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

void dj_as_of_write(struct dj_json_writer *w, bool is_stored, bool is_outrun)
{
    if (is_stored)
        return;
    dj_json_member_bool(w, "stored", false);
    if (is_outrun)
        dj_json_member_text(w, "reason", "outrun");
}
