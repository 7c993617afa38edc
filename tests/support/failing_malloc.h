/* support/failing_malloc.h - makes the n-th allocation of the calling thread fail.
 *
 * Linked with --wrap, so it sees every allocation of the test program, not those inside shared
 * libraries. Threads: the counter belongs to the calling thread.
 */
#ifndef DJ_SUPPORT_FAILING_MALLOC_H
#define DJ_SUPPORT_FAILING_MALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* The n-th allocation from now (1 = the next) returns NULL, once. 0: none fails. */
void failing_malloc_arm(size_t n);
/* Disarms; true if an allocation was made to fail since failing_malloc_arm. */
bool failing_malloc_disarm(void);

#endif
