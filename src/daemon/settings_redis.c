/* daemon/settings_redis.c - where the shared tier is, out of its URL, its addresses or its host.
 *
 * What is said on its own comes before the same said in the URL.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "daemon/settings.h"
#include "proto/form.h"

#define DEFAULT_PORT 6379u

/* The parts of a URL; texts are owned, NULL: not there. */
struct url {
    bool is_tls;
    struct deja_slice hosts; /* of the URL: HOST:PORT,HOST:PORT… */
    char *user;
    char *password;
    bool has_db;
    uint32_t db;
};

static enum deja_status decode(struct deja_slice part, char **out_text)
{
    struct dj_buf text = {0};
    enum deja_status status = dj_form_segment(part, &text);
    dj_buf_append_byte(&text, '\0');
    if (status == DEJA_OK)
        status = text.status;
    if (status == DEJA_OK && strlen(text.data) + 1 != text.len)
        status = DEJA_ERR_INVALID;
    if (status != DEJA_OK) {
        if (text.data)
            dj_wipe(text.data, text.len);
        dj_buf_fini(&text);
        return status;
    }
    *out_text = text.data;
    return DEJA_OK;
}

static enum deja_status read_user(struct deja_slice part, struct url *url)
{
    const char *colon = part.len ? memchr(part.data, ':', part.len) : NULL;
    size_t user_len = colon ? (size_t)(colon - part.data) : part.len;
    enum deja_status status = DEJA_OK;
    if (user_len > 0)
        status = decode(deja_slice(part.data, user_len), &url->user);
    if (status == DEJA_OK && colon)
        status = decode(deja_slice(colon + 1, part.len - user_len - 1), &url->password);
    return status;
}

static enum deja_status read_db(struct deja_slice path, struct url *url)
{
    uint64_t db = 0;
    if (path.len == 0)
        return DEJA_OK;
    if (dj_num_parse_u64(path, &db) != DEJA_OK || db > 1000000)
        return DEJA_ERR_INVALID;
    url->has_db = true;
    url->db = (uint32_t)db;
    return DEJA_OK;
}

static enum deja_status read_url(const char *text, struct url *url)
{
    static const struct {
        const char *scheme;
        bool is_tls;
    } schemes[] = {
        {"redis://", false}, {"rediss://", true}, {"valkey://", false}, {"valkeys://", true}};
    const char *rest = NULL;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && !rest; i++)
        if (strncmp(text, schemes[i].scheme, strlen(schemes[i].scheme)) == 0) {
            rest = text + strlen(schemes[i].scheme);
            url->is_tls = schemes[i].is_tls;
        }
    if (!rest || strpbrk(rest, "?# \t\"<>\\"))
        return DEJA_ERR_INVALID;
    const char *slash = strchr(rest, '/');
    struct deja_slice authority = deja_slice(rest, slash ? (size_t)(slash - rest) : strlen(rest));
    const char *at = NULL; /* the last one: passwords may hold others */
    for (size_t i = 0; i < authority.len; i++)
        if (authority.data[i] == '@')
            at = authority.data + i;
    enum deja_status status = DEJA_OK;
    url->hosts = authority;
    if (at) {
        size_t len = (size_t)(at - authority.data);
        url->hosts = deja_slice(at + 1, authority.len - len - 1);
        status = read_user(deja_slice(authority.data, len), url);
    }
    if (status == DEJA_OK && slash)
        status = read_db(deja_slice_text(slash + 1), url);
    return status;
}

/* false: not an address, or one too many. */
static bool add_address(struct dj_settings_redis *redis, struct deja_slice text)
{
    if (redis->address_count == DJ_REDIS_SEEDS_MAX)
        return false;
    return dj_redis_address_read(text, (uint16_t)redis->port,
                                 &redis->addresses[redis->address_count]) == DEJA_OK &&
           ++redis->address_count > 0;
}

static bool add_addresses(struct dj_settings_redis *redis, struct deja_slice texts)
{
    while (texts.len > 0) {
        const char *comma = memchr(texts.data, ',', texts.len);
        size_t len = comma ? (size_t)(comma - texts.data) : texts.len;
        if (!add_address(redis, deja_slice(texts.data, len)))
            return false;
        texts = comma ? deja_slice(comma + 1, texts.len - len - 1) : deja_slice(NULL, 0);
    }
    return true;
}

