/* daemon/settings_check.c - what is worked out of the values, and what is wrong with them. */
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "cache/happenings.h"
#include "config/expand.h"
#include "daemon/prices.h"
#include "daemon/settings_internal.h"
#include "daemon/tier_s3.h"
#include "daemon/warming.h"
#include "net/outbound.h"
#include "proxy/knobs.h"
#include "security/tenant.h"

static const char *place_of(const struct dj_options *options, const char *name)
{
    return dj_options_where(options, dj_options_find(options, name));
}

/* The buf's bytes become a terminated text of the caller's. */
static enum deja_status take_text(struct dj_buf *buf, char **out_text)
{
    char *text = dj_buf_take_text(buf);
    if (!text)
        return DEJA_ERR_NOMEM;
    dj_free(*out_text);
    *out_text = text;
    return DEJA_OK;
}

static bool is_url(const char *url)
{
    const char *host = strncmp(url, "http://", 7) == 0    ? url + 7
                       : strncmp(url, "https://", 8) == 0 ? url + 8
                                                          : NULL;
    if (!host || !*host || *host == '/' || *host == ':')
        return false;
    return !strpbrk(host, "@?#\\ \"<>");
}

/* Clients send /v1/…, so a base is kept without it, however it was written. False: it is none. */
static bool trim_base(struct dj_settings_checker *checker, const char *name, char *url)
{
    if (!url || !is_url(url)) {
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, name),
                             "%s expects http://HOST or https://HOST without user, "
                             "query and fragment, not \"%s\"",
                             name, url ? url : "");
        return false;
    }
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        url[--len] = '\0';
    if (len > 3 && strcmp(url + len - 3, "/v1") == 0)
        url[len -= 3] = '\0';
    while (len && url[len - 1] == '/')
        url[--len] = '\0';
    return true;
}

/* Where Anthropic's paths go, if nobody says: OpenAI's own host does not know them. */
static enum deja_status default_anthropic(struct dj_settings *settings)
{
    struct dj_buf url = {0};
    bool is_openai = strcmp(settings->upstream.url, "https://api.openai.com") == 0;
    dj_buf_append_text(&url, is_openai ? "https://api.anthropic.com" : settings->upstream.url);
    return take_text(&url, &settings->upstream.anthropic_url);
}

const char *dj_settings_other_anthropic(const struct dj_settings *settings)
{
    const char *url = settings->upstream.anthropic_url;
    return url && settings->upstream.url && strcmp(url, settings->upstream.url) != 0 ? url : NULL;
}

static enum deja_status check_upstream(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    char *anthropic = settings->upstream.anthropic_url;
    if (!trim_base(checker, "upstream.url", settings->upstream.url))
        return DEJA_OK;
    if (!anthropic || !*anthropic)
        return default_anthropic(settings);
    trim_base(checker, "upstream.anthropic.url", anthropic);
    return DEJA_OK;
}

static enum deja_status find_data_dir(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    const char *data_home =
        dj_environment_find(checker->environment, deja_slice_text("XDG_DATA_HOME"));
    const char *home = dj_environment_find(checker->environment, deja_slice_text("HOME"));
    struct dj_buf path = {0};
    if (settings->data_dir)
        return DEJA_OK;
    if (data_home && data_home[0] == '/') {
        dj_buf_append_format(&path, "%s/deja", data_home);
    } else if (!geteuid()) {
        dj_buf_append_text(&path, "/var/lib/deja");
    } else if (home && home[0] == '/') {
        dj_buf_append_format(&path, "%s/.local/share/deja", home);
    } else {
        dj_diagnostics_error(checker->diagnostics, NULL,
                             "no HOME and no XDG_DATA_HOME: say where with --data");
        return DEJA_OK;
    }
    return take_text(&path, &settings->data_dir);
}

static enum deja_status find_model_dir(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    const char *model = settings->semantic.model;
    struct dj_buf path = {0};
    if (!model || strchr(model, '/') || model[0] == '.') {
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "semantic.model"),
                             "semantic.model is a name like all-minilm-l6-v2; a folder goes into "
                             "semantic.model_dir");
        return DEJA_OK;
    }
    if (settings->semantic.model_dir || !settings->data_dir)
        return DEJA_OK;
    dj_buf_append_format(&path, "%s/models/%s", settings->data_dir, model);
    return take_text(&path, &settings->semantic.model_dir);
}

