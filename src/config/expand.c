/* config/expand.c - see expand.h. */
#include "config/expand.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/slice.h"

#define PATH_LEN_MAX 1024u

const char *dj_environment_find(const char *const *environment, struct deja_slice name)
{
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name.data, name.len) == 0 && (*environment)[name.len] == '=')
            return *environment + name.len + 1;
    return NULL;
}

bool dj_has_expansion(const char *text)
{
    return strstr(text, "${") != NULL;
}

static bool is_name(struct deja_slice name)
{
    if (!name.len || name.len > 128 || name.data[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

static enum deja_status append_credential(struct deja_slice name, const char *const *environment,
                                          struct dj_buf *out, struct deja_error *error)
{
    const char *directory =
        dj_environment_find(environment, deja_slice_text("CREDENTIALS_DIRECTORY"));
    char path[PATH_LEN_MAX];
    bool is_open = false;
    if (!directory)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "${CRED:%.*s}: there is no CREDENTIALS_DIRECTORY", (int)name.len,
                              name.data);
    int len = snprintf(path, sizeof path, "%s/%.*s", directory, (int)name.len, name.data);
    if (len < 0 || (size_t)len >= sizeof path)
        return deja_error_set(error, DEJA_ERR_INVALID, "CREDENTIALS_DIRECTORY is too long");
    return dj_secret_file_read(path, out, &is_open, error);
}

static enum deja_status append_reference(struct deja_slice kind, struct deja_slice name,
                                         const char *const *environment, struct dj_buf *out,
                                         struct deja_error *error)
{
    if (!is_name(name))
        return deja_error_set(error, DEJA_ERR_INVALID, "${%.*s:…} names nothing", (int)kind.len,
                              kind.data);
    if (dj_slice_is(kind, "CRED"))
        return append_credential(name, environment, out, error);
    if (!dj_slice_is(kind, "ENV"))
        return deja_error_set(error, DEJA_ERR_INVALID, "${…} knows ENV: and CRED: only");
    const char *value = dj_environment_find(environment, name);
    if (!value)
        return deja_error_set(error, DEJA_ERR_INVALID, "${ENV:%.*s} is not set", (int)name.len,
                              name.data);
    dj_buf_append_text(out, value);
    return out->status;
}

enum deja_status dj_expand(const char *text, const char *const *environment, struct dj_buf *out,
                           struct deja_error *error)
{
    size_t before = out->len;
    enum deja_status status = DEJA_OK;
    for (const char *open; status == DEJA_OK && (open = strstr(text, "${")) != NULL;) {
        const char *close = strchr(open, '}');
        const char *colon = strchr(open, ':');
        if (!close || !colon || colon > close) {
            status = deja_error_set(error, DEJA_ERR_INVALID,
                                    "expected ${ENV:NAME} or ${CRED:name} after \"${\"");
            break;
        }
        dj_buf_append(out, text, (size_t)(open - text));
        status = append_reference(deja_slice(open + 2, (size_t)(colon - open) - 2),
                                  deja_slice(colon + 1, (size_t)(close - colon) - 1), environment,
                                  out, error);
        text = close + 1;
    }
    if (status == DEJA_OK) {
        dj_buf_append_text(out, text);
        status = out->status;
    }
    if (status != DEJA_OK)
        out->len = before;
    return status;
}

enum deja_status dj_secret_file_read(const char *path, struct dj_buf *out, bool *out_is_open,
                                     struct deja_error *error)
{
    struct stat info;
    size_t before = out->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s cannot be read", path);
    enum deja_status status = DEJA_ERR_INVALID;
    if (fstat(fd, &info) || !S_ISREG(info.st_mode) || info.st_size > (off_t)DJ_SECRET_FILE_MAX) {
        deja_error_set(error, status, "%s is not a file of at most 64 KB", path);
        goto done;
    }
    for (;;) {
        char *room = dj_buf_reserve(out, 4096);
        ssize_t got = room ? read(fd, room, 4096) : -1;
        if (got < 0) {
            status = room ? deja_error_set(error, DEJA_ERR_INVALID, "%s cannot be read", path)
                          : out->status;
            goto done;
        }
        if (!got)
            break;
        out->len += (size_t)got;
        if (out->len - before > DJ_SECRET_FILE_MAX) { /* it grew, or lies about its size */
            deja_error_set(error, status, "%s has more than 64 KB", path);
            goto done;
        }
    }
    if (out->len > before && out->data[out->len - 1] == '\n')
        out->len--;
    if (out->len > before && out->data[out->len - 1] == '\r')
        out->len--;
    *out_is_open = (info.st_mode & 077) != 0;
    status = DEJA_OK;
done:
    if (status != DEJA_OK)
        out->len = before;
    close(fd);
    return status;
}
