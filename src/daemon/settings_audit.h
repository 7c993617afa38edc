/* daemon/settings_audit.h - what can be said about the audit log: settings_audit.def. */
#ifndef DJ_DAEMON_SETTINGS_AUDIT_H
#define DJ_DAEMON_SETTINGS_AUDIT_H

#include <deja/base.h>

#include "security/rules.h"

struct dj_settings_audit {
    bool is_enabled;
    enum dj_audit_choice choice; /* of tenants without one of their own */
    uint64_t file_bytes_max;
    uint64_t file_age_ms;
    uint64_t keep_ms; /* 0: for ever */
};

#endif
