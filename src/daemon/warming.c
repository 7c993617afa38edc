/* daemon/warming.c - see warming.h. */
#include "daemon/warming.h"

#include "daemon/daemon_internal.h"
#include "daemon/settings_internal.h"
#include "proxy/warm.h"

void dj_settings_work_out_warmup(struct dj_settings_checker *checker)
{
    struct dj_settings_warmup *warmup = &checker->settings->warmup;
    struct deja_error error;
    const char *text = warmup->schedule ? warmup->schedule : "";
    size_t row = dj_options_find(checker->options, "warmup.schedule");
    if (dj_cron_read(deja_slice_text(text), &warmup->cron, &error) != DEJA_OK)
        dj_diagnostics_error(checker->diagnostics, dj_options_where(checker->options, row),
                             "warmup.schedule: %s", error.message);
    for (size_t i = 0; i < warmup->source_texts.count; i++)
        for (size_t j = 0; dj_warm_source_names[j]; j++)
            if (strcmp(warmup->source_texts.items[i], dj_warm_source_names[j]) == 0)
                warmup->sources |= 1u << j;
    if ((warmup->sources & DJ_WARM_FILE) && !warmup->file)
        dj_diagnostics_error(
            checker->diagnostics,
            dj_options_where(checker->options, dj_options_find(checker->options, "warmup.sources")),
            "warmup.sources has file: say which with warmup.file");
    if ((warmup->sources & DJ_WARM_KEYS) && !warmup->patterns.count)
        dj_diagnostics_error(
            checker->diagnostics,
            dj_options_where(checker->options, dj_options_find(checker->options, "warmup.sources")),
            "warmup.sources has keys: say which with warmup.keys");
}

enum deja_status dj_daemon_make_warming(struct dj_daemon *daemon)
{
    const struct dj_settings_warmup *settings = &daemon->settings->warmup;
    const struct dj_warm_options options = {
        .context = &daemon->proxy,
        .loop = daemon->loops[0],
        .handler_ctx = &daemon->api,
        .handler = dj_api_handle_inner,
        .authority = daemon->authority,
        .is_enabled = settings->is_enabled,
        .cron = settings->cron,
        .sources = settings->sources,
        .file = settings->file,
        .model = settings->model,
        .credential = settings->credential,
        .patterns = (const char *const *)settings->patterns.items,
        .pattern_count = settings->patterns.count,
        .limit = settings->limit,
        .batch = settings->batch,
        .concurrency = settings->concurrency,
        .run_requests = settings->run_requests,
        .run_usd = settings->run_usd,
        .day_requests = settings->day_requests,
        .day_usd = settings->day_usd,
        .is_predicting = settings->predict.is_enabled,
        .threshold = settings->predict.threshold,
        .lead_ms = settings->predict.lead_ms,
        .keys_max = settings->keys_max,
        .bytes_max = settings->bytes_max,
    };
    enum deja_status status = dj_warm_create(&options, &daemon->warm);
    if (status != DEJA_OK)
        return status;
    daemon->proxy.asked = dj_warm_asked(daemon->warm);
    daemon->api.warm = daemon->warm;
    return DEJA_OK;
}
