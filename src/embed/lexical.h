/* embed/lexical.h - vectors out of the letters alone: the embedder that needs no file.
 *
 * Words, pairs of neighbouring words and character 3- to 5-grams of each word are hashed into 512
 * signed dimensions, damped by 1 + ln(count), and brought to unit length. It finds repeated
 * wording, not meaning. A text without a letter or digit gets a vector of its own bytes.
 * Microseconds per text; reads at most the first 8,192 bytes. Threads: any.
 */
#ifndef DJ_EMBED_LEXICAL_H
#define DJ_EMBED_LEXICAL_H

#include <deja/base.h>

#include "embed/embedder.h"

enum deja_status dj_lexical_create(struct dj_embedder **out_embedder) DEJA_NODISCARD;

#endif
