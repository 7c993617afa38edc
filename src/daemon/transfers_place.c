/* daemon/transfers_place.c - where a backup lies: a file of the one folder that is ours, or objects
 * in the bucket of l3.s3.
 *
 * Trust: a name comes from an administrator, who is not the machine's: what leaves the folder is
 * refused by its text, before anything is looked at.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cache/lines.h"
#include "daemon/transfers_internal.h"
#include "store/archive_s3.h"
#include "store/data_dir.h"

#define S3_SCHEME "s3://"
#define HERE_BYTES 4096u

char *transfer_folder(const struct dj_settings *settings)
{
    struct dj_buf path = {0};
    char here[HERE_BYTES];
    const char *dir = settings->backup.dir;
    const char *first = dir ? dir : settings->data_dir;
    if (first[0] != '/' && getcwd(here, sizeof here))
        dj_buf_append_format(&path, "%s/", here);
    dj_buf_append_format(&path, dir ? "%s" : "%s/backups", first);
    return dj_buf_take_text(&path);
}

/* In our folder: a plain name; or of the bucket. */
static bool is_name(struct deja_slice file)
{
    static const char s3[] = S3_SCHEME;
    if (file.len > sizeof s3 - 1 && memcmp(file.data, s3, sizeof s3 - 1) == 0)
        file = deja_slice(file.data + sizeof s3 - 1, file.len - sizeof s3 + 1);
    if (file.len == 0 || file.len > TRANSFER_FILE_BYTES - 16 || file.data[0] == '.')
        return false;
    for (size_t i = 0; i < file.len; i++) {
        char c = file.data[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        if (!is_plain)
            return false;
    }
    return true;
}

enum deja_status transfer_read_name(const struct dj_transfers *transfers, struct deja_slice *file,
                                    struct deja_error *error)
{
    struct deja_slice name = *file;
    size_t len = strlen(transfers->folder);
    if (name.len > len + 1 && memcmp(name.data, transfers->folder, len) == 0 &&
        name.data[len] == '/')
        name = deja_slice(name.data + len + 1, name.len - len - 1);
    if (!is_name(name))
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "file must be a plain name (letters, digits, . _ -) of a file in "
                              "backup.dir, which is %s, or s3://NAME; while no daemon runs, "
                              "--offline takes any path",
                              transfers->folder);
    *file = name;
    return DEJA_OK;
}

/* The caller's; the folder is there then. NULL: told in error. */
static char *make_path(const struct transfer *transfer, struct deja_error *error)
{
    if (dj_data_dir_make(transfer->transfers->folder, error) != DEJA_OK)
        return NULL;
    struct dj_buf path = {0};
    dj_buf_append_format(&path, "%s/%s", transfer->transfers->folder, transfer->file);
    char *text = dj_buf_take_text(&path);
    if (!text)
        deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    return text;
}

/* NULL: it is a file. */
static const char *s3_name(const struct transfer *transfer)
{
    bool is_s3 = strncmp(transfer->file, S3_SCHEME, sizeof S3_SCHEME - 1) == 0;
    return is_s3 ? transfer->file + sizeof S3_SCHEME - 1 : NULL;
}

static enum deja_status find_bucket(struct transfer *transfer, struct dj_archive_s3 *out_s3,
                                    struct deja_error *error)
{
    const struct dj_daemon *daemon = transfer->transfers->daemon;
    if (!daemon->s3)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "%s: no bucket is configured: set l3.s3.bucket and its keys",
                              transfer->file);
    *out_s3 = (struct dj_archive_s3){.store = daemon->s3,
                                     .loop = transfer->lane.loop,
                                     .prefix = daemon->settings->backup.s3_prefix,
                                     .name = s3_name(transfer),
                                     .is_cancelled = &transfer->is_cancelled};
    return DEJA_OK;
}

enum deja_status transfer_open_out(struct transfer *transfer, struct dj_archive_out *out_out,
                                   struct deja_error *error)
{
    struct dj_archive_s3 s3;
    if (s3_name(transfer)) {
        enum deja_status status = find_bucket(transfer, &s3, error);
        return status == DEJA_OK ? dj_archive_s3_create(&s3, out_out, error) : status;
    }
    char *path = make_path(transfer, error);
    if (!path)
        return DEJA_ERR_IO;
    enum deja_status status = dj_archive_file_create(path, out_out, error);
    dj_free(path);
    return status;
}

bool transfer_is_lines(const struct transfer *transfer)
{
    static const char end[] = ".jsonl";
    size_t len = strlen(transfer->file);
    return len > sizeof end - 1 && strcmp(transfer->file + len - (sizeof end - 1), end) == 0;
}

enum deja_status transfer_open_in(struct transfer *transfer, struct dj_archive_in *out_in,
                                  struct deja_error *error)
{
    struct dj_archive_s3 s3;
    if (s3_name(transfer)) {
        enum deja_status status = find_bucket(transfer, &s3, error);
        return status == DEJA_OK ? dj_archive_s3_open(&s3, out_in, error) : status;
    }
    char *path = make_path(transfer, error);
    if (!path)
        return DEJA_ERR_IO;
    enum deja_status status = dj_archive_file_open(path, out_in, error);
    dj_free(path);
    return status;
}

enum deja_status transfer_open_reader(struct transfer *transfer,
                                      struct dj_archive_reader **out_reader,
                                      struct deja_error *error)
{
    struct dj_keyring *keyring = dj_encryption_keyring(transfer->transfers->daemon->encryption);
    struct dj_archive_in in;
    enum deja_status status = transfer_open_in(transfer, &in, error);
    if (status != DEJA_OK)
        return status;
    status = dj_archive_open(&in, keyring, out_reader, error);
    if (status != DEJA_OK)
        in.close(in.ctx);
    return status;
}

static void on_bad_line(void *ctx, uint64_t line, const char *what)
{
    struct transfer *transfer = ctx;
    (void)line;
    (void)what;
    atomic_fetch_add(&transfer->unreadable, 1);
}

enum deja_status transfer_open_source(struct transfer *transfer,
                                      struct dj_transfer_source *out_source,
                                      struct deja_error *error)
{
    const struct dj_lines_options lines = {.ctx = transfer, .bad = on_bad_line};
    struct dj_archive_reader *reader = NULL;
    struct dj_archive_in in;
    enum deja_status status = DEJA_OK;
    if (!transfer_is_lines(transfer)) {
        status = transfer_open_reader(transfer, &reader, error);
        return status == DEJA_OK ? dj_transfer_from_archive(reader, out_source) : status;
    }
    status = transfer_open_in(transfer, &in, error);
    if (status != DEJA_OK)
        return status;
    status = dj_transfer_from_lines(&in, &transfer->lane, &lines, out_source);
    if (status != DEJA_OK) {
        in.close(in.ctx);
        deja_error_set(error, status, "out of memory");
    }
    return status;
}

void transfer_put_path(struct dj_json_writer *w, const struct transfer *transfer)
{
    const struct dj_settings *settings = transfer->transfers->daemon->settings;
    struct dj_buf path = {0};
    if (s3_name(transfer))
        dj_buf_append_format(&path, S3_SCHEME "%s/%s%s", settings->s3.bucket,
                             settings->backup.s3_prefix, s3_name(transfer));
    else
        dj_buf_append_format(&path, "%s/%s", transfer->transfers->folder, transfer->file);
    char *text = dj_buf_take_text(&path);
    dj_json_member_text(w, "path", text);
    dj_free(text);
}
