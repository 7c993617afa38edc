/* proxy/tape.h - a stream's events as they came, written so that they cost little beside the
 * complete object they lead to.
 *
 * A tape is a JSON object {"tape":[item, …]}, one item an event:
 *
 *   [name, [member, …]]   name: of the event; "" as its data's "type", null without one
 *   [name, "text"]        data that is no JSON object
 *   n                     the event before once more, but with n bytes of its piece
 *
 *   member: [key, value]       as it came
 *           [key]              as the object has it; of "sequence_number": one more than before
 *           [key, n, "p"]      the next n bytes of a text of the object, which is told in pieces
 *           [key, [member…], "o"]  an object, against one of the object's
 *
 * What the object says at that place is the family's to know (dj_tape_resolve_fn); what it does
 * not, or says otherwise, is kept as it came: nothing an API may add is lost. Left out is
 * "obfuscation", which hides how long a piece is and is no part of an answer.
 *
 * Trust: recorded of upstream bytes, untrusted; played of our own entries, and checked all the
 * same. Bound: DJ_TAPE_BYTES_MAX. Threads: any.
 */
#ifndef DJ_PROXY_TAPE_H
#define DJ_PROXY_TAPE_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"

#define DJ_TAPE_BYTES_MAX (256u << 10)

/* What an event says of its place; -1: nothing. */
struct dj_tape_place {
    struct deja_slice type;
    int64_t index;
    int64_t output_index;
    int64_t content_index;
    int64_t summary_index;
};

struct dj_tape_reference {
    const struct dj_json *value; /* NULL: none */
    bool is_in_pieces;           /* a text, of which each event tells the next piece */
};

/* What the member `name` repeats of object. parent: the member of the event it lies in, whose own
 * reference is an object; empty: the event itself. A pure function of what it is given. */
typedef struct dj_tape_reference dj_tape_resolve_fn(const struct dj_json *object,
                                                    const struct dj_tape_place *place,
                                                    struct deja_slice parent,
                                                    struct deja_slice name);

/* Appends the tape of sse, which led to object. DEJA_ERR_LIMIT: longer than a tape may be;
 * DEJA_ERR_INVALID: cannot be told again as it came; DEJA_ERR_NOMEM. */
enum deja_status dj_tape_record(struct deja_slice sse, const struct dj_json *object,
                                dj_tape_resolve_fn *resolve,
                                struct dj_buf *out_tape) DEJA_NODISCARD;

/* Appends the events. DEJA_ERR_NOT_FOUND: there is none in tape; DEJA_ERR_CORRUPT: it is not one
 * of this object, and what was appended is no stream; DEJA_ERR_NOMEM. */
enum deja_status dj_tape_play(const struct dj_json *object, struct deja_slice tape,
                              dj_tape_resolve_fn *resolve, struct dj_buf *out_sse) DEJA_NODISCARD;

#endif
