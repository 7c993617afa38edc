/* tools/fake_model.h - an upstream of our own: chat completions after a fixed delay, for `deja
 * demo` and `deja bench load`.
 *
 * A loop and a thread of its own, on a loopback port. What it answers is the caller's.
 * Trust: requests are untrusted; what reads them is the caller's answer().
 * Threads: create and destroy on one thread; the counter from any.
 */
#ifndef DJ_TOOLS_FAKE_MODEL_H
#define DJ_TOOLS_FAKE_MODEL_H

#include <deja/base.h>

#include "base/buf.h"
#include "net/http_server.h" /* dj_http_request */

struct dj_fake_model;

/* Appends the text of the answer. On the model's thread; request is borrowed until return. */
typedef void dj_fake_model_answer_fn(void *ctx, const struct dj_http_request *request,
                                     struct dj_buf *out_text);

struct dj_fake_model_options {
    uint16_t port; /* 0: the system chooses */
    uint32_t delay_ms;
    void *ctx;
    dj_fake_model_answer_fn *answer;
};

enum deja_status dj_fake_model_create(const struct dj_fake_model_options *options,
                                      struct dj_fake_model **out_model,
                                      struct deja_error *error) DEJA_NODISCARD;
/* Running calls are cut. Waits for the thread. Accepts NULL. */
void dj_fake_model_destroy(struct dj_fake_model *model);

uint16_t dj_fake_model_port(const struct dj_fake_model *model);
uint32_t dj_fake_model_calls(const struct dj_fake_model *model); /* chat requests so far */

#endif
