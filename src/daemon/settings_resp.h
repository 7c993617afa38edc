/* daemon/settings_resp.h - what can be said about clients of Redis: settings_resp.def. */
#ifndef DJ_DAEMON_SETTINGS_RESP_H
#define DJ_DAEMON_SETTINGS_RESP_H

#include <deja/base.h>

#include "config/options.h"
#include "daemon/settings_network.h"

struct dj_settings_resp {
    struct dj_text_list listen_texts;   /* as written */
    struct dj_settings_address *listen; /* owned; NULL: none */
    size_t listen_count;
    uint32_t connections_max;
    uint64_t reply_bytes_max;
    uint64_t push_bytes_max;
    uint64_t login_timeout_ms;
    uint64_t idle_timeout_ms; /* 0: none */
};

#endif
