/* daemon/demo.c - see demo.h. */
#include "daemon/demo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/expand.h"
#include "config/terminal.h"
#include "daemon/demo_internal.h"
#include "daemon/serve.h"

#define PATH_MAX_BYTES 4096u
#define FOLDER_DEPTH_MAX 4u

struct demo {
    struct dj_demo_report report;
    struct dj_fake_model *upstream;
    char folder[PATH_MAX_BYTES];
    char config[PATH_MAX_BYTES + 16];
    char url[64];             /* of the upstream */
    pthread_mutex_t lock;     /* of the two below */
    struct dj_daemon *daemon; /* NULL: not serving */
    _Atomic bool is_stopping;
    pthread_t traffic;
    bool is_traffic_started;
    bool is_ok;
    uint16_t port;
};

/* ---- a folder of its own ---- */

static void remove_inside(int fd, unsigned depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) == 0 || depth == FOLDER_DEPTH_MAX)
            continue;
        int inner = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0)
            remove_inside(inner, depth + 1);
        unlinkat(fd, entry->d_name, AT_REMOVEDIR);
    }
    closedir(folder);
}

static void remove_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        remove_inside(fd, 0);
    if (rmdir(path) != 0)
        fprintf(stderr, "deja demo: %s is left behind: %s\n", path, strerror(errno));
}

/* An empty file of settings keeps those of this machine out. */
static bool make_folder(struct demo *demo, const char *const *environment)
{
    const char *parent = dj_environment_find(environment, deja_slice_text("TMPDIR"));
    int len = snprintf(demo->folder, sizeof demo->folder, "%s/deja-demo-XXXXXX",
                       parent && *parent ? parent : "/tmp");
    if (len < 0 || (size_t)len >= sizeof demo->folder || !mkdtemp(demo->folder)) {
        fprintf(stderr, "deja demo: cannot make a folder in %s: %s; TMPDIR names another\n",
                parent && *parent ? parent : "/tmp", strerror(errno));
        return false;
    }
    snprintf(demo->config, sizeof demo->config, "%s/deja.yaml", demo->folder);
    FILE *file = fopen(demo->config, "w");
    bool is_written = file && fputs("log:\n  level: error\n", file) >= 0;
    if (file && fclose(file) != 0)
        is_written = false;
    if (!is_written) {
        fprintf(stderr, "deja demo: %s: %s\n", demo->config, strerror(errno));
        remove_folder(demo->folder);
    }
    return is_written;
}

/* ---- traffic beside the daemon ---- */

static void *run_traffic(void *ctx)
{
    struct demo *demo = ctx;
    char server[64];
    const struct dj_client client = {.server = server, .timeout_ms = 10000};
    snprintf(server, sizeof server, "http://127.0.0.1:%u", demo->port);
    dj_demo_run_steps(&demo->report, &client, demo->upstream, &demo->is_stopping);
    demo->is_ok = dj_demo_tell_end(&demo->report);
    pthread_mutex_lock(&demo->lock);
    if (demo->daemon)
        dj_daemon_stop(demo->daemon);
    pthread_mutex_unlock(&demo->lock);
    return NULL;
}

static void on_stopping(void *ctx)
{
    struct demo *demo = ctx;
    atomic_store(&demo->is_stopping, true);
    pthread_mutex_lock(&demo->lock);
    demo->daemon = NULL;
    pthread_mutex_unlock(&demo->lock);
}

static void on_ready(void *ctx, struct dj_daemon *daemon, uint16_t port)
{
    struct demo *demo = ctx;
    sigset_t all;
    sigset_t before;
    demo->daemon = daemon;
    demo->port = port;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the daemon's */
    demo->is_traffic_started = pthread_create(&demo->traffic, NULL, run_traffic, demo) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (demo->is_traffic_started)
        return;
    fputs("deja demo: no more threads can be started\n", stderr);
    dj_daemon_stop(daemon);
}

static enum deja_status serve(struct demo *demo, const struct dj_settings *chosen)
{
    const char *const environment[] = {NULL};
    const struct dj_flag flags[] = {
        {"server.listen", "127.0.0.1:0"},
        {"server.loops", "2"},
        {"server.workers", "2"},
        {"data.dir", demo->folder},
        {"upstream.url", demo->url},
        {"semantic.embedder",
         chosen->semantic.embedder == DJ_EMBEDDER_LEXICAL ? "lexical" : "auto"},
        {"semantic.model_dir", chosen->semantic.model_dir},
    };
    const struct dj_settings_source source = {.config_path = demo->config,
                                              .flags = flags,
                                              .flag_count = sizeof flags / sizeof *flags,
                                              .environment = environment};
    const struct dj_serve_hooks hooks = {"demo", demo, on_ready, on_stopping};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_options *options = NULL;
    enum deja_status status = dj_settings_load(&source, &diagnostics, &settings, &options);
    if (diagnostics.text.len)
        fwrite(diagnostics.text.data, 1, diagnostics.text.len, stderr);
    dj_diagnostics_fini(&diagnostics);
    if (status == DEJA_OK && dj_daemon_serve(&settings, options, &source, &hooks) != 0)
        status = DEJA_ERR_IO; /* told by it */
    if (demo->is_traffic_started)
        pthread_join(demo->traffic, NULL);
    dj_settings_fini(&settings);
    dj_options_destroy(options);
    return status;
}

int dj_demo_run(const struct dj_settings *settings, const struct dj_demo_flags *flags,
                const char *const *environment)
{
    struct demo demo = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const struct dj_fake_model_options model = {.delay_ms = DJ_DEMO_DELAY_MS,
                                                .answer = dj_demo_answer};
    struct deja_error error = {.message = ""};
    demo.report.wants_json = flags->wants_json;
    demo.report.has_color =
        dj_terminal_has_color(stdout, flags->is_plain || flags->has_no_color, environment);
    if (!make_folder(&demo, environment))
        return DJ_EXIT_FAILED;
    enum deja_status status = dj_fake_model_create(&model, &demo.upstream, &error);
    if (status == DEJA_OK) {
        snprintf(demo.url, sizeof demo.url, "http://127.0.0.1:%u",
                 dj_fake_model_port(demo.upstream));
        status = serve(&demo, settings);
    } else {
        fprintf(stderr, "deja demo: %s\n", error.message);
    }
    dj_fake_model_destroy(demo.upstream);
    remove_folder(demo.folder);
    pthread_mutex_destroy(&demo.lock);
    return status == DEJA_OK && demo.is_ok ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}
