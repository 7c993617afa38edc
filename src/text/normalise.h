/* text/normalise.h - the form of a question that the normalised key and the embedder see.
 *
 * Trust: untrusted. Threads: any.
 */
#ifndef DJ_TEXT_NORMALISE_H
#define DJ_TEXT_NORMALISE_H

#include <deja/base.h>

#include "base/buf.h"

/* Appends text in NFC, every run of white space as one space, both ends trimmed. Case stays: "us"
 * and "US", `list` and `List` are different questions.
 *
 * Code and preformatted text (dj_text_is_preformatted) is appended byte for byte: there white space
 * is content (indentation is Python's syntax, tabs are Make's and TSV's), and two questions that
 * differ only in it may have different answers.
 *
 * DEJA_ERR_INVALID (not UTF-8), DEJA_ERR_NOMEM, DEJA_ERR_LIMIT; out->len is then as before. */
enum deja_status dj_text_normalise(struct deja_slice text, struct dj_buf *out) DEJA_NODISCARD;

/* Has a ``` or ~~~ fence, a tab, or is of several lines of which one starts with a space. */
bool dj_text_is_preformatted(struct deja_slice text);

#endif
