/* security/audit_chain.c - see audit_chain.h.
 *
 * A line is taken apart from its end, where everything has a fixed length, and its front by two
 * literals: no JSON reader is asked, so that what is checked is the very bytes that were written.
 *
 * Who can write the files can make every digest anew, but neither the signatures (without the key)
 * nor the head that the authority keeps.
 */
#include "security/audit_chain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"

#define HEX_BYTES (2u * DJ_SHA256_BYTES)
#define SIGNATURE_HEX_BYTES (2u * DJ_SIGNATURE_BYTES)
#define PREV ",\"prev\":\""
#define HASH "\",\"hash\":\""
#define SIG "\",\"sig\":\""
#define END "\"}"
#define LEN(literal) (sizeof(literal) - 1)
#define TAIL_BYTES (LEN(PREV) + HEX_BYTES + LEN(HASH) + HEX_BYTES)
#define FRONT "{\"v\":1,\"seq\":"
#define NODE ",\"node\":\""
#define SKIPPED_FRONT "{\"seq\":"
#define SKIPPED ",\"skipped\":\""

const char *dj_audit_verdict_text(enum dj_audit_verdict verdict)
{
    static const char *const texts[] = {
        [DJ_AUDIT_INTACT] = "intact",       [DJ_AUDIT_FOREIGN] = "foreign",
        [DJ_AUDIT_EDITED] = "edited",       [DJ_AUDIT_REMOVED] = "removed",
        [DJ_AUDIT_INSERTED] = "inserted",   [DJ_AUDIT_REORDERED] = "reordered",
        [DJ_AUDIT_TRUNCATED] = "truncated",
    };
    return texts[verdict];
}

/* ---- lines ---- */

/* text begins with literal: it is left out of it. */
static bool take(struct deja_slice *text, const char *literal, size_t len)
{
    if (text->len < len || memcmp(text->data, literal, len) != 0)
        return false;
    *text = deja_slice(text->data + len, text->len - len);
    return true;
}

/* The same at its end. */
static bool take_end(struct deja_slice *text, const char *literal, size_t len)
{
    if (text->len < len || memcmp(text->data + text->len - len, literal, len) != 0)
        return false;
    text->len -= len;
    return true;
}

/* Lower case only: one line has one form. */
static bool take_end_hex(struct deja_slice *text, uint8_t *out_bytes, size_t len)
{
    if (text->len < 2 * len)
        return false;
    struct deja_slice hex = deja_slice(text->data + text->len - 2 * len, 2 * len);
    for (size_t i = 0; i < hex.len; i++)
        if (hex.data[i] >= 'A' && hex.data[i] <= 'F')
            return false;
    if (dj_hex_decode(hex, out_bytes, len) != DEJA_OK)
        return false;
    text->len -= 2 * len;
    return true;
}

static bool take_seq(struct deja_slice *text, uint64_t *out_seq)
{
    size_t len = 0;
    while (len < text->len && text->data[len] >= '0' && text->data[len] <= '9')
        len++;
    if (!len || (text->data[0] == '0') ||
        dj_num_parse_u64(deja_slice(text->data, len), out_seq) != DEJA_OK)
        return false;
    *text = deja_slice(text->data + len, text->len - len);
    return true;
}

/* A signature at the end, if there is one. */
static void take_signature(struct deja_slice *text, struct dj_audit_line *line)
{
    struct deja_slice rest = *text;
    uint8_t signature[DJ_SIGNATURE_BYTES];
    if (!take_end_hex(&rest, signature, sizeof signature) || !take_end(&rest, SIG, LEN(SIG)))
        return;
    memcpy(line->signature, signature, sizeof signature);
    line->is_signed = true;
    *text = rest;
}

static bool read_skipped(struct deja_slice text, struct dj_audit_line *line)
{
    if (!take(&text, SKIPPED_FRONT, LEN(SKIPPED_FRONT)) || !take_seq(&text, &line->seq) ||
        !take_end(&text, END, LEN(END)))
        return false;
    take_signature(&text, line);
    line->is_skipped = true;
    return take_end_hex(&text, line->body_digest, sizeof line->body_digest) &&
           text.len == LEN(SKIPPED) && take(&text, SKIPPED, LEN(SKIPPED));
}

