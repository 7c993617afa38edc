/* store/postgres_authority.c - see postgres_authority.h.
 *
 * documents            name, key, value (NULL: removed), sequence
 * documents_sequence   one row: the last number given, the highest of a removal that is forgotten,
 *                      and a name for this history
 *
 * (1) A change takes its number by updating that one row, which stays locked until the change is
 * committed: numbers are visible in their order, so a reader that has seen n has missed none below.
 * (2) Removals stay for FORGET_AFTER, so that a program that was away meets them; one that was away
 * for longer is told to begin anew (forgotten is above where it was). (3) A connection is given up
 * after whatever left it in the middle of something.
 */
#include "store/postgres_authority.h"

#include <pthread.h>

#include "base/alloc.h"
#include "store/postgres_sync.h"

#define TIMEOUT_MS_MAX 5000u
#define RETRY_MS 1000u
#define PAGE 500
#define PAGE_TEXT "500"
#define FORGET_AFTER "interval '7 days'"

struct dj_postgres_authority {
    struct dj_authority table;
    struct dj_postgres_options options;
    atomic_bool is_stopping;
    pthread_mutex_t lock;
    struct dj_postgres *postgres; /* under lock, as is the next; NULL: none now */
    uint64_t retry_us;            /* not tried before */
    bool has_origin;
    uint8_t origin[DJ_ID_BYTES]; /* of the history that was pulled last; one pull at a time */
};

/* ---- one call ---- */

/* What the callers of an authority know; the rest is a server that cannot be used. */
static enum deja_status known(enum deja_status status)
{
    switch (status) {
    case DEJA_OK:
    case DEJA_ERR_NOMEM:
    case DEJA_ERR_TIMEOUT:
    case DEJA_ERR_CANCELLED:
    case DEJA_ERR_LIMIT:
        return status;
    default:
        return DEJA_ERR_IO;
    }
}

/* A server that went away is seen before something is asked of it. */
static bool is_usable(struct dj_postgres *postgres)
{
    return PQconsumeInput(postgres->conn) == 1 && PQstatus(postgres->conn) == CONNECTION_OK &&
           PQtransactionStatus(postgres->conn) == PQTRANS_IDLE;
}

static enum deja_status connect_now(struct dj_postgres_authority *authority)
{
    struct deja_error error;
    uint64_t now_us = dj_clock_monotonic_us();
    if (authority->postgres && !is_usable(authority->postgres)) {
        dj_postgres_disconnect(authority->postgres);
        authority->postgres = NULL;
    }
    if (authority->postgres)
        return DEJA_OK;
    if (now_us < authority->retry_us)
        return DEJA_ERR_IO;
    enum deja_status status =
        dj_pg_connect(&authority->options, &authority->is_stopping, &authority->postgres, &error);
    if (status == DEJA_OK)
        authority->postgres->options.timeout_ms = authority->options.timeout_ms;
    else if (status != DEJA_ERR_NOMEM)
        authority->retry_us = dj_clock_monotonic_us() + RETRY_MS * 1000u;
    return status;
}

/* params are ended, whatever happens. *out_result is the caller's (PQclear). */
static enum deja_status ask(struct dj_postgres_authority *authority, const char *sql,
                            struct dj_pg_params *params, PGresult **out_result)
{
    struct deja_error error;
    if (atomic_load(&authority->is_stopping)) {
        dj_buf_fini(&params->bytes);
        return DEJA_ERR_CANCELLED;
    }
    pthread_mutex_lock(&authority->lock);
    enum deja_status status = connect_now(authority);
    if (status == DEJA_OK) {
        status = dj_pg_query(authority->postgres, sql, params, out_result, &error);
        if (status == DEJA_ERR_TIMEOUT)
            authority->retry_us = dj_clock_monotonic_us() + RETRY_MS * 1000u;
        if (status != DEJA_OK && !is_usable(authority->postgres)) {
            dj_postgres_disconnect(authority->postgres);
            authority->postgres = NULL;
        }
    } else {
        dj_buf_fini(&params->bytes);
    }
    pthread_mutex_unlock(&authority->lock);
    return known(status);
}

static struct deja_slice bytes_of(const PGresult *result, int row, int column)
{
    struct dj_pg_field field = dj_pg_field(result, row, column);
    /* A value that is there is never without a place. */
    if (!field.is_null && !field.bytes.data)
        return deja_slice("", 0);
    return field.is_null ? deja_slice(NULL, 0) : field.bytes;
}

