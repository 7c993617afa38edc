/* daemon/transfers_internal.h - a transfer, and what its kinds share.
 *
 * Locks: the table's mutex guards state, error, report and the list; counts and phase are atomics,
 * which the thread writes and anybody reads.
 */
#ifndef DJ_DAEMON_TRANSFERS_INTERNAL_H
#define DJ_DAEMON_TRANSFERS_INTERNAL_H

#include <pthread.h>

#include "cache/transfer.h"
#include "daemon/daemon_internal.h"
#include "daemon/transfers.h"

#define TRANSFER_FILE_BYTES 256u
#define TRANSFER_REPORT_MAX 1000u /* mismatches that are told one by one; all are counted */

enum transfer_state { TRANSFER_RUNNING, TRANSFER_DONE, TRANSFER_FAILED, TRANSFER_CANCELLED };

struct transfer {
    struct dj_transfers *transfers;
    uint8_t id[DJ_TRANSFER_ID_BYTES];
    struct dj_transfer_order order; /* file points to: */
    char file[TRANSFER_FILE_BYTES];
    pthread_t thread;
    bool is_joinable;
    _Atomic bool is_cancelled;
    struct dj_transfer_lane lane;
    struct dj_transfer_counts counts;
    const char *_Atomic phase; /* constant */
    _Atomic uint64_t expected; /* entries there are in all; 0: not known */
    _Atomic uint64_t documents;
    _Atomic int64_t made_ms;     /* of a restore: when the backup was begun; 0: not known */
    _Atomic uint64_t unreadable; /* records that did not verify, lines that are none */
    _Atomic uint64_t matched;    /* of a check, as are the next */
    _Atomic uint64_t missing;
    _Atomic uint64_t extra;
    _Atomic uint64_t differing;
    int64_t started_ms;
    int64_t ended_ms; /* under the mutex, as are the next */
    enum transfer_state state;
    struct deja_error error;
    struct dj_buf report; /* items of a JSON array */
    uint32_t report_count;
};

struct dj_transfers {
    struct dj_daemon *daemon;
    struct dj_transfer_service service;
    char *folder; /* of backups, absolute; owned */
    pthread_mutex_t mutex;
    struct transfer *list[DJ_TRANSFERS_MAX]; /* the newest first; under mutex, as is the next */
    size_t count;
    bool is_stopping;
};

/* Each runs on the transfer's thread; error tells people what went wrong. */
enum deja_status transfer_backup(struct transfer *transfer, struct deja_error *error);
enum deja_status transfer_restore(struct transfer *transfer, struct deja_error *error);
enum deja_status transfer_verify(struct transfer *transfer, struct deja_error *error);
enum deja_status transfer_migrate(struct transfer *transfer, struct deja_error *error);
enum deja_status transfer_confirm(struct transfer *transfer, struct deja_error *error);
enum deja_status transfer_rollback(struct transfer *transfer, struct deja_error *error);

/* The order's tenant, or all that are known; the caller's, ended by dj_transfer_tenants_fini. */
enum deja_status transfer_find_tenants(struct transfer *transfer,
                                       struct dj_transfer_tenants *out_tenants,
                                       struct deja_error *error) DEJA_NODISCARD;
/* The file or the objects that the order names. */
enum deja_status transfer_open_out(struct transfer *transfer, struct dj_archive_out *out_out,
                                   struct deja_error *error) DEJA_NODISCARD;
/* Lines of JSON: by the name's end. */
bool transfer_is_lines(const struct transfer *transfer);
/* What the order names, as it is. */
enum deja_status transfer_open_in(struct transfer *transfer, struct dj_archive_in *out_in,
                                  struct deja_error *error) DEJA_NODISCARD;
/* A source over it, whatever it is. */
enum deja_status transfer_open_source(struct transfer *transfer,
                                      struct dj_transfer_source *out_source,
                                      struct deja_error *error) DEJA_NODISCARD;
/* Anew from the first byte. */
enum deja_status transfer_open_reader(struct transfer *transfer,
                                      struct dj_archive_reader **out_reader,
                                      struct deja_error *error) DEJA_NODISCARD;
/* Where the files of backups lie: absolute, the caller's; it need not be there. NULL: no memory. */
char *transfer_folder(const struct dj_settings *settings);
/* *file: a name, or a path in that folder, which is taken off. DEJA_ERR_INVALID: told in error. */
enum deja_status transfer_read_name(const struct dj_transfers *transfers, struct deja_slice *file,
                                    struct deja_error *error) DEJA_NODISCARD;
/* The member "path": where the transfer's file is, whole. */
void transfer_put_path(struct dj_json_writer *w, const struct transfer *transfer);

/* One difference of a check into the report, which has room for TRANSFER_REPORT_MAX of them. What
 * an entry is named by is told unless it holds something sensitive. */
struct transfer_difference {
    const char *what;              /* "missing", "extra", "differs" */
    const char *fields;            /* "value, ttl"; NULL: not of both */
    const struct dj_entry *source; /* NULL: not there, as is the next */
    const struct dj_entry *target;
};
void transfer_report(struct transfer *transfer, const struct transfer_difference *difference);
/* A member; 0: null. */
void transfer_put_time(struct dj_json_writer *w, const char *name, int64_t ms);

/* Who was erased, and when: what was kept before stays away. */
struct transfer_erasures;
enum deja_status transfer_erasures_read(struct transfer *transfer,
                                        struct transfer_erasures **out_erasures,
                                        struct deja_error *error) DEJA_NODISCARD;
bool transfer_erasures_allow(void *erasures, const struct dj_entry *entry);
void transfer_erasures_destroy(struct transfer_erasures *erasures); /* accepts NULL */

#endif
