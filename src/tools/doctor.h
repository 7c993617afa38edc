/* tools/doctor.h - `deja doctor`: looks at an installation and says what to do about what is wrong.
 *
 * Local: configuration, data directory, secret, model, limits. Over the network: the daemon and the
 * upstream. It changes nothing; --smoke writes into a namespace of its own and removes it again.
 */
#ifndef DJ_TOOLS_DOCTOR_H
#define DJ_TOOLS_DOCTOR_H

#include <deja/base.h>

#include "config/command.h"
#include "crypto/tls_server.h"
#include "store/postgres.h"
#include "store/redis.h"

struct dj_doctor_flags {
    const char *server, *key, *smoke;
    bool is_offline, wants_json, is_plain, has_no_color;
};

extern const struct dj_command dj_doctor_command; /* parsed into struct dj_doctor_flags */

/* A tier outside the machine that the settings name. */
struct dj_doctor_tier {
    const char *name; /* "s3 bucket" */
    const void *ctx;
    /* Asks it; blocks for seconds at most. text: how it stands, or what is wrong and what to do. */
    enum deja_status (*look)(const void *ctx, struct deja_error *text);
};

/* A section of certificates; no count: nobody speaks TLS with them. */
struct dj_doctor_tls {
    const char *name; /* "tls", "admin.tls" */
    struct dj_tls_server_options options;
};

struct dj_doctor_listener {
    char url[300];
    bool is_public, is_tls;
};

/* What the settings say, from daemon, which alone knows them. Everything is borrowed. */
struct dj_doctor_facts {
    const struct dj_diagnostics *diagnostics; /* what loading said */
    bool is_config_valid;                     /* else nothing below counts but server and key */
    const char *data_dir, *model, *model_dir, *upstream_url;
    const char *anthropic_url; /* where it is another; NULL */
    const char
        *embedder;       /* "auto", "transformer", "lexical", "http"; NULL: semantic hits are off */
    const char *ca_file; /* NULL: the system's */
    bool is_secret_configured;
    bool is_sealing;         /* what is kept outside memory */
    bool has_master_key;     /* configured */
    bool has_remote_tiers;   /* Valkey, PostgreSQL or S3 */
    bool is_search_readable; /* vectors lie readable in PostgreSQL */
    uint32_t connections_max;
    const struct dj_postgres_options *postgres; /* NULL: no such tier */
    const struct dj_redis_options *redis;       /* likewise */
    const char *server;                         /* "http://127.0.0.1:7070", without trailing "/" */
    bool is_server_named; /* by a flag or the environment: then a daemon must answer there */
    const char *key;      /* or NULL */
    const struct dj_doctor_tier *tiers;
    size_t tier_count;
    const struct dj_doctor_tls *tls;
    size_t tls_count;
    const struct dj_doctor_listener *listeners;
    size_t listener_count;
};

/* Findings on stdout; 0: nothing failed, 1: something did. Blocks for seconds at most. */
int dj_doctor_run(const struct dj_doctor_facts *facts, const struct dj_doctor_flags *flags,
                  const char *const *environment);

#endif
