/* api/request.h - one request to the native API or an operations path, from route to answer.
 *
 * A request lives in its exchange's arena and ends with exactly one of dj_request_answer,
 * dj_request_problem, dj_request_refuse; after that neither it nor the exchange may be touched. The
 * exchange is not watched, so it stays valid until answered even if the client has left; who waits
 * for long does watch it, and ends with dj_request_abandon then.
 * Trust: everything of the request is untrusted. Threads: the exchange's loop.
 */
#ifndef DJ_API_REQUEST_H
#define DJ_API_REQUEST_H

#include <deja/base.h>

#include "api/problem.h"
#include "api/router.h"
#include "crypto/digest.h"
#include "policy/kinds.h"
#include "proto/json.h"
#include "proxy/limiter.h"
#include "proxy/trace.h"
#include "security/principal.h"

#define DJ_REQUEST_HEADERS_MAX 12u
#define DJ_REQUEST_FIELDS_MAX 16u

struct dj_request {
    struct dj_api *api;
    struct dj_http_exchange *exchange;
    const struct dj_http_request *http;
    struct dj_loop *loop;
    struct dj_arena *arena; /* of the exchange */
    struct deja_slice request_id;
    const char *route;   /* its path as the table has it, for the log */
    uint64_t handled_us; /* monotonic, when the whole request was there */
    struct dj_trace trace;
    struct deja_slice rest;      /* of a path that ends in a variable segment */
    struct dj_principal who;     /* zeroed on routes for everybody */
    struct dj_limit_pass pass;   /* tenant routes only, as are the next */
    uint64_t answer_bytes;       /* of its body */
    uint8_t tenant[DJ_ID_BYTES]; /* who's */
    bool has_tenant;
    uint32_t skip;                    /* X-Deja-Skip-Tiers: levels neither read nor written */
    struct dj_secret fingerprint_key; /* of the tenant; wiped when the request ends */
    struct dj_json_doc *doc;          /* owned; the body once read */
    const struct dj_json *body;       /* its root: an object */
    struct dj_http_header headers[DJ_REQUEST_HEADERS_MAX];
    size_t header_count;
    struct dj_http_header refusal_headers[DJ_PROBLEM_EXTRA_MAX]; /* more of a problem */
    size_t refusal_header_count;
    struct dj_problem_field fields[DJ_REQUEST_FIELDS_MAX]; /* complaints so far */
    size_t field_count;
    const char *complaint;              /* problem type of the first of them */
    struct dj_request_reading *reading; /* while the body is being read on a worker */
    const char *problem;                /* the type of the one it is answered with */
    struct deja_slice reason;           /* why something is made void: for the audit log */
    struct deja_slice key_id;           /* hex of the id of the plain key it is about: likewise */
    bool is_audited;                    /* administration that was written down */
    bool is_once;                       /* its answer is owed to api->idempotency */
    uint8_t once_name[DJ_SHA256_BYTES];
};

/* A handler, and what goes on when the body was read. */
typedef void dj_request_fn(struct dj_request *request);

/* Fills who, tenant and fingerprint_key from the credential, which must have one of these roles
 * (bits of enum dj_role); false: the request was answered. */
bool dj_request_take_tenant(struct dj_request *request, unsigned roles);
/* The same of who alone, for what belongs to no tenant. */
bool dj_request_take_roles(struct dj_request *request, unsigned roles);

/* By the rules of who asks. Thresholds of the cache API: asked NAN: the tenant's, or the engine's;
 * a tenant's own is a floor for what its clients ask. */
double dj_request_threshold(const struct dj_request *request, double asked);
/* It comes from who operates the daemon, who may see what is of all tenants together. */
static inline bool dj_request_is_operators(const struct dj_request *request)
{
    return request->http->is_loopback_peer || request->who.roles & DJ_ROLE_ADMIN;
}
bool dj_request_may_search(const struct dj_request *request); /* by meaning */
uint32_t dj_request_guards_off(const struct dj_request *request);
/* The end of an entry that answers text and is put now. ttl_ms 0: none was said. */
int64_t dj_request_expiry(const struct dj_request *request, struct deja_slice text,
                          uint64_t ttl_ms);
