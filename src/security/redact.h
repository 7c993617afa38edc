/* security/redact.h - texts and JSON without what the detector finds in them: [REDACTED] stands in
 * its place, the name before it stays.
 *
 * Threads: any. Trust: texts are untrusted, any bytes.
 */
#ifndef DJ_SECURITY_REDACT_H
#define DJ_SECURITY_REDACT_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"
#include "security/detector.h"

#define DJ_REDACTED "[REDACTED]"

/* A field whose value is never shown (REQUIREMENTS G6, and the headers of WIRE §15): contains
 * api_key, apikey, password, passwd, pwd, secret, token, private_key, ssn, social_security_number,
 * credit_card, card_number, authorization or cookie, in any case, also with - for _. */
bool dj_redact_is_name(struct deja_slice name);

/* Appends text without what findings tell of it. */
void dj_redact_spans(struct deja_slice text, const struct dj_findings *findings,
                     struct dj_buf *out);

/* A dj_log_redact_fn; detector: a struct dj_detector. Every class, and whatever stands after a
 * sensitive name. What cannot be looked at whole (memory, a limit) is not shown at all. */
void dj_redact_log(void *detector, const char *name, struct deja_slice text, struct dj_buf *out);

/* Looks at every string, number and member name of value, and at JSON within strings; a member's
 * name tells what its value is. out NULL: looks only; otherwise value is appended, as JSON, without
 * what was found. findings: classes, is_limited and rule of all of it. DEJA_ERR_NOMEM,
 * DEJA_ERR_LIMIT (out's bound). */
enum deja_status dj_redact_json(const struct dj_detector *detector, unsigned classes,
                                const struct dj_json *value, struct dj_findings *findings,
                                struct dj_buf *out) DEJA_NODISCARD;
/* The same of a text: appended redacted, or only looked at. */
enum deja_status dj_redact_text(const struct dj_detector *detector, unsigned classes,
                                struct deja_slice text, struct dj_findings *findings,
                                struct dj_buf *out) DEJA_NODISCARD;

#endif
