/* obs/text_internal.h - text from outside, made fit for lines that programs read. */
#ifndef DJ_OBS_TEXT_INTERNAL_H
#define DJ_OBS_TEXT_INTERNAL_H

#include <deja/base.h>

#include "base/buf.h"

/* Length of the valid UTF-8 sequence at the start of text, 0 if there is none. */
size_t dj_obs_sequence(struct deja_slice text);
/* text cut to at most bytes_max bytes, not within a sequence. */
struct deja_slice dj_obs_cut(struct deja_slice text, size_t bytes_max);

#endif