static bool read_front(struct deja_slice body, struct dj_audit_line *line)
{
    uint8_t node[(DJ_AUDIT_NODE_TEXT_BYTES - 1) / 2];
    if (!take(&body, FRONT, LEN(FRONT)) || !take_seq(&body, &line->seq) ||
        !take(&body, NODE, LEN(NODE)) || body.len < DJ_AUDIT_NODE_TEXT_BYTES ||
        body.data[DJ_AUDIT_NODE_TEXT_BYTES - 1] != '"' ||
        dj_hex_decode(deja_slice(body.data, DJ_AUDIT_NODE_TEXT_BYTES - 1), node, sizeof node) !=
            DEJA_OK)
        return false;
    dj_hex_encode(node, sizeof node, line->node);
    return true;
}

static bool read_whole(struct deja_slice text, struct dj_audit_line *line)
{
    if (!take_end(&text, END, LEN(END)))
        return false;
    take_signature(&text, line);
    if (!take_end_hex(&text, line->hash, sizeof line->hash) || !take_end(&text, HASH, LEN(HASH)) ||
        !take_end_hex(&text, line->prev, sizeof line->prev) || !take_end(&text, PREV, LEN(PREV)))
        return false;
    line->body = text;
    dj_sha256(text, line->body_digest);
    return read_front(text, line);
}

enum deja_status dj_audit_line_read(struct deja_slice text, struct dj_audit_line *out_line)
{
    struct dj_audit_line line = {.seq = 0};
    if (text.len > DJ_AUDIT_LINE_BYTES_MAX || memchr(text.data ? text.data : "", '\n', text.len))
        return DEJA_ERR_INVALID;
    if (!read_whole(text, &line)) {
        line = (struct dj_audit_line){.seq = 0};
        if (!read_skipped(text, &line))
            return DEJA_ERR_INVALID;
    }
    *out_line = line;
    return DEJA_OK;
}

void dj_audit_hash(const uint8_t prev[DJ_SHA256_BYTES], const uint8_t body_digest[DJ_SHA256_BYTES],
                   uint8_t out_hash[DJ_SHA256_BYTES])
{
    uint8_t both[2 * DJ_SHA256_BYTES];
    memcpy(both, prev, DJ_SHA256_BYTES);
    memcpy(both + DJ_SHA256_BYTES, body_digest, DJ_SHA256_BYTES);
    dj_sha256(deja_slice(both, sizeof both), out_hash);
}

/* What a signature is over. */
static struct deja_slice signed_text(const char *node, uint64_t seq,
                                     const uint8_t hash[DJ_SHA256_BYTES], char *out_text,
                                     size_t size)
{
    char hex[HEX_BYTES + 1];
    dj_hex_encode(hash, DJ_SHA256_BYTES, hex);
    int len =
        snprintf(out_text, size, "deja audit v1\n%s\n%llu\n%s", node, (unsigned long long)seq, hex);
    return deja_slice(out_text, (size_t)len);
}
#define SIGNED_TEXT_BYTES 160u

static void append_hex(struct dj_buf *buf, const uint8_t *bytes, size_t len)
{
    char hex[SIGNATURE_HEX_BYTES + 1];
    dj_hex_encode(bytes, len, hex);
    dj_buf_append(buf, hex, 2 * len);
}

enum deja_status dj_audit_line_end(struct dj_buf *buf, const char *node, uint64_t seq,
                                   const struct dj_secret *secret, uint8_t hash[DJ_SHA256_BYTES])
{
    uint8_t digest[DJ_SHA256_BYTES];
    uint8_t next[DJ_SHA256_BYTES];
    uint8_t signature[DJ_SIGNATURE_BYTES];
    char text[SIGNED_TEXT_BYTES];
    enum deja_status status = DEJA_OK;
    dj_sha256(dj_buf_slice(buf), digest);
    dj_audit_hash(hash, digest, next);
    if (secret)
        status = dj_sign(secret, signed_text(node, seq, next, text, sizeof text), signature);
    if (status != DEJA_OK)
        return status;
    dj_buf_append_text(buf, PREV);
    append_hex(buf, hash, DJ_SHA256_BYTES);
    dj_buf_append_text(buf, HASH);
    append_hex(buf, next, sizeof next);
    if (secret) {
        dj_buf_append_text(buf, SIG);
        append_hex(buf, signature, sizeof signature);
    }
    dj_buf_append_text(buf, END);
    if (buf->status == DEJA_OK)
        memcpy(hash, next, sizeof next);
    return buf->status;
}

