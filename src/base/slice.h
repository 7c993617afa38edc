/* base/slice.h - looking into slices. Threads: any. */
#ifndef DJ_BASE_SLICE_H
#define DJ_BASE_SLICE_H

#include <deja/base.h>

/* Byte for byte; needle is terminated and not empty. */
bool dj_slice_contains(struct deja_slice text, const char *needle);

#endif
