/* api/transfer.h - what the routes for backups, restores, checks and migrations ask of the
 * composition, which knows the tiers, the files and the keys: a table of functions.
 *
 * A transfer is known by its id. One runs at a time; the last DJ_TRANSFERS_MAX are remembered until
 * the daemon ends. Threads: any loop; nothing here waits.
 */
#ifndef DJ_API_TRANSFER_H
#define DJ_API_TRANSFER_H

#include <deja/base.h>

#include "security/tenant.h"

#define DJ_TRANSFERS_MAX 32u
#define DJ_TRANSFER_ID_BYTES 16u

struct dj_json_writer;

enum dj_transfer_kind {
    DJ_TRANSFER_BACKUP,
    DJ_TRANSFER_RESTORE,
    DJ_TRANSFER_VERIFY,
    DJ_TRANSFER_MIGRATE,
    DJ_TRANSFER_CONFIRM, /* of a migration that has ended, as is the next */
    DJ_TRANSFER_ROLLBACK
};

/* Copied. Levels: bits of enum dj_level; 0: all. */
struct dj_transfer_order {
    enum dj_transfer_kind kind;
    struct deja_slice file; /* a name in backup.dir, or s3://NAME; migrate: the migration's name */
    bool has_tenant;        /* false: every tenant */
    uint8_t tenant[DJ_TENANT_BYTES];
    uint32_t from;
    uint32_t to;
    bool has_config; /* tenants, links, API keys, upstream credentials, too */
    bool is_check;   /* restore: the backup is only read to its end */
    bool is_merge;   /* restore: what is there stays, newer versions win; else it must be empty */
    bool is_forced;  /* confirm: also where the comparison at the end has failed */
};

struct dj_transfer_service {
    void *ctx;
    /* DEJA_ERR_BUSY: one is running; DEJA_ERR_INVALID: the order cannot be: error; NOMEM. */
    enum deja_status (*start)(void *ctx, const struct dj_transfer_order *order,
                              uint8_t out_id[DJ_TRANSFER_ID_BYTES], struct deja_error *error);
    /* One object. False: there is no such transfer, nothing was written. */
    bool (*write)(void *ctx, const uint8_t id[DJ_TRANSFER_ID_BYTES], struct dj_json_writer *w);
    void (*list)(void *ctx, struct dj_json_writer *w); /* objects, the newest first */
    /* Ends soon; false: there is none, or it has ended. */
    bool (*cancel)(void *ctx, const uint8_t id[DJ_TRANSFER_ID_BYTES]);
};

#endif