void dj_audit_line_skip(const struct dj_audit_line *line, struct dj_buf *out)
{
    dj_buf_append_text(out, SKIPPED_FRONT);
    dj_buf_append_u64(out, line->seq);
    dj_buf_append_text(out, SKIPPED);
    append_hex(out, line->body_digest, sizeof line->body_digest);
    if (line->is_signed) {
        dj_buf_append_text(out, SIG);
        append_hex(out, line->signature, sizeof line->signature);
    }
    dj_buf_append_text(out, END);
}

/* ---- checking ---- */

static enum dj_audit_verdict fault(enum dj_audit_verdict verdict, struct deja_error *reason,
                                   const char *format, ...) DEJA_PRINTF(3, 4);

static enum dj_audit_verdict fault(enum dj_audit_verdict verdict, struct deja_error *reason,
                                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason->message, sizeof reason->message, format, args);
    va_end(args);
    return verdict;
}

/* Is it the one that comes next? */
static enum dj_audit_verdict check_place(const struct dj_audit_chain *chain,
                                         const struct dj_audit_line *line, uint32_t *out_back,
                                         struct deja_error *reason)
{
    if (!chain->lines)
        return DJ_AUDIT_INTACT;
    if (!line->is_skipped && chain->node[0] && strcmp(line->node, chain->node) != 0)
        return fault(DJ_AUDIT_FOREIGN, reason, "line %" PRIu64 " is of another node's log",
                     line->seq);
    if (line->seq > chain->seq + 1)
        return fault(DJ_AUDIT_REMOVED, reason, "lines %" PRIu64 " to %" PRIu64 " are missing",
                     chain->seq + 1, line->seq - 1);
    if (line->seq <= chain->seq)
        return fault(DJ_AUDIT_INSERTED, reason,
                     "number %" PRIu64 " was there before: a line was inserted here or above",
                     line->seq);
    if (!line->is_skipped && memcmp(line->prev, chain->hash, sizeof chain->hash) != 0) {
        *out_back = 1;
        return fault(DJ_AUDIT_EDITED, reason,
                     "line %" PRIu64 " is not the one that line %" PRIu64 " was written after",
                     chain->seq, line->seq);
    }
    return DJ_AUDIT_INTACT;
}

/* Is it as it was written? out_hash: its own. */
static enum dj_audit_verdict check_line(const struct dj_audit_chain *chain,
                                        const struct dj_audit_line *line,
                                        uint8_t out_hash[DJ_SHA256_BYTES],
                                        struct deja_error *reason)
{
    const char *node = line->node[0] ? line->node : chain->node;
    char text[SIGNED_TEXT_BYTES];
    /* A first line that is left out hides what was before it: only the next one tells. */
    dj_audit_hash(line->is_skipped ? chain->hash : line->prev, line->body_digest, out_hash);
    if (!line->is_skipped && memcmp(out_hash, line->hash, DJ_SHA256_BYTES) != 0)
        return fault(DJ_AUDIT_EDITED, reason, "line %" PRIu64 " does not match its digest",
                     line->seq);
    if (!line->is_skipped && line->seq == 1)
        for (size_t i = 0; i < sizeof line->prev; i++)
            if (line->prev[i])
                return fault(DJ_AUDIT_EDITED, reason,
                             "line %" PRIu64 " is a first one, and names another "
                             "before it",
                             line->seq);
    if (line->is_signed && chain->public_key &&
        !dj_sign_is_valid(chain->public_key,
                          signed_text(node, line->seq, out_hash, text, sizeof text),
                          line->signature))
        return fault(DJ_AUDIT_EDITED, reason,
                     "the signature of line %" PRIu64
                     " does not match: it, or a line before it since "
                     "number %" PRIu64 ", is not as it was written, or the key is another one",
                     line->seq, chain->signed_seq);
    if (chain->head && chain->head->seq == line->seq &&
        memcmp(chain->head->hash, out_hash, DJ_SHA256_BYTES) != 0)
        return fault(DJ_AUDIT_EDITED, reason,
                     "line %" PRIu64 " is not the one whose digest the authority keeps", line->seq);
    return DJ_AUDIT_INTACT;
}

