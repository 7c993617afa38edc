/* tools/import_source.h - where `deja import` reads: one table for every form.
 *
 *   lines     of deja export                            POST /api/v1/import
 *   gptcache  the SQLite file of a GPTCache             PUT  /api/v1/entries
 *   redis     keys of a Valkey or Redis: LiteLLM's, or anybody's   POST /api/v1/kv:batch
 *
 * Blocking; one unit (line, question, key) at a time, bounded memory. Trust: untrusted.
 */
#ifndef DJ_TOOLS_IMPORT_SOURCE_H
#define DJ_TOOLS_IMPORT_SOURCE_H

#include <deja/base.h>

#include "base/buf.h"

struct dj_import_source {
    void *ctx;
    const char *form;   /* "jsonl", "gptcache", "redis" */
    const char *unit;   /* "line", "question", "key" */
    const char *method; /* of the call that takes them */
    const char *path;
    const char *member; /* its array */
    /* Appends one element of that array; *out_number: which unit it is. DEJA_ERR_NOT_FOUND: there
     * are no more; DEJA_ERR_INVALID: this one cannot be brought over, error says why, the next may
     * be; others end it. */
    enum deja_status (*next)(void *ctx, struct dj_buf *out_json, uint64_t *out_number,
                             struct deja_error *error);
    /* From where to go on behind what next gave last; read_position before the first next. */
    uint64_t (*position)(void *ctx);
    enum deja_status (*seek)(void *ctx, uint64_t position, struct deja_error *error);
    uint64_t (*skipped)(void *ctx); /* units passed over: deleted, of another type; NULL: none */
    void (*close)(void *ctx);
};

/* By its first bytes, or "redis://…". format NULL: found out; else the name it must have. error
 * names what it looks like. */
enum deja_status dj_import_open(const char *from, const char *format,
                                struct dj_import_source *out_source,
                                struct deja_error *error) DEJA_NODISCARD;

/* Each opens one form. */
enum deja_status dj_import_lines_open(const char *path, struct dj_import_source *out_source,
                                      struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_import_gptcache_open(const char *path, struct dj_import_source *out_source,
                                         struct deja_error *error) DEJA_NODISCARD;
/* url: redis[s]://[user[:password]@]host[:port][/db][?match=GLOB] */
enum deja_status dj_import_redis_open(const char *url, struct dj_import_source *out_source,
                                      struct deja_error *error) DEJA_NODISCARD;

#endif
