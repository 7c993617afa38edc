/* api/cors.c - see cors.h. */
#include "api/cors.h"

#include "base/slice.h"

#define HEADERS 3u

/* What is ours; an upstream's own headers are its business. */
static const char exposed[] =
    "Age, Cache-Status, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
    "Server-Timing, X-Cache-Hit, X-Cache-Id, X-Cache-Similarity, "
    "X-Cache-Status, X-Cache-Tier, X-Request-Id";

/* Any method and any header: who may call may call everything, the routes say what there is. */
static void answer_preflight(struct dj_http_exchange *exchange, struct deja_slice request_id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    struct deja_slice wanted = dj_http_find_header(http, "access-control-request-headers");
    struct dj_http_header headers[4] = {
        {deja_slice_text("Access-Control-Allow-Methods"),
         deja_slice_text("GET, HEAD, PUT, POST, PATCH, DELETE")},
        {deja_slice_text("Access-Control-Max-Age"), deja_slice_text("600")},
        {deja_slice_text("X-Request-Id"), request_id},
    };
    size_t count = 3;
    if (wanted.len)
        headers[count++] =
            (struct dj_http_header){deja_slice_text("Access-Control-Allow-Headers"), wanted};
    dj_http_respond(exchange, 204, headers, count, deja_slice(NULL, 0));
}

bool dj_cors_answer(struct dj_http_exchange *exchange, struct deja_slice request_id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    struct deja_slice origin = dj_http_find_header(http, "origin");
    if (!origin.len)
        return false;
    struct dj_http_header *headers = dj_arena_alloc(http->arena, HEADERS * sizeof *headers);
    if (headers) { /* otherwise the browser refuses, which is safe */
        headers[0] =
            (struct dj_http_header){deja_slice_text("Access-Control-Allow-Origin"), origin};
        headers[1] = (struct dj_http_header){deja_slice_text("Access-Control-Expose-Headers"),
                                             deja_slice_text(exposed)};
        headers[2] = (struct dj_http_header){deja_slice_text("Vary"), deja_slice_text("Origin")};
        dj_http_exchange_add_headers(exchange, headers, HEADERS);
    }
    if (!dj_slice_is(http->method, "OPTIONS") ||
        !dj_http_find_header(http, "access-control-request-method").len)
        return false;
    answer_preflight(exchange, request_id);
    return true;
}
