/* store/postgres.h - the tier of PostgreSQL with pgvector: answers, what is known of them, vectors.
 *
 * A loop of the store's own, on a thread of its own, holds a few connections in pipeline mode:
 * libpq looks names up and shakes hands where it blocks, and that must not be a caller's loop (I3).
 * Whatever the callers' loops ask in one turn leaves without waiting for one another's answers. A
 * second thread does what takes long: indexes, sweeping, counting. docs/adr/0008.
 *
 * Trust: the server is not trusted: every reply is bounded, every record verified; what does not
 * verify is a miss. Tenants: every statement names its tenant, but those that say "all".
 * Threads: the table's functions on the loop that is named; the others say.
 */
#ifndef DJ_STORE_POSTGRES_H
#define DJ_STORE_POSTGRES_H

#include "store/store.h"

#define DJ_POSTGRES_POOL_MAX 64u

/* trouble: why the server cannot be used, with what to do; NULL: it can again. Told when it
 * changes, from a thread of the store: it must be quick and must not call the store. */
typedef void dj_postgres_trouble_fn(void *ctx, const struct deja_error *trouble);

struct dj_postgres_options {
    const char *url; /* conninfo or postgresql:// URI; TLS as libpq: sslmode, sslrootcert … */
    const char *password;      /* NULL: from url, PGPASSWORD or the password file, as libpq does */
    const char *schema;        /* tables are there; NULL: "deja"; [a-z_][a-z0-9_]*, at most 63 */
    uint32_t connections_max;  /* 1 … DJ_POSTGRES_POOL_MAX; 0: 4 */
    uint32_t queue_max;        /* calls that wait or are under way; 0: 4,096 */
    uint64_t queue_bytes_max;  /* held by these; 0: 256 MiB */
    uint64_t record_bytes_max; /* larger ones are DEJA_ERR_LIMIT; 0: 64 MiB */
    uint64_t ttl_ms;           /* longest stay; 0: no bound of the tier's own */
    uint32_t connect_timeout_ms; /* 0: 5 s */
    uint32_t timeout_ms;     /* without a sign of the server its connection is given up; 0: 10 s */
    uint32_t history_max;    /* earlier answers kept of each entry; 0: none */
    uint32_t exact_rows_max; /* fewer vectors are searched without an index; 0: 5,000 */
    uint32_t upkeep_ms;      /* between two rounds of upkeep; 0: 60 s */
    dj_postgres_trouble_fn *told; /* NULL: nobody is */
    void *told_ctx;
    bool is_sync;              /* a write is confirmed when it is on the server's disk */
    struct dj_packing packing; /* of records */
};

/* Options are copied. Succeeds whether or not the server is there: connections are made when they
 * are needed. DEJA_ERR_CONFIG: the url cannot be read; DEJA_ERR_NOMEM, DEJA_ERR_IO (no thread). */
enum deja_status dj_postgres_open(const struct dj_postgres_options *options,
                                  struct dj_store **out_store,
                                  struct deja_error *error) DEJA_NODISCARD;

/* Why the last connection could not be used, with what to do; empty while all is well. Any thread.
 */
void dj_postgres_trouble(struct dj_store *store, struct deja_error *out_trouble);

/* As keep_access, but hits are added and the later last access stays: for programs that share the
 * database and count for themselves. Any thread. */
enum deja_status dj_postgres_add_access(struct dj_store *store, const struct dj_store_access *rows,
                                        size_t count) DEJA_NODISCARD;

/* ---- looking at a server; blocking: start-up, tools and workers only ---- */

struct dj_postgres; /* one connection of its own, for the calls below */

enum dj_postgres_schema {
    DJ_POSTGRES_SCHEMA_NONE, /* no table is there */
    DJ_POSTGRES_SCHEMA_OLD,  /* `deja migrate up` brings it up to date */
    DJ_POSTGRES_SCHEMA_CURRENT,
    DJ_POSTGRES_SCHEMA_NEWER, /* made by a newer program */
};

struct dj_postgres_state {
    uint32_t server_version; /* 150018: 15.18 */
    uint32_t schema_version; /* the last migration applied; 0: none */
    enum dj_postgres_schema schema;
    bool is_encrypted;         /* TLS */
    bool is_local;             /* over a socket of this machine or its loopback address */
    bool is_superuser;         /* more than it needs */
    char vector_version[16];   /* of the extension in the database; empty: not created */
    char vector_available[16]; /* that the server could create; empty: not installed there */
};