/* ---- the table ---- */

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    dj_pg_param(&params, table, strlen(table));
    dj_pg_param(&params, key.data, key.len);
    enum deja_status status =
        ask(ctx, "SELECT value FROM documents WHERE name = $1 AND key = $2 AND value IS NOT NULL",
            &params, &result);
    if (status == DEJA_OK && PQntuples(result) == 1)
        found(found_ctx, bytes_of(result, 0, 0));
    else if (status == DEJA_OK)
        status = DEJA_ERR_NOT_FOUND;
    PQclear(result);
    return status;
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    static const char any[] =
        "WITH next AS (UPDATE documents_sequence SET value = value + 1 RETURNING value) "
        "INSERT INTO documents AS d (name, key, value, sequence) "
        "SELECT $1::text, $2::bytea, $3::bytea, next.value FROM next "
        "ON CONFLICT (name, key) DO UPDATE SET value = EXCLUDED.value, "
        "sequence = EXCLUDED.sequence, changed_at = now() RETURNING 1";
    static const char fresh[] =
        "WITH next AS (UPDATE documents_sequence SET value = value + 1 RETURNING value) "
        "INSERT INTO documents AS d (name, key, value, sequence) "
        "SELECT $1::text, $2::bytea, $3::bytea, next.value FROM next "
        "ON CONFLICT (name, key) DO UPDATE SET value = EXCLUDED.value, "
        "sequence = EXCLUDED.sequence, changed_at = now() WHERE d.value IS NULL RETURNING 1";
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    if (key.len > DJ_AUTHORITY_KEY_BYTES_MAX || value.len > DJ_AUTHORITY_VALUE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    dj_pg_param(&params, table, strlen(table));
    dj_pg_param(&params, key.data, key.len);
    dj_pg_param(&params, value.data, value.len);
    enum deja_status status = ask(ctx, is_new ? fresh : any, &params, &result);
    if (status == DEJA_OK && PQntuples(result) != 1)
        status = DEJA_ERR_BUSY;
    PQclear(result);
    return status;
}

/* Old removals go with a new one. */
static void forget(struct dj_postgres_authority *authority)
{
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    enum deja_status status = ask(authority,
                                  "WITH gone AS (DELETE FROM documents WHERE value IS NULL "
                                  "AND changed_at < now() - " FORGET_AFTER " RETURNING sequence) "
                                  "UPDATE documents_sequence SET forgotten = "
                                  "greatest(forgotten, (SELECT max(sequence) FROM gone)) "
                                  "WHERE EXISTS (SELECT FROM gone)",
                                  &params, &result);
    if (status == DEJA_OK)
        PQclear(result);
}

static enum deja_status remove_document(void *ctx, const char *table, struct deja_slice key)
{
    static const char sql[] =
        "WITH next AS (UPDATE documents_sequence SET value = value + 1 RETURNING value) "
        "UPDATE documents SET value = NULL, sequence = next.value, changed_at = now() FROM next "
        "WHERE name = $1 AND key = $2 AND documents.value IS NOT NULL RETURNING 1";
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    dj_pg_param(&params, table, strlen(table));
    dj_pg_param(&params, key.data, key.len);
    enum deja_status status = ask(ctx, sql, &params, &result);
    if (status == DEJA_OK && PQntuples(result) != 1)
        status = DEJA_ERR_NOT_FOUND;
    PQclear(result);
    if (status == DEJA_OK)
        forget(ctx);
    return status;
}

/* Page by page, each a statement of its own: what changes meanwhile is in it or not. */
static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    static const char sql[] = "SELECT key, value FROM documents WHERE name = $1 AND key > $2 "
                              "AND value IS NOT NULL ORDER BY key LIMIT " PAGE_TEXT;
    char last[DJ_AUTHORITY_KEY_BYTES_MAX];
    size_t last_len = 0;
    enum deja_status status = DEJA_OK;
    bool goes_on = true;
    while (status == DEJA_OK && goes_on) {
        struct dj_pg_params params = {.count = 0};
        PGresult *result = NULL;
        dj_pg_param(&params, table, strlen(table));
        dj_pg_param(&params, last, last_len);
        status = ask(ctx, sql, &params, &result);
        int count = status == DEJA_OK ? PQntuples(result) : 0;
        goes_on = count == PAGE;
        for (int i = 0; i < count; i++) {
            struct deja_slice key = bytes_of(result, i, 0);
            if (key.len > sizeof last || !each(each_ctx, key, bytes_of(result, i, 1))) {
                goes_on = false;
                break;
            }
            memcpy(last, key.data, key.len);
            last_len = key.len;
        }
        PQclear(result);
    }
    return status;
}

