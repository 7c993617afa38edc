/* daemon/warming.h - warming put together out of the settings: proxy/warm.h behind the router. */
#ifndef DJ_DAEMON_WARMING_H
#define DJ_DAEMON_WARMING_H

#include <deja/base.h>

struct dj_daemon;
struct dj_settings_checker;

/* After the proxy and the API were made; before the loops run. */
enum deja_status dj_daemon_make_warming(struct dj_daemon *daemon) DEJA_NODISCARD;
/* What is worked out of warmup.schedule and warmup.sources; faults go to the diagnostics. */
void dj_settings_work_out_warmup(struct dj_settings_checker *checker);

#endif
