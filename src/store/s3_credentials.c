/* store/s3_credentials.c - see s3_credentials.h. Trust: the operator's file, bounded.
 *
 * (1) Keys are never changed in place: a look makes new ones and swaps the pointer under the mutex,
 *     so a request that is being signed keeps those it took.
 * (2) One look at a time; close waits for it.
 */
#include "store/s3_credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "crypto/digest.h"
#include "proto/http_text.h"

enum {
    FILE_BYTES_MAX = 256 * 1024,
    KEY_BYTES_MAX = 256,
    TOKEN_BYTES_MAX = 8 * 1024,
    LOOK_MS = 5000,
};

struct dj_s3_keys {
    atomic_uint ref_count;
    size_t access_len;
    size_t secret_len;
    size_t token_len;
    char bytes[]; /* the three, one after another */
};

struct dj_s3_credentials {
    pthread_mutex_t mutex;
    pthread_cond_t looked;
    struct dj_s3_keys *keys; /* under the mutex, as is all but path, profile and job */
    struct stat seen;        /* of the file that keys are from */
    int64_t looked_ms;
    bool is_looking;
    bool has_file; /* false: keys were given */
    char *path;
    char *profile;
    struct dj_job job; /* while is_looking */
};

/* Access key and token travel as header values; an access key also as part of a list. */
static bool is_sendable(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] == ',' || text.data[i] == 0x7f)
            return false;
    return dj_http_is_value(text);
}

enum deja_status dj_s3_keys_create(const struct dj_s3_identity *identity,
                                   struct dj_s3_keys **out_keys)
{
    const struct deja_slice access = identity->access_key;
    const struct deja_slice secret = identity->secret_key;
    const struct deja_slice token = identity->token;
    if (!access.len || !secret.len || access.len > KEY_BYTES_MAX || secret.len > KEY_BYTES_MAX ||
        token.len > TOKEN_BYTES_MAX || !is_sendable(access) || !is_sendable(token))
        return DEJA_ERR_INVALID;
    struct dj_s3_keys *keys = dj_alloc(sizeof *keys + access.len + secret.len + token.len);
    if (!keys)
        return DEJA_ERR_NOMEM;
    atomic_init(&keys->ref_count, 1);
    keys->access_len = access.len;
    keys->secret_len = secret.len;
    keys->token_len = token.len;
    memcpy(keys->bytes, access.data, access.len);
    memcpy(keys->bytes + access.len, secret.data, secret.len);
    if (token.len)
        memcpy(keys->bytes + access.len + secret.len, token.data, token.len);
    *out_keys = keys;
    return DEJA_OK;
}

void dj_s3_keys_unref(struct dj_s3_keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->ref_count, 1, memory_order_acq_rel) != 1)
        return;
    dj_wipe(keys->bytes, keys->access_len + keys->secret_len + keys->token_len);
    dj_free(keys);
}

struct dj_s3_identity dj_s3_keys_identity(const struct dj_s3_keys *keys)
{
    const char *secret = keys->bytes + keys->access_len;
    return (struct dj_s3_identity){
        .access_key = deja_slice(keys->bytes, keys->access_len),
        .secret_key = deja_slice(secret, keys->secret_len),
        .token = deja_slice(secret + keys->secret_len, keys->token_len),
    };
}

static struct deja_slice take_line(struct deja_slice *text)
{
    const char *end = memchr(text->data, '\n', text->len);
    size_t len = end ? (size_t)(end - text->data) : text->len;
    struct deja_slice line = deja_slice(text->data, len);
    size_t taken = end ? len + 1 : len;
    *text = deja_slice(text->data + taken, text->len - taken);
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    return dj_http_trim(line);
}

/* "[name]", and "[profile name]" as the configuration file beside it has it. */
static bool is_section(struct deja_slice line, const char *profile)
{
    struct deja_slice name = dj_http_trim(deja_slice(line.data + 1, line.len - 2));
    if (name.len > 8 && memcmp(name.data, "profile ", 8) == 0)
        name = dj_http_trim(deja_slice(name.data + 8, name.len - 8));
    return dj_slice_is(name, profile);
}