/* Where the numbers are, and up to where removals are forgotten. */
static enum deja_status read_sequence(struct dj_postgres_authority *authority, uint64_t *out_last,
                                      uint64_t *out_forgotten, uint8_t out_origin[DJ_ID_BYTES])
{
    struct dj_pg_params params = {.count = 0};
    PGresult *result = NULL;
    enum deja_status status =
        ask(authority, "SELECT value, forgotten, origin FROM documents_sequence", &params, &result);
    if (status == DEJA_OK &&
        (PQntuples(result) != 1 || !dj_pg_read_u64(dj_pg_field(result, 0, 0), out_last) ||
         !dj_pg_read_u64(dj_pg_field(result, 0, 1), out_forgotten) ||
         !dj_pg_read_id(dj_pg_field(result, 0, 2), out_origin)))
        status = DEJA_ERR_IO;
    PQclear(result);
    return status;
}

static void tell(const PGresult *result, int row, void *ctx, dj_authority_change_fn *change)
{
    char name[64] = "";
    dj_pg_copy_text(dj_pg_field(result, row, 0), name, sizeof name);
    change(ctx, name, bytes_of(result, row, 1), bytes_of(result, row, 2));
}

static enum deja_status pull(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence)
{
    static const char sql[] =
        "SELECT name, key, value, sequence FROM documents WHERE sequence > $1 AND sequence <= $2 "
        "AND ($3::bigint > 0 OR value IS NOT NULL) ORDER BY sequence LIMIT " PAGE_TEXT;
    uint64_t last = 0;
    uint64_t forgotten = 0;
    uint64_t at = since;
    bool goes_on = true;
    struct dj_postgres_authority *authority = ctx;
    uint8_t origin[DJ_ID_BYTES];
    enum deja_status status = read_sequence(authority, &last, &forgotten, origin);
    bool is_other = status == DEJA_OK && authority->has_origin &&
                    memcmp(origin, authority->origin, sizeof origin) != 0;
    if (status == DEJA_OK) {
        memcpy(authority->origin, origin, sizeof origin);
        authority->has_origin = true;
    }
    if (status == DEJA_OK && (is_other || (since && (since > last || since < forgotten))))
        return DEJA_ERR_NOT_FOUND;
    while (status == DEJA_OK && goes_on && at < last) {
        struct dj_pg_params params = {.count = 0};
        PGresult *result = NULL;
        dj_pg_param_u64(&params, at);
        dj_pg_param_u64(&params, last);
        dj_pg_param_u64(&params, since);
        status = ask(ctx, sql, &params, &result);
        int count = status == DEJA_OK ? PQntuples(result) : 0;
        goes_on = count == PAGE;
        for (int i = 0; i < count; i++)
            tell(result, i, change_ctx, change);
        if (count && !dj_pg_read_u64(dj_pg_field(result, count - 1, 3), &at))
            status = DEJA_ERR_IO;
        PQclear(result);
    }
    if (status == DEJA_OK)
        *out_sequence = last;
    return status;
}

/* ---- life ---- */

static uint32_t at_most(uint32_t value, uint32_t max)
{
    return value && value < max ? value : max;
}

enum deja_status dj_postgres_authority_create(const struct dj_postgres_options *options,
                                              struct dj_postgres_authority **out_authority,
                                              struct deja_error *error)
{
    char schema[DJ_PG_SCHEMA_BYTES];
    enum deja_status status = dj_pg_check_options(options, schema, error);
    if (status != DEJA_OK)
        return status;
    struct dj_postgres_authority *authority = dj_alloc_zeroed(1, sizeof *authority);
    if (!authority)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    authority->options = *options;
    authority->options.timeout_ms = at_most(options->timeout_ms, TIMEOUT_MS_MAX);
    authority->options.connect_timeout_ms = at_most(options->connect_timeout_ms, TIMEOUT_MS_MAX);
    authority->table = (struct dj_authority){.ctx = authority,
                                             .name = "postgres",
                                             .get = get,
                                             .put = put,
                                             .remove = remove_document,
                                             .walk = walk,
                                             .pull = pull};
    pthread_mutex_init(&authority->lock, NULL);
    *out_authority = authority;
    return DEJA_OK;
}

void dj_postgres_authority_destroy(struct dj_postgres_authority *authority)
{
    if (!authority)
        return;
    dj_postgres_disconnect(authority->postgres);
    pthread_mutex_destroy(&authority->lock);
    dj_free(authority);
}

void dj_postgres_authority_stop(struct dj_postgres_authority *authority)
{
    if (authority)
        atomic_store(&authority->is_stopping, true);
}

const struct dj_authority *dj_postgres_authority_table(
    const struct dj_postgres_authority *authority)
{
    return &authority->table;
}
