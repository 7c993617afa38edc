/* store/redis_command.c - see redis_command.h.
 *
 * Versions are compared byte by byte in the scripts: Lua's < follows the server's locale, and its
 * numbers have 53 bits.
 */
#include "store/redis_command.h"

#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "security/tenant.h"
#include "store/key_internal.h"
#include "store/redis.h"

/* newer(a, b): is version a newer than b? A value that is no version is older than all. */
#define NEWER                                                   \
    "local function newer(a,b) if #b<8 then return true end "   \
    "for i=1,8 do local x,y=string.byte(a,i),string.byte(b,i) " \
    "if x~=y then return x>y end end return false end "

static const char *const scripts[DJ_REDIS_SCRIPT_COUNT] = {
    [DJ_REDIS_PUT] =
        NEWER "if not newer(ARGV[1],redis.call('GETRANGE',KEYS[1],0,7)) then return 0 end "
              "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) return 1",
    /* The tombstone has the larger of the two versions, or, when any version was to go, the stored
     * one; where nothing was stored there is then nothing to bury. */
    [DJ_REDIS_REMOVE] = NEWER "local v=redis.call('GETRANGE',KEYS[1],0,7) local m=ARGV[1] "
                              "local any=m==string.rep(string.char(255),8) "
                              "if #v==8 and not any and newer(v,m) then return 0 end "
                              "if #v<8 and any then redis.call('DEL',KEYS[1]) return 0 end "
                              "local n=redis.call('STRLEN',KEYS[1])>8 and 1 or 0 "
                              "redis.call('SET',KEYS[1],any and v or m,'PX',ARGV[2]) return n",
    [DJ_REDIS_CLEAR] = "if redis.call('STRLEN',KEYS[1])>8 then "
                       "return redis.call('UNLINK',KEYS[1]) end return 0",
    /* Counter and place begin at the time in us: a server that lost them gives none out again. */
    [DJ_REDIS_RAISE] = "local t=redis.call('TIME') local us=tonumber(t[1])*1000000+tonumber(t[2]) "
                       "local g=math.max(tonumber(redis.call('HGET',KEYS[1],ARGV[1]) or 0)+1,us) "
                       "local s=math.max(tonumber(redis.call('GET',KEYS[3]) or 0)+1,us) "
                       "g=string.format('%.0f',g) s=string.format('%.0f',s) "
                       "redis.call('HSET',KEYS[1],ARGV[1],g) redis.call('SET',KEYS[3],s) "
                       "redis.call('ZADD',KEYS[2],s,ARGV[1]) return {g,s}",
    [DJ_REDIS_PULL] =
        "local last=tonumber(redis.call('GET',KEYS[3]) or 0) local since=tonumber(ARGV[1]) "
        "if since>last then since=0 end local out={last} "
        "local f=redis.call('ZRANGEBYSCORE',KEYS[2],'('..string.format('%.0f',since),'+inf',"
        "'WITHSCORES','LIMIT',0,tonumber(ARGV[2])) "
        "for i=1,#f,2 do out[#out+1]=f[i] out[#out+1]=redis.call('HGET',KEYS[1],f[i]) or '0' "
        "out[#out+1]=f[i+1] end return out",
    [DJ_REDIS_LOCK] = "local t=redis.call('GET',KEYS[1]) "
                      "if t and t~=ARGV[1] then return 0 end "
                      "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) return 1",
    [DJ_REDIS_UNLOCK] = "if redis.call('GET',KEYS[1])==ARGV[1] then "
                        "return redis.call('DEL',KEYS[1]) end return 0",
};

const char *dj_redis_script_text(enum dj_redis_script script)
{
    return scripts[script];
}

void dj_redis_script_sha(enum dj_redis_script script, char out_sha[DJ_REDIS_SHA_BYTES])
{
    uint8_t digest[DJ_SHA1_BYTES];
    dj_sha1(deja_slice_text(scripts[script]), digest);
    dj_hex_encode(digest, sizeof digest, out_sha);
}

static void append_head(struct dj_buf *buf, char kind, uint64_t value)
{
    dj_buf_append_byte(buf, kind);
    dj_buf_append_u64(buf, value);
    dj_buf_append(buf, "\r\n", 2);
}

void dj_redis_command(struct dj_buf *buf, uint32_t count)
{
    append_head(buf, '*', count);
}

void dj_redis_argument(struct dj_buf *buf, struct deja_slice bytes)
{
    append_head(buf, '$', bytes.len);
    dj_buf_append_slice(buf, bytes);
    dj_buf_append(buf, "\r\n", 2);
}

