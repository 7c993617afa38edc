/* store/redis_options.c - the options of the tier: defaults, copies, and what cannot be. */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "store/redis_internal.h"

#define DEFAULT_PORT 6379u

enum deja_status dj_redis_address_read(struct deja_slice text, uint16_t port,
                                       struct dj_redis_address *out_address)
{
    struct dj_redis_address address = {.port = port ? port : DEFAULT_PORT};
    const char *last_colon = NULL;
    size_t colons = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == ':') {
            colons++;
            last_colon = text.data + i;
        }
    bool has_brackets = text.len > 0 && text.data[0] == '[';
    const char *close = has_brackets ? memchr(text.data, ']', text.len) : NULL;
    if (has_brackets && !close)
        return DEJA_ERR_INVALID;
    bool has_port = has_brackets ? last_colon > close : colons == 1;
    struct deja_slice host = text;
    if (has_port) {
        uint64_t number = 0;
        const char *end = text.data + text.len;
        if (dj_num_parse_u64(deja_slice(last_colon + 1, (size_t)(end - last_colon - 1)), &number) !=
                DEJA_OK ||
            number == 0 || number > UINT16_MAX)
            return DEJA_ERR_INVALID;
        address.port = (uint16_t)number;
        host.len = (size_t)(last_colon - text.data);
    }
    if (has_brackets) {
        if (close + 1 != host.data + host.len)
            return DEJA_ERR_INVALID;
        host = deja_slice(host.data + 1, (size_t)(close - host.data - 1));
    }
    if (host.len == 0 || host.len >= sizeof address.host)
        return DEJA_ERR_INVALID;
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.data[i] <= ' ' || strchr("@/?#\"\\", host.data[i]))
            return DEJA_ERR_INVALID;
    memcpy(address.host, host.data, host.len);
    *out_address = address;
    return DEJA_OK;
}

static bool is_prefix(const char *prefix)
{
    size_t len = strlen(prefix);
    if (len == 0 || len > DJ_REDIS_PREFIX_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = prefix[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_plain && !strchr("-_.:/", c))
            return false;
    }
    return true;
}

static enum deja_status copy_text(const char **text, const char *fallback)
{
    if (!*text)
        *text = fallback;
    if (!*text)
        return DEJA_OK;
    char *copy = dj_strdup(deja_slice_text(*text));
    *text = copy;
    return copy ? DEJA_OK : DEJA_ERR_NOMEM;
}

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void set_defaults(struct dj_redis_options *options)
{
    set_default(&options->loop_count, 1);
    set_default(&options->connections_max, 10);
    set_default(&options->dial_ms, 5000);
    set_default(&options->read_ms, 3000);
    set_default(&options->write_ms, 3000);
    set_default(&options->idle_ms, 300000);
    set_default(&options->tombstone_ms, 3600000);
    set_default(&options->queue_max, 16384);
    if (options->ttl_ms == 0)
        options->ttl_ms = 3600000;
    if (options->queue_bytes_max == 0)
        options->queue_bytes_max = 128ull << 20;
    if (options->record_bytes_max == 0)
        options->record_bytes_max = 33ull << 20;
}

static const char **texts_of(struct dj_redis_options *options, size_t index)
{
    const char **const texts[] = {&options->master_name,       &options->user,
                                  &options->password,          &options->sentinel_user,
                                  &options->sentinel_password, &options->prefix,
                                  &options->ca_file,           &options->cert_file,
                                  &options->key_file,          &options->server_name};
    return index < sizeof texts / sizeof *texts ? texts[index] : NULL;
}

static enum deja_status check(const struct dj_redis_options *options, struct deja_error *error)
{
    if (options->address_count == 0 || options->address_count > DJ_REDIS_SEEDS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "name 1 to %u servers of the shared tier",
                              DJ_REDIS_SEEDS_MAX);
    if (options->prefix && !is_prefix(options->prefix))
        return deja_error_set(
            error, DEJA_ERR_CONFIG,
            "a key prefix is 1 to %u of letters, digits, - _ . : and /, not \"%s\"",
            DJ_REDIS_PREFIX_BYTES_MAX, options->prefix);
    if (options->loop_count > DJ_REDIS_LOOPS_MAX ||
        options->connections_max > DJ_REDIS_CONNECTIONS_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "at most %u loops and %u connections",
                              DJ_REDIS_LOOPS_MAX, DJ_REDIS_CONNECTIONS_MAX);
    if (options->mode == DJ_REDIS_CLUSTER && options->db != 0)
        return deja_error_set(error, DEJA_ERR_CONFIG, "a cluster has only database 0");
    return DEJA_OK;
}

enum deja_status dj_redis_options_copy(struct dj_redis *redis,
                                       const struct dj_redis_options *options,
                                       struct deja_error *error)
{
    enum deja_status status = check(options, error);
    if (status != DEJA_OK)
        return status;
    struct dj_redis_options copy = *options;
    size_t done = 0;
    for (const char **text = texts_of(&copy, done); text && status == DEJA_OK;
         text = texts_of(&copy, done)) {
        const char *fallback = text == &copy.master_name ? "mymaster"
                               : text == &copy.prefix    ? "deja"
                                                         : NULL;
        status = copy_text(text, fallback);
        done++;
    }
    memcpy(redis->addresses, options->addresses,
           options->address_count * sizeof *options->addresses);
    copy.addresses = redis->addresses;
    set_defaults(&copy);
    if (status != DEJA_OK) /* those not copied are not ours */
        for (const char **text = texts_of(&copy, done); text; text = texts_of(&copy, ++done))
            *text = NULL;
    redis->options = copy;
    return status;
}

void dj_redis_options_free(struct dj_redis *redis)
{
    struct dj_redis_options *options = &redis->options;
    for (size_t i = 0; texts_of(options, i); i++) {
        const char **text = texts_of(options, i);
        bool is_secret = text == &options->password || text == &options->sentinel_password;
        char *memory = NULL;
        memcpy(&memory, text, sizeof memory);
        if (memory && is_secret)
            dj_wipe(memory, strlen(memory));
        dj_free(memory);
        *text = NULL;
    }
}
