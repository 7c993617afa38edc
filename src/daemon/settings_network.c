/* daemon/settings_network.c - addresses and TLS: what is worked out of what was written, and what
 * is wrong with it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "crypto/tls_server.h"
#include "daemon/daemon_internal.h"
#include "daemon/settings_internal.h"

static const char *place_of(const struct dj_options *options, const char *name)
{
    return dj_options_where(options, dj_options_find(options, name));
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static bool is_numeric_address(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool skip(const char **text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (strncmp(*text, prefix, len) != 0)
        return false;
    *text += len;
    return true;
}

/* "unix:/PATH" without "unix:". */
static enum deja_status parse_path(const char *path, struct dj_settings_address *out_address,
                                   bool *out_is_valid)
{
    if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return DEJA_OK;
    char *copy = dj_strdup(deja_slice_text(path));
    if (!copy)
        return DEJA_ERR_NOMEM;
    *out_address = (struct dj_settings_address){copy, .is_loopback = true, .is_unix = true};
    *out_is_valid = true;
    return DEJA_OK;
}

/* "host:port", "[v6]:port", ":port" (every address), "port" (loopback); before it, http:// or
 * https:// says whether TLS is spoken. */
static enum deja_status parse_address(const char *text, bool is_tls,
                                      struct dj_settings_address *out_address, bool *out_is_valid)
{
    *out_is_valid = false;
    if (skip(&text, "unix:"))
        return parse_path(text, out_address, out_is_valid);
    if (skip(&text, "https://") || skip(&text, "rediss://"))
        is_tls = true;
    else if (skip(&text, "http://") || skip(&text, "redis://"))
        is_tls = false;
    const char *colon = strrchr(text, ':');
    const char *port_text = colon ? colon + 1 : text;
    struct deja_slice host =
        colon ? deja_slice(text, (size_t)(colon - text)) : deja_slice_text("127.0.0.1");
    uint64_t port = 0;
    if (dj_num_parse_u64(deja_slice_text(port_text), &port) != DEJA_OK || port > 65535)
        return DEJA_OK;
    if (!host.len)
        host = deja_slice_text("0.0.0.0");
    if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = deja_slice(host.data + 1, host.len - 2);
    else if (memchr(host.data, ':', host.len))
        return DEJA_OK; /* a bare v6 address: where would its port begin? */
    if (dj_slice_is(host, "localhost"))
        host = deja_slice_text("127.0.0.1");
    char *copy = dj_strdup(host);
    if (!copy)
        return DEJA_ERR_NOMEM;
    if (!is_numeric_address(copy)) {
        dj_free(copy);
        return DEJA_OK;
    }
    *out_address = (struct dj_settings_address){copy, (uint16_t)port,
                                                .is_loopback = is_loopback(copy), .is_tls = is_tls};
    *out_is_valid = true;
    return DEJA_OK;
}

/* What is wrong with listening there; NULL: nothing. */
static const char *find_danger(const struct dj_settings *settings,
                               const struct dj_settings_address *address,
                               const struct dj_settings_tls *tls)
{
    if (address->is_tls && !tls->cert_files.count)
        return "is to speak TLS, which needs tls.cert_file and tls.key_file";
    if (address->is_loopback || settings->server.is_insecure)
        return NULL;
    if (!address->is_tls)
        return "can be reached from other machines and would speak without TLS: name tls.cert_file "
               "and tls.key_file, or accept that with --insecure";
    return NULL; /* that somebody has a key is seen when keys are read: daemon/keys.h */
}

static enum deja_status check_addresses(struct dj_settings_checker *checker, const char *name,
                                        const struct dj_settings_tls *tls,
                                        const struct dj_text_list *texts,
                                        struct dj_settings_address **out_addresses,
                                        size_t *out_count)
{
    const char *where = place_of(checker->options, name);
    if (texts->count > DJ_LISTEN_MAX) {
        dj_diagnostics_error(checker->diagnostics, where, "%s takes up to %u addresses", name,
                             DJ_LISTEN_MAX);
        return DEJA_OK;
    }
    *out_addresses = dj_alloc_zeroed(texts->count ? texts->count : 1, sizeof **out_addresses);
    if (!*out_addresses)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < texts->count; i++) {
        struct dj_settings_address *address = &(*out_addresses)[*out_count];
        bool is_valid = false;
        if (parse_address(texts->items[i], tls->cert_files.count > 0, address, &is_valid) !=
            DEJA_OK)
            return DEJA_ERR_NOMEM;
        if (!is_valid) {
            dj_diagnostics_error(checker->diagnostics, where,
                                 "%s expects ADDRESS:PORT like 127.0.0.1:7070 or "
                                 "[::1]:7070, not \"%s\"",
                                 name, texts->items[i]);
            continue;
        }
        ++*out_count;
        const char *danger = find_danger(checker->settings, address, tls);
        if (danger)
            dj_diagnostics_error(checker->diagnostics, where, "%s %s", texts->items[i], danger);
    }
    return DEJA_OK;
}