static void take_pair(struct deja_slice line, struct dj_s3_identity *identity)
{
    const char *equals = memchr(line.data, '=', line.len);
    if (!equals)
        return;
    struct deja_slice name = dj_http_trim(deja_slice(line.data, (size_t)(equals - line.data)));
    struct deja_slice value =
        dj_http_trim(deja_slice(equals + 1, line.len - (size_t)(equals + 1 - line.data)));
    if (dj_http_is_same(name, "aws_access_key_id"))
        identity->access_key = value;
    else if (dj_http_is_same(name, "aws_secret_access_key"))
        identity->secret_key = value;
    else if (dj_http_is_same(name, "aws_session_token"))
        identity->token = value;
}

enum deja_status dj_s3_profile_read(struct deja_slice text, const char *profile,
                                    struct dj_s3_keys **out_keys, struct deja_error *error)
{
    struct dj_s3_identity identity = {.token = deja_slice(NULL, 0)};
    bool is_found = false;
    bool is_inside = false;
    while (text.len) {
        struct deja_slice line = take_line(&text);
        if (!line.len || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (line.data[0] == '[') {
            is_inside = line.len > 2 && line.data[line.len - 1] == ']' && is_section(line, profile);
            is_found = is_found || is_inside;
        } else if (is_inside) {
            take_pair(line, &identity);
        }
    }
    if (!is_found)
        return deja_error_set(error, DEJA_ERR_NOT_FOUND, "it has no profile [%s]", profile);
    if (!identity.access_key.len || !identity.secret_key.len)
        return deja_error_set(error, DEJA_ERR_INVALID, "profile [%s] lacks %s", profile,
                              identity.access_key.len ? "aws_secret_access_key"
                                                      : "aws_access_key_id");
    enum deja_status status = dj_s3_keys_create(&identity, out_keys);
    if (status == DEJA_ERR_INVALID)
        return deja_error_set(error, status, "the keys of profile [%s] are too long or have blanks",
                              profile);
    return status;
}

/* seen: of the file as it was read. */
static enum deja_status read_file(const char *path, struct dj_buf *out, struct stat *out_seen,
                                  struct deja_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return deja_error_set(error, errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO, "%s",
                              errno == ENOENT ? "it is not there" : strerror(errno));
    enum deja_status status = DEJA_OK;
    ssize_t got = 1;
    if (fstat(fd, out_seen) != 0 || !S_ISREG(out_seen->st_mode) ||
        out_seen->st_size > FILE_BYTES_MAX)
        status = deja_error_set(error, DEJA_ERR_INVALID, "it is not a file of at most 256 KiB");
    /* In one piece, so that no copy of a secret is left behind by growing. */
    if (status == DEJA_OK && !dj_buf_reserve(out, FILE_BYTES_MAX))
        status = DEJA_ERR_NOMEM;
    while (status == DEJA_OK && got > 0 && out->len < FILE_BYTES_MAX) {
        got = read(fd, out->data + out->len, FILE_BYTES_MAX - out->len);
        if (got > 0)
            out->len += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            status = deja_error_set(error, DEJA_ERR_IO, "%s", strerror(errno));
    }
    close(fd);
    return status;
}

static enum deja_status read_profile(const struct dj_s3_credentials *credentials,
                                     struct dj_s3_keys **out_keys, struct stat *out_seen,
                                     struct deja_error *error)
{
    struct dj_buf text = {0};
    enum deja_status status = read_file(credentials->path, &text, out_seen, error);
    if (status == DEJA_OK)
        status = dj_s3_profile_read(dj_buf_slice(&text), credentials->profile, out_keys, error);
    if (text.data)
        dj_wipe(text.data, text.len);
    dj_buf_fini(&text);
    return status;
}

enum deja_status dj_s3_credentials_open(const struct dj_s3_identity *identity, const char *path,
                                        const char *profile,
                                        struct dj_s3_credentials **out_credentials,
                                        struct deja_error *error)
{
    struct deja_error why = {""};
    struct dj_s3_credentials *credentials = dj_alloc_zeroed(1, sizeof *credentials);
    if (!credentials)
        return DEJA_ERR_NOMEM;
    pthread_mutex_init(&credentials->mutex, NULL);
    pthread_cond_init(&credentials->looked, NULL);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (identity->access_key.len || identity->secret_key.len) {
        status = dj_s3_keys_create(identity, &credentials->keys);
        if (status == DEJA_ERR_INVALID)
            deja_error_set(error, status,
                           "the S3 credentials are not usable: an access key and a secret key "
                           "without blanks are needed, both from the same place");
        goto done;
    }
    credentials->has_file = true;
    credentials->path = dj_strdup(deja_slice_text(path));
    credentials->profile = dj_strdup(deja_slice_text(profile));
    if (!credentials->path || !credentials->profile)
        goto done;
    status = read_profile(credentials, &credentials->keys, &credentials->seen, &why);
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM)
        status = deja_error_set(error, DEJA_ERR_CONFIG,
                                "no S3 credentials: set AWS_ACCESS_KEY_ID and "
                                "AWS_SECRET_ACCESS_KEY, or l3.s3.access_key_id and "
                                "l3.s3.secret_access_key, or put them into %s (%s)",
                                path, why.message);
done:
    if (status != DEJA_OK) {
        dj_s3_credentials_close(credentials);
        return status;
    }
    *out_credentials = credentials;
    return DEJA_OK;
}

