/* daemon/settings_warmup.h - what can be said about warming: settings_warmup.def. */
#ifndef DJ_DAEMON_SETTINGS_WARMUP_H
#define DJ_DAEMON_SETTINGS_WARMUP_H

#include <deja/base.h>

#include "config/options.h"
#include "policy/cron.h"

struct dj_settings_warmup {
    bool is_enabled;
    char *schedule;
    struct dj_cron cron; /* resolved: schedule */
    struct dj_text_list source_texts;
    uint32_t sources; /* resolved: bits of enum dj_warm_source */
    char *file;
    struct dj_text_list patterns; /* warmup.keys */
    char *model;
    char *credential;
    uint32_t limit;
    uint32_t batch;
    uint32_t concurrency;
    uint32_t run_requests;
    double run_usd;
    uint32_t day_requests;
    double day_usd;
    uint32_t keys_max;
    uint64_t bytes_max;
    struct {
        bool is_enabled;
        double threshold;
        uint64_t lead_ms;
    } predict;
};

#endif
