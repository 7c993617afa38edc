/* api/problem.h - errors in the words of the surface that was asked (WIRE §7).
 *
 *   /v1/messages…   {"type":"error","error":{type,message},"request_id"}     Anthropic
 *   /v1/caches/…    {title,type,status,detail,instance,fields}               LangCache
 *   /v1/…           {"error":{message,type,param,code}}                      OpenAI
 *   /gptcache…      {"detail":[{type,loc,msg}]} or {"detail":text}           GPTCache's server
 *   anything else   {type,title,status,detail,instance,fields}               RFC 9457
 *
 * LangCache's `type` is of the closed list its SDKs know (WIRE §8), and a cache that cannot answer
 * is its 424, a queue that is full its 429: other statuses would reach the caller as an unknown
 * error. `type` of a problem (`code` for OpenAI) is a name of the closed list of REQUIREMENTS E8
 * where one fits; the others are in docs/api.md. Threads: any; no state.
 */
#ifndef DJ_API_PROBLEM_H
#define DJ_API_PROBLEM_H

#include <deja/base.h>

#include "base/buf.h"
#include "net/http_server.h"
#include "proto/json.h"

enum dj_surface {
    DJ_SURFACE_NATIVE,
    DJ_SURFACE_OPENAI,
    DJ_SURFACE_ANTHROPIC,
    DJ_SURFACE_LANGCACHE,
    DJ_SURFACE_LANGCACHE_0_11,
    DJ_SURFACE_GPTCACHE,
};

/* What is wrong with one member of the request; texts are borrowed. */
struct dj_problem_field {
    const char *field;   /* "query", "entries[3].ttl" */
    const char *rule;    /* "required", "type", "range", … */
    const char *message; /* for a person */
};

/* Plain data; texts are borrowed. */
struct dj_problem {
    int status;
    const char *type;
    const char *detail; /* NULL: the title of the status */
    const struct dj_problem_field *fields;
    size_t field_count;
};

/* What an engine's status is to a client, without fields; constant texts. */
struct dj_problem dj_problem_of(enum deja_status status);

enum dj_surface dj_problem_surface(struct deja_slice path);
/* The LangCache surface for a client that says it is this one. */
enum dj_surface dj_problem_langcache(struct deja_slice user_agent);
const char *dj_problem_media_type(enum dj_surface surface);
/* The status that surface has for it: a GPTCache server says 422 where others say 400. */
int dj_problem_status(enum dj_surface surface, const struct dj_problem *problem);
/* Constant text, never NULL: "Bad Request". */
const char *dj_problem_title(int status);
/* Appends the body. Texts that are not UTF-8 are shown without their bytes beyond ASCII. */
void dj_problem_write(enum dj_surface surface, const struct dj_problem *problem,
                      struct deja_slice path, struct deja_slice request_id, struct dj_buf *out);
/* Server-Timing with the time since the request began (WIRE §5.3); text: its value's room. */
#define DJ_PROBLEM_TIMING_BYTES 48u
struct dj_http_header dj_problem_timing(const struct dj_http_request *request,
                                        char text[DJ_PROBLEM_TIMING_BYTES]);

/* What every answer of our own says to browsers and caches: it is kept nowhere, it is what its type
 * says, it loads nothing and is framed by nobody. Fills so many of headers. */
#define DJ_PROBLEM_STRICT_HEADERS 4u
size_t dj_problem_strict(struct dj_http_header *headers);

/* {type,title,status,detail,fields}, for one item of a batch. */
void dj_problem_put(struct dj_json_writer *w, const struct dj_problem *problem);
/* Answers and ends the exchange. extra: more headers. */
#define DJ_PROBLEM_EXTRA_MAX 2u
void dj_problem_respond(struct dj_http_exchange *exchange, struct deja_slice path,
                        const struct dj_problem *problem, struct deja_slice request_id,
                        const struct dj_http_header *extra, size_t extra_count);

#endif