static void check_embedder(struct dj_settings_checker *checker)
{
    const struct dj_settings *settings = checker->settings;
    const struct dj_settings_http_embedder *http = &settings->http_embedder;
    const char *where = place_of(checker->options, "semantic.embedder");
    if (settings->semantic.embedder != DJ_EMBEDDER_HTTP)
        return;
    if (!http->url || !is_url(http->url))
        dj_diagnostics_error(checker->diagnostics,
                             http->url ? place_of(checker->options, "semantic.http.url") : where,
                             "semantic.embedder http needs semantic.http.url as http://HOST or "
                             "https://HOST without user, query and fragment, not \"%s\"",
                             http->url ? http->url : "");
    if (!http->model)
        dj_diagnostics_error(checker->diagnostics, where,
                             "semantic.embedder http needs semantic.http.model, the name of the "
                             "model there");
    if (http->send_dimensions && !http->dimensions)
        dj_diagnostics_error(checker->diagnostics,
                             place_of(checker->options, "semantic.http.send_dimensions"),
                             "semantic.http.send_dimensions needs semantic.http.dimensions");
}

static enum deja_status check_s3(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    struct deja_error error;
    enum deja_status status = dj_tier_s3_complete(&settings->s3, checker->environment);
    if (status != DEJA_OK || !settings->s3.is_enabled)
        return status;
    if (dj_tier_s3_check(&settings->s3, &error) != DEJA_OK)
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "l3.s3.enabled"),
                             "%s", error.message);
    return DEJA_OK;
}

static void check_compression(struct dj_settings_checker *checker)
{
    const struct dj_settings_compression *compression = &checker->settings->compression;
    if (compression->algorithm == DJ_COMPRESSION_GZIP && compression->level > 9)
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "compression.level"),
                             "compression.level is at most 9 for gzip");
}

static void check_secret(struct dj_settings_checker *checker)
{
    uint8_t bytes[32];
    struct deja_slice text = deja_slice_text(checker->settings->secret);
    if (text.len && dj_hex_decode(text, bytes, sizeof bytes) != DEJA_OK)
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "security.secret"),
                             "security.secret expects 64 hex digits");
    explicit_bzero(bytes, sizeof bytes);
}

static void check_admin_token(struct dj_settings_checker *checker)
{
    struct deja_slice token = deja_slice_text(checker->settings->security.admin_token);
    bool is_sane = token.len >= 32 && token.len <= 256;
    for (size_t i = 0; i < token.len; i++)
        is_sane = is_sane && token.data[i] > ' ' && token.data[i] <= '~';
    if (token.len && !is_sane)
        dj_diagnostics_error(checker->diagnostics,
                             place_of(checker->options, "security.admin_token"),
                             "security.admin_token expects 32 to 256 visible characters, such as "
                             "64 hex digits");
}

/* The list is of known words: its choices. */
static void work_out_events(struct dj_settings_notices *notices)
{
    notices->is_invalidation_told = false;
    notices->happenings = 0;
    for (size_t i = 0; i < notices->event_texts.count; i++) {
        const char *text = notices->event_texts.items[i];
        if (strcmp(text, "invalidation") == 0)
            notices->is_invalidation_told = true;
        for (unsigned kind = 0; kind < DJ_HAPPENING_KINDS; kind++)
            if (strcmp(text, dj_happening_text((enum dj_happening_kind)kind)) == 0)
                notices->happenings |= 1u << kind;
    }
}

static void check_notices(struct dj_settings_checker *checker)
{
    work_out_events(&checker->settings->notices);
    const struct dj_settings_notices *notices = &checker->settings->notices;
    uint8_t tenant[DJ_TENANT_BYTES];
    struct deja_error error = {""};
    if (notices->tenant && dj_tenant_parse(deja_slice_text(notices->tenant), tenant) != DEJA_OK)
        dj_diagnostics_error(checker->diagnostics,
                             place_of(checker->options, "invalidations.tenant"),
                             "invalidations.tenant expects a tenant's id, as deja tenant list "
                             "prints it");
    if (notices->urls.count > DJ_WEBHOOKS_MAX)
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "webhooks.urls"),
                             "webhooks.urls names more than %u", DJ_WEBHOOKS_MAX);
    for (size_t i = 0; i < notices->urls.count; i++)
        if (dj_outbound_check_url(notices->urls.items[i], &error) != DEJA_OK)
            dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "webhooks.urls"),
                                 "webhooks.urls: %s", error.message);
    for (size_t i = 0; i < notices->urls.count; i++)
        if (dj_address_is_url_refused(&notices->guard, deja_slice_text(notices->urls.items[i])))
            dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "webhooks.urls"),
                                 "webhooks.urls: %s leads to an address that is not public, or is "
                                 "to be called without TLS: name it in webhooks.allowed_addresses",
                                 notices->urls.items[i]);
    if (notices->urls.count && !notices->secret)
        dj_diagnostics_error(checker->diagnostics, place_of(checker->options, "webhooks.urls"),
                             "webhooks.urls needs webhooks.secret, so that receivers can tell who "
                             "asks");
}