enum dj_audit_verdict dj_audit_chain_add(struct dj_audit_chain *chain, struct deja_slice text,
                                         uint32_t *out_back, struct deja_error *reason)
{
    struct dj_audit_line line;
    uint8_t hash[DJ_SHA256_BYTES];
    *out_back = 0;
    if (dj_audit_line_read(text, &line) != DEJA_OK)
        return fault(DJ_AUDIT_FOREIGN, reason,
                     "what follows line %" PRIu64 " is not a line of an audit log", chain->seq);
    if (!chain->lines && line.is_skipped)
        return fault(DJ_AUDIT_FOREIGN, reason,
                     "line %" PRIu64
                     " is the first and was left out: an export begins with a whole line",
                     line.seq);
    /* Its own bytes first: what was edited should not be called inserted. */
    enum dj_audit_verdict verdict = check_line(chain, &line, hash, reason);
    if (verdict == DJ_AUDIT_INTACT || line.is_skipped) {
        enum dj_audit_verdict place = check_place(chain, &line, out_back, reason);
        verdict = place == DJ_AUDIT_INTACT ? verdict : place;
    }
    if (verdict != DJ_AUDIT_INTACT)
        return verdict;
    if (!chain->lines)
        chain->first_seq = line.seq;
    if (line.node[0])
        memcpy(chain->node, line.node, sizeof chain->node);
    memcpy(chain->hash, hash, sizeof hash);
    chain->seq = line.seq;
    chain->lines++;
    chain->skipped += line.is_skipped;
    if (line.is_signed && chain->public_key) {
        chain->signatures++;
        chain->signed_seq = line.seq;
    }
    return DJ_AUDIT_INTACT;
}

enum dj_audit_verdict dj_audit_chain_end(const struct dj_audit_chain *chain,
                                         struct deja_error *reason)
{
    const struct dj_audit_head *head = chain->head;
    if (!head)
        return DJ_AUDIT_INTACT;
    if (head->seq && (!chain->lines || chain->seq < head->seq))
        return fault(DJ_AUDIT_TRUNCATED, reason,
                     "the log ends at line %" PRIu64 ", and line %" PRIu64 " was written",
                     chain->seq, head->seq);
    if (head->first_seq && chain->lines && chain->first_seq > head->first_seq)
        return fault(DJ_AUDIT_REMOVED, reason,
                     "lines %" PRIu64 " to %" PRIu64 ", the oldest, are missing", head->first_seq,
                     chain->first_seq - 1);
    return DJ_AUDIT_INTACT;
}

/* The line that is missing, in what is still to come. */
static bool comes_later(const struct dj_audit_chain *chain, struct deja_slice text)
{
    while (text.len) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        struct dj_audit_line line;
        if (dj_audit_line_read(deja_slice(text.data, len), &line) == DEJA_OK &&
            line.seq == chain->seq + 1)
            return true;
        len += end != NULL;
        text = deja_slice(text.data + len, text.len - len);
    }
    return false;
}

void dj_audit_chain_check(struct dj_audit_chain *chain, struct deja_slice text,
                          struct deja_slice rest, struct dj_audit_fault *out_fault)
{
    *out_fault = (struct dj_audit_fault){.verdict = DJ_AUDIT_INTACT};
    for (uint64_t number = 1; text.len; number++) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        uint32_t back = 0;
        struct deja_slice line = deja_slice(text.data, len);
        if (!end) {
            out_fault->verdict =
                fault(DJ_AUDIT_TRUNCATED, &out_fault->reason,
                      "what follows line %" PRIu64 " has no end: it was cut, or is being written",
                      chain->seq);
            out_fault->line = number;
            return;
        }
        text = deja_slice(end + 1, text.len - len - 1);
        out_fault->verdict = dj_audit_chain_add(chain, line, &back, &out_fault->reason);
        if (out_fault->verdict == DJ_AUDIT_INTACT)
            continue;
        if (out_fault->verdict == DJ_AUDIT_REMOVED &&
            (comes_later(chain, text) || comes_later(chain, rest)))
            out_fault->verdict =
                fault(DJ_AUDIT_REORDERED, &out_fault->reason,
                      "line %" PRIu64 " should come here, and comes later", chain->seq + 1);
        out_fault->line = number > back ? number - back : number;
        return;
    }
}
