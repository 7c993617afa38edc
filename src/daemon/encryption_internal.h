/* daemon/encryption_internal.h - what encryption.c and encryption_rotate.c share. */
#ifndef DJ_DAEMON_ENCRYPTION_INTERNAL_H
#define DJ_DAEMON_ENCRYPTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon/daemon_internal.h"
#include "daemon/encryption.h"
#include "daemon/master_key.h"
#include "store/redis_documents.h"
#include "store/store_documents.h"

#define ENCRYPTION_STORES_MAX 5u
#define ENCRYPTION_TENANTS_MAX 65536u /* in one rotation; the rest at the next look */

/* What a walk through all keys found. */
struct key_counts {
    uint64_t tenants;
    uint64_t active;
    uint64_t old;
    uint64_t destroyed;
    uint64_t locked;
    uint64_t previous; /* of the previous master key */
};

struct rotation_progress {
    bool is_running;
    int64_t started_ms; /* 0: never */
    int64_t ended_ms;
    uint64_t tenants;
    uint64_t tenants_done;
    uint64_t tenants_failed;
    uint64_t records; /* sealed anew */
    uint64_t records_failed;
};

/* One tenant's turn, and all that wait. Of loop 0, and of the worker while a job is under way. */
struct rotation {
    uint8_t (*tenants)[DJ_TENANT_BYTES]; /* owned */
    uint32_t tenant_count;
    uint32_t tenant_room;
    uint32_t index;
    bool is_asked;        /* each gets a new key; else those that are due */
    bool has_lost_master; /* keys of another master key are given up */
    bool has_one;         /* only `one` */
    uint8_t one[DJ_TENANT_BYTES];

    uint32_t active; /* the tenant's key */
    uint32_t store;  /* which is gone through */
    uint32_t round;
    uint64_t found;  /* records under old keys in this round */
    uint64_t failed; /* of this tenant */
    struct dj_store_page page;
    uint32_t pending;
    struct dj_job job;
    enum deja_status status;
};

struct dj_encryption {
    struct dj_daemon *daemon;
    struct dj_keyring *keyring;           /* NULL: off */
    struct dj_redis_documents *documents; /* NULL: keys are not kept there */
    struct dj_store_documents *cold;      /* likewise */
    struct dj_authority authority;        /* the keyring's */
    enum dj_master_key_source source;
    bool is_remote;                                 /* some tier is not this machine's */
    struct dj_store *stores[ENCRYPTION_STORES_MAX]; /* sealed; the engine's */
    bool is_rotated[ENCRYPTION_STORES_MAX];
    uint32_t store_count;

    struct dj_timer *refresh;
    struct dj_timer *check;
    struct dj_timer *pause; /* between two rounds */
    struct dj_job refreshing;
    bool is_refreshing;
    _Atomic int refresh_status;
    _Atomic bool is_stopping;

    pthread_mutex_t mutex;
    struct key_counts counts;          /* under mutex, as are the next */
    struct rotation_progress progress; /* written on loop 0 */
    bool is_requested;
    struct rotation wanted; /* its first members */
    struct dj_task request;
    struct rotation rotation;
};

/* On loop 0. */
void encryption_begin_rotation(struct dj_encryption *encryption);
void encryption_on_pause(void *encryption);
void encryption_drop_rotation(struct dj_encryption *encryption);
/* Worker: counts, and where tenants is not NULL those whose turn it is. */
enum deja_status encryption_look(struct dj_encryption *encryption, struct rotation *rotation);

#endif
