/* loop/loop_internal.h - what the files of this room share about a loop. */
#ifndef DJ_LOOP_LOOP_INTERNAL_H
#define DJ_LOOP_LOOP_INTERNAL_H

#include <stdatomic.h>

#include <uv.h>

#include "loop/loop.h"

enum { DJ_READ_BUFFER_BYTES = 64 * 1024 };

/* The wall clock as last read; apart because readers hold the loop as const. */
struct dj_wall {
    uint64_t at_ms; /* the loop's own time when it was read */
    int64_t now_ms;
};

struct dj_loop {
    uv_loop_t uv;
    uv_async_t wakeup;
    uv_idle_t hurry; /* while it runs the loop does not wait; the loop's thread only */
    _Atomic(struct dj_task *) tasks; /* posted, newest first */
    atomic_bool is_stopping;
    _Atomic(uintptr_t) owner; /* thread inside dj_loop_run; 0: none */
    uint32_t index;
    uint32_t handle_count; /* open handles of this room, without wakeup */
    struct dj_wall *wall;  /* wall_storage */
    struct dj_wall wall_storage;
    char read_buffer[DJ_READ_BUFFER_BYTES]; /* of the stream that is reading now */
};

enum deja_status dj_loop_status_from_uv(int code); /* a negative code of libuv */

#endif
