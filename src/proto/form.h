/* proto/form.h - values out of a URL: percent decoding; in a query "+" is a space.
 *
 * Trust: untrusted. Threads: any; no state.
 */
#ifndef DJ_PROTO_FORM_H
#define DJ_PROTO_FORM_H

#include <deja/base.h>

#include "base/buf.h"

/* Appends the decoded value of the first member of that name. query: "a=1&b=2", without '?'; name:
 * plain ASCII. A member without "=" has an empty value. DEJA_ERR_NOT_FOUND; DEJA_ERR_INVALID (a
 * broken "%xx"); DEJA_ERR_LIMIT, DEJA_ERR_NOMEM from out; out is untouched then but for its status.
 */
enum deja_status dj_form_get(struct deja_slice query, const char *name,
                             struct dj_buf *out) DEJA_NODISCARD;

/* Appends the decoded segment of a path, where "+" is itself. Fails as dj_form_get does. */
enum deja_status dj_form_segment(struct deja_slice segment, struct dj_buf *out) DEJA_NODISCARD;

#endif
