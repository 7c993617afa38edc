/* security/audit_chain.h - the lines of an audit log, and whether they are the ones that were
 * written: all of them, in their order, unchanged.
 *
 *   {"v":1,"seq":7,"node":"…", the event …,"prev":"…","hash":"…"}            a line, and at the end
 *   {"v":1,"seq":8,"node":"…", the event …,"prev":"…","hash":"…","sig":"…"}  of each batch a signed
 *   {"seq":9,"skipped":"…"}                                                  left out of an export
 *
 *   body    the line up to `,"prev"`; it holds 16 random bytes, so its digest tells nothing of it
 *   hash    SHA-256(hash of the line before ‖ SHA-256(body)); before the first line: 32 zeros
 *   sig     Ed25519 over node, seq and hash: it covers every line up to this one
 *   skipped SHA-256(body): what an export leaves out (another tenant's) is still chained
 *
 * Trust: untrusted: who checks a log does not believe it. Threads: one at a time; no I/O.
 */
#ifndef DJ_SECURITY_AUDIT_CHAIN_H
#define DJ_SECURITY_AUDIT_CHAIN_H

#include <deja/base.h>

#include "base/buf.h"
#include "crypto/sign.h"

#define DJ_AUDIT_NODE_TEXT_BYTES 17u /* 16 hex digits and the end */
#define DJ_AUDIT_LINE_BYTES_MAX 16384u

/* One line, taken apart; slices are borrowed from it. */
struct dj_audit_line {
    uint64_t seq;
    struct deja_slice body;
    char node[DJ_AUDIT_NODE_TEXT_BYTES]; /* "": a skipped one */
    bool is_skipped;
    bool is_signed;
    uint8_t body_digest[DJ_SHA256_BYTES];
    uint8_t prev[DJ_SHA256_BYTES]; /* this and the next: of a whole line only */
    uint8_t hash[DJ_SHA256_BYTES];
    uint8_t signature[DJ_SIGNATURE_BYTES];
};

/* Without its line feed. DEJA_ERR_INVALID: not of the form; outputs are untouched. */
enum deja_status dj_audit_line_read(struct deja_slice line,
                                    struct dj_audit_line *out_line) DEJA_NODISCARD;
void dj_audit_hash(const uint8_t prev[DJ_SHA256_BYTES], const uint8_t body_digest[DJ_SHA256_BYTES],
                   uint8_t out_hash[DJ_SHA256_BYTES]);

/* buf holds the body of a line: appends its end. secret NULL: unsigned. hash: that of the line
 * before, and afterwards of this one. */
enum deja_status dj_audit_line_end(struct dj_buf *buf, const char *node, uint64_t seq,
                                   const struct dj_secret *secret,
                                   uint8_t hash[DJ_SHA256_BYTES]) DEJA_NODISCARD;
/* The line as one that tells nothing but its place in the chain. */
void dj_audit_line_skip(const struct dj_audit_line *line, struct dj_buf *out);

/* ---- checking ---- */

enum dj_audit_verdict {
    DJ_AUDIT_INTACT,
    DJ_AUDIT_FOREIGN,   /* not a line of an audit log, or of another node's */
    DJ_AUDIT_EDITED,    /* a line is not as it was written */
    DJ_AUDIT_REMOVED,   /* lines before it are missing */
    DJ_AUDIT_INSERTED,  /* its number was there before */
    DJ_AUDIT_REORDERED, /* what is missing before it comes later */
    DJ_AUDIT_TRUNCATED, /* the end is missing */
};
const char *dj_audit_verdict_text(enum dj_audit_verdict verdict); /* "edited" */

/* What somebody else knows of the log's two ends (the authority keeps it). */
struct dj_audit_head {
    uint64_t first_seq; /* of the oldest file that is kept; 0: not known */
    uint64_t seq;       /* of the last line; 0: not known */
    uint8_t hash[DJ_SHA256_BYTES];
};

/* Zeroed before the first line, but for the keys of who checks. */
struct dj_audit_chain {
    const uint8_t *public_key;        /* NULL: signatures are not checked */
    const struct dj_audit_head *head; /* NULL: not known */
    char node[DJ_AUDIT_NODE_TEXT_BYTES];
    uint64_t first_seq;
    uint64_t seq; /* of the last line */
    uint8_t hash[DJ_SHA256_BYTES];
    uint64_t lines;
    uint64_t skipped;    /* of these */
    uint64_t signatures; /* checked and right */
    uint64_t signed_seq; /* of the last line that a signature covers */
};

/* The next line. reason: for people, filled where the verdict is not DJ_AUDIT_INTACT; the chain is
 * untouched then. *out_back: how many lines before this one the fault is. */
enum dj_audit_verdict dj_audit_chain_add(struct dj_audit_chain *chain, struct deja_slice line,
                                         uint32_t *out_back, struct deja_error *reason);
/* After the last one: do both ends match the head? */
enum dj_audit_verdict dj_audit_chain_end(const struct dj_audit_chain *chain,
                                         struct deja_error *reason);

/* A whole file (or several, one after another with the same chain). */
struct dj_audit_fault {
    enum dj_audit_verdict verdict;
    uint64_t line;            /* 1-based, in this text; the first one that is not as it should be */
    struct deja_error reason; /* for people */
};
/* text: lines; is_last: nothing follows, so that a line without its end is a torn one. rest: what
 * follows in the next file (a line that is missing here may be there), or empty. */
void dj_audit_chain_check(struct dj_audit_chain *chain, struct deja_slice text,
                          struct deja_slice rest, struct dj_audit_fault *out_fault);

#endif
