/* tools/bench_texts.h - questions, answers and vectors to measure with: the same in every run.
 *
 * Threads: any; nothing here keeps state.
 */
#ifndef DJ_TOOLS_BENCH_TEXTS_H
#define DJ_TOOLS_BENCH_TEXTS_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_BENCH_ANSWER_BYTES 1024u
#define DJ_BENCH_TEXT_BYTES 160u
#define DJ_BENCH_QUESTIONS_MAX 10000u /* that are all different */

/* The index-th question (index below DJ_BENCH_QUESTIONS_MAX: all different), terminated;
 * is_reworded: in other words. */
struct deja_slice dj_bench_question(uint64_t index, bool is_reworded,
                                    char out_text[DJ_BENCH_TEXT_BYTES]);
/* DJ_BENCH_ANSWER_BYTES of prose that begin with the index: its answer. */
void dj_bench_answer(uint64_t index, char out_body[DJ_BENCH_ANSWER_BYTES]);
bool dj_bench_is_answer(uint64_t index, struct deja_slice body);
/* A vector of length 1, near no other. */
void dj_bench_vector(uint64_t index, float *out, uint32_t dim);
enum dj_bench_text_kind { DJ_BENCH_PROSE, DJ_BENCH_JSON, DJ_BENCH_RANDOM };
void dj_bench_text(enum dj_bench_text_kind kind, uint64_t index, size_t len, struct dj_buf *out);

#endif
