/* daemon/schedules_internal.h - what the files of scheduled invalidations share.
 *
 *   schedules.c        the list, the service, life      schedules_run.c   a run, from claim to end
 *   schedules_document.c   a schedule as a document of the authority
 */
#ifndef DJ_DAEMON_SCHEDULES_INTERNAL_H
#define DJ_DAEMON_SCHEDULES_INTERNAL_H

#include <pthread.h>

#include "base/list.h"
#include "base/num.h"
#include "daemon/schedules.h"

#define DJ_SCHEDULES_TABLE "schedules"
#define DJ_SCHEDULE_KEY_BYTES (2 * DJ_SCHEDULE_ID_BYTES)

struct dj_schedule {
    struct dj_list node;
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    uint8_t tenant[DJ_TENANT_BYTES];
    char *document; /* owned, terminated JSON */
    size_t document_len;
    int64_t next_ms;
    int64_t retry_ms; /* not before; 0: at once */
    bool is_running;
    bool is_gone;     /* removed while it ran */
    bool is_removing; /* somebody has asked for that */
};

struct dj_schedules {
    struct dj_schedules_options options;
    struct dj_schedule_service service;
    pthread_mutex_t lock; /* of what follows */
    struct dj_list list;
    struct dj_list adds; /* under way: their places are taken */
    uint32_t count;
    uint32_t running; /* runs, adds and removals under way */
    uint32_t runs;
    bool is_stopping;
};

/* What a document says beside its invalidation. */
struct dj_schedule_facts {
    uint8_t id[DJ_SCHEDULE_ID_BYTES];
    uint8_t tenant[DJ_TENANT_BYTES];
    struct deja_slice cron; /* empty: once */
    struct deja_slice by;
    int64_t created_ms;
    int64_t next_ms;
    int64_t last_ms; /* 0: never ran */
    int64_t runs;
    int64_t last_removed;
    struct deja_slice last_error;
};

static inline struct deja_slice dj_schedule_key(const uint8_t id[DJ_SCHEDULE_ID_BYTES],
                                                char hex[DJ_SCHEDULE_KEY_BYTES + 1])
{
    dj_hex_encode(id, DJ_SCHEDULE_ID_BYTES, hex);
    return deja_slice(hex, DJ_SCHEDULE_KEY_BYTES);
}

/* ---- schedules_document.c ---- */

/* A member whose empty text is null. */
void dj_schedule_put_text(struct dj_json_writer *w, const char *name, struct deja_slice text);
/* invalidate: its JSON. is_kept: with what only we read. */
void dj_schedule_write(struct dj_json_writer *w, const struct dj_schedule_facts *facts,
                       struct deja_slice invalidate, bool is_kept);
/* Slices are borrowed from root. DEJA_ERR_INVALID. */
enum deja_status dj_schedule_read(const struct dj_json *root,
                                  struct dj_schedule_facts *out_facts) DEJA_NODISCARD;
enum deja_status dj_schedule_make(struct deja_slice document,
                                  struct dj_schedule **out_schedule) DEJA_NODISCARD;
void dj_schedule_destroy(struct dj_schedule *schedule); /* accepts NULL */

/* ---- schedules.c: under the lock ---- */

void dj_schedules_drop(struct dj_schedules *schedules, struct dj_schedule *schedule);
/* Soonest first; takes made. Replaces what has its id, unless that runs. */
void dj_schedules_insert(struct dj_schedules *schedules, struct dj_schedule *made);

#endif
