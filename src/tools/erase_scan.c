/* tools/erase_scan.c - see erase_scan.h. */
#define _GNU_SOURCE /* memmem */
#include "tools/erase_scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "security/audit_search.h"

#define FORMS_MAX 6u
#define DEPTH_MAX 16u
#define PATH_BYTES 4096u

struct pattern {
    uint32_t line;
    const char *form;
    char *bytes; /* owned */
    size_t len;
};

struct dj_canaries {
    struct pattern *patterns;
    size_t count;
    size_t canaries;
};

void dj_canaries_destroy(struct dj_canaries *canaries)
{
    if (!canaries)
        return;
    for (size_t i = 0; i < canaries->count; i++)
        dj_free(canaries->patterns[i].bytes);
    dj_free(canaries->patterns);
    dj_free(canaries);
}

size_t dj_canaries_count(const struct dj_canaries *canaries)
{
    return canaries->canaries;
}

/* ---- forms ---- */

static enum deja_status add(struct dj_canaries *canaries, uint32_t line, const char *form,
                            struct dj_buf *bytes)
{
    size_t len = bytes->len;
    char *text = dj_buf_take_text(bytes);
    if (!text)
        return DEJA_ERR_NOMEM;
    canaries->patterns[canaries->count++] =
        (struct pattern){.line = line, .form = form, .bytes = text, .len = len};
    return DEJA_OK;
}

/* Only what does not depend on the bytes around it: whole groups of six bits. */
static void put_base64(struct dj_buf *out, struct deja_slice text, size_t shift)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t first_bit = (6 - 8 * shift % 6) % 6; /* where a group begins within the text */
    for (size_t bit = first_bit; bit + 6 <= 8 * text.len; bit += 6) {
        unsigned value = 0;
        for (size_t i = bit; i < bit + 6; i++)
            value = value << 1 | ((unsigned)(unsigned char)text.data[i / 8] >> (7 - i % 8) & 1u);
        dj_buf_append_byte(out, digits[value]);
    }
}

static enum deja_status add_forms(struct dj_canaries *canaries, uint32_t line,
                                  struct deja_slice text)
{
    struct dj_buf bytes = {0};
    dj_buf_append_slice(&bytes, text);
    enum deja_status status = add(canaries, line, "text", &bytes);
    for (unsigned order = 0; order < 2 && status == DEJA_OK; order++) {
        for (size_t i = 0; i < text.len; i++) {
            dj_buf_append_byte(&bytes, order == 0 ? text.data[i] : '\0');
            dj_buf_append_byte(&bytes, order == 0 ? '\0' : text.data[i]);
        }
        status = add(canaries, line, order == 0 ? "utf-16le" : "utf-16be", &bytes);
    }
    for (size_t shift = 0; shift < 3 && status == DEJA_OK; shift++) {
        put_base64(&bytes, text, shift);
        status = add(canaries, line, "base64", &bytes);
    }
    dj_buf_fini(&bytes);
    return status;
}

