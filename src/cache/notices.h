/* cache/notices.h - what was made void, told to whoever wants to know.
 *
 *   publish (any thread) ──> ring of the last notices ──> readers, each at its own place
 *                                    └─ a wake-up on the reader's loop, one under way at a time
 *
 * A notice is immutable and counted by reference; the ring keeps the last DJ_NOTICES_KEPT and at
 * most DJ_NOTICES_BYTES_MAX. Who reads slower than notices come loses the oldest and is told so;
 * nobody ever waits for a reader.
 *
 * Notices are news, not the guarantee: entries are void by their generations whether anybody is
 * told or not. What came from outside (another program, a channel) says so in `source`; only what
 * began here is sent out, so two programs never tell each other the same thing in circles.
 *
 * Threads: any, but a reader is bound to its loop. Tenants: a reader names one and is told of no
 * other; NULL: of all, for the composition alone.
 */
#ifndef DJ_CACHE_NOTICES_H
#define DJ_CACHE_NOTICES_H

#include <deja/base.h>

#include "loop/loop.h"
#include "proto/json.h"
#include "proto/record.h"

#define DJ_NOTICES_KEPT 4096u
#define DJ_NOTICES_BYTES_MAX (4u << 20)
#define DJ_NOTICES_READERS_MAX 1024u /* of all tenants; the composition's own beside them */
#define DJ_NOTICES_TENANT_READERS_MAX 256u
#define DJ_NOTICE_NAME_BYTES_MAX 4096u /* longer names are cut off */
#define DJ_NOTICE_REASON_BYTES_MAX 256u

enum dj_notice_source {
    DJ_NOTICE_HERE,     /* this program's clients and schedules */
    DJ_NOTICE_NODE,     /* another program, through the generations they share */
    DJ_NOTICE_REDIS,    /* the channel cache:invalidate */
    DJ_NOTICE_POSTGRES, /* NOTIFY */
};
const char *dj_notice_source_text(enum dj_notice_source source); /* "here", "node", … */

/* What was made void. Kinds: "entry" (name: its id in hex), "key" (a plain key), "query", "tag",
 * "namespace", "pattern", "event", "cascade" (name: what they depended on), "age", "filter",
 * "selection", "user", "all". */
struct dj_notice {
    uint64_t number; /* 1, 2, … of this hub; given by publish */
    int64_t time_ms;
    uint8_t tenant[DJ_ID_BYTES];
    const char *kind; /* constant */
    enum dj_notice_source source;
    struct deja_slice name;       /* any bytes; empty: the whole kind */
    struct deja_slice name_space; /* data NULL: any */
    struct deja_slice reason;
    uint64_t removed; /* live entries that went; 0 where nobody counted */
    bool is_user;     /* of one user's entries alone */
};

/* As a JSON object: time, kind, name, namespace, reason, removed, source. Names that are no text
 * are written with ? for what is beyond ASCII. is_for_all: with the tenant, for who is told of all.
 */
void dj_notice_write(struct dj_json_writer *w, const struct dj_notice *notice, bool is_for_all);
/* A member whose text may be any bytes; empty: null. */
void dj_notice_put_text(struct dj_json_writer *w, const char *name, struct deja_slice text);

struct dj_notices;
struct dj_notices_reader;

enum deja_status dj_notices_create(struct dj_notices **out_notices) DEJA_NODISCARD;
void dj_notices_destroy(struct dj_notices *notices); /* after its readers; accepts NULL */

/* Copied. Without memory it is lost, and readers are told that one is. notices NULL: nothing. */
void dj_notices_publish(struct dj_notices *notices, const struct dj_notice *notice);
uint64_t dj_notices_last(struct dj_notices *notices); /* number of the newest; 0: none */

/* Something can be read, or was lost. On the reader's loop. */
typedef void dj_notices_news_fn(void *ctx);
/* Begins behind `after` (a number that was told before; UINT64_MAX: behind the newest). tenant
 * NULL: all. DEJA_ERR_LIMIT: too many readers, or too many of the tenant; DEJA_ERR_NOMEM. news is
 * posted at once where something is there already. */
enum deja_status dj_notices_open(struct dj_notices *notices, struct dj_loop *loop,
                                 const uint8_t *tenant, uint64_t after, void *ctx,
                                 dj_notices_news_fn *news,
                                 struct dj_notices_reader **out_reader) DEJA_NODISCARD;
/* On its loop; news never runs again. Accepts NULL. */
void dj_notices_close(struct dj_notices_reader *reader);
/* The next one, a reference the caller owns, or NULL: no more for now. *out_lost (may be NULL) is
 * set to how many of all tenants' were lost before it since the last call. On its loop. */
const struct dj_notice *dj_notices_next(struct dj_notices_reader *reader, uint64_t *out_lost);
/* Up to where it has read: what dj_notices_open takes as `after`. */
uint64_t dj_notices_place(const struct dj_notices_reader *reader);
void dj_notice_unref(const struct dj_notice *notice); /* accepts NULL */

#endif
