/* cache/plain_op.h - what is commonly done to a plain key, as change functions: set, remove, new
 * end, increment, merge, each under a condition.
 *
 * Fill an op, hand dj_plain_op_change and the op to dj_plain_change; after done the results are in
 * the op. Threads: the caller's before dj_plain_change and from done on, the key's home between.
 * Trust: bodies are untrusted.
 */
#ifndef DJ_CACHE_PLAIN_OP_H
#define DJ_CACHE_PLAIN_OP_H

#include <deja/base.h>

#include "base/buf.h"
#include "cache/plain.h"

#define DJ_PLAIN_MERGE_BYTES_MAX \
    (1024u * 1024u)                      /* of a value that is merged into, and of a patch */
#define DJ_PLAIN_MERGE_MEMBERS_MAX 1000u /* of a patch */

enum dj_plain_op_kind {
    DJ_PLAIN_OP_SET,
    DJ_PLAIN_OP_REMOVE,
    DJ_PLAIN_OP_EXPIRE,    /* another end; what is not there stays away */
    DJ_PLAIN_OP_INCREMENT, /* a decimal integer; what is not there is 0 */
    DJ_PLAIN_OP_MERGE,     /* body: an object, merged into the JSON that is there (RFC 7396) */
};

enum dj_plain_if {
    DJ_PLAIN_IF_ANY,
    DJ_PLAIN_IF_ABSENT,
    DJ_PLAIN_IF_PRESENT,
    DJ_PLAIN_IF_VERSION, /* that one is there */
    DJ_PLAIN_IF_OTHER,   /* that one is not there */
    DJ_PLAIN_IF_BODY,    /* these bytes are there: who holds a lock proves it so */
};

/* Slices are borrowed until done. */
struct dj_plain_op {
    enum dj_plain_op_kind kind;
    enum dj_plain_if condition;
    uint64_t version;           /* of the condition */
    struct deja_slice expected; /* likewise */
    struct deja_slice body;
    struct deja_slice metadata; /* increment: of a new key; merge: of a new or changed one */
    int64_t expires_ms;         /* absolute; 0: never */
    bool is_before_wanted;      /* what it replaces is told in the outcome */
    bool is_end_kept;           /* what is there keeps its end (increment, merge, set) */
    const struct deja_slice *tags;
    size_t tag_count;
    int64_t by;
    uint32_t skip;
    bool is_through;
    uint64_t as_of;       /* as in dj_plain_new, as is the next */
    uint32_t make_ms;     /* of a set; others keep that of what is there */
    bool is_metadata_new; /* merge: metadata replaces what was said of the value, unless only that
                           * has DJ_PLAIN_SEALED_ONLY */
    /* results */
    bool is_refused;         /* the condition did not hold */
    enum deja_status status; /* DEJA_ERR_INVALID: no integer, no JSON object; DEJA_ERR_LIMIT: beyond
                              * 64 bits, too long to merge; DEJA_ERR_NOMEM */
    int64_t number;          /* increment: what is there now */
    struct dj_buf made;      /* its bytes; ended with dj_plain_op_fini */
    struct deja_slice kept_tags[DJ_PLAIN_TAGS_MAX];
};

/* Is it DJ_PLAIN_LOOKING? */
enum dj_plain_mode dj_plain_op_mode(const struct dj_plain_op *op);
dj_plain_change_fn dj_plain_op_change; /* ctx: the op */
void dj_plain_op_fini(struct dj_plain_op *op);

#endif
