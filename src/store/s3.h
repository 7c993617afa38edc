/* store/s3.h - the cold tier: one object of an S3 service for each entry.
 *
 *   <prefix><tenant, 32 hex>/<id, 32 hex>      bytes of proto/record, packed with zstd
 *   x-amz-meta-deja-version, -until (ms since 1970), -kind, and -deleted for a tombstone
 *
 * Any S3-compatible service: AWS, MinIO, Ceph, Garage, versitygw … (docs/adr/0009). A rule of the
 * bucket's lifecycle by prefix ends what a tenant has; one by the tag deja-kind, if tags are
 * written, ends a kind. No vectors are kept: what comes back from here is found by its key.
 *
 * Newer versions only: what is there is looked at first (HEAD) and replaced under the condition
 * that it is still that (If-Match, If-None-Match), again if it was not. A service that says it has
 * no conditions, or overlooks them, is left with look, compare and write: of two writers in the
 * same moment the older may then win until the next write. A delete leaves a tombstone with the
 * version it was made at; where it names none (any version), with that of what it found.
 *
 * Statuses: DEJA_ERR_DENIED (keys, signature, clock, rights), DEJA_ERR_CACHE_UNAVAILABLE (no such
 * bucket, another region), DEJA_ERR_BUSY (the service or we are at a bound),
 * DEJA_ERR_CORRUPT (not an answer of S3), DEJA_ERR_IO, DEJA_ERR_TIMEOUT, DEJA_ERR_CANCELLED (the
 * loop has left). dj_s3_fault has the words.
 *
 * No retries and no breaker: whoever wraps the store has them.
 * Threads: the table's functions on the loop that is named (index below loop_count); a loop's
 * client is made with its first call and ended by `leave`; the others say.
 */
#ifndef DJ_STORE_S3_H
#define DJ_STORE_S3_H

#include "loop/pool.h"
#include "net/outbound.h"
#include "store/s3_sign.h"
#include "store/store.h"

enum dj_s3_style {
    DJ_S3_STYLE_AUTO,    /* virtual without an endpoint (AWS), path with one */
    DJ_S3_STYLE_PATH,    /* https://endpoint/bucket/name */
    DJ_S3_STYLE_VIRTUAL, /* https://bucket.endpoint/name */
};

/* Texts are copied; NULL or empty where a default is named. */
struct dj_s3_options {
    const char *endpoint; /* "https://host[:port]"; NULL: https://s3.<region>.amazonaws.com */
    const char *region;   /* NULL: "us-east-1" */
    const char *bucket;   /* 3 … 63 of a-z 0-9 . - */
    const char *prefix;   /* NULL: "cache/"; letters, digits, . _ - and /; at most 200 bytes */
    enum dj_s3_style style;
    struct dj_s3_identity identity; /* no access key: the next two */
    const char *credentials_file;   /* in the form of ~/.aws/credentials */
    const char *profile;            /* NULL: "default" */
    const char *encryption;         /* NULL: the bucket's own; "AES256", "aws:kms" */
    const char *encryption_key_id;  /* with aws:kms; NULL: the account's default key */
    const char *storage_class;      /* NULL: the service's; "STANDARD_IA" … */
    bool has_kind_tags;             /* objects get the tag deja-kind=chat|embedding|api|bytes */
    uint32_t kinds;                 /* 1 << enum dj_entry_kind each; 0: all. Others are not kept */
    uint64_t ttl_ms;                /* longest stay of an entry; 24 h */
    uint64_t tombstone_ttl_ms;      /* 24 h */
    uint32_t timeout_ms;            /* first byte, and between bytes; 5 s; larger bodies get more */
    uint32_t total_timeout_ms;      /* one request; 60 s */
    uint32_t calls_max;             /* operations under way; 1,024 */
    uint64_t bytes_max;             /* of bodies under way; 256 MiB */
    struct dj_pool *pool;           /* packing, unpacking, hashing; the credentials file */
    uint32_t loop_count;
    uint32_t connections_max;    /* of each loop; 32 */
    uint32_t connect_timeout_ms; /* 2 s */
    const char *ca_file;         /* PEM; NULL: the system's */
    struct dj_packing packing;   /* of records */
};
extern const struct dj_s3_options dj_s3_options_default;

/* Can the options be used, credentials, pool and loops left aside? DEJA_ERR_CONFIG with a text that
 * names the setting. */
enum deja_status dj_s3_check(const struct dj_s3_options *options,
                             struct deja_error *error) DEJA_NODISCARD;

/* Opens no connection. DEJA_ERR_CONFIG with a text: an option cannot be used, no credentials. */
enum deja_status dj_s3_open(const struct dj_s3_options *options, struct dj_store **out_store,
                            struct deja_error *error) DEJA_NODISCARD;

/* What went wrong last, and what to do about it; empty after a request that went well. Any thread.
 */
void dj_s3_fault(struct dj_store *store, struct deja_error *out_fault);

#endif
