/* store/s3_internal.h - shared by the files of the S3 tier.
 *
 * A dj_s3_call is one signed request; a dj_s3_op is one call of the table, made of requests one
 * after another, or several at a time for parts, deletes and pages. Loop-bound both, but for the
 * work a job of the pool does on its op's bytes.
 */
#ifndef DJ_STORE_S3_INTERNAL_H
#define DJ_STORE_S3_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/s3.h"
#include "store/s3_credentials.h"
#include "store/s3_reply.h"

enum {
    DJ_S3_PART_BYTES = 8 * 1024 * 1024, /* larger bodies go up in parts of that size */
    DJ_S3_PARTS_MAX = 9,                /* a record is at most 64 MiB and its header */
    DJ_S3_PARTS_AT_ONCE = 4,
    DJ_S3_BODY_BYTES_MAX = 64 * 1024 * 1024 + 64,
    DJ_S3_INLINE_BYTES_MAX = 64 * 1024, /* more is packed, hashed, unpacked on the pool */
    DJ_S3_DOCUMENT_BYTES_MAX = 2 * 1024 * 1024,
    DJ_S3_PAGE_BYTES_MAX = 64 * 1024 * 1024, /* of the values of one list piece */
    DJ_S3_GETS_AT_ONCE = 8,
    DJ_S3_DELETES_AT_ONCE = 16,
    DJ_S3_ROUNDS_MAX = 8, /* of look and conditional write */
    DJ_S3_ETAG_BYTES = 128,
    DJ_S3_NAME_BYTES = 200 + 2 * 2 * DJ_ID_BYTES + 2,
    DJ_S3_HEADERS_MAX = 12,
    DJ_S3_HASH_BYTES = 65,
    DJ_S3_LANES = 64,
};

/* What a loop has open; touched by that loop alone. */
struct dj_s3_client {
    struct dj_outbound *outbound; /* NULL: none was needed yet */
    bool has_left;
};

struct dj_s3_turn;

struct dj_s3 {
    struct dj_store store; /* first */
    atomic_uint ref_count; /* the owner's and one for each op */
    atomic_bool is_closed;
    atomic_bool has_no_conditions; /* the service said so */
    struct dj_s3_credentials *credentials;
    struct dj_pool *pool;
    struct dj_s3_client *clients; /* loop_count of them, owned */
    uint32_t loop_count;
    struct dj_outbound_options client_options;
    char *ca_file; /* owned, as are the next; client_options points to it */
    char *origin;  /* "https://host[:port]" as called */
    char *host;    /* as the header Host has it */
    char *base;    /* "/bucket" or "" */
    char *bucket, *region, *prefix, *encryption, *encryption_key_id, *storage_class;
    bool has_kind_tags;
    uint32_t kinds;
    uint64_t ttl_ms, tombstone_ttl_ms;
    uint32_t timeout_ms, total_timeout_ms, calls_max;
    uint64_t bytes_max;
    struct dj_packing packing;
    atomic_uint calls;
    _Atomic uint64_t bytes;
    _Atomic uint64_t expired, corrupt, dropped, record_bytes, plain_bytes;
    pthread_mutex_t fault_mutex; /* fault */
    struct deja_error fault;
    pthread_mutex_t lanes_mutex;
    struct dj_s3_turn *lanes[DJ_S3_LANES]; /* s3_turn.c (1) */
};

struct dj_s3_request {
    const char *method;
    struct deja_slice name;  /* of the object, plain characters only; empty: the bucket */
    struct deja_slice query; /* dj_s3_query_append */
    struct dj_http_header headers[DJ_S3_HEADERS_MAX]; /* lower case names */
    size_t header_count;
    struct deja_slice body;   /* borrowed until called() */
    const char *payload_hash; /* of body, hex; NULL: worked out here */
    size_t reply_bytes_max;
};

/* What the head of an answer said. */
struct dj_s3_head {
    int http_status;
    char etag[DJ_S3_ETAG_BYTES]; /* quotes included; empty: none, or longer */
    char region[40];             /* x-amz-bucket-region */
    uint64_t version;
    int64_t until_ms; /* 0: none */
    bool has_version; /* it is one of our objects */
    bool is_deleted;
};

/* DEJA_OK: an answer came whole, whatever its HTTP status. DEJA_ERR_LIMIT: longer than
 * reply_bytes_max. Failures have been noted (dj_s3_note). */
typedef void dj_s3_called_fn(void *ctx, enum deja_status status);

struct dj_s3_call {
    struct dj_s3 *s3;
    struct dj_loop *loop;
    struct dj_outbound_call *outbound;
    void *ctx;
    dj_s3_called_fn *called;
    struct dj_s3_head head;
    struct dj_buf body;
    size_t body_bytes_max;
    enum deja_status end_status; /* we broke off: why */
};

/* s3_request.c. One request at a time for each call; fini after called(). called never runs inside
 * start. */
enum deja_status dj_s3_call_start(struct dj_s3_call *call, struct dj_s3 *s3, struct dj_loop *loop,
                                  const struct dj_s3_request *request, void *ctx,
                                  dj_s3_called_fn *called) DEJA_NODISCARD;