static struct deja_slice next_line(struct deja_slice *text)
{
    const char *end = memchr(text->data, '\n', text->len);
    size_t len = end ? (size_t)(end - text->data) : text->len;
    struct deja_slice line = deja_slice(text->data, len);
    *text = deja_slice(text->data + len + (end != NULL), text->len - len - (end != NULL));
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static size_t count_lines(struct deja_slice text)
{
    size_t count = 0;
    while (text.len)
        count += next_line(&text).len > 0;
    return count;
}

enum deja_status dj_canaries_create(struct deja_slice text, struct dj_canaries **out_canaries,
                                    struct deja_error *error)
{
    size_t count = count_lines(text);
    enum deja_status status = DEJA_OK;
    if (count == 0)
        return deja_error_set(error, DEJA_ERR_INVALID, "there is no canary: one a line is wanted");
    if (count > DJ_CANARIES_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "more than %u canaries", DJ_CANARIES_MAX);
    struct dj_canaries *canaries = dj_alloc_zeroed(1, sizeof *canaries);
    if (canaries)
        canaries->patterns = dj_alloc_zeroed(count * FORMS_MAX, sizeof *canaries->patterns);
    if (!canaries || !canaries->patterns)
        status = deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    for (uint32_t line = 1; status == DEJA_OK && text.len; line++) {
        struct deja_slice canary = next_line(&text);
        if (!canary.len)
            continue;
        if (canary.len < DJ_CANARY_BYTES_MIN || canary.len > DJ_CANARY_BYTES_MAX)
            status = deja_error_set(error, DEJA_ERR_INVALID, "line %u: a canary has %u to %u bytes",
                                    line, DJ_CANARY_BYTES_MIN, DJ_CANARY_BYTES_MAX);
        else if ((status = add_forms(canaries, line, canary)) != DEJA_OK)
            deja_error_set(error, status, "out of memory");
        canaries->canaries++;
    }
    if (status != DEJA_OK) {
        dj_canaries_destroy(canaries);
        return status;
    }
    *out_canaries = canaries;
    return DEJA_OK;
}

/* ---- looking ---- */

void dj_canaries_look(const struct dj_canaries *canaries, const char *path, struct deja_slice bytes,
                      void *ctx, dj_canary_found_fn *found)
{
    for (size_t i = 0; bytes.len && i < canaries->count; i++) {
        const struct pattern *pattern = &canaries->patterns[i];
        const char *at = memmem(bytes.data, bytes.len, pattern->bytes, pattern->len);
        if (!at)
            continue;
        const struct dj_canary_find find = {.path = path,
                                            .offset = (uint64_t)(at - bytes.data),
                                            .line = pattern->line,
                                            .form = pattern->form};
        found(ctx, &find);
    }
}

struct walk {
    const struct dj_canaries *canaries;
    uint64_t files;
    uint64_t bytes;
    void *ctx;
    dj_canary_found_fn *found;
    struct deja_error *error;
};

static enum deja_status look_at(struct walk *walk, const char *path)
{
    struct deja_slice text = {0};
    enum deja_status status = dj_audit_map(path, &text);
    if (status == DEJA_ERR_NOT_FOUND) /* removed since */
        return DEJA_OK;
    if (status != DEJA_OK)
        return deja_error_set(walk->error, status, "%s cannot be read: %s", path,
                              deja_status_text(status));
    walk->files++;
    walk->bytes += text.len;
    dj_canaries_look(walk->canaries, path, text, walk->ctx, walk->found);
    dj_audit_unmap(text);
    return DEJA_OK;
}

static enum deja_status walk_directory(struct walk *walk, const char *directory, unsigned depth)
{
    DIR *listing = opendir(directory);
    enum deja_status status = DEJA_OK;
    if (!listing)
        return deja_error_set(walk->error, DEJA_ERR_IO, "%s: %s", directory, strerror(errno));
    for (struct dirent *entry = NULL; status == DEJA_OK && (entry = readdir(listing));) {
        char path[PATH_BYTES];
        struct stat info;
        int len = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (len < 0 || (size_t)len >= sizeof path)
            status =
                deja_error_set(walk->error, DEJA_ERR_IO, "a name below %s is too long", directory);
        else if (lstat(path, &info) != 0)
            continue; /* removed since */
        else if (S_ISDIR(info.st_mode) && depth == DEPTH_MAX)
            status = deja_error_set(walk->error, DEJA_ERR_IO, "%s is too deep", path);
        else if (S_ISDIR(info.st_mode))
            status = walk_directory(walk, path, depth + 1);
        else if (S_ISREG(info.st_mode))
            status = look_at(walk, path);
    }
    closedir(listing);
    return status;
}

enum deja_status dj_canaries_scan(const struct dj_canaries *canaries, const char *directory,
                                  uint64_t *out_files, uint64_t *out_bytes, void *ctx,
                                  dj_canary_found_fn *found, struct deja_error *error)
{
    struct walk walk = {.canaries = canaries, .ctx = ctx, .found = found, .error = error};
    enum deja_status status = walk_directory(&walk, directory, 0);
    if (status != DEJA_OK)
        return status;
    *out_files = walk.files;
    *out_bytes = walk.bytes;
    return DEJA_OK;
}
