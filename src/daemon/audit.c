/* daemon/audit.c - the audit log of this daemon: DATA/audit, its head with the authority. */
#include <stdio.h>
#include <unistd.h>

#include "daemon/daemon_internal.h"

#define PATH_BYTES 4096u

enum deja_status dj_daemon_open_audit(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings_audit *settings = &daemon->settings->audit;
    char directory[PATH_BYTES];
    char host[256] = "";
    char place[PATH_BYTES + sizeof host];
    int len = snprintf(directory, sizeof directory, "%s/audit", daemon->settings->data_dir);
    if (len < 0 || (size_t)len >= sizeof directory)
        return deja_error_set(error, DEJA_ERR_CONFIG, "the data directory's name is too long");
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0'; /* the directory alone names it then */
    snprintf(place, sizeof place, "%s:%s", host, directory);
    const struct dj_audit_options options = {
        .directory = directory,
        .file_bytes_max = settings->file_bytes_max,
        .file_age_ms = settings->file_age_ms,
        .keep_ms = settings->keep_ms,
        .authority = daemon->authority,
        .place = place,
        .now_ms = dj_clock_now_ms(),
    };
    return dj_audit_open(&options, &daemon->audit, error);
}
