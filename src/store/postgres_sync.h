/* store/postgres_sync.h - a connection that blocks, for tools, the start and the second thread; and
 * what every connection begins with.
 *
 *   postgres_sync.c     connecting, statements      postgres_schema.c  migrations
 *   postgres_session.c  what it begins with         postgres_admin.c   lists, indexes, the lock
 *   postgres_scan.c     all rows, piece by piece
 *
 * Threads: one at a time for each connection. Results are the caller's (PQclear).
 */
#ifndef DJ_STORE_POSTGRES_SYNC_H
#define DJ_STORE_POSTGRES_SYNC_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "store/postgres.h"
#include "store/postgres_params.h"
#include "store/postgres_row.h"

#define DJ_PG_SCHEMA_BYTES 64u

/* A connection with the session's settings; blocking. is_stopping (may be NULL): give up. */
struct dj_postgres {
    struct dj_postgres_options options; /* texts: borrowed */
    char schema[DJ_PG_SCHEMA_BYTES];
    PGconn *conn;
    const atomic_bool *is_stopping;
};

/* postgres_session.c: what every connection begins with. */
#define DJ_PG_CONNECT_PARAMS_MAX 8u
/* keywords and values for PQconnect…Params, NULL-terminated; borrowed from options. */
void dj_pg_connect_params(const struct dj_postgres_options *options,
                          const char *keywords[DJ_PG_CONNECT_PARAMS_MAX],
                          const char *values[DJ_PG_CONNECT_PARAMS_MAX]);
bool dj_pg_schema_name(const char *text, char out_schema[DJ_PG_SCHEMA_BYTES]); /* NULL: "deja" */
/* One statement with the session's settings. */
void dj_pg_session_sql(const struct dj_postgres_options *options, const char *schema,
                       struct dj_buf *out);
extern const char dj_pg_version_sql[]; /* fails with an unknown table where no schema is */
/* Of the answer to dj_pg_version_sql. */
enum dj_postgres_schema dj_pg_schema_of(const PGresult *result, uint32_t *out_version);
/* DEJA_OK: current. Else error says what to run. */
enum deja_status dj_pg_check_schema(enum dj_postgres_schema schema, uint32_t version,
                                    struct deja_error *error);

/* In postgres.c: the url can be read, the schema's name is of the form. */
enum deja_status dj_pg_check_options(const struct dj_postgres_options *options,
                                     char out_schema[DJ_PG_SCHEMA_BYTES],
                                     struct deja_error *error) DEJA_NODISCARD;
/* is_stopping (may be NULL): set, it ends every wait with DEJA_ERR_CANCELLED. */
enum deja_status dj_pg_connect(const struct dj_postgres_options *options,
                               const atomic_bool *is_stopping, struct dj_postgres **out_postgres,
                               struct deja_error *error) DEJA_NODISCARD;
/* One statement or several without parameters; result NULL: not wanted. timeout_ms 0: no end. */
enum deja_status dj_pg_exec(struct dj_postgres *postgres, const char *sql, uint32_t timeout_ms,
                            PGresult **out_result, struct deja_error *error) DEJA_NODISCARD;
/* One statement with binary parameters (ended by it; NULL: none) and a binary result. */
enum deja_status dj_pg_query(struct dj_postgres *postgres, const char *sql,
                             struct dj_pg_params *params, PGresult **out_result,
                             struct deja_error *error) DEJA_NODISCARD;

/* postgres_admin.c: one program at a time tidies. */
enum deja_status dj_pg_try_lock(struct dj_postgres *postgres, bool *out_is_held,
                                struct deja_error *error) DEJA_NODISCARD;
void dj_pg_unlock(struct dj_postgres *postgres);
/* Makes ANN indexes where there are rows enough and none. */
enum deja_status dj_pg_make_indexes(struct dj_postgres *postgres, uint32_t rows_min,
                                    struct deja_error *error) DEJA_NODISCARD;

/* postgres_status.c: foreign codes end here. */
enum deja_status dj_pg_status_of(const PGresult *result);
/* What a person should do about why a connection could not be made or used. */
enum deja_status dj_pg_explain(const char *text, struct deja_error *error);

/* postgres_replies.c */
struct dj_pg_field dj_pg_field(const PGresult *result, int row, int column);

#endif
