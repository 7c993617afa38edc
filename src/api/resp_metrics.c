/* api/resp_metrics.c - see resp_metrics.h. */
#include "api/resp_metrics.h"

#include <stdatomic.h>

#include "api/resp.h"
#include "base/alloc.h"

enum { COMMANDS_MAX = 128 };

enum figure {
    OPEN,
    ACCEPTED,
    REFUSED,
    FAULTS,
    HTTP,
    SLOW,
    IDLE,
    TOO_LARGE,
    LAGGING,
    IN,
    OUT,
    FIGURES
};

struct dj_resp_metrics {
    _Atomic uint64_t told[FIGURES]; /* of counters: what the series has */
    struct dj_series *figures[FIGURES];
    struct dj_series *commands[COMMANDS_MAX];
};

static const struct dj_metric_desc families[] = {
    {.name = "semantic_cache_resp_connections",
     .help = "Open connections of clients of Redis.",
     .type = DJ_GAUGE},
    {.name = "semantic_cache_resp_connections_total",
     .help = "Connections of clients of Redis, accepted or turned away at a limit.",
     .type = DJ_COUNTER,
     .labels = {"result"}},
    {.name = "semantic_cache_resp_troubles_total",
     .help = "Connections ended for a reason, and replies that became an error.",
     .type = DJ_COUNTER,
     .labels = {"reason"}},
    {.name = "semantic_cache_resp_bytes_total",
     .help = "Bytes from and to clients of Redis.",
     .type = DJ_COUNTER,
     .labels = {"direction"}},
    {.name = "semantic_cache_resp_commands_total",
     .help = "Commands of clients of Redis.",
     .type = DJ_COUNTER,
     .labels = {"command"},
     .series_max = COMMANDS_MAX + 1},
};
enum { CONNECTIONS, RESULTS, TROUBLES, BYTES, COMMANDS, FAMILIES };

static const struct {
    int family;
    const char *label;
} figures[FIGURES] = {
    [OPEN] = {CONNECTIONS, NULL},
    [ACCEPTED] = {RESULTS, "accepted"},
    [REFUSED] = {RESULTS, "refused"},
    [FAULTS] = {TROUBLES, "protocol"},
    [HTTP] = {TROUBLES, "http"},
    [SLOW] = {TROUBLES, "slow"},
    [IDLE] = {TROUBLES, "idle"},
    [TOO_LARGE] = {TROUBLES, "too_large"},
    [LAGGING] = {TROUBLES, "lagging"},
    [IN] = {BYTES, "in"},
    [OUT] = {BYTES, "out"},
};

enum deja_status dj_resp_metrics_create(struct dj_metrics *metrics,
                                        struct dj_resp_metrics **out_metrics)
{
    struct dj_metric *made[FAMILIES] = {NULL};
    struct dj_resp_metrics *own = dj_alloc_zeroed(1, sizeof *own);
    enum deja_status status = own ? DEJA_OK : DEJA_ERR_NOMEM;
    for (size_t i = 0; i < FAMILIES && status == DEJA_OK; i++)
        status = dj_metrics_declare(metrics, &families[i], &made[i]);
    if (status != DEJA_OK) {
        dj_free(own);
        return status;
    }
    for (size_t i = 0; i < FIGURES; i++) {
        const char *const values[] = {figures[i].label};
        own->figures[i] = dj_metric_series(made[figures[i].family], values);
    }
    const char *name = NULL;
    for (size_t i = 0; i < COMMANDS_MAX && (name = dj_resp_api_command(i)); i++) {
        const char *const values[] = {name};
        own->commands[i] = dj_metric_series(made[COMMANDS], values);
    }
    *out_metrics = own;
    return DEJA_OK;
}

void dj_resp_metrics_destroy(struct dj_resp_metrics *metrics)
{
    dj_free(metrics);
}

void dj_resp_metrics_command(struct dj_resp_metrics *metrics, size_t index)
{
    if (metrics)
        dj_series_add(metrics->commands[index], 1);
}

/* Two readers at once: each difference is added by one of them. */
static void add_up_to(struct dj_series *series, _Atomic uint64_t *told, uint64_t value)
{
    uint64_t before = atomic_load_explicit(told, memory_order_relaxed);
    while (before < value)
        if (atomic_compare_exchange_weak(told, &before, value)) {
            dj_series_add(series, (double)(value - before));
            return;
        }
}

void dj_resp_metrics_refresh(struct dj_resp_metrics *metrics, struct dj_resp_counters *counters)
{
    const _Atomic uint64_t *const values[FIGURES] = {
        [OPEN] = &counters->open,       [ACCEPTED] = &counters->connections,
        [REFUSED] = &counters->refused, [FAULTS] = &counters->faults,
        [HTTP] = &counters->http,       [SLOW] = &counters->slow,
        [IDLE] = &counters->idle,       [TOO_LARGE] = &counters->too_large,
        [LAGGING] = &counters->lagging, [IN] = &counters->bytes_in,
        [OUT] = &counters->bytes_out,
    };
    for (size_t i = 0; i < FIGURES; i++) {
        uint64_t value = atomic_load_explicit(values[i], memory_order_relaxed);
        if (families[figures[i].family].type == DJ_GAUGE)
            dj_series_set(metrics->figures[i], (double)value);
        else
            add_up_to(metrics->figures[i], &metrics->told[i], value);
    }
}
