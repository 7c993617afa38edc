/* daemon/serve.c - TEMPORARY stand-in so that this branch links; composition replaces this file. */
#include "daemon/serve.h"

#include <stdio.h>

int dj_daemon_serve(const struct dj_settings *settings, const struct dj_settings_source *source)
{
    (void)source;
    fprintf(stderr, "deja: serve is not built in; would listen on %s:%u\n",
            settings->server.listen[0].host, settings->server.listen[0].port);
    return 1;
}
