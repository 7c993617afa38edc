/* tools/model_fetch.c - one file over HTTP, resumed and with a progress bar: see model_internal.h.
 *
 * outbound follows no redirects, since a proxy must not; the public home answers with one to its
 * storage, so up to REDIRECTS_MAX are followed here. https never becomes http.
 */
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "loop/loop.h"
#include "net/outbound.h"
#include "tools/model_internal.h"

#define REDIRECTS_MAX 5u
#define URL_CAP 8192u
#define SILENCE_MS 30000u

struct fetch {
    struct dj_loop *loop;
    struct dj_outbound *outbound;
    struct dj_outbound_call *call;
    struct dj_task finish;
    const struct dj_model_file *file;
    int fd;
    uint64_t at; /* bytes in the file */
    int http_status;
    unsigned percent_shown;
    bool is_terminal;
    enum deja_status status;       /* of the transfer */
    enum deja_status local_status; /* of the disk and of the size */
    char detail[200];
    char location[URL_CAP];
};

static void copy_slice(char *out, size_t cap, struct deja_slice text)
{
    size_t len = text.len < cap ? text.len : 0;
    memcpy(out, text.data ? text.data : "", len);
    out[len] = '\0';
}

static bool has_name(const struct dj_http_header *header, const char *name)
{
    return header->name.len == strlen(name) &&
           strncasecmp(header->name.data, name, header->name.len) == 0;
}

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct fetch *fetch = ctx;
    char expected[40];
    bool is_continued = false;
    int len = snprintf(expected, sizeof expected, "bytes %llu-", (unsigned long long)fetch->at);
    fetch->http_status = status;
    for (size_t i = 0; i < count; i++) {
        if (has_name(&headers[i], "location"))
            copy_slice(fetch->location, sizeof fetch->location, headers[i].value);
        if (has_name(&headers[i], "content-range"))
            is_continued = headers[i].value.len > (size_t)len &&
                           memcmp(headers[i].value.data, expected, (size_t)len) == 0;
    }
    if (status == 206 && !is_continued)
        fetch->local_status = DEJA_ERR_UNSUPPORTED;
    if (status == 200 && fetch->at) { /* the server does not resume: from the beginning */
        fetch->at = 0;
        if (ftruncate(fetch->fd, 0) || lseek(fetch->fd, 0, SEEK_SET) < 0)
            fetch->local_status = DEJA_ERR_IO;
    }
}

static void show_progress(struct fetch *fetch)
{
    unsigned percent = (unsigned)(fetch->at * 100 / (fetch->file->bytes ? fetch->file->bytes : 1));
    if (!fetch->is_terminal || percent == fetch->percent_shown)
        return;
    fetch->percent_shown = percent;
    fprintf(stderr, "\r%-20s %3u%%  %.1f of %.1f MB", fetch->file->name, percent,
            (double)fetch->at / 1e6, (double)fetch->file->bytes / 1e6);
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct fetch *fetch = ctx;
    if (fetch->local_status != DEJA_OK || (fetch->http_status != 200 && fetch->http_status != 206))
        return;
    if (bytes.len > fetch->file->bytes - fetch->at)
        fetch->local_status = DEJA_ERR_CORRUPT;
    while (bytes.len && fetch->local_status == DEJA_OK) {
        ssize_t wrote = write(fetch->fd, bytes.data, bytes.len);
        if (wrote <= 0) {
            fetch->local_status = DEJA_ERR_IO;
            break;
        }
        fetch->at += (uint64_t)wrote;
        bytes = deja_slice(bytes.data + wrote, bytes.len - (size_t)wrote);
    }
    show_progress(fetch);
    if (fetch->local_status != DEJA_OK && fetch->call)
        dj_outbound_cancel(fetch->call);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct fetch *fetch = ctx;
    fetch->call = NULL;
    fetch->status = status;
    snprintf(fetch->detail, sizeof fetch->detail, "%s", detail ? detail : "");
    dj_loop_post(fetch->loop, &fetch->finish);
}

static void finish(void *ctx)
{
    struct fetch *fetch = ctx;
    dj_outbound_destroy(fetch->outbound);
    fetch->outbound = NULL;
    dj_loop_stop(fetch->loop);
}

/* One request. What went wrong is in fetch; the return value is about starting it. */
static enum deja_status request(struct fetch *fetch, const char *url)
{
    static const struct dj_outbound_events events = {on_head, on_data, on_done};
    char range[40];
    struct dj_http_header header = {deja_slice_text("Range"), {NULL, 0}};
    snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)fetch->at);
    header.value = deja_slice_text(range);
    fetch->http_status = 0;
    fetch->location[0] = '\0';
    fetch->status = DEJA_ERR_CANCELLED;
    fetch->finish = (struct dj_task){.run = finish, .ctx = fetch};
    enum deja_status status = dj_loop_create(0, &fetch->loop);
    if (status != DEJA_OK)
        return status;
    status = dj_outbound_create(fetch->loop, &dj_outbound_options_default, &fetch->outbound);
    if (status == DEJA_OK)
        status =
            dj_outbound_start(fetch->outbound,
                              &(struct dj_outbound_request){.method = "GET",
                                                            .url = url,
                                                            .headers = &header,
                                                            .header_count = fetch->at ? 1 : 0,
                                                            .first_byte_timeout_ms = SILENCE_MS,
                                                            .idle_timeout_ms = SILENCE_MS},
                              &events, fetch, &fetch->call);
    if (status != DEJA_OK)
        dj_loop_post(fetch->loop, &fetch->finish);
    dj_loop_run(fetch->loop);
    dj_loop_destroy(fetch->loop);
    return status;
}

