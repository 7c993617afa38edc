/* embed/unit.h - vectors of length one: what indexes and searches are made of.
 *
 * Trust: the vector may come from anywhere. Threads: any.
 */
#ifndef DJ_EMBED_UNIT_H
#define DJ_EMBED_UNIT_H

#include <deja/base.h>

/* Divides by the length. False: not finite, or all zero; the vector is as it was. */
bool dj_unit_make(float *vector, uint32_t dim) DEJA_NODISCARD;

#endif