void dj_redis_argument_text(struct dj_buf *buf, const char *text)
{
    dj_redis_argument(buf, deja_slice_text(text));
}

void dj_redis_argument_u64(struct dj_buf *buf, uint64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    dj_redis_argument(buf, deja_slice(text, (size_t)len));
}

void dj_redis_command_script(struct dj_buf *buf, enum dj_redis_script script, uint32_t key_count,
                             uint32_t count)
{
    char sha[DJ_REDIS_SHA_BYTES];
    dj_redis_script_sha(script, sha);
    dj_redis_command(buf, 3 + count);
    dj_redis_argument_text(buf, "EVALSHA");
    dj_redis_argument_text(buf, sha);
    dj_redis_argument_u64(buf, key_count);
}

void dj_redis_command_eval(struct dj_buf *buf, enum dj_redis_script script,
                           struct deja_slice command)
{
    const size_t named = sizeof "$7\r\nEVALSHA\r\n$40\r\n" - 1 + 40 + 2;
    const char *line_end = memchr(command.data, '\n', command.len);
    size_t head = (size_t)(line_end - command.data) + 1;
    dj_buf_append(buf, command.data, head);
    dj_redis_argument_text(buf, "EVAL");
    dj_redis_argument_text(buf, scripts[script]);
    dj_buf_append(buf, command.data + head + named, command.len - head - named);
}

uint32_t dj_redis_shard(const struct dj_store_key *key)
{
    return (uint32_t)(dj_hash64(key, sizeof *key, 0) % DJ_REDIS_SHARDS);
}

static char *write_piece(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

size_t dj_redis_key(const char *prefix, const struct dj_store_key *key, char kind,
                    char out_key[DJ_REDIS_KEY_BYTES])
{
    char tenant[DJ_TENANT_TEXT_BYTES];
    char id[2 * DJ_ID_BYTES + 1];
    dj_tenant_text(key->tenant, tenant);
    dj_hex_encode(key->id, DJ_ID_BYTES, id);
    char shard[DJ_NUM_U64_DIGITS_MAX];
    size_t shard_len = dj_num_write_u64(dj_redis_shard(key), shard);
    const char marks[] = {':', kind, ':'};
    size_t prefix_len = strlen(prefix);
    assert(prefix_len <= DJ_REDIS_PREFIX_BYTES_MAX); /* the options were checked */
    char *at = out_key; /* "PREFIX:{v:SHARD}:TENANT:KIND:ID"; each question makes one */
    at = write_piece(at, prefix, prefix_len);
    at = write_piece(at, ":{v:", 4);
    at = write_piece(at, shard, shard_len);
    at = write_piece(at, "}:", 2);
    at = write_piece(at, tenant, strlen(tenant));
    at = write_piece(at, marks, sizeof marks);
    at = write_piece(at, id, sizeof id); /* and its end */
    return (size_t)(at - out_key) - 1;
}

size_t dj_redis_tenant_glob(const char *prefix, const uint8_t tenant[DJ_ID_BYTES],
                            char out_glob[DJ_REDIS_KEY_BYTES])
{
    char text[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(tenant, text);
    int len = snprintf(out_glob, DJ_REDIS_KEY_BYTES, "%s:{v:*}:%s:q:*", prefix, text);
    return (size_t)len;
}

size_t dj_redis_shared_key(const char *prefix, const char *name, char out_key[DJ_REDIS_KEY_BYTES])
{
    int len = snprintf(out_key, DJ_REDIS_KEY_BYTES, "%s:{v:0}:%s", prefix, name);
    return (size_t)len;
}

bool dj_redis_key_id(struct deja_slice key, uint8_t out_id[DJ_ID_BYTES])
{
    const size_t digits = 2 * DJ_ID_BYTES;
    if (key.len < digits + 3 || memcmp(key.data + key.len - digits - 3, ":q:", 3) != 0)
        return false;
    return dj_hex_decode(deja_slice(key.data + key.len - digits, digits), out_id, DJ_ID_BYTES) ==
           DEJA_OK;
}

void dj_redis_version_write(uint64_t version, char out[DJ_REDIS_VERSION_BYTES])
{
    for (uint32_t i = 0; i < DJ_REDIS_VERSION_BYTES; i++)
        out[i] = (char)(version >> (56 - 8 * i));
}

uint64_t dj_redis_version_read(const char bytes[DJ_REDIS_VERSION_BYTES])
{
    uint64_t version = 0;
    for (uint32_t i = 0; i < DJ_REDIS_VERSION_BYTES; i++)
        version = version << 8 | (uint8_t)bytes[i];
    return version;
}
