/* tools/doctor_network.c - who reaches the daemon, with which certificates, and who may read their
 * keys. Files are read as the daemon would read them; the clock is the system's. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "crypto/tls_server.h"
#include "tools/doctor_internal.h"

enum { DAY_S = 86400, RENEW_DAYS = 14 };

static void look_at_key(const char *name, const char *file, struct dj_findings *findings)
{
    struct stat found;
    if (stat(file, &found) != 0) {
        dj_findings_add(findings, DJ_FINDING_FAIL, name, "%s: %s", file, strerror(errno));
        return;
    }
    if (!(found.st_mode & (S_IRWXG | S_IRWXO)))
        return;
    dj_findings_add(findings, DJ_FINDING_WARN, name, "%s may be read by others (mode %03o)", file,
                    (unsigned)found.st_mode & 0777u);
    dj_findings_advise(findings, "chmod 600 %s, owned by the user of deja serve", file);
}

static void look_at_certificate(const char *name, const char *file, struct dj_findings *findings)
{
    struct deja_error error = {""};
    int64_t begins_s = 0;
    int64_t ends_s = 0;
    if (dj_tls_certificate_life(file, &begins_s, &ends_s, &error) != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_FAIL, name, "%s", error.message);
        return;
    }
    int64_t now_s = (int64_t)time(NULL);
    long long days = (ends_s - now_s) / DAY_S;
    if (now_s < begins_s)
        dj_findings_add(findings, DJ_FINDING_FAIL, name, "%s is not valid yet", file);
    else if (now_s > ends_s)
        dj_findings_add(findings, DJ_FINDING_FAIL, name, "%s has expired", file);
    else if (days < RENEW_DAYS)
        dj_findings_add(findings, DJ_FINDING_WARN, name, "%s expires in %lld days", file, days);
    else
        dj_findings_add(findings, DJ_FINDING_OK, name, "%s is valid for %lld days", file, days);
    if (now_s > ends_s || days < RENEW_DAYS)
        dj_findings_advise(findings, "renew it, then: systemctl reload deja, or SIGHUP");
}

static void look_at_section(const struct dj_doctor_tls *tls, struct dj_findings *findings)
{
    struct deja_error error = {""};
    struct dj_tls_server *server = NULL;
    if (tls->options.count == 0)
        return;
    for (size_t i = 0; i < tls->options.count; i++) {
        look_at_certificate(tls->name, tls->options.cert_files[i], findings);
        look_at_key(tls->name, tls->options.key_files[i], findings);
    }
    if (dj_tls_server_create(&tls->options, &server, &error) != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_FAIL, tls->name, "%s", error.message);
        dj_findings_advise(findings, "each certificate goes with the key in the same place of the "
                                     "other list");
    }
    dj_tls_server_destroy(server);
}

void dj_doctor_look_at_network(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    for (size_t i = 0; i < facts->tls_count; i++)
        look_at_section(&facts->tls[i], findings);
    for (size_t i = 0; i < facts->listener_count; i++) {
        const struct dj_doctor_listener *listener = &facts->listeners[i];
        if (!listener->is_public || listener->is_tls)
            continue;
        dj_findings_add(findings, DJ_FINDING_WARN, "listener",
                        "%s can be reached from other machines, in clear text", listener->url);
        dj_findings_advise(findings, "name tls.cert_file and tls.key_file, or listen on 127.0.0.1 "
                                     "behind a proxy that speaks TLS");
    }
}
