/* proxy/asked.h - what was asked lately and at which hours, and how to ask it again: what warming
 * goes by.
 *
 * Of each key: a habit (policy/predict.h), how often it was asked in each of the last 24 hours, and
 * the request itself, without any credential. Kept in memory, bounded in keys and bytes; who is
 * asked for least goes first. Of the tenant's named users nothing is kept at all.
 *
 * A tenant's knowledge can be written down and read again, by this program or another: merging is
 * idempotent (a bit an hour). What is written holds prompts: who keeps it seals it.
 *
 * Threads: any; short locks, one a request. Tenants: every call names one (I1). Time: given.
 */
#ifndef DJ_PROXY_ASKED_H
#define DJ_PROXY_ASKED_H

#include <deja/base.h>

#include "base/buf.h"
#include "net/http_server.h"
#include "policy/predict.h"
#include "proto/record.h"

#define DJ_ASKED_HEADERS_MAX 8u
#define DJ_ASKED_TENANTS_MAX 1024u

struct dj_asked;

struct dj_asked_options {
    size_t keys_max;        /* of all tenants; at least 64 */
    uint64_t bytes_max;     /* of their requests */
    uint64_t request_bytes; /* a longer request is not kept, only its habit */
    bool is_learning;       /* false: only what was warmed is known, and whether it was used */
};

enum deja_status dj_asked_create(const struct dj_asked_options *options,
                                 struct dj_asked **out_asked) DEJA_NODISCARD;
void dj_asked_destroy(struct dj_asked *asked); /* wipes; accepts NULL */

/* A request as it may be asked again. */
struct dj_asked_request {
    struct deja_slice target; /* path and query */
    struct deja_slice body;
    size_t header_count; /* of those that are in its key; never a credential */
    struct dj_http_header headers[DJ_ASKED_HEADERS_MAX];
};
/* Takes from request what is needed: nothing of it is copied. */
void dj_asked_take(const struct dj_http_request *request, struct deja_slice body,
                   struct dj_asked_request *out_request);

/* What it asks for: by its tag template:… or document:…, else an answer. */
enum dj_predict_request dj_asked_kind(const struct dj_asked_request *request);

struct dj_asked_access {
    const uint8_t *tenant; /* DJ_ID_BYTES, as is id */
    const uint8_t *id;
    int64_t at_ms;
    enum dj_predict_user user;
    enum dj_predict_request kind;
    const struct dj_asked_request *request; /* copied; NULL: only that it was asked */
};
bool dj_asked_is_learning(const struct dj_asked *asked); /* NULL: no */
void dj_asked_note(struct dj_asked *asked, const struct dj_asked_access *access);

/* It was warmed and can be served until then; cost of making it. Then: its first use. */
void dj_asked_note_warmed(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                          const uint8_t id[DJ_ID_BYTES], int64_t until_ms, double cost_usd);
/* An answer out of the cache was served; true: the first one of what was warmed. Costs a look at a
 * counter where nothing warmed waits for its first use. */
bool dj_asked_note_hit(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                       const uint8_t id[DJ_ID_BYTES], int64_t now_ms);

struct dj_asked_counts {
    uint64_t keys;
    uint64_t warmed;
    uint64_t used;     /* of these, at least once before they ended */
    double cost_usd;   /* of all that was warmed */
    double unused_usd; /* of what has not been used, ended or not */
    uint64_t asked;    /* first requests of a key in an hour, since the start */
    uint64_t covered;  /* of these: it had been warmed and could be served */
};
/* tenant NULL: all. */
void dj_asked_counts(struct dj_asked *asked, const uint8_t *tenant,
                     struct dj_asked_counts *out_counts);

struct dj_asked_item {
    uint8_t id[DJ_ID_BYTES];
    struct dj_habit habit;
    uint32_t day;   /* requests in the last 24 hours */
    uint64_t total; /* ever */
    bool has_request;
    struct dj_prediction prediction; /* of dj_asked_likely */
};
/* Of a tenant: most asked for in the last 24 hours first, at most count_max. *out_items: the
 * caller's, ended with dj_free. DEJA_ERR_NOMEM. Looks at every key: worker, or few keys. */
enum deja_status dj_asked_top(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                              int64_t now_ms, size_t count_max, struct dj_asked_item **out_items,
                              size_t *out_count) DEJA_NODISCARD;
/* Those likelier than threshold in that hour, the likeliest first; likewise. clusters: how many the
 * model has. */
enum deja_status dj_asked_likely(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                                 int64_t now_hour, int64_t hour, double threshold, size_t count_max,
                                 struct dj_asked_item **out_items, size_t *out_count,
                                 uint32_t *out_clusters) DEJA_NODISCARD;

/* The request of a key: bytes into out (the caller's, empty), out_request borrows them. False: it
 * is not kept. */
bool dj_asked_request(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                      const uint8_t id[DJ_ID_BYTES], struct dj_buf *out,
                      struct dj_asked_request *out_request);

/* Up to count_max tenants of whom something is known; those changed since they were written only
 * where is_changed. */
size_t dj_asked_tenants(struct dj_asked *asked, bool is_changed,
                        uint8_t (*out_tenants)[DJ_ID_BYTES], size_t count_max);
/* Nothing of the tenant is known any more. */
void dj_asked_forget(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES]);

/* Appends what comes again (keys that were asked for in two hours or more), the busiest first, as
 * far as bytes_max goes: magic, version, count, checksum, keys. DEJA_ERR_NOMEM. */
enum deja_status dj_asked_write(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                                size_t bytes_max, struct dj_buf *out) DEJA_NODISCARD;
/* Merges. Trust: our own, checksummed; every length is checked. DEJA_ERR_CORRUPT: nothing was
 * taken; DEJA_ERR_UNSUPPORTED: another version. */
enum deja_status dj_asked_read(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                               struct deja_slice bytes) DEJA_NODISCARD;

#endif
