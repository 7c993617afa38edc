/* api/resp_metrics.h - figures of RESP: commands as they are run, connections when somebody reads
 * the metrics. Threads: any. */
#ifndef DJ_API_RESP_METRICS_H
#define DJ_API_RESP_METRICS_H

#include <deja/base.h>

#include "net/resp_server.h"
#include "obs/metrics.h"

struct dj_resp_metrics;

/* Declares the families; the metrics outlive it. */
enum deja_status dj_resp_metrics_create(struct dj_metrics *metrics,
                                        struct dj_resp_metrics **out_metrics) DEJA_NODISCARD;
void dj_resp_metrics_destroy(struct dj_resp_metrics *metrics); /* accepts NULL */
/* index: of dj_resp_api_command. metrics NULL: does nothing. */
void dj_resp_metrics_command(struct dj_resp_metrics *metrics, size_t index);
void dj_resp_metrics_refresh(struct dj_resp_metrics *metrics, struct dj_resp_counters *counters);

#endif