static void check_rest(struct dj_settings_checker *checker)
{
    check_notices(checker);
    struct dj_settings *settings = checker->settings;
    static const struct {
        const char *name;
        uint32_t bit;
    } folds[] = {{"time", DJ_FOLD_TIME},
                 {"uuid", DJ_FOLD_UUID},
                 {"request_id", DJ_FOLD_REQUEST_ID},
                 {"date", DJ_FOLD_DATE}};
    for (size_t i = 0; i < settings->scope_fold_texts.count; i++)
        for (size_t j = 0; j < sizeof folds / sizeof *folds; j++)
            if (strcmp(settings->scope_fold_texts.items[i], folds[j].name) == 0)
                settings->scope_fold |= folds[j].bit;
    for (size_t i = 0; i < settings->compat_texts.count; i++)
        for (size_t j = 0; dj_compat_names[j]; j++)
            if (strcmp(settings->compat_texts.items[i], dj_compat_names[j]) == 0)
                settings->compat |= 1u << j;
    settings->lmdb.is_chosen =
        dj_options_origin(checker->options, dj_options_find(checker->options, "lmdb.enabled")) !=
        DJ_ORIGIN_DEFAULT;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t half = cores > 1 ? (uint32_t)cores / 2 : 1;
    if (!settings->server.loops)
        settings->server.loops = half < 256 ? half : 256;
    if (!settings->server.workers)
        settings->server.workers = half < 256 ? half : 256;
    if (!settings->l1.is_enabled && !settings->lmdb.is_enabled)
        dj_diagnostics_warning(checker->diagnostics, NULL,
                               "l1.enabled and lmdb.enabled are both false: nothing is stored");
    if (settings->ttl.small_max >= settings->ttl.medium_max)
        dj_diagnostics_error(checker->diagnostics,
                             place_of(checker->options, "ttl.medium_text_max"),
                             "ttl.medium_text_max must be larger than ttl.small_text_max");
    if (settings->server.body_bytes_max > settings->server.bytes_in_flight_max)
        dj_diagnostics_error(checker->diagnostics,
                             place_of(checker->options, "server.max_body_bytes"),
                             "server.max_body_bytes is larger than server.max_in_flight_bytes");
}

/* Only looked at here: whoever sets the policy reads it. */
static enum deja_status check_prices(struct dj_settings_checker *checker)
{
    struct dj_prices *prices = NULL;
    enum deja_status status =
        dj_prices_read(checker->settings->prices.file, checker->diagnostics, &prices);
    dj_prices_destroy(prices);
    return status == DEJA_ERR_CONFIG ? DEJA_OK : status; /* diagnostics have it */
}

enum deja_status dj_settings_work_out(struct dj_settings_checker *checker)
{
    struct dj_settings *settings = checker->settings;
    enum deja_status status = dj_settings_work_out_network(checker);
    if (status == DEJA_OK)
        status = check_upstream(checker);
    if (status == DEJA_OK)
        status = find_data_dir(checker);
    if (status == DEJA_OK)
        status = find_model_dir(checker);
    if (status == DEJA_OK)
        status =
            dj_settings_work_out_redis(checker->options, checker->diagnostics, &settings->redis);
    if (status == DEJA_OK)
        status = check_s3(checker);
    if (status == DEJA_OK)
        status = check_prices(checker);
    check_embedder(checker);
    check_compression(checker);
    check_secret(checker);
    check_admin_token(checker);
    check_rest(checker);
    dj_settings_work_out_warmup(checker);
    return status;
}

struct dj_packing dj_settings_packing(const struct dj_settings_compression *compression)
{
    static const enum dj_packer packers[] = {DJ_PACKER_ZSTD, DJ_PACKER_GZIP};
    return (struct dj_packing){.packer = compression->is_enabled ? packers[compression->algorithm]
                                                                 : DJ_PACKER_NONE,
                               .level = compression->level,
                               .bytes_min = (uint32_t)compression->bytes_min};
}
