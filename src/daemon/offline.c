/* daemon/offline.c - see offline.h.
 *
 * Before a restore into an empty data directory the deployment's secret is taken out of the backup,
 * because what it names would not be found under another one.
 */
#include "daemon/offline.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "daemon/daemon_internal.h"
#include "daemon/master_key.h"
#include "daemon/serve.h"
#include "security/secret.h"
#include "store/archive.h"
#include "store/data_dir.h"
#include "tools/lock.h"

#define FLAGS_MAX 160u

struct offline {
    const struct dj_transfer_request *request;
    pthread_mutex_t lock;     /* of daemon */
    struct dj_daemon *daemon; /* NULL: not serving */
    char token[128];
    char server[64];
    pthread_t thread;
    bool is_thread_started;
    int code;
};

static void *run_client(void *ctx)
{
    struct offline *offline = ctx;
    const struct dj_transfer_facts facts = {
        .server = offline->server, .token = offline->token, .is_named = true};
    offline->code = dj_transfer_tool_run(&facts, offline->request);
    pthread_mutex_lock(&offline->lock);
    if (offline->daemon)
        dj_daemon_stop(offline->daemon);
    pthread_mutex_unlock(&offline->lock);
    return NULL;
}

static void on_stopping(void *ctx)
{
    struct offline *offline = ctx;
    pthread_mutex_lock(&offline->lock);
    offline->daemon = NULL;
    pthread_mutex_unlock(&offline->lock);
}

static void on_ready(void *ctx, struct dj_daemon *daemon, uint16_t port)
{
    struct offline *offline = ctx;
    const char *chosen = daemon->settings->security.admin_token;
    sigset_t all;
    sigset_t before;
    offline->daemon = daemon;
    snprintf(offline->token, sizeof offline->token, "%s", chosen ? chosen : daemon->admin_token);
    snprintf(offline->server, sizeof offline->server, "http://127.0.0.1:%u", port);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the daemon's */
    offline->is_thread_started = pthread_create(&offline->thread, NULL, run_client, offline) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (offline->is_thread_started)
        return;
    fputs("deja: no more threads can be started\n", stderr);
    dj_daemon_stop(daemon);
}

/* ---- the secret of an empty directory ---- */

static int64_t now_ms(void)
{
    return dj_clock_now_ms();
}

/* Nothing is fetched: the archive's key is wrapped by the master key alone. */
static enum deja_status make_keyring(const struct dj_settings *settings,
                                     struct dj_keyring **out_keyring, struct deja_error *error)
{
    static const struct dj_authority nobody = {.name = "none"};
    enum dj_master_key_source source;
    struct dj_secret master;
    struct dj_secret previous;
    bool has_previous = false;
    enum deja_status status = dj_master_key_load(settings, NULL, &master, &source, error);
    if (status != DEJA_OK)
        return status;
    status = dj_master_key_load_previous(settings, source, &previous, &has_previous, error);
    const struct dj_keyring_options options = {.master = master.bytes,
                                               .previous = has_previous ? previous.bytes : NULL,
                                               .authority = &nobody,
                                               .now_ms = now_ms,
                                               .tenants_max = 1};
    if (status == DEJA_OK)
        status = dj_keyring_create(&options, out_keyring);
    dj_secret_fini(&master);
    dj_secret_fini(&previous);
    return status == DEJA_OK ? status : deja_error_set(error, status, "out of memory");
}

static enum deja_status take_secret(struct dj_archive_reader *reader, const char *data_dir,
                                    struct deja_error *error)
{
    struct dj_archive_item item;
    enum deja_status status;
    while ((status = dj_archive_next(reader, &item, NULL, error)) == DEJA_OK && item.is_document) {
        struct dj_secret secret;
        if (!dj_slice_is(item.document.table, DJ_ARCHIVE_SECRET_TABLE) ||
            item.document.value.len != sizeof secret.bytes)
            continue;
        memcpy(secret.bytes, item.document.value.data, sizeof secret.bytes);
        status = dj_secret_keep(data_dir, &secret, error);
        dj_secret_fini(&secret);
        return status;
    }
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status; /* it has none: the daemon says what */
}

static bool is_there(const char *data_dir, const char *name)
{
    struct dj_buf path = {0};
    dj_buf_append_format(&path, "%s/%s", data_dir, name);
    char *text = dj_buf_take_text(&path);
    bool is_found = text && access(text, F_OK) == 0;
    dj_free(text);
    return is_found;
}

