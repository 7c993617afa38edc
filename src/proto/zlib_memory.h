/* proto/zlib_memory.h - streams of zlib whose memory is the program's (base/alloc.h): counted, and
 * a failed allocation is Z_MEM_ERROR.
 *
 *   z_stream stream = DJ_ZLIB_STREAM;
 */
#ifndef DJ_PROTO_ZLIB_MEMORY_H
#define DJ_PROTO_ZLIB_MEMORY_H

#include <zlib.h>

#include "base/alloc.h"

#define DJ_ZLIB_STREAM ((z_stream){.zalloc = dj_zlib_alloc, .zfree = dj_zlib_free})

static inline voidpf dj_zlib_alloc(voidpf ctx, uInt count, uInt size)
{
    (void)ctx;
    return dj_alloc_zeroed(count, size);
}

static inline void dj_zlib_free(voidpf ctx, voidpf memory)
{
    (void)ctx;
    dj_free(memory);
}

#endif
