/* security/audit_folder.c - the files of an audit log, for its one writer and for who reads them.
 *
 *   DIRECTORY/secret               signs; 0600
 *   DIRECTORY/audit.pub            its public half, 64 hex digits
 *   DIRECTORY/audit-000001.jsonl   and so on; only the last one is written
 *
 * (1) What was appended ends with a line feed and is synced before append returns.
 * (2) A batch that could not be written or synced is cut off again, so that the next one stands
 *     where it would have stood; where even that fails the file is opened anew first.
 * Trust: our own files, checked by their chain.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "proto/json.h"
#include "security/audit_internal.h"
#include "security/secret.h"

#define NAME_FORMAT "audit-%06u.jsonl"
#define NAME_FRONT "audit-"
#define NAME_END ".jsonl"
#define FILES_MAX 100000u

/* ---- names ---- */

bool dj_audit_file_path(const char *directory, uint32_t number, char *out_path, size_t size)
{
    int len = snprintf(out_path, size, "%s/" NAME_FORMAT, directory, number);
    return len > 0 && (size_t)len < size;
}

static bool read_name(const char *name, uint32_t *out_number)
{
    struct deja_slice text = deja_slice_text(name);
    size_t front = sizeof NAME_FRONT - 1;
    size_t end = sizeof NAME_END - 1;
    uint64_t number = 0;
    if (text.len <= front + end || memcmp(text.data, NAME_FRONT, front) != 0 ||
        memcmp(text.data + text.len - end, NAME_END, end) != 0 ||
        dj_num_parse_u64(deja_slice(text.data + front, text.len - front - end), &number) !=
            DEJA_OK ||
        number == 0 || number > UINT32_MAX)
        return false;
    *out_number = (uint32_t)number;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

enum deja_status dj_audit_files(const char *directory, uint32_t **out_numbers, size_t *out_count)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    size_t cap = 0;
    enum deja_status status = DEJA_OK;
    DIR *listing = opendir(directory);
    if (!listing)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO;
    for (struct dirent *entry = NULL; status == DEJA_OK && (entry = readdir(listing));) {
        uint32_t number = 0;
        if (!read_name(entry->d_name, &number))
            continue;
        if (count == cap) {
            size_t wanted = cap ? 2 * cap : 16;
            uint32_t *more =
                wanted > FILES_MAX ? NULL : dj_realloc(numbers, wanted * sizeof *numbers);
            status = more ? DEJA_OK : wanted > FILES_MAX ? DEJA_ERR_LIMIT : DEJA_ERR_NOMEM;
            numbers = more ? more : numbers;
            cap = more ? wanted : cap;
        }
        if (status == DEJA_OK)
            numbers[count++] = number;
    }
    closedir(listing);
    if (status == DEJA_OK && count == 0)
        status = DEJA_ERR_NOT_FOUND;
    if (status != DEJA_OK) {
        dj_free(numbers);
        return status;
    }
    qsort(numbers, count, sizeof *numbers, by_number);
    *out_numbers = numbers;
    *out_count = count;
    return DEJA_OK;
}

/* ---- keys ---- */

enum deja_status dj_audit_read_public(const char *directory,
                                      uint8_t out_public[DJ_SIGN_PUBLIC_BYTES])
{
    char path[DJ_AUDIT_PATH_MAX];
    char text[2 * DJ_SIGN_PUBLIC_BYTES + 1];
    int len = snprintf(path, sizeof path, "%s/audit.pub", directory);
    if (len < 0 || (size_t)len >= sizeof path)
        return DEJA_ERR_IO;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO;
    ssize_t got = read(fd, text, sizeof text);
    close(fd);
    if (got < (ssize_t)(2 * DJ_SIGN_PUBLIC_BYTES))
        return DEJA_ERR_CORRUPT;
    return dj_hex_decode(deja_slice(text, 2 * DJ_SIGN_PUBLIC_BYTES), out_public,
                         DJ_SIGN_PUBLIC_BYTES) == DEJA_OK
               ? DEJA_OK
               : DEJA_ERR_CORRUPT;
}

