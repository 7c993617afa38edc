/* proxy/responses.h - an answer of OpenAI's /v1/responses in its two shapes: the response object
 * and the event stream.
 *
 * The last event of a stream carries the whole response, so that is the object: reasoning items
 * with their encrypted content, calls of functions and refusals as they came. How it was told is on
 * the tape (tape.h). Trust: upstream bytes, untrusted. Threads: any.
 */
#ifndef DJ_PROXY_RESPONSES_H
#define DJ_PROXY_RESPONSES_H

#include "proxy/answer.h"
#include "proxy/tape.h"

/* Whole is a stream that ends with response.completed, .incomplete or .failed; what may be kept of
 * these is the write gate's to say. DEJA_ERR_INVALID: an error event, no response, something after
 * the end; DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_responses_assemble(struct deja_slice sse,
                                       struct dj_assembly *out_assembly) DEJA_NODISCARD;

void dj_responses_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts);

/* By its tape, or where there is none one event for each thing the response says. */
enum deja_status dj_responses_replay(const struct dj_json *object,
                                     const struct dj_replay_options *options,
                                     struct dj_buf *out_sse) DEJA_NODISCARD;

extern dj_tape_resolve_fn dj_responses_resolve;

#endif
