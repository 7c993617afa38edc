/* proxy/completion.h - one answer of chat, or of legacy
 * completions, in its two shapes: the complete object and the event stream.
 *
 * The canonical form is the complete `chat.completion` object with every field that came, unknown
 * ones too; a stream is assembled into it and replayed from it. Assembling a replay gives the
 * object back. Trust: upstream bytes, untrusted; parsed in proto/. Threads: any.
 */
#ifndef DJ_PROXY_COMPLETION_H
#define DJ_PROXY_COMPLETION_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"
#include "proxy/answer.h"

/* Appends the object. is_done: the terminal event was seen.
 * DEJA_ERR_INVALID: an event is not JSON, carries an error, or no chunk came; DEJA_ERR_LIMIT,
 * DEJA_ERR_NOMEM. */
enum deja_status dj_completion_assemble(struct deja_slice sse, struct dj_buf *out_json,
                                        bool *out_is_done) DEJA_NODISCARD;

/* Appends the events of object, the terminal one included. */
enum deja_status dj_completion_replay(const struct dj_json *object, bool has_usage,
                                      struct dj_buf *out_sse) DEJA_NODISCARD;

void dj_completion_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts);

/* The same of legacy completions: {object:"text_completion", choices:[{index,text,logprobs,
 * finish_reason}]}. */
enum deja_status dj_text_completion_assemble(struct deja_slice sse, struct dj_buf *out_json,
                                             bool *out_is_done) DEJA_NODISCARD;
enum deja_status dj_text_completion_replay(const struct dj_json *object, bool has_usage,
                                           struct dj_buf *out_sse) DEJA_NODISCARD;
void dj_text_completion_inspect(const struct dj_json *object, struct dj_answer_facts *out_facts);

/* True for an event that only carries usage: "choices" is empty. */
bool dj_completion_is_usage_only(struct deja_slice event_data);

#endif