/* The life it has then: of the text's size, else the tenant's, else base_ms. */
uint64_t dj_request_ttl(const struct dj_request *request, struct deja_slice text, uint64_t base_ms);
/* The life of what is of that kind: as the tenant says (ttl.KIND), else own_ms, the kind's. */
uint64_t dj_request_kind_ttl(const struct dj_request *request, const struct dj_kind *kind,
                             uint64_t own_ms);
bool dj_request_keeps(const struct dj_request *request, uint64_t bytes);

/* Valid entry in memory, as dj_engine_find; NULL also where memory is not to be read. */
struct dj_value *dj_request_find(const struct dj_request *request, const struct dj_store_key *key,
                                 uint64_t max_age_ms);
/* The request's levels for an entry that takes the place of the one before. */
void dj_request_skip(const struct dj_request *request, struct dj_put_options *options);

/* Reads the body as a JSON object into request->body, on a worker when it is large or compressed,
 * then goes on with next; a body that cannot be read is answered here. */
void dj_request_read(struct dj_request *request, dj_request_fn *next);

/* The same for a write: with an Idempotency-Key, what was answered to that key before is answered
 * again and next does not run. */
void dj_request_read_once(struct dj_request *request, dj_request_fn *next);

/* Goes on with next once the audit log has it that this was asked for, durably; answers 503 where
 * it cannot be written (audit_note.c, as the next). */
void dj_request_audit(struct dj_request *request, dj_request_fn *next);
/* It is answered with that status, 0: not at all; type of the problem, or NULL. */
void dj_request_note(const struct dj_request *request, int status, const char *type);

/* Text in the arena, "" when memory ran out. */
const char *dj_request_text(struct dj_request *request, const char *format, ...) DEJA_PRINTF(2, 3);
/* name: constant; value: lives until the answer. Left out beyond DJ_REQUEST_HEADERS_MAX. */
void dj_request_header(struct dj_request *request, const char *name, const char *value);
/* The same of a problem. */
void dj_request_refusal_header(struct dj_request *request, const char *name, const char *value);

/* Ends the request. media NULL: application/json. A body that could not be written is a 503. */
void dj_request_answer(struct dj_request *request, int status, const char *media,
                       const struct dj_buf *body);
void dj_request_problem(struct dj_request *request, int status, const char *type,
                        const char *detail);
/* Ends the request without an answer: from a watcher of its exchange whose client has left. */
void dj_request_abandon(struct dj_request *request);
/* A status of the engine as a problem. */
void dj_request_refuse(struct dj_request *request, enum deja_status status);

/* Notes what is wrong with a member (the first DJ_REQUEST_FIELDS_MAX are kept); type names the
 * problem of the first. field and message: arena or constant. */
void dj_request_complain(struct dj_request *request, const char *type, const char *field,
                         const char *rule, const char *message);
/* Ends the request with a 400 when there were complaints; true if it did. */
bool dj_request_has_complaints(struct dj_request *request);

/* What is wrong with one item of a batch; the others are not concerned. */
struct dj_fault {
    struct dj_problem problem; /* status 0: nothing; its fields are not set */
    struct dj_problem_field field;
};
/* Moves the complaints since the last call out of the request; false: there were none. */
bool dj_request_take_fault(struct dj_request *request, struct dj_fault *out_fault);
void dj_request_put_fault(struct dj_json_writer *w, const struct dj_fault *fault); /* "error": */

/* Members by name, as the answers write them. */
void dj_request_put_id(struct dj_json_writer *w, const char *name, const uint8_t *id);
void dj_request_put_time(struct dj_json_writer *w, const char *name, int64_t ms); /* 0: null */
/* Their names in an array; none: no member. */
void dj_request_put_levels(struct dj_json_writer *w, const char *name, uint32_t levels);

#endif
