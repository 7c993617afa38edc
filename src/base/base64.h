/* base/base64.h - standard base64, as embeddings travel. Trust: untrusted. Threads: any. */
#ifndef DJ_BASE_BASE64_H
#define DJ_BASE_BASE64_H

#include <deja/base.h>

#include "base/buf.h"

void dj_base64_encode(struct deja_slice bytes, struct dj_buf *out);
/* Padding required, no white space. DEJA_ERR_INVALID, or the buf's failure. */
enum deja_status dj_base64_decode(struct deja_slice text, struct dj_buf *out) DEJA_NODISCARD;

#endif