void dj_s3_credentials_close(struct dj_s3_credentials *credentials)
{
    if (!credentials)
        return;
    pthread_mutex_lock(&credentials->mutex);
    while (credentials->is_looking)
        pthread_cond_wait(&credentials->looked, &credentials->mutex);
    pthread_mutex_unlock(&credentials->mutex);
    dj_s3_keys_unref(credentials->keys);
    pthread_cond_destroy(&credentials->looked);
    pthread_mutex_destroy(&credentials->mutex);
    dj_free(credentials->path);
    dj_free(credentials->profile);
    dj_free(credentials);
}

struct dj_s3_keys *dj_s3_credentials_keys(struct dj_s3_credentials *credentials)
{
    pthread_mutex_lock(&credentials->mutex);
    struct dj_s3_keys *keys = credentials->keys;
    atomic_fetch_add_explicit(&keys->ref_count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&credentials->mutex);
    return keys;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void look(void *ctx)
{
    struct dj_s3_credentials *credentials = ctx;
    struct dj_s3_keys *keys = NULL;
    struct stat now;
    bool is_changed = stat(credentials->path, &now) == 0 && !is_same_file(&now, &credentials->seen);
    if (is_changed && read_profile(credentials, &keys, &now, NULL) != DEJA_OK)
        keys = NULL; /* half-written, mostly: the next look finds it whole */
    pthread_mutex_lock(&credentials->mutex);
    struct dj_s3_keys *old = NULL;
    if (keys) {
        old = credentials->keys;
        credentials->keys = keys;
        credentials->seen = now;
    }
    credentials->is_looking = false;
    pthread_cond_broadcast(&credentials->looked);
    pthread_mutex_unlock(&credentials->mutex);
    dj_s3_keys_unref(old);
}

void dj_s3_credentials_look(struct dj_s3_credentials *credentials, struct dj_pool *pool,
                            struct dj_loop *loop, bool is_urgent)
{
    if (!credentials->has_file)
        return;
    int64_t now_ms = dj_loop_now_ms(loop);
    pthread_mutex_lock(&credentials->mutex);
    bool is_due =
        is_urgent || now_ms - credentials->looked_ms >= LOOK_MS || now_ms < credentials->looked_ms;
    if (is_due && !credentials->is_looking) {
        credentials->looked_ms = now_ms;
        credentials->job = (struct dj_job){.work = look, .ctx = credentials, .loop = loop};
        /* A full queue: the next call tries again in its turn. */
        credentials->is_looking = dj_pool_submit(pool, &credentials->job) == DEJA_OK;
    }
    pthread_mutex_unlock(&credentials->mutex);
}