void dj_s3_call_fini(struct dj_s3_call *call); /* accepts a zeroed one */
/* The status for an answer that is no success; noted. */
enum deja_status dj_s3_call_fault(struct dj_s3_call *call, struct dj_s3_fault *out_fault);
/* Waits for its turn: more than bytes_max would be held. */
bool dj_s3_reserve(struct dj_s3 *s3, uint64_t bytes);
void dj_s3_release(struct dj_s3 *s3, uint64_t bytes);
void dj_s3_note(struct dj_s3 *s3, const struct deja_error *fault); /* NULL: all is well */

struct dj_s3_op;
typedef void dj_s3_step_fn(struct dj_s3_op *op);

/* One call of the table. */
struct dj_s3_op {
    struct dj_s3 *s3; /* counted */
    struct dj_loop *loop;
    void *ctx;
    dj_store_got_fn *got; /* one of the two, or none */
    dj_store_done_fn *done;
    void (*fini)(struct dj_s3_op *op); /* of what embeds it; NULL: nothing */
    struct dj_value *value;            /* owned: put's input, get's result */
    uint64_t count;                    /* done's second argument */
    uint64_t reserved;                 /* bytes */
    char name[DJ_S3_NAME_BYTES];
    struct dj_store_key key;
    struct dj_s3_call call;
    enum deja_status status; /* of the job, or of a finish that was posted */
    dj_s3_step_fn *step;     /* after the job */
    struct dj_job job;
    struct dj_task task;
};

/* s3_turn.c. A write's place among those of the same object; embedded in it, zeroed at first. */
struct dj_s3_turn {
    struct dj_s3_op *op; /* whose turn it is; NULL: not taken */
    struct dj_s3_turn *next;
    bool has_come;
    dj_s3_step_fn *begin;
    struct dj_timer *patience; /* NULL: does not wait */
};
/* begin runs when no earlier write of the object is under way: inside, or later on the op's loop.
 * An op that waits longer than total_timeout_ms finishes with DEJA_ERR_TIMEOUT. */
enum deja_status dj_s3_turn_take(struct dj_s3_turn *turn, struct dj_s3_op *op,
                                 dj_s3_step_fn *begin) DEJA_NODISCARD;
void dj_s3_turn_end(struct dj_s3_turn *turn); /* accepts one that was not taken */

/* s3.c. Allocates size bytes, zeroed, that begin with a dj_s3_op. DEJA_ERR_BUSY at calls_max. */
enum deja_status dj_s3_op_create(struct dj_s3 *s3, struct dj_loop *loop, size_t size,
                                 void **out_op) DEJA_NODISCARD;
void dj_s3_op_destroy(struct dj_s3_op *op); /* calls nobody back */
/* Tells and frees; not inside the call of the table. */
void dj_s3_op_finish(struct dj_s3_op *op, enum deja_status status);
void dj_s3_op_post_finish(struct dj_s3_op *op, enum deja_status status);
/* work on the pool, then step on the loop; small: both at once. work sets op->status. Where it
 * cannot be queued step finds DEJA_ERR_BUSY there. */
void dj_s3_op_work(struct dj_s3_op *op, size_t bytes, dj_work_fn *work, dj_s3_step_fn *step);
void dj_s3_name_folder(const struct dj_s3 *s3, const uint8_t tenant[DJ_ID_BYTES],
                       char out_name[DJ_S3_NAME_BYTES]);
void dj_s3_name_object(const struct dj_s3 *s3, const struct dj_store_key *key,
                       char out_name[DJ_S3_NAME_BYTES]);

/* What is under way ends with DEJA_ERR_CANCELLED, inside. On its loop, or after that has ended. */
void dj_s3_client_end(struct dj_s3_client *client);

/* The table. s3_request.c */
void dj_s3_leave(struct dj_store *store, struct dj_loop *loop);
/* s3_read.c */
enum deja_status dj_s3_get(struct dj_store *store, struct dj_loop *loop,
                           const struct dj_store_key *key, void *ctx,
                           dj_store_got_fn *got) DEJA_NODISCARD;
enum deja_status dj_s3_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                             dj_store_got_fn *got) DEJA_NODISCARD;
/* s3_write.c */
enum deja_status dj_s3_put(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                           const float *vector, uint32_t dim, void *ctx,
                           dj_store_done_fn *done) DEJA_NODISCARD;
enum deja_status dj_s3_remove(struct dj_store *store, struct dj_loop *loop,
                              const struct dj_store_key *key, uint64_t version_max, void *ctx,
                              dj_store_done_fn *done) DEJA_NODISCARD;
/* s3_list.c */
enum deja_status dj_s3_list(struct dj_store *store, struct dj_loop *loop,
                            const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                            void *ctx, dj_store_done_fn *done) DEJA_NODISCARD;
enum deja_status dj_s3_clear(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                             dj_store_done_fn *done) DEJA_NODISCARD;

/* s3_multipart.c. The write of a large body in parts; kept in the op that writes. */
struct dj_s3_upload;
/* request: of the whole object (name, headers, body); condition: a header for the completing
 * request, or one without a name. called as for a single PUT: call has the answer that counts. */
enum deja_status dj_s3_upload_start(struct dj_s3 *s3, struct dj_loop *loop,
                                    const struct dj_s3_request *request,
                                    const struct dj_http_header *condition,
                                    const char (*part_hashes)[DJ_S3_HASH_BYTES],
                                    struct dj_s3_call *call, void *ctx,
                                    dj_s3_called_fn *called) DEJA_NODISCARD;

#endif
