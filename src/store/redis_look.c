/* store/redis_look.c - short visits to a server: how it is secured and set up, and the secret all
 * programs share. Blocking (redis_visit.h).
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "crypto/digest.h"
#include "store/redis_visit.h"

#define SECRET_BYTES 32u

/* ---- the secret ---- */

struct secrets {
    const uint8_t *mine;
    uint8_t theirs[SECRET_BYTES];
};

static bool ask_secret(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    char key[DJ_REDIS_KEY_BYTES];
    const struct secrets *secrets = visit->ctx;
    char hex[2 * SECRET_BYTES + 1];
    if (visit->step > 1)
        return false;
    size_t len = dj_redis_shared_key(dj_redis_visit_prefix(visit), "secret", key);
    dj_redis_call_key(call, deja_slice(key, len));
    dj_redis_command(&call->bytes, visit->step == 0 ? 4 : 2);
    dj_redis_argument_text(&call->bytes, visit->step == 0 ? "SET" : "GET");
    dj_redis_argument(&call->bytes, deja_slice(key, len));
    if (visit->step == 0) {
        dj_hex_encode(secrets->mine, SECRET_BYTES, hex);
        dj_redis_argument_text(&call->bytes, hex);
        dj_redis_argument_text(&call->bytes, "NX");
        dj_wipe(hex, sizeof hex);
    }
    return true;
}

static enum deja_status take_secret(struct dj_redis_visit *visit,
                                    const struct dj_redis_reply *reply)
{
    struct secrets *secrets = visit->ctx;
    struct deja_slice hex;
    enum deja_status status = dj_redis_status_of(reply);
    if (status != DEJA_OK || visit->step == 0)
        return status;
    if (!dj_redis_text(reply, &hex) || dj_hex_decode(hex, secrets->theirs, SECRET_BYTES) != DEJA_OK)
        return DEJA_ERR_CORRUPT;
    return DEJA_OK;
}

enum deja_status dj_redis_adopt_secret(const struct dj_redis_options *options, uint32_t timeout_ms,
                                       const uint8_t mine[32], uint8_t out_secret[32],
                                       struct deja_error *error)
{
    struct secrets secrets = {.mine = mine};
    struct dj_redis_visit visit = {.ask = ask_secret, .take = take_secret, .ctx = &secrets};
    enum deja_status status = dj_redis_visit_run(options, timeout_ms, &visit, error);
    if (status == DEJA_OK)
        memcpy(out_secret, secrets.theirs, SECRET_BYTES);
    else if (status == DEJA_ERR_CORRUPT)
        status = deja_error_set(error, status,
                                "what the shared tier keeps under %s:{v:0}:secret is no secret of "
                                "a deployment: remove it, or use another l2.redis.prefix",
                                options->prefix ? options->prefix : "deja");
    dj_wipe(&secrets, sizeof secrets);
    return status;
}

/* ---- security and set-up ---- */

static void advise(struct dj_redis_security *security, const char *fault, const char *cure)
{
    if (security->advice_count < DJ_REDIS_ADVICE_MAX)
        security->advice[security->advice_count++] = (struct dj_redis_advice){fault, cure};
}

/* As deploy/valkey.conf has them, and why. */
static const struct {
    const char *name;
    const char *value; /* NULL: anything but "0"; "xE": these flags among others */
    struct dj_redis_advice advice;
} wishes[] = {
    {"maxmemory",
     NULL,
     {"maxmemory is 0: the server may take all memory of its machine",
      "maxmemory 4gb, or what it may have, as in deploy/valkey.conf"}},
    {"maxmemory-policy",
     "volatile-lru",
     {"maxmemory-policy is not volatile-lru: when it is full, generations, which have no end, are "
      "evicted or writes are refused",
      "maxmemory-policy volatile-lru, as in deploy/valkey.conf"}},
    {"appendonly",
     "yes",
     {"appendonly is not yes: after a crash of the server invalidations are forgotten",
      "appendonly yes, as in deploy/valkey.conf"}},
    {"appendfsync",
     "everysec",
     {"appendfsync is not everysec, the middle between safe and fast",
      "appendfsync everysec, as in deploy/valkey.conf"}},
    {"tcp-keepalive",
     "60",
     {"tcp-keepalive is not 60: dead clients are noticed late or cost traffic",
      "tcp-keepalive 60, as in deploy/valkey.conf"}},
    {"timeout",
     "300",
     {"timeout is not 300: connections nobody uses stay open",
      "timeout 300, as in deploy/valkey.conf"}},
    {"notify-keyspace-events",
     "xE",
     {"notify-keyspace-events lacks Ex: nobody is told of entries that expire",
      "notify-keyspace-events Ex, as in deploy/valkey.conf"}},
};

