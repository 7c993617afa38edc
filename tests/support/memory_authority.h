/* support/memory_authority.h - documents in memory, as every authority keeps them.
 *
 * Threads: one at a time.
 */
#ifndef DJ_SUPPORT_MEMORY_AUTHORITY_H
#define DJ_SUPPORT_MEMORY_AUTHORITY_H

#include "security/authority.h"

#define MEMORY_AUTHORITY_ROWS 256u

struct memory_row {
    char table[24];
    char key[DJ_AUTHORITY_KEY_BYTES_MAX];
    size_t key_len;
    char value[2048];
    size_t value_len;
    bool is_there;
    uint64_t sequence;
};

struct memory_authority {
    struct dj_authority authority; /* ctx is this one */
    struct memory_row rows[MEMORY_AUTHORITY_ROWS];
    unsigned count;
    uint64_t sequence;
    enum deja_status trouble; /* what every call answers; DEJA_OK: it works */
    unsigned calls;
};

void memory_authority_init(struct memory_authority *memory);

#endif
