/* embed/tokenizer.h - text to WordPiece ids, as BERT's uncased tokenizer makes them.
 *
 * Trust: untrusted, text and vocabulary both. Threads: immutable once created; any.
 */
#ifndef DJ_EMBED_TOKENIZER_H
#define DJ_EMBED_TOKENIZER_H

#include <deja/base.h>

struct dj_tokenizer;

/* vocab: vocab.txt, one token a line, its id the line's number; copied. It must hold [UNK], [CLS]
 * and [SEP]. DEJA_ERR_INVALID, DEJA_ERR_LIMIT (16 MB, 1,000,000 tokens), DEJA_ERR_NOMEM. */
enum deja_status dj_tokenizer_create(struct deja_slice vocab, struct dj_tokenizer **out_tokenizer,
                                     struct deja_error *error) DEJA_NODISCARD;
void dj_tokenizer_destroy(struct dj_tokenizer *tokenizer); /* accepts NULL */

uint32_t dj_tokenizer_count(const struct dj_tokenizer *tokenizer); /* ids are below it */

/* [CLS] … [SEP], cut to ids_max (at least 2); returns how many. Bytes that are not UTF-8 count as
 * U+FFFD, which is dropped. Reads no more of text than it takes to fill ids_max. */
uint32_t dj_tokenizer_encode(const struct dj_tokenizer *tokenizer, struct deja_slice text,
                             uint32_t ids_max, uint32_t *out_ids);

#endif