static enum deja_status adopt_secret(const struct dj_settings *settings, const char *file,
                                     struct deja_error *error)
{
    const struct dj_settings_encryption *encryption = &settings->encryption;
    struct dj_keyring *keyring = NULL;
    struct dj_archive_reader *reader = NULL;
    struct dj_archive_in in;
    bool has_master = encryption->master_key || encryption->master_key_command ||
                      is_there(settings->data_dir, "master.key");
    if (settings->secret || is_there(settings->data_dir, "secret"))
        return DEJA_OK;
    enum deja_status status = dj_data_dir_make(settings->data_dir, error);
    if (status == DEJA_OK && has_master && encryption->is_enabled)
        status = make_keyring(settings, &keyring, error);
    if (status == DEJA_OK)
        status = dj_archive_file_open(file, &in, error);
    if (status == DEJA_OK) {
        status = dj_archive_open(&in, keyring, &reader, error);
        if (status != DEJA_OK)
            in.close(in.ctx);
    }
    if (status == DEJA_OK)
        status = take_secret(reader, settings->data_dir, error);
    dj_archive_close(reader);
    dj_keyring_destroy(keyring);
    return status;
}

/* ---- running ---- */

static enum deja_status prepare(const struct dj_settings *settings,
                                const struct dj_transfer_request *request)
{
    struct deja_error error = {.message = ""};
    bool is_restore = request->command == &dj_restore_command && request->file &&
                      strncmp(request->file, "s3://", 5) != 0;
    if (!is_restore)
        return DEJA_OK;
    enum deja_status status = adopt_secret(settings, request->file, &error);
    if (status != DEJA_OK)
        fprintf(stderr, "deja %s: %s: %s\n", request->name, request->file, error.message);
    return status;
}

static void say_who_has_it(const char *data_dir)
{
    uint64_t pid = 0;
    if (!dj_tool_lock_look(data_dir, &pid) || !pid)
        return;
    fprintf(stderr,
            "process %" PRIu64 " has it: leave out --offline, and the daemon does it; or "
            "stop it first\n",
            pid);
}

static int serve(struct offline *offline, const struct dj_settings_source *source)
{
    const struct dj_serve_hooks hooks = {offline->request->name, offline, on_ready, on_stopping};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_options *options = NULL;
    int code = DJ_EXIT_CONFIG;
    enum deja_status status = dj_settings_load(source, &diagnostics, &settings, &options);
    if (diagnostics.text.len)
        fwrite(diagnostics.text.data, 1, diagnostics.text.len, stderr);
    dj_diagnostics_fini(&diagnostics);
    if (status == DEJA_OK) {
        code = DJ_EXIT_FAILED;
        if (prepare(&settings, offline->request) == DEJA_OK)
            code = dj_daemon_serve(&settings, options, source, &hooks);
        if (code == DJ_EXIT_TRY_AGAIN && !offline->is_thread_started)
            say_who_has_it(settings.data_dir);
    }
    if (offline->is_thread_started) {
        pthread_join(offline->thread, NULL);
        code = code == DJ_EXIT_OK ? offline->code : code;
    }
    dj_settings_fini(&settings);
    dj_options_destroy(options);
    return code;
}

int dj_offline_transfer(const struct dj_settings_source *source,
                        const struct dj_transfer_request *request)
{
    struct offline offline = {.request = request, .code = DJ_EXIT_FAILED};
    char *folder = dj_transfer_folder(request);
    const struct dj_flag own[] = {{"server.listen", "127.0.0.1:0"},
                                  {"server.insecure", "true"},
                                  {"admin.listen", ""},
                                  {"resp.listen", ""},
                                  {"log.level", "error"},
                                  {"backup.dir", folder}};
    size_t own_count = sizeof own / sizeof *own - (folder ? 0 : 1);
    struct dj_flag flags[FLAGS_MAX];
    size_t count = source->flag_count < FLAGS_MAX - own_count ? source->flag_count : 0;
    if (count)
        memcpy(flags, source->flags, count * sizeof *flags);
    memcpy(flags + count, own, own_count * sizeof *own); /* the last one wins */
    struct dj_settings_source with = *source;
    with.flags = flags;
    with.flag_count = count + own_count;
    int code = DJ_EXIT_FAILED;
    if (folder && access(folder, F_OK) != 0) {
        fprintf(stderr, "deja %s: %s: %s\n", request->name, folder, strerror(errno));
    } else {
        pthread_mutex_init(&offline.lock, NULL);
        code = serve(&offline, &with);
        pthread_mutex_destroy(&offline.lock);
    }
    dj_free(folder);
    return code;
}