static bool ask_security(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    if (visit->step == 0) {
        dj_redis_command(&call->bytes, 2);
        dj_redis_argument_text(&call->bytes, "ACL");
        dj_redis_argument_text(&call->bytes, "WHOAMI");
        return true;
    }
    if (visit->step > sizeof wishes / sizeof *wishes)
        return false;
    dj_redis_command(&call->bytes, 3);
    dj_redis_argument_text(&call->bytes, "CONFIG");
    dj_redis_argument_text(&call->bytes, "GET");
    dj_redis_argument_text(&call->bytes, wishes[visit->step - 1].name);
    return true;
}

static bool is_wish_met(size_t index, struct deja_slice value)
{
    const char *wanted = wishes[index].value;
    if (!wanted)
        return !dj_slice_is(value, "0");
    if (wanted[0] == 'x') /* flags, in whatever order */
        return value.len > 0 && memchr(value.data, 'E', value.len) &&
               (memchr(value.data, 'x', value.len) || memchr(value.data, 'A', value.len));
    return dj_slice_is(value, wanted);
}

static enum deja_status take_security(struct dj_redis_visit *visit,
                                      const struct dj_redis_reply *reply)
{
    struct dj_redis_security *security = visit->ctx;
    struct deja_slice text;
    if (visit->step == 0) {
        if (dj_redis_text(reply, &text) && text.len < sizeof security->user)
            memcpy(security->user, text.data, text.len);
        return DEJA_OK;
    }
    size_t index = visit->step - 1;
    if (dj_redis_status_of(reply) == DEJA_ERR_DENIED) {
        advise(security, "the ACL user may not CONFIG GET: the set-up was not compared",
               "compare the server's configuration with deploy/valkey.conf, or run deja doctor "
               "with an administrator's l2.redis.user");
        visit->step = sizeof wishes / sizeof *wishes;
        return DEJA_OK;
    }
    if (dj_redis_text(dj_redis_at(reply, 1), &text) && !is_wish_met(index, text))
        advise(security, wishes[index].advice.fault, wishes[index].advice.cure);
    return DEJA_OK;
}

static bool is_local(const struct dj_redis_options *options)
{
    for (size_t i = 0; i < options->address_count; i++) {
        const char *host = options->addresses[i].host;
        if (strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0 &&
            strcmp(host, "localhost") != 0)
            return false;
    }
    return true;
}

static void advise_on_connection(struct dj_redis_security *security)
{
    if (!security->is_tls && !security->is_local)
        advise(security,
               "the connection is not encrypted: others on the way can read and change answers",
               "l2.redis.tls: true, or a rediss:// address, with a TLS port on the server");
    if (!security->is_authenticated)
        advise(
            security,
            "the server asks for no password: whoever reaches it reads and changes answers",
            "make an ACL user as in deploy/valkey.conf; set l2.redis.user and l2.redis.password");
    else if (strcmp(security->user, "default") == 0)
        advise(security, "the user is \"default\", who may do everything",
               "make an ACL user as in deploy/valkey.conf and set l2.redis.user");
}

enum deja_status dj_redis_look(const struct dj_redis_options *options, uint32_t timeout_ms,
                               struct dj_redis_security *out_security, struct deja_error *error)
{
    struct dj_redis_security security = {.is_tls = options->is_tls,
                                         .is_verified = options->is_tls,
                                         .has_certificate = options->is_tls && options->cert_file,
                                         .is_authenticated = options->password != NULL,
                                         .is_local = is_local(options)};
    struct dj_redis_visit visit = {.ask = ask_security, .take = take_security, .ctx = &security};
    enum deja_status status = dj_redis_visit_run(options, timeout_ms, &visit, error);
    if (status != DEJA_OK)
        return status;
    memcpy(security.software, visit.software, sizeof security.software);
    advise_on_connection(&security);
    *out_security = security;
    return DEJA_OK;
}