static void check_tls(struct dj_settings_checker *checker, const char *section,
                      const struct dj_settings_tls *tls)
{
    char name[64];
    snprintf(name, sizeof name, "%s.cert_file", section);
    const char *where = place_of(checker->options, name);
    if (tls->cert_files.count != tls->key_files.count)
        dj_diagnostics_error(checker->diagnostics, where,
                             "%s.cert_file and %s.key_file go together: one key for each "
                             "certificate",
                             section, section);
    if (tls->cert_files.count > DJ_TLS_CERTS_MAX)
        dj_diagnostics_error(checker->diagnostics, where, "%s takes up to %u certificates", name,
                             DJ_TLS_CERTS_MAX);
    if (!tls->client_ca_file != (tls->client_auth == DJ_TLS_CLIENT_NONE))
        dj_diagnostics_error(checker->diagnostics, where,
                             "%s.client_ca_file and %s.client_auth (optional or required) go "
                             "together",
                             section, section);
}

/* admin.tls without certificates of its own has those of tls. */
static enum deja_status inherit(struct dj_settings *settings)
{
    struct dj_text_list *const to[] = {&settings->admin_tls.cert_files,
                                       &settings->admin_tls.key_files};
    const struct dj_text_list *const from[] = {&settings->tls.cert_files, &settings->tls.key_files};
    if (settings->admin_tls.cert_files.count || settings->admin_tls.key_files.count)
        return DEJA_OK;
    for (size_t k = 0; k < 2; k++) {
        if (!from[k]->count)
            continue;
        dj_free(to[k]->items);
        to[k]->items = dj_alloc_zeroed(from[k]->count + 1, sizeof *to[k]->items);
        if (!to[k]->items)
            return DEJA_ERR_NOMEM;
        for (size_t i = 0; i < from[k]->count; i++) {
            to[k]->items[i] = dj_strdup(deja_slice_text(from[k]->items[i]));
            if (!to[k]->items[i])
                return DEJA_ERR_NOMEM;
            to[k]->count++;
        }
    }
    return DEJA_OK;
}

static void check_allowed(struct dj_settings_checker *checker, const char *name,
                          const struct dj_text_list *texts, struct dj_address_guard *guard)
{
    for (size_t i = 0; i < texts->count; i++)
        if (dj_address_guard_add(guard, deja_slice_text(texts->items[i])) != DEJA_OK)
            dj_diagnostics_error(checker->diagnostics, place_of(checker->options, name),
                                 "%s expects ADDRESS, ADDRESS:PORT or "
                                 "ADDRESS/PREFIX like 10.0.0.5:8080 or [fd00::5]:8080, not \"%s\"",
                                 name, texts->items[i]);
}

enum deja_status dj_settings_work_out_network(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    const struct dj_text_list *texts = &settings->server.listen_texts;
    const char *where = place_of(checker->options, "server.listen");
    check_allowed(checker, "upstream.allowed_addresses", &settings->upstream_allowed_texts,
                  &settings->upstream_guard);
    check_allowed(checker, "webhooks.allowed_addresses", &settings->notices.allowed_texts,
                  &settings->notices.guard);
    check_tls(checker, "tls", &settings->tls);
    check_tls(checker, "admin.tls", &settings->admin_tls);
    if (!texts->count)
        dj_diagnostics_error(checker->diagnostics, where, "server.listen needs an address");
    enum deja_status status = inherit(settings);
    if (status == DEJA_OK)
        status = check_addresses(checker, "server.listen", &settings->tls, texts,
                                 &settings->server.listen, &settings->server.listen_count);
    if (status == DEJA_OK)
        status = check_addresses(checker, "admin.listen", &settings->admin_tls,
                                 &settings->admin.listen_texts, &settings->admin.listen,
                                 &settings->admin.listen_count);
    if (status == DEJA_OK)
        status =
            check_addresses(checker, "resp.listen", &settings->tls, &settings->resp.listen_texts,
                            &settings->resp.listen, &settings->resp.listen_count);
    for (size_t i = 0; i < settings->server.listen_count; i++)
        if (settings->server.listen[i].is_unix)
            dj_diagnostics_error(checker->diagnostics, where,
                                 "server.listen takes no Unix sockets; admin.listen does");
    return status;
}

void dj_settings_fini_network(struct dj_settings *settings)
{
    for (size_t i = 0; i < settings->server.listen_count; i++)
        dj_free(settings->server.listen[i].host);
    for (size_t i = 0; i < settings->admin.listen_count; i++)
        dj_free(settings->admin.listen[i].host);
    for (size_t i = 0; i < settings->resp.listen_count; i++)
        dj_free(settings->resp.listen[i].host);
    dj_free(settings->resp.listen);
    dj_free(settings->server.listen);
    dj_free(settings->admin.listen);
}