static enum deja_status write_public(const struct dj_audit_folder *folder, struct deja_error *error)
{
    char path[DJ_AUDIT_PATH_MAX + 16];
    char text[2 * DJ_SIGN_PUBLIC_BYTES + 2];
    uint8_t known[DJ_SIGN_PUBLIC_BYTES];
    if (dj_audit_read_public(folder->directory, known) == DEJA_OK &&
        memcmp(known, folder->public_key, sizeof known) == 0)
        return DEJA_OK;
    snprintf(path, sizeof path, "%s/audit.pub", folder->directory);
    dj_hex_encode(folder->public_key, sizeof folder->public_key, text);
    text[sizeof text - 2] = '\n';
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool is_ok =
        fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 && fsync(fd) == 0;
    int code = errno;
    if (fd >= 0)
        close(fd);
    return is_ok ? DEJA_OK
                 : deja_error_set(error, DEJA_ERR_IO, "cannot write %s: %s", path, strerror(code));
}

/* The node's name is that of its key. */
static enum deja_status load_key(struct dj_audit_folder *folder, struct deja_error *error)
{
    uint8_t digest[DJ_SHA256_BYTES];
    enum deja_status status = dj_secret_load(NULL, folder->directory, &folder->key, error);
    if (status == DEJA_OK)
        status = dj_sign_public(&folder->key, folder->public_key);
    if (status != DEJA_OK)
        return status;
    dj_sha256(deja_slice(folder->public_key, sizeof folder->public_key), digest);
    dj_hex_encode(digest, (DJ_AUDIT_NODE_TEXT_BYTES - 1) / 2, folder->node);
    return write_public(folder, error);
}

/* ---- opening ---- */

static void read_begun(struct deja_slice line, char out_begun[DJ_DATE_RFC3339_BYTES])
{
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(line, &doc, NULL) != DEJA_OK)
        return;
    struct deja_slice time = dj_json_string(dj_json_get(dj_json_root(doc), "time"));
    if (time.len == DJ_DATE_RFC3339_BYTES - 1) {
        memcpy(out_begun, time.data, time.len);
        out_begun[time.len] = '\0';
    }
    dj_json_doc_destroy(doc);
}

/* The first line of a file: its number and time; false: it has none that can be read. */
static bool read_first(const char *directory, uint32_t number, uint64_t *out_seq,
                       char out_begun[DJ_DATE_RFC3339_BYTES])
{
    char path[DJ_AUDIT_PATH_MAX + 32];
    struct dj_audit_line line;
    bool is_read = false;
    char *bytes = dj_alloc(DJ_AUDIT_LINE_BYTES_MAX + 1);
    int fd = bytes && dj_audit_file_path(directory, number, path, sizeof path)
                 ? open(path, O_RDONLY | O_CLOEXEC)
                 : -1;
    ssize_t len = fd >= 0 ? read(fd, bytes, DJ_AUDIT_LINE_BYTES_MAX + 1) : 0;
    const char *end = len > 0 ? memchr(bytes, '\n', (size_t)len) : NULL;
    struct deja_slice text = deja_slice(bytes, end ? (size_t)(end - bytes) : 0);
    if (end && dj_audit_line_read(text, &line) == DEJA_OK) {
        *out_seq = line.seq;
        read_begun(text, out_begun);
        is_read = true;
    }
    if (fd >= 0)
        close(fd);
    dj_free(bytes);
    return is_read;
}

/* What stands at the end of fd: where its last whole line ends, and that line's place. DEJA_ERR_IO,
 * DEJA_ERR_NOMEM, DEJA_ERR_NOT_FOUND: no whole line. */
