/* store/redis_command.h - commands as bytes, and the names of keys.
 *
 * <prefix>:{v:<n>}:<tenant>:q:<id>    an answer: 8 bytes of version, big endian, then its record;
 *                                     the version alone: a tombstone
 * <prefix>:{v:<n>}:<tenant>:l:<id>    a lock: the token of who holds it
 * <prefix>:{v:0}:g:n, g:s, g:q        generations: their values, the order they were raised in, the
 *                                     last place in it
 * <prefix>:{v:0}:secret               of the deployment
 *
 * n is a stable hash of tenant and id modulo 4,096, so that a cluster spreads one tenant's entries
 * and a later log of changes has shards. Threads: none of its own.
 */
#ifndef DJ_STORE_REDIS_COMMAND_H
#define DJ_STORE_REDIS_COMMAND_H

#include "base/buf.h"
#include "store/store.h"

#define DJ_REDIS_SHARDS 4096u
#define DJ_REDIS_KEY_BYTES 192u
#define DJ_REDIS_SHA_BYTES 41u /* hex, terminated */
#define DJ_REDIS_VERSION_BYTES 8u

enum dj_redis_script {
    DJ_REDIS_PUT,    /* key; value with version, ttl ms: 1 stored, 0 it was not newer */
    DJ_REDIS_REMOVE, /* key; version_max, ms of the tombstone: 1 removed, 0 nothing there */
    DJ_REDIS_CLEAR,  /* key: 1 it is gone, 0 it was none or a tombstone, which stays */
    DJ_REDIS_RAISE,  /* values, order, place; field: {generation, place} */
    DJ_REDIS_PULL, /* values, order, place; since, count: {place, field, generation, place, …} */
    DJ_REDIS_LOCK, /* key; token, lease ms: 1 held from now, 0 another token's */
    DJ_REDIS_UNLOCK, /* key; token: 1 freed */
    DJ_REDIS_SCRIPT_COUNT
};
const char *dj_redis_script_text(enum dj_redis_script script);
void dj_redis_script_sha(enum dj_redis_script script, char out_sha[DJ_REDIS_SHA_BYTES]);

/* Appends "count arguments follow", then each. */
void dj_redis_command(struct dj_buf *buf, uint32_t count);
void dj_redis_argument(struct dj_buf *buf, struct deja_slice bytes);
void dj_redis_argument_text(struct dj_buf *buf, const char *text);
void dj_redis_argument_u64(struct dj_buf *buf, uint64_t value);
/* EVALSHA; keys and then arguments follow, `count` of both together. */
void dj_redis_command_script(struct dj_buf *buf, enum dj_redis_script script, uint32_t key_count,
                             uint32_t count);
/* Makes EVAL of a command that dj_redis_command_script began, for servers that do not know the
 * script yet. */
void dj_redis_command_eval(struct dj_buf *buf, enum dj_redis_script script,
                           struct deja_slice command);

uint32_t dj_redis_shard(const struct dj_store_key *key);
/* kind: 'q' answers, 'l' locks. Terminated; returns its length. */
size_t dj_redis_key(const char *prefix, const struct dj_store_key *key, char kind,
                    char out_key[DJ_REDIS_KEY_BYTES]);
/* A glob that matches the tenant's answers and nothing else. */
size_t dj_redis_tenant_glob(const char *prefix, const uint8_t tenant[DJ_ID_BYTES],
                            char out_glob[DJ_REDIS_KEY_BYTES]);
/* `name` in shard 0. */
size_t dj_redis_shared_key(const char *prefix, const char *name, char out_key[DJ_REDIS_KEY_BYTES]);
/* The id at the end of an answer's key. */
bool dj_redis_key_id(struct deja_slice key, uint8_t out_id[DJ_ID_BYTES]);

void dj_redis_version_write(uint64_t version, char out[DJ_REDIS_VERSION_BYTES]);
uint64_t dj_redis_version_read(const char bytes[DJ_REDIS_VERSION_BYTES]);

#endif