/* url becomes what location says, seen from url. */
static enum deja_status follow(char url[URL_CAP], const char *location, struct deja_error *error)
{
    bool was_secure = strncasecmp(url, "https://", 8) == 0;
    char next[URL_CAP];
    int len;
    if (location[0] == '/' && location[1] != '/') {
        char *host = strstr(url, "://");
        size_t host_end = host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
        len = snprintf(next, sizeof next, "%.*s%s", (int)host_end, url, location);
    } else {
        len = snprintf(next, sizeof next, "%s", location);
    }
    if (len <= 0 || (size_t)len >= sizeof next)
        return deja_error_set(error, DEJA_ERR_IO, "a redirect that cannot be followed");
    if (was_secure && strncasecmp(next, "https://", 8) != 0)
        return deja_error_set(error, DEJA_ERR_DENIED, "a redirect away from https");
    memcpy(url, next, (size_t)len + 1);
    return DEJA_OK;
}

static enum deja_status fetch_all(struct fetch *fetch, char url[URL_CAP], struct deja_error *error)
{
    for (unsigned hop = 0; hop <= REDIRECTS_MAX; hop++) {
        enum deja_status status = dj_outbound_check_url(url, error);
        if (status != DEJA_OK)
            return status;
        status = request(fetch, url);
        if (status != DEJA_OK)
            return deja_error_set(error, status, "%s", deja_status_text(status));
        if (fetch->local_status == DEJA_ERR_IO)
            return deja_error_set(error, DEJA_ERR_IO, "the disk refused %s", fetch->file->name);
        if (fetch->local_status == DEJA_ERR_UNSUPPORTED) { /* so the next try begins anew */
            if (ftruncate(fetch->fd, 0))
                return deja_error_set(error, DEJA_ERR_IO, "the disk refused %s", fetch->file->name);
            return deja_error_set(error, DEJA_ERR_IO, "it went on with %s at another byte",
                                  fetch->file->name);
        }
        if (fetch->local_status != DEJA_OK)
            return deja_error_set(error, DEJA_ERR_CORRUPT, "%s has another size than it should",
                                  fetch->file->name);
        if (fetch->status != DEJA_OK)
            return deja_error_set(error, fetch->status, "%s",
                                  fetch->detail[0] ? fetch->detail
                                                   : deja_status_text(fetch->status));
        bool is_redirect = fetch->http_status >= 301 && fetch->http_status <= 308 &&
                           fetch->http_status != 304 && fetch->location[0];
        if (!is_redirect && fetch->http_status != 200 && fetch->http_status != 206)
            return deja_error_set(error, DEJA_ERR_NOT_FOUND, "it answered %d for %s",
                                  fetch->http_status, fetch->file->name);
        if (!is_redirect)
            return fetch->at == fetch->file->bytes
                       ? DEJA_OK
                       : deja_error_set(error, DEJA_ERR_CORRUPT, "%s came with %llu of %llu bytes",
                                        fetch->file->name, (unsigned long long)fetch->at,
                                        (unsigned long long)fetch->file->bytes);
        status = follow(url, fetch->location, error);
        if (status != DEJA_OK)
            return status;
    }
    return deja_error_set(error, DEJA_ERR_IO, "too many redirects");
}

enum deja_status dj_model_fetch(const char *url, const struct dj_model_file *file,
                                const char *part_path, struct deja_error *error)
{
    struct fetch fetch = {.file = file, .percent_shown = 101, .is_terminal = isatty(2) == 1};
    char current[URL_CAP];
    struct stat info;
    int len = snprintf(current, sizeof current, "%s", url);
    if (len < 0 || (size_t)len >= sizeof current)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the address is too long");
    fetch.fd = open(part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fetch.fd < 0 || fstat(fetch.fd, &info))
        return deja_error_set(error, DEJA_ERR_IO, "cannot write %s", part_path);
    enum deja_status status = DEJA_OK;
    fetch.at = (uint64_t)info.st_size;
    if (fetch.at > file->bytes) {
        fetch.at = 0;
        if (ftruncate(fetch.fd, 0))
            status = deja_error_set(error, DEJA_ERR_IO, "cannot write %s", part_path);
    }
    if (lseek(fetch.fd, 0, SEEK_END) < 0)
        status = deja_error_set(error, DEJA_ERR_IO, "cannot write %s", part_path);
    if (status == DEJA_OK && fetch.at < file->bytes)
        status = fetch_all(&fetch, current, error);
    if (fetch.is_terminal && fetch.percent_shown != 101)
        fputc('\n', stderr);
    if (close(fetch.fd) && status == DEJA_OK)
        status = deja_error_set(error, DEJA_ERR_IO, "cannot write %s", part_path);
    return status;
}