static enum deja_status read_end(int fd, struct dj_audit_folder *folder, uint64_t *out_end,
                                 struct dj_audit_found *found)
{
    struct stat info;
    struct dj_audit_line line;
    uint8_t hash[DJ_SHA256_BYTES];
    enum deja_status status = DEJA_OK;
    if (fstat(fd, &info) != 0)
        return DEJA_ERR_IO;
    size_t window = 3 * DJ_AUDIT_LINE_BYTES_MAX;
    size_t len = (uint64_t)info.st_size < window ? (size_t)info.st_size : window;
    off_t start = info.st_size - (off_t)len;
    char *bytes = dj_alloc(len + 1);
    if (!bytes)
        return DEJA_ERR_NOMEM;
    if (pread(fd, bytes, len, start) != (ssize_t)len) {
        dj_free(bytes);
        return DEJA_ERR_IO;
    }
    size_t end = len;
    while (end > 0 && bytes[end - 1] != '\n')
        end--;
    *out_end = (uint64_t)start + end;
    found->torn_bytes = len - end;
    size_t begin = end ? end - 1 : 0;
    while (begin > 0 && bytes[begin - 1] != '\n')
        begin--;
    if (end == 0)
        status = DEJA_ERR_NOT_FOUND;
    else if (dj_audit_line_read(deja_slice(bytes + begin, end - 1 - begin), &line) != DEJA_OK ||
             line.is_skipped)
        found->is_damaged = true;
    else {
        dj_audit_hash(line.prev, line.body_digest, hash);
        found->is_damaged = memcmp(hash, line.hash, sizeof hash) != 0;
        folder->seq = line.seq;
        memcpy(folder->hash, line.hash, sizeof folder->hash);
    }
    dj_free(bytes);
    return status;
}

