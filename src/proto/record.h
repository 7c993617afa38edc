/* proto/record.h - an entry as bytes: what tiers outside memory keep.
 *
 * docs/adr/0004: header (magic, format version, flags, key id, lengths, checksum), then the payload
 * (zstd when it helps). Where key id is not 0 the body is a sealed record, and what lies around it
 * is what a tier may see. Trust: our own files, checksummed; every length is checked all the same.
 */
#ifndef DJ_PROTO_RECORD_H
#define DJ_PROTO_RECORD_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_ID_BYTES 16u
#define DJ_DIGEST_BYTES 32u
#define DJ_TAGS_MAX 32u       /* that somebody names */
#define DJ_ENTRY_TAGS_MAX 33u /* and one of Deja's own: security/user.h */

enum dj_entry_kind {
    DJ_ENTRY_CHAT = 1,      /* an answer of a model: the complete object of its API */
    DJ_ENTRY_EMBEDDING = 2, /* one input item: float32 little-endian bytes */
    DJ_ENTRY_API = 3,       /* put through the cache API: any JSON */
    DJ_ENTRY_BYTES = 4,     /* put by a program through the library: any bytes */
    /* Known not to be there. A refusal of the upstream: its error object, and {"status":N} as
     * metadata; or what a program computed to be nothing: empty. Never found by meaning. */
    DJ_ENTRY_NEGATIVE = 5,
    DJ_ENTRY_PLAIN = 6, /* a plain key (cache/plain.h): query is the key, any bytes */
};

/* A tag and the value its counter had when the answer's making began (DESIGN: validity by
 * generations). Valid while the counter is unchanged. */
struct dj_entry_tag {
    struct deja_slice name;
    uint64_t generation;
};

/* Plain data; slices are borrowed from whoever holds the entry. Times: ms since 1970. */
struct dj_entry {
    uint8_t tenant[DJ_ID_BYTES];
    uint8_t id[DJ_ID_BYTES];        /* first bytes of the normalised key */
    uint8_t exact[DJ_DIGEST_BYTES]; /* exact key: tells exact from normalised hits */
    uint8_t scope[DJ_ID_BYTES];     /* all zero: never found by meaning */
    uint64_t version;               /* larger is newer */
    uint32_t key_id;                /* 0: plain; else body is sealed (store/sealed.h) by that key */
    int64_t created_ms;
    int64_t expires_ms;         /* absolute, jitter included; 0: never */
    int64_t stale_until_ms;     /* >= expires_ms, or 0 */
    int64_t stay_until_ms;      /* never in a record: how long the tier it is being put into may
                                 * keep it (store.h, dj_stay); 0: as that tier says by itself */
    uint8_t kind;               /* enum dj_entry_kind */
    uint64_t tenant_generation; /* the tenant's counter plus that of the namespace */
    uint32_t input_tokens;
    uint32_t output_tokens;
    double cost_usd;
    uint32_t make_ms;        /* what it took to make the answer: the time a hit saves */
    struct deja_slice query; /* last user text, normalised */
    struct deja_slice name_space;
    struct deja_slice model;
    struct deja_slice provider;    /* provenance: upstream id or writer */
    struct deja_slice embedder_id; /* empty: no vector */
    struct deja_slice metadata;    /* JSON object or empty */
    struct deja_slice body;
    /* Sealed too, or empty: tiers that keep vectors keep it beside the record, never in it. Of an
     * opened entry in a page (store/store.h): its floats. */
    struct deja_slice vector;
    size_t tag_count;
    struct dj_entry_tag tags[DJ_ENTRY_TAGS_MAX];
};

enum dj_packer { DJ_PACKER_ZSTD, DJ_PACKER_GZIP, DJ_PACKER_NONE };

/* How records are made smaller; all zero: as by default. What was packed in any way is read. */
struct dj_packing {
    enum dj_packer packer;
    uint32_t level;     /* of zstd 1 … 19, of gzip 1 … 9; 0: 1 and 6 */
    uint32_t bytes_min; /* shorter payloads stay as they are; 0: 1,024 */
};

/* Appends the record, packed if that makes it an eighth shorter at least (a packer that fails
 * leaves it as it is). packing: NULL: as by default. DEJA_ERR_LIMIT: a field is too long;
 * DEJA_ERR_NOMEM. */
enum deja_status dj_record_encode_with(const struct dj_packing *packing,
                                       const struct dj_entry *entry,
                                       struct dj_buf *out) DEJA_NODISCARD;
enum deja_status dj_record_encode(const struct dj_entry *entry, struct dj_buf *out) DEJA_NODISCARD;

/* Verifies magic, version, lengths, checksum; decompresses into *scratch (at most
 * payload_bytes_max), whose bytes the entry's slices then borrow. DEJA_ERR_CORRUPT,
 * DEJA_ERR_UNSUPPORTED (a newer format), DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_record_decode(struct deja_slice record, size_t payload_bytes_max,
                                  struct dj_buf *scratch,
                                  struct dj_entry *out_entry) DEJA_NODISCARD;

/* What unpacking one record leaves for the next: a hundred kilobytes whose making costs more than a
 * short record's unpacking. Holds nothing of a record. Threads: one at a time. */
struct dj_unpacker;
struct dj_unpacker *dj_unpacker_create(void) DEJA_NODISCARD; /* NULL: no memory */
void dj_unpacker_destroy(struct dj_unpacker *unpacker);      /* accepts NULL */
/* As dj_record_decode. unpacker NULL: one is made for this record. */
enum deja_status dj_record_decode_with(struct dj_unpacker *unpacker, struct deja_slice record,
                                       size_t payload_bytes_max, struct dj_buf *scratch,
                                       struct dj_entry *out_entry) DEJA_NODISCARD;

/* What a whole record that dj_record_encode made would take without compression. */
size_t dj_record_plain_bytes(struct deja_slice record);

#endif
