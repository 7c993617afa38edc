/* daemon/master_key.c - see master_key.h. The command's output and time are bounded; what it prints
 * is wiped, and neither it nor the key is ever logged. */
#include "daemon/master_key.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "loop/loop.h" /* dj_clock_monotonic_us */
#include "security/secret.h"

#define OUTPUT_BYTES_MAX 256u /* 64 digits and some white space */
#define PATH_BYTES 4096u
#define FILE_NAME "master.key"
#define LOSS "makes what is stored unreadable"

extern char **environ;

const char *dj_master_key_source_text(enum dj_master_key_source source)
{
    static const char *const texts[] = {"configuration", "command", "file", "deployment secret"};
    return texts[source];
}

static enum deja_status read_hex(struct deja_slice text, const char *from,
                                 struct dj_secret *out_key, struct deja_error *error)
{
    while (text.len && strchr(" \t\r\n", text.data[text.len - 1]))
        text.len--;
    if (dj_hex_decode(text, out_key->bytes, sizeof out_key->bytes) == DEJA_OK)
        return DEJA_OK;
    return deja_error_set(error, DEJA_ERR_CONFIG,
                          "%s must be 64 hex digits; openssl rand -hex 32 makes such a key", from);
}

/* ---- the command ---- */

static bool start(const char *command, int output, pid_t *out_child)
{
    char shell[] = "/bin/sh";
    char dash_c[] = "-c";
    char *const argv[] = {shell, dash_c, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return false;
    }
    sigemptyset(&none);
    bool is_ok =
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK) ==
            0 &&
        posix_spawnattr_setpgroup(&attributes, 0) == 0 &&
        posix_spawnattr_setsigmask(&attributes, &none) == 0 &&
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) == 0 &&
        posix_spawn(out_child, shell, &actions, &attributes, argv, environ) == 0;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return is_ok;
}

/* Until the other end is closed. False: too late or too much. */
static bool read_output(int fd, uint64_t until_us, char out[OUTPUT_BYTES_MAX], size_t *out_len)
{
    size_t len = 0;
    for (;;) {
        uint64_t now_us = dj_clock_monotonic_us();
        struct pollfd waited = {.fd = fd, .events = POLLIN};
        int ready =
            now_us >= until_us ? 0 : poll(&waited, 1, (int)((until_us - now_us) / 1000) + 1);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || len == OUTPUT_BYTES_MAX)
            return false;
        ssize_t got = read(fd, out + len, OUTPUT_BYTES_MAX - len);
        if (got < 0 && errno != EINTR)
            return false;
        if (got == 0)
            break;
        len += got > 0 ? (size_t)got : 0;
    }
    *out_len = len;
    return true;
}

/* Its exit code; -1: it had to be ended. */
static int end(pid_t child, bool is_over)
{
    int code = 0;
    if (!is_over)
        kill(-child, SIGKILL);
    while (waitpid(child, &code, 0) < 0 && errno == EINTR)
        continue;
    return is_over && WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static enum deja_status ask_command(const struct dj_settings_encryption *settings,
                                    struct dj_secret *out_key, struct deja_error *error)
{
    char output[OUTPUT_BYTES_MAX];
    size_t len = 0;
    int ends[2];
    pid_t child;
    uint64_t until_us = dj_clock_monotonic_us() + settings->command_timeout_ms * 1000;
    /* Nothing else starts a program while the daemon is made, so the gap before fcntl is harmless.
     */
    if (pipe(ends) != 0 || fcntl(ends[0], F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(ends[1], F_SETFD, FD_CLOEXEC) != 0)
        return deja_error_set(error, DEJA_ERR_IO, "encryption.master_key_command: %s",
                              strerror(errno));
    bool is_started = start(settings->master_key_command, ends[1], &child);
    close(ends[1]);
    bool is_over = is_started && read_output(ends[0], until_us, output, &len);
    close(ends[0]);
    int code = is_started ? end(child, is_over) : -1;
    enum deja_status status;
    if (code == 0)
        status = read_hex(deja_slice(output, len), "what encryption.master_key_command prints",
                          out_key, error);
    else if (code > 0)
        status = deja_error_set(error, DEJA_ERR_CONFIG,
                                "encryption.master_key_command ended with code %d: run it by hand "
                                "as the daemon's user",
                                code);
    else
        status = deja_error_set(error, DEJA_ERR_CONFIG,
                                "encryption.master_key_command did not end within "
                                "encryption.command_timeout, or printed more than a key");
    dj_wipe(output, sizeof output);
    return status;
}

/* ---- which ---- */

static void derive(const uint8_t *shared, struct dj_secret *out_key)
{
    dj_hkdf(shared, deja_slice_text("deja master key"), out_key->bytes);
}

enum deja_status dj_master_key_load(const struct dj_settings *settings, const uint8_t *shared,
                                    struct dj_secret *out_key,
                                    enum dj_master_key_source *out_source, struct deja_error *error)
{
    const struct dj_settings_encryption *encryption = &settings->encryption;
    if (encryption->master_key) {
        *out_source = DJ_MASTER_KEY_CONFIGURED;
        return read_hex(deja_slice_text(encryption->master_key), "encryption.master_key", out_key,
                        error);
    }
    if (encryption->master_key_command) {
        *out_source = DJ_MASTER_KEY_COMMAND;
        return ask_command(encryption, out_key, error);
    }
    if (shared) {
        *out_source = DJ_MASTER_KEY_DERIVED;
        derive(shared, out_key);
        return DEJA_OK;
    }
    *out_source = DJ_MASTER_KEY_FILE;
    return dj_secret_load_named(settings->data_dir, FILE_NAME, LOSS, out_key, error);
}

enum deja_status dj_master_key_load_previous(const struct dj_settings *settings,
                                             enum dj_master_key_source source,
                                             struct dj_secret *out_key, bool *out_has,
                                             struct deja_error *error)
{
    const char *text = settings->encryption.master_key_previous;
    char path[PATH_BYTES];
    int len = snprintf(path, sizeof path, "%s/%s", settings->data_dir, FILE_NAME);
    bool is_left = !text && source != DJ_MASTER_KEY_FILE && len > 0 && (size_t)len < sizeof path &&
                   access(path, F_OK) == 0;
    *out_key = (struct dj_secret){{0}};
    *out_has = text || is_left;
    if (is_left)
        return dj_secret_load_named(settings->data_dir, FILE_NAME, LOSS, out_key, error);
    return text ? read_hex(deja_slice_text(text), "encryption.master_key_previous", out_key, error)
                : DEJA_OK;
}
