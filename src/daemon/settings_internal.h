/* daemon/settings_internal.h - what the table and the pass over its values share. */
#ifndef DJ_DAEMON_SETTINGS_INTERNAL_H
#define DJ_DAEMON_SETTINGS_INTERNAL_H

#include "daemon/settings.h"

/* What a pass over the values needs; faults go to diagnostics, status is for memory alone. */
struct dj_settings_checker {
    const struct dj_options *options;
    const char *const *environment;
    struct dj_diagnostics *diagnostics;
    struct dj_settings *settings;
};

/* Fills what is resolved from what was written. DEJA_ERR_NOMEM. */
enum deja_status dj_settings_work_out(struct dj_settings_checker *checker) DEJA_NODISCARD;

/* Addresses and TLS, likewise (settings_network.c). */
enum deja_status dj_settings_work_out_network(struct dj_settings_checker *checker) DEJA_NODISCARD;
void dj_settings_fini_network(struct dj_settings *settings);

#endif
