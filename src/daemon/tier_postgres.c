/* daemon/tier_postgres.c - the tier of PostgreSQL as the settings say, and its schema at the start.
 *
 * A start never waits longer for it than START_TIMEOUT_MS and never fails because it is down: the
 * tier is one of several (I4). What is wrong is said once here, with what to run, and then by
 * health.
 */
#include "daemon/tier_postgres.h"

#include "daemon/daemon_internal.h"

#define START_TIMEOUT_MS 3000u

struct dj_postgres_options dj_tier_postgres_options(const struct dj_settings *settings)
{
    const struct dj_settings_postgres *postgres = &settings->postgres;
    return (struct dj_postgres_options){
        .url = postgres->url,
        .password = postgres->password,
        .schema = postgres->schema,
        .connections_max = postgres->connections_max,
        .record_bytes_max = postgres->record_bytes_max,
        .ttl_ms = postgres->ttl_ms,
        .connect_timeout_ms = (uint32_t)postgres->connect_timeout_ms,
        .timeout_ms = (uint32_t)postgres->timeout_ms,
        .history_max = postgres->history_max,
        .exact_rows_max = postgres->exact_rows_max,
        .packing = dj_settings_packing(&settings->compression),
        .is_sync = settings->durability == DJ_DURABILITY_ALWAYS,
    };
}

/* At the start, and then on the store's own threads when it changes. */
static void on_trouble(void *ctx, const struct deja_error *trouble)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("tier", "postgres"),
                                          DJ_LOG_TEXT("reason", trouble ? trouble->message : "-"),
                                          {.name = NULL}};
    if (trouble)
        dj_log_write(daemon->log, DJ_LOG_WARN, "a tier cannot be used; it is tried again", fields);
    else
        dj_log_write(daemon->log, DJ_LOG_INFO, "a tier can be used again", fields);
}

static void on_step(void *ctx, const struct dj_postgres_migration *migration)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_log_field fields[] = {DJ_LOG_I64("version", migration->version),
                                          DJ_LOG_TEXT("step", migration->name),
                                          {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_INFO, "the schema in PostgreSQL was brought up", fields);
}

static enum deja_status look_at_schema(struct dj_daemon *daemon,
                                       const struct dj_postgres_options *options,
                                       struct deja_error *error)
{
    enum dj_postgres_migrate migrate = daemon->settings->postgres.migrate;
    struct dj_postgres_options first = *options;
    struct dj_postgres *postgres = NULL;
    struct dj_postgres_state state;
    if (first.connect_timeout_ms > START_TIMEOUT_MS)
        first.connect_timeout_ms = START_TIMEOUT_MS;
    enum deja_status status = dj_postgres_connect(&first, &postgres, error);
    if (status == DEJA_OK)
        status = dj_postgres_look(postgres, &state, error);
    if (status == DEJA_OK &&
        ((state.schema == DJ_POSTGRES_SCHEMA_NONE && migrate != DJ_POSTGRES_MANUAL) ||
         (state.schema == DJ_POSTGRES_SCHEMA_OLD && migrate == DJ_POSTGRES_AUTO)))
        status = dj_postgres_migrate(postgres, dj_postgres_schema_newest(), daemon, on_step, error);
    else if (status == DEJA_OK)
        status = dj_postgres_check(&state, error);
    dj_postgres_disconnect(postgres);
    return status;
}

bool dj_tier_prepare_postgres(struct dj_daemon *daemon)
{
    struct dj_postgres_options options = dj_tier_postgres_options(daemon->settings);
    struct deja_error trouble = {{0}};
    enum deja_status status = look_at_schema(daemon, &options, &trouble);
    if (status != DEJA_OK)
        on_trouble(daemon, &trouble);
    return status == DEJA_OK;
}

enum deja_status dj_tier_open_postgres(struct dj_daemon *daemon, struct dj_store **out_store,
                                       struct deja_error *error)
{
    struct dj_postgres_options options = dj_tier_postgres_options(daemon->settings);
    struct dj_store *store = NULL;
    options.told = on_trouble;
    options.told_ctx = daemon;
    if (options.url) {
        enum deja_status status = dj_postgres_open(&options, &store, error);
        if (status != DEJA_OK)
            return status;
    }
    *out_store = store;
    return DEJA_OK;
}

enum deja_status dj_tier_optimise_postgres(void *ctx, void *step_ctx, dj_postgres_progress_fn *step)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_postgres_options options = dj_tier_postgres_options(daemon->settings);
    struct dj_postgres *postgres = NULL;
    struct deja_error error = {{0}};
    enum deja_status status = dj_postgres_connect(&options, &postgres, &error);
    if (status == DEJA_OK)
        status = dj_postgres_optimise(postgres, step_ctx, step, &error);
    dj_postgres_disconnect(postgres);
    if (status != DEJA_OK) {
        const struct dj_log_field fields[] = {
            DJ_LOG_TEXT("tier", "postgres"), DJ_LOG_TEXT("reason", error.message), {.name = NULL}};
        dj_log_write(daemon->log, DJ_LOG_WARN, "indexes were not made anew", fields);
    }
    return status;
}
