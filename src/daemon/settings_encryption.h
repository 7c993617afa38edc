/* daemon/settings_encryption.h - settings_encryption.def; see settings.h. */
#ifndef DJ_DAEMON_SETTINGS_ENCRYPTION_H
#define DJ_DAEMON_SETTINGS_ENCRYPTION_H

#include <deja/base.h>

struct dj_settings_encryption {
    bool is_enabled;
    char *master_key;          /* 64 hex digits, as written; NULL: see docs/security.md */
    char *master_key_previous; /* likewise; NULL: none */
    char *master_key_command;
    uint64_t command_timeout_ms;
    bool accept_plain; /* entries that were kept without a seal are served */
    uint64_t rotation_ms;
    uint64_t check_ms;
    uint64_t refresh_ms;
};

#endif
