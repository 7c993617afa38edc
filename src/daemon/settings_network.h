/* daemon/settings_network.h - what can be said about who reaches the daemon, and how; see
 * settings.h. One struct for each part of settings_network.def. */
#ifndef DJ_DAEMON_SETTINGS_NETWORK_H
#define DJ_DAEMON_SETTINGS_NETWORK_H

#include <deja/base.h>

#include "config/options.h"

struct dj_settings_address {
    char *host;    /* owned, without brackets: "127.0.0.1", "::1"; of a Unix socket its path */
    uint16_t port; /* 0: any free one */
    bool is_loopback;
    bool is_unix; /* is_loopback, too */
    bool is_tls;
};

/* In the order of the option's choices; enum dj_tls_client_auth has the first one's. */
enum dj_settings_tls_version { DJ_SETTINGS_TLS_1_2, DJ_SETTINGS_TLS_1_3 };

/* tls and admin.tls. */
struct dj_settings_tls {
    struct dj_text_list cert_files;
    struct dj_text_list key_files; /* as many */
    char *client_ca_file;
    int client_auth; /* enum dj_tls_client_auth */
    int min_version; /* enum dj_settings_tls_version */
};

/* admin.listen. */
struct dj_settings_admin {
    struct dj_text_list listen_texts;
    struct dj_settings_address *listen; /* owned; NULL: none */
    size_t listen_count;
};

/* server.user and server.core_dumps. */
struct dj_settings_process {
    char *user; /* NULL: stay who we are */
    bool has_core_dumps;
};

#endif
