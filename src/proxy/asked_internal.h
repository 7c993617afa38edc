/* proxy/asked_internal.h - asked.c keeps the keys, asked_list.c orders them, asked_keep.c writes
 * them down. */
#ifndef DJ_PROXY_ASKED_INTERNAL_H
#define DJ_PROXY_ASKED_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "proxy/asked.h"

#define ASKED_SHARDS 16u
#define ASKED_DAY 24u

struct asked_name {
    uint8_t id[DJ_ID_BYTES]; /* first: the map takes its hash from there */
    uint8_t tenant[DJ_ID_BYTES];
};

struct asked_key {
    struct asked_name name;
    size_t place; /* in its shard's list */
    struct dj_habit habit;
    uint64_t total;
    int64_t day_hour; /* of the newest of `day` */
    uint16_t day[ASKED_DAY];
    char *request; /* owned, packed; NULL: not kept */
    size_t request_len;
    int64_t warm_until_ms;
    double warm_cost_usd;
    bool is_warm; /* warmed, and not used since */
};

struct asked_shard {
    pthread_mutex_t lock;
    struct dj_map *map;      /* name -> key */
    struct asked_key **keys; /* all of them, in no order */
    size_t count;
    uint64_t bytes;
    uint64_t draws; /* of who goes */
};

struct asked_tenant {
    uint8_t id[DJ_ID_BYTES];
    struct dj_asked_counts counts;
    bool is_changed;
};

/* Locks: a shard's before the tenants'. */
struct dj_asked {
    struct dj_asked_options options;
    struct asked_shard shards[ASKED_SHARDS];
    pthread_mutex_t tenants_lock;
    struct dj_map *tenants; /* id -> tenant; those of whom something is known */
    _Atomic uint64_t warm;  /* keys that are warm, and not used yet */
};

struct asked_shard *asked_shard_of(struct dj_asked *asked, const uint8_t id[DJ_ID_BYTES]);
/* Both with the shard's lock held. asked_find NULL: not there; asked_key_of makes it then, NULL: no
 * memory. */
struct asked_key *asked_find(struct asked_shard *shard, const struct asked_name *name);
struct asked_key *asked_key_of(struct dj_asked *asked, struct asked_shard *shard,
                               const struct asked_name *name);
/* Takes packed (owned). */
void asked_set_request(struct dj_asked *asked, struct asked_shard *shard, struct asked_key *key,
                       char *packed, size_t len);
/* With tenants_lock held; NULL: too many, or no memory. */
struct asked_tenant *asked_tenant_of(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES]);
/* Requests in the last 24 hours. */
uint32_t asked_in_day(const struct asked_key *key, int64_t hour);
/* A copy of every key of the tenant, in the order of their ids; count_max 0: all. */
enum deja_status asked_copy(struct dj_asked *asked, const uint8_t tenant[DJ_ID_BYTES],
                            int64_t now_hour, struct dj_asked_item **out_items,
                            size_t *out_count) DEJA_NODISCARD;

bool asked_unpack(struct deja_slice packed, struct dj_asked_request *out_request);

#endif