static enum deja_status open_last(struct dj_audit_folder *folder, const uint32_t *numbers,
                                  size_t count, struct dj_audit_found *found)
{
    char path[DJ_AUDIT_PATH_MAX + 32];
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    uint64_t seq = 0;
    /* A file that was begun and has no line yet leaves the end in the one before it. */
    for (size_t i = count; i > 0 && status == DEJA_ERR_NOT_FOUND; i--) {
        uint64_t end = 0;
        struct dj_audit_found here = {.is_new = false};
        bool is_last = i == count;
        if (!dj_audit_file_path(folder->directory, numbers[i - 1], path, sizeof path))
            return DEJA_ERR_CONFIG;
        int fd = open(path, (is_last ? O_RDWR | O_APPEND : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
        status = fd < 0 ? DEJA_ERR_IO : read_end(fd, folder, &end, &here);
        if (is_last && (status == DEJA_OK || status == DEJA_ERR_NOT_FOUND)) {
            *found = here;
            folder->fd = fd;
            folder->number = numbers[i - 1];
            folder->bytes = end;
            if (here.torn_bytes && ftruncate(fd, (off_t)end) != 0)
                status = DEJA_ERR_IO;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    if (status == DEJA_ERR_NOT_FOUND)
        status = DEJA_OK; /* files without any line */
    if (status == DEJA_OK) {
        for (size_t i = 0; i < count && !folder->first_seq; i++)
            if (read_first(folder->directory, numbers[i], &seq, folder->begun))
                folder->first_seq = seq;
        folder->begun[0] = '\0';
        read_first(folder->directory, folder->number, &seq, folder->begun);
    }
    return status;
}

enum deja_status dj_audit_folder_open(struct dj_audit_folder *folder, const char *directory,
                                      struct dj_audit_found *out_found, struct deja_error *error)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    *folder = (struct dj_audit_folder){.fd = -1};
    *out_found = (struct dj_audit_found){.is_new = false};
    size_t len = strlen(directory);
    if (len >= sizeof folder->directory)
        return deja_error_set(error, DEJA_ERR_CONFIG, "the data directory's name is too long");
    memcpy(folder->directory, directory, len + 1);
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return deja_error_set(error, DEJA_ERR_IO, "cannot make %s: %s", directory, strerror(errno));
    enum deja_status status = load_key(folder, error);
    if (status != DEJA_OK)
        return status;
    status = dj_audit_files(directory, &numbers, &count);
    if (status == DEJA_OK)
        status = open_last(folder, numbers, count, out_found);
    else if (status == DEJA_ERR_NOT_FOUND) {
        out_found->is_new = true;
        status = DEJA_OK;
    }
    dj_free(numbers);
    if (status == DEJA_OK && (folder->fd < 0 || out_found->is_damaged))
        status = dj_audit_folder_rotate(folder);
    if (status != DEJA_OK) {
        dj_audit_folder_close(folder);
        return deja_error_set(error, status, "the audit log in %s cannot be used: %s", directory,
                              deja_status_text(status));
    }
    return DEJA_OK;
}

void dj_audit_folder_close(struct dj_audit_folder *folder)
{
    if (folder->fd >= 0)
        close(folder->fd);
    folder->fd = -1;
    dj_secret_fini(&folder->key);
}

/* ---- writing ---- */

static bool write_all(int fd, struct deja_slice bytes)
{
    while (bytes.len) {
        ssize_t written = write(fd, bytes.data, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes = deja_slice(bytes.data + written, bytes.len - (size_t)written);
    }
    return true;
}

static void reopen(struct dj_audit_folder *folder)
{
    char path[DJ_AUDIT_PATH_MAX + 32];
    struct stat info;
    if (!dj_audit_file_path(folder->directory, folder->number, path, sizeof path))
        return;
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &info) == 0 && (uint64_t)info.st_size >= folder->bytes &&
        ftruncate(fd, (off_t)folder->bytes) == 0)
        folder->fd = fd;
    else if (fd >= 0)
        close(fd);
}

enum deja_status dj_audit_folder_append(struct dj_audit_folder *folder, struct deja_slice lines)
{
    if (folder->fd < 0)
        reopen(folder);
    if (folder->fd < 0)
        return DEJA_ERR_IO;
    if (write_all(folder->fd, lines) && fdatasync(folder->fd) == 0) {
        folder->bytes += lines.len;
        return DEJA_OK;
    }
    if (ftruncate(folder->fd, (off_t)folder->bytes) != 0) {
        close(folder->fd);
        folder->fd = -1;
    }
    return DEJA_ERR_IO;
}

bool dj_audit_folder_is_gone(const struct dj_audit_folder *folder)
{
    struct stat info;
    return folder->fd >= 0 && fstat(folder->fd, &info) == 0 && info.st_nlink == 0;
}

enum deja_status dj_audit_folder_rotate(struct dj_audit_folder *folder)
{
    char path[DJ_AUDIT_PATH_MAX + 32];
    int fd = -1;
    uint32_t number = folder->number;
    do {
        if (!dj_audit_file_path(folder->directory, ++number, path, sizeof path))
            return DEJA_ERR_CONFIG;
        fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    } while (fd < 0 && errno == EEXIST && number < UINT32_MAX);
    if (fd < 0)
        return DEJA_ERR_IO;
    int directory = open(folder->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_kept = directory >= 0 && fsync(directory) == 0;
    if (directory >= 0)
        close(directory);
    if (!is_kept) {
        close(fd);
        unlink(path);
        return DEJA_ERR_IO;
    }
    if (folder->fd >= 0)
        close(folder->fd);
    folder->fd = fd;
    folder->number = number;
    folder->bytes = 0;
    folder->begun[0] = '\0';
    return DEJA_OK;
}

uint32_t dj_audit_folder_prune(struct dj_audit_folder *folder, int64_t before_ms)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    uint32_t removed = 0;
    char before[DJ_DATE_RFC3339_BYTES];
    dj_date_rfc3339(before_ms, before);
    if (dj_audit_files(folder->directory, &numbers, &count) != DEJA_OK)
        return 0;
    for (size_t i = 0; i + 1 < count && numbers[i] != folder->number; i++) {
        char path[DJ_AUDIT_PATH_MAX + 32];
        char begun[DJ_DATE_RFC3339_BYTES] = "";
        uint64_t seq = 0;
        /* Without a line yet, or not to be read: nobody knows how old the one before it is. */
        if (!read_first(folder->directory, numbers[i + 1], &seq, begun) || !begun[0] ||
            strcmp(begun, before) >= 0 ||
            !dj_audit_file_path(folder->directory, numbers[i], path, sizeof path) ||
            unlink(path) != 0)
            break;
        folder->first_seq = seq;
        removed++;
    }
    dj_free(numbers);
    return removed;
}
