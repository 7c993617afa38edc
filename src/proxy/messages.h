/* proxy/messages.h - an answer of Anthropic's /v1/messages in its two shapes: the complete message
 * and the event stream.
 *
 * A stream is made into the message that the API would have answered without it: the blocks as they
 * were opened, with all that was said of them joined. Signatures, inputs of tools and what is
 * unknown are kept as they came; how the stream was told is on its tape (tape.h), by which it is
 * told again event by event. Trust: upstream bytes, untrusted. Threads: any.
 */
#ifndef DJ_PROXY_MESSAGES_H
#define DJ_PROXY_MESSAGES_H

#include "proxy/answer.h"
#include "proxy/tape.h"

/* Whole is only a stream of which every block that was opened is closed, that told why it stopped
 * and ended with message_stop. DEJA_ERR_INVALID: an error event, something out of its order, JSON
 * cut short; DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_messages_assemble(struct deja_slice sse,
                                      struct dj_assembly *out_assembly) DEJA_NODISCARD;

void dj_messages_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts);

/* By its tape, or where there is none one event for each thing the message says. */
enum deja_status dj_messages_replay(const struct dj_json *object,
                                    const struct dj_replay_options *options,
                                    struct dj_buf *out_sse) DEJA_NODISCARD;

extern dj_tape_resolve_fn dj_messages_resolve;

#endif
