/* proxy/usage.h - what an answer that is passed through says it used: read from its last bytes,
 * whatever its form (a JSON object, or events), as all services write usage at the end.
 *
 * Trust: untrusted; an answer that tells a wrong number is believed. Threads: none of its own.
 */
#ifndef DJ_PROXY_USAGE_H
#define DJ_PROXY_USAGE_H

#include <deja/base.h>

#define DJ_USAGE_TAIL_BYTES 4096u

/* The last bytes of an answer; zeroed: none yet. */
struct dj_usage_tail {
    size_t len;
    char bytes[DJ_USAGE_TAIL_BYTES];
};

void dj_usage_feed(struct dj_usage_tail *tail, struct deja_slice bytes);
/* OpenAI's and Anthropic's names of both; the last one counts. 0: it does not say, or what it says
 * is no number of tokens. */
void dj_usage_read(const struct dj_usage_tail *tail, uint64_t *out_input, uint64_t *out_output);

#endif
