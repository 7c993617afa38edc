/* api/entry.h - an entry of the cache API as JSON: what a put may say, what a reader is told.
 *
 * What the store has no column for (the user's metadata, type, confidence, the words as they were
 * asked) is kept as one JSON object in dj_entry.metadata:
 *   {"metadata":{…},"type":"…","kind":"…","version":"…","depends_on":["…"],"confidence":0.9,
 *    "query":"…"}                                           every member may be missing
 *
 * An entry without a query is a bare vector: found by meaning only, known by its name.
 *
 * Threads: the request's loop. Trust: a put's JSON is untrusted; kept metadata is our own.
 */
#ifndef DJ_API_ENTRY_H
#define DJ_API_ENTRY_H

#include <deja/base.h>

#include "api/query.h"

/* A put that was checked; everything is borrowed from the request. */
struct dj_entry_input {
    struct deja_slice query; /* empty: a bare vector */
    struct deja_slice name;  /* of a bare vector; empty: its numbers name it */
    struct deja_slice name_space;
    struct deja_slice model;
    struct deja_slice provider;
    struct deja_slice type;
    struct deja_slice kind;
    struct deja_slice version;
    const struct dj_json *response;       /* NULL: null, of a bare vector */
    const struct dj_json *depends_on;     /* NULL or an array of texts */
    const struct dj_json *metadata;       /* NULL or an object */
    const struct dj_query_vector *vector; /* NULL: the query is embedded */
    uint64_t ttl_ms;                      /* 0: the default */
    double confidence;                    /* NAN: not said */
    double cost_usd;
    uint32_t input_tokens;
    uint32_t output_tokens;
    uint32_t make_ms; /* what it took; 0: nobody knows */
    struct deja_slice tags[DJ_TAGS_MAX];
    size_t tag_count;
    uint64_t as_of;          /* api/as_of.h; untouched unless the entry says it */
    bool is_shared_required; /* `require: shared`: kept by every shared tier, or refused */
};

/* Checks one object of a put; false after complaining. */
bool dj_entry_read(struct dj_request *request, const struct dj_json *object, const char *where,
                   struct dj_entry_input *out_input);
/* The kept form of metadata, empty when there is nothing to keep. */
void dj_entry_write_metadata(const struct dj_entry_input *input, struct deja_slice normalised,
                             struct dj_buf *out);

/* Members of an entry without its braces: query, model, tags, times … and the response. */
void dj_entry_write(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms);
void dj_entry_write_facts(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms);
void dj_entry_write_access(struct dj_json_writer *w, const struct dj_access_stats *access);

#endif
