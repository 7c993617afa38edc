/* proxy/tape_internal.h - between recording (tape.c) and playing (tape_play.c): where in the texts
 * of the object the pieces have come to. Both go the same way, so both see the same.
 */
#ifndef DJ_PROXY_TAPE_INTERNAL_H
#define DJ_PROXY_TAPE_INTERNAL_H

#include "base/slice.h"
#include "proxy/tape.h"

#define TAPE_CURSORS_MAX 512u
#define TAPE_EVENT_BYTES_MAX (16u << 20)

struct tape_cursor {
    const struct dj_json *text;
    size_t offset;
};

struct tape_cursors {
    struct tape_cursor items[TAPE_CURSORS_MAX];
    size_t count;
    size_t last; /* the one that was asked for last: most often it is asked for again */
};

/* Of that text, from its start if it is new; NULL: too many. */
struct tape_cursor *tape_cursor_of(struct tape_cursors *cursors, const struct dj_json *text);

#endif