/* error: what is wrong and what to do. DEJA_ERR_IO, DEJA_ERR_TIMEOUT, DEJA_ERR_DENIED (password,
 * role or certificate), DEJA_ERR_CONFIG (url), DEJA_ERR_NOMEM. */
enum deja_status dj_postgres_connect(const struct dj_postgres_options *options,
                                     struct dj_postgres **out_postgres,
                                     struct deja_error *error) DEJA_NODISCARD;
void dj_postgres_disconnect(struct dj_postgres *postgres); /* accepts NULL */
enum deja_status dj_postgres_look(struct dj_postgres *postgres, struct dj_postgres_state *out_state,
                                  struct deja_error *error) DEJA_NODISCARD;

/* DEJA_OK: the schema is what this program works with. Else error says what to run:
 * DEJA_ERR_CONFIG (none, old), DEJA_ERR_MISMATCH (newer). */
enum deja_status dj_postgres_check(const struct dj_postgres_state *state,
                                   struct deja_error *error) DEJA_NODISCARD;

/* ---- migrations ---- */

struct dj_postgres_migration {
    uint32_t version; /* 1 … */
    const char *name;
    bool is_applied;
    int64_t applied_ms; /* 0: not applied */
};
typedef void dj_postgres_step_fn(void *ctx, const struct dj_postgres_migration *migration);

uint32_t dj_postgres_schema_newest(void); /* what this program knows */
/* Every migration this program knows, in order. */
enum deja_status dj_postgres_migrations(struct dj_postgres *postgres, void *ctx,
                                        dj_postgres_step_fn *each,
                                        struct deja_error *error) DEJA_NODISCARD;
/* Up or down to `version`, each step in a transaction, one program at a time (advisory lock).
 * done (may be NULL) after each step. DEJA_ERR_MISMATCH: the schema is newer than this program;
 * DEJA_ERR_INVALID: no such version; DEJA_ERR_BUSY: another program migrates and does not end. */
enum deja_status dj_postgres_migrate(struct dj_postgres *postgres, uint32_t version, void *ctx,
                                     dj_postgres_step_fn *done,
                                     struct deja_error *error) DEJA_NODISCARD;

/* ---- what is kept, and its upkeep ---- */

struct dj_postgres_tenant {
    uint8_t tenant[DJ_ID_BYTES];
    uint64_t entries;
    uint64_t bytes; /* of records */
    uint64_t vectors;
    uint64_t hits;
    int64_t last_access_ms;
};
typedef bool dj_postgres_tenant_fn(void *ctx,
                                   const struct dj_postgres_tenant *row); /* false: stop */
/* Tenants with entries, most entries first. */
enum deja_status dj_postgres_tenants(struct dj_postgres *postgres, uint32_t limit, void *ctx,
                                     dj_postgres_tenant_fn *each,
                                     struct deja_error *error) DEJA_NODISCARD;

struct dj_postgres_entry {
    struct dj_store_key key;
    uint64_t hits;
    int64_t last_access_ms;
    int64_t created_ms;
    uint64_t bytes;
};
typedef bool dj_postgres_entry_fn(void *ctx, const struct dj_postgres_entry *row);
/* Least recently used first; tenant NULL: of all. limit: 1 … 10,000. */
enum deja_status dj_postgres_lru(struct dj_postgres *postgres, const uint8_t *tenant,
                                 uint32_t limit, void *ctx, dj_postgres_entry_fn *each,
                                 struct deja_error *error) DEJA_NODISCARD;

struct dj_postgres_index {
    char name[64];
    char method[16]; /* "btree", "hnsw" */
    uint64_t bytes;
    uint64_t scans; /* since the server's statistics began */
    bool is_valid;  /* false: its making failed; optimise makes it anew */
};
typedef void dj_postgres_index_fn(void *ctx, const struct dj_postgres_index *row);
enum deja_status dj_postgres_indexes(struct dj_postgres *postgres, void *ctx,
                                     dj_postgres_index_fn *each,
                                     struct deja_error *error) DEJA_NODISCARD;

/* step 1 … step_count, `what` in a few words: before the step. Return false to stop. */
typedef bool dj_postgres_progress_fn(void *ctx, uint32_t step, uint32_t step_count,
                                     const char *what);
/* Makes missing ANN indexes, REINDEX CONCURRENTLY of each index, VACUUM ANALYZE. May take minutes;
 * readers and writers go on. DEJA_ERR_BUSY: another program does it now. */
enum deja_status dj_postgres_optimise(struct dj_postgres *postgres, void *ctx,
                                      dj_postgres_progress_fn *progress,
                                      struct deja_error *error) DEJA_NODISCARD;

#endif
