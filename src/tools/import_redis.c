/* tools/import_redis.c - keys of a Valkey or Redis as plain keys, a piece of SCAN at a time: those
 * of LiteLLM's cache are found under the same names when it speaks to Deja afterwards. Only
 * strings; lists, hashes and the like are counted and left.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/num.h"
#include "proto/json.h"
#include "store/redis_keys.h"
#include "tools/import_source.h"

#define TIMEOUT_MS 60000u

struct redis {
    struct dj_redis_options options;
    struct dj_redis_address address;
    char *url; /* owned, cut up: texts of options lie in it */
    const char *match;
    struct dj_redis_keys keys;
    uint64_t piece_cursor; /* of the piece under way */
    struct dj_buf piece;   /* its pairs as JSON, each behind its length 8 */
    size_t at;
    uint64_t number;
    bool is_begun;
    bool is_full; /* no memory */
};

static void close_redis(void *ctx)
{
    struct redis *redis = ctx;
    dj_buf_fini(&redis->piece);
    dj_free(redis->url);
    dj_free(redis);
}

/* ---- the address ---- */

static enum deja_status bad_url(struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_INVALID,
                          "expected redis[s]://[user[:password]@]host[:port][/db][?match=GLOB]");
}

static char *cut(char *text, char mark)
{
    char *at = text ? strchr(text, mark) : NULL;
    if (!at)
        return NULL;
    *at = '\0';
    return at + 1;
}

static enum deja_status read_url(struct redis *redis, struct deja_error *error)
{
    char *rest = strstr(redis->url, "://");
    uint64_t db = 0;
    redis->options.is_tls = redis->url[5] == 's';
    rest += 3;
    char *query = cut(rest, '?');
    char *path = cut(rest, '/');
    char *host = strrchr(rest, '@');
    if (host) {
        *host++ = '\0';
        char *password = cut(rest, ':');
        redis->options.user = password && *rest ? rest : NULL;
        redis->options.password = password ? password : rest;
    } else {
        host = rest;
    }
    if (query && strncmp(query, "match=", 6) != 0)
        return bad_url(error);
    redis->match = query ? query + 6 : NULL;
    if (path && *path && (dj_num_parse_u64(deja_slice_text(path), &db) != DEJA_OK || db > 65535))
        return bad_url(error);
    redis->options.db = (uint32_t)db;
    if (dj_redis_address_read(deja_slice_text(host), 6379, &redis->address) != DEJA_OK)
        return bad_url(error);
    redis->options.addresses = &redis->address;
    redis->options.address_count = 1;
    return DEJA_OK;
}

/* ---- pieces ---- */

static void put_base64(struct dj_json_writer *w, const char *name, struct deja_slice bytes)
{
    struct dj_buf text = {0};
    dj_base64_encode(bytes, &text);
    dj_json_key(w, name);
    dj_json_put_string(w, dj_buf_slice(&text));
    if (text.status != DEJA_OK)
        w->buf->status = text.status;
    dj_buf_fini(&text);
}

static void on_pair(void *ctx, const struct dj_redis_pair *pair)
{
    struct redis *redis = ctx;
    struct dj_buf json = {0};
    struct dj_json_writer w = dj_json_writer(&json);
    char ttl[32];
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "op", "set");
    put_base64(&w, "key_base64", pair->key);
    put_base64(&w, "value_base64", pair->value);
    if (pair->ttl_ms > 0)
        snprintf(ttl, sizeof ttl, "%lldms", (long long)pair->ttl_ms);
    dj_json_member_text(&w, "ttl", pair->ttl_ms > 0 ? ttl : NULL); /* null: never ends */
    dj_json_end_object(&w);
    uint64_t len = json.len;
    dj_buf_append(&redis->piece, &len, sizeof len);
    dj_buf_append_slice(&redis->piece, dj_buf_slice(&json));
    redis->is_full = redis->is_full || json.status != DEJA_OK || redis->piece.status != DEJA_OK;
    dj_buf_fini(&json);
}

static enum deja_status read_piece(struct redis *redis, struct deja_error *error)
{
    dj_buf_clear(&redis->piece);
    redis->at = 0;
    redis->piece_cursor = redis->keys.cursor;
    redis->is_begun = true;
    enum deja_status status = dj_redis_read_keys(&redis->options, TIMEOUT_MS, redis->match,
                                                 &redis->keys, redis, on_pair, error);
    return status == DEJA_OK && redis->is_full
               ? deja_error_set(error, DEJA_ERR_NOMEM, "out of memory")
               : status;
}

static enum deja_status next_key(void *ctx, struct dj_buf *out_json, uint64_t *out_number,
                                 struct deja_error *error)
{
    struct redis *redis = ctx;
    uint64_t len;
    while (redis->at >= redis->piece.len) {
        if (redis->is_begun && redis->keys.is_last)
            return DEJA_ERR_NOT_FOUND;
        enum deja_status status = read_piece(redis, error);
        if (status != DEJA_OK)
            return status;
    }
    memcpy(&len, redis->piece.data + redis->at, sizeof len);
    dj_buf_append(out_json, redis->piece.data + redis->at + sizeof len, (size_t)len);
    redis->at += sizeof len + (size_t)len;
    *out_number = ++redis->number;
    return out_json->status;
}

/* A piece is done again: what was set is set to the same. */
static uint64_t position_of(void *ctx)
{
    const struct redis *redis = ctx;
    bool is_done = redis->at >= redis->piece.len;
    return is_done ? redis->keys.cursor : redis->piece_cursor;
}

static enum deja_status seek(void *ctx, uint64_t position, struct deja_error *error)
{
    struct redis *redis = ctx;
    (void)error;
    redis->keys.cursor = position;
    return DEJA_OK;
}

static uint64_t skipped(void *ctx)
{
    return ((const struct redis *)ctx)->keys.skipped;
}

enum deja_status dj_import_redis_open(const char *url, struct dj_import_source *out_source,
                                      struct deja_error *error)
{
    struct redis *redis = dj_alloc_zeroed(1, sizeof *redis);
    if (redis)
        redis->url = dj_strdup(deja_slice_text(url));
    if (!redis || !redis->url) {
        dj_free(redis);
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    }
    enum deja_status status = read_url(redis, error);
    if (status != DEJA_OK) {
        close_redis(redis);
        return status;
    }
    *out_source = (struct dj_import_source){.ctx = redis,
                                            .form = "redis",
                                            .unit = "key",
                                            .method = "POST",
                                            .path = "/api/v1/kv:batch",
                                            .member = "operations",
                                            .next = next_key,
                                            .position = position_of,
                                            .seek = seek,
                                            .skipped = skipped,
                                            .close = close_redis};
    return DEJA_OK;
}