static void take_parts(struct dj_settings_redis *redis, struct url *url)
{
    if (!redis->user) {
        redis->user = url->user;
        url->user = NULL;
    }
    if (!redis->password) {
        redis->password = url->password;
        url->password = NULL;
    }
    if (url->has_db && redis->db == 0)
        redis->db = url->db;
    redis->is_tls = redis->is_tls || url->is_tls;
}

static void free_parts(struct url *url)
{
    if (url->password)
        dj_wipe(url->password, strlen(url->password));
    dj_free(url->password);
    dj_free(url->user);
}

static enum deja_status use_url(const char *where, struct dj_diagnostics *diagnostics,
                                struct dj_settings_redis *redis)
{
    struct url url = {.is_tls = false};
    enum deja_status status = read_url(redis->url, &url);
    bool is_named = redis->address_count > 0;
    if (status == DEJA_OK && !is_named && (url.hosts.len == 0 || !add_addresses(redis, url.hosts)))
        status = DEJA_ERR_INVALID;
    if (status == DEJA_OK)
        take_parts(redis, &url);
    else if (status != DEJA_ERR_NOMEM) /* not with the URL in it: it may hold a password */
        dj_diagnostics_error(diagnostics, where,
                             "l2.redis.url expects redis://[USER:PASSWORD@]HOST[:PORT][/DB], or "
                             "rediss:// for TLS; characters like @ in a password as %%40");
    free_parts(&url);
    return status == DEJA_ERR_NOMEM ? status : DEJA_OK;
}

static void check_parts(const char *where, struct dj_diagnostics *diagnostics,
                        const struct dj_settings_redis *redis)
{
    if (redis->user && !redis->password)
        dj_diagnostics_error(diagnostics, where,
                             "l2.redis.user needs l2.redis.password (REDIS_PASSWORD) as well");
    if (redis->mode == DJ_REDIS_CLUSTER && redis->db != 0)
        dj_diagnostics_error(diagnostics, where, "l2.redis.db: a cluster has only database 0");
    if (!redis->cert_file != !redis->key_file)
        dj_diagnostics_error(diagnostics, where,
                             "l2.redis.cert_file and l2.redis.key_file are needed both, or none");
    if (!redis->is_tls && (redis->cert_file || redis->server_name))
        dj_diagnostics_error(diagnostics, where,
                             "l2.redis.cert_file and server_name are for TLS: say l2.redis.tls: "
                             "true, or a rediss:// address");
}

static const char *place_of(const struct dj_options *options, const char *name)
{
    return dj_options_where(options, dj_options_find(options, name));
}

enum deja_status dj_settings_work_out_redis(const struct dj_options *options,
                                            struct dj_diagnostics *diagnostics,
                                            struct dj_settings_redis *redis)
{
    if (!redis->is_enabled)
        return DEJA_OK;
    for (size_t i = 0; i < redis->address_texts.count; i++)
        if (!add_address(redis, deja_slice_text(redis->address_texts.items[i])))
            dj_diagnostics_error(diagnostics, place_of(options, "l2.redis.addresses"),
                                 "l2.redis.addresses expects up to %u of HOST:PORT like "
                                 "127.0.0.1:6379 or [::1]:6379, not \"%s\"",
                                 DJ_REDIS_SEEDS_MAX, redis->address_texts.items[i]);
    if (redis->address_count == 0 && redis->host &&
        !add_address(redis, deja_slice_text(redis->host)))
        dj_diagnostics_error(diagnostics, place_of(options, "l2.redis.host"),
                             "l2.redis.host expects a name or an address, not \"%s\"", redis->host);
    enum deja_status status = DEJA_OK;
    if (redis->url)
        status = use_url(place_of(options, "l2.redis.url"), diagnostics, redis);
    redis->is_tls = redis->is_tls || redis->ca_file;
    size_t enabled = dj_options_find(options, "l2.enabled");
    if (redis->address_count > 0)
        check_parts(place_of(options, "l2.redis.mode"), diagnostics, redis);
    else if (dj_options_origin(options, enabled) > DJ_ORIGIN_FILE && !redis->url)
        /* In a file it may stand among all defaults. */
        dj_diagnostics_error(diagnostics, dj_options_where(options, enabled),
                             "l2.enabled is true and no server is named: set l2.redis.url "
                             "(REDIS_URL), for example redis://127.0.0.1:6379");
    return status;
}
