/* policy/kinds.h - kinds of what is kept, as data: how long, on which levels, under which tags.
 *
 *   key ──dj_kinds_match──> kind + fields ──dj_kind_tags──> "template:42", "kind:template_score"
 *   event + fields ──dj_kinds_event──> the tags whose entries it voids
 *
 * A kind is a row: shipped (kinds_shipped.c), or the operator's own (`kinds:` in the settings). A
 * key belongs to the kind whose pattern it begins with; the longest pattern wins. Before the
 * pattern a key may name its namespace and a version: "shop:v2:template:score:42" is
 * "template:score:42" of shop. What follows a pattern after a ':' belongs to it.
 *
 *   pattern   text, and fields in braces: "doc:extract:{document_id}:{part}". A field is not empty
 *             and ends at ':' or where the text after it begins; text is compared byte by byte.
 *
 * Trust: keys and events come from strangers; the table is ours and the operator's. Threads: a
 * table is immutable once made. Time: milliseconds. Nothing here allocates but dj_kinds_create.
 */
#ifndef DJ_POLICY_KINDS_H
#define DJ_POLICY_KINDS_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_KINDS_MAX 128u     /* rows of a table */
#define DJ_KIND_NAME_MAX 64u  /* bytes: a-z 0-9 _ */
#define DJ_KIND_TEXT_MAX 256u /* bytes of a pattern, a tag, an event, … */
#define DJ_KIND_LIST_MAX 16u  /* patterns, tags, events, parts, fields left out, TTL rules */
#define DJ_KIND_FIELDS_MAX 8u /* in one pattern */
#define DJ_KIND_TAGS_MAX (DJ_KIND_LIST_MAX + 1u) /* of an entry: its kind's, and "kind:NAME" */
#define DJ_KIND_TAG_BYTES 128u                   /* a longer tag is not made */

/* The same places as enum dj_level (cache/tiers.h) has. */
enum dj_kind_level {
    DJ_KIND_L1,       /* memory */
    DJ_KIND_DISK,     /* LMDB */
    DJ_KIND_L2,       /* Valkey, Redis */
    DJ_KIND_POSTGRES, /* cold: history */
    DJ_KIND_S3,       /* cold: long term */
    DJ_KIND_LEVEL_COUNT
};
const char *dj_kind_level_text(enum dj_kind_level level); /* "l1", "disk", "l2", "postgres", "s3" */

struct dj_kind_texts {
    struct deja_slice items[DJ_KIND_LIST_MAX];
    size_t count;
};

/* Plain data, borrowed from the table. */
struct dj_kind {
    struct deja_slice name;
    struct deja_slice family; /* "template", "document", …: how lists are grouped; the operator's
                               * own: "own" unless said */
    struct deja_slice help;
    struct dj_kind_texts patterns; /* none: only by its name */
    struct dj_kind_texts tags;     /* "template:{template_id}" */
    struct dj_kind_texts events;   /* that void it: "template:updated" */
    struct dj_kind_texts parts;    /* of one thing: "features" */
    struct dj_kind_texts ignored;  /* members that stay out of its key: "requestId" */
    struct dj_kind_texts ttl_for;  /* "GLOB TTL": the first glob that matches the key decides */
    uint64_t ttl_ms;               /* whole life of an entry that brings none; 0: the tenant's */
    uint64_t level_ms[DJ_KIND_LEVEL_COUNT]; /* longest stay of a copy there; 0: the whole life */
    uint32_t levels;  /* bits 1 << enum dj_kind_level: where copies are kept at all */
    bool is_sliding;  /* a read makes its life begin anew */
    bool is_semantic; /* found by meaning, too: threshold and limit hold */
    double threshold;
    uint32_t limit;
    bool is_shipped; /* false: the operator's own row */
    uint32_t index;  /* place in the table: for counters kept beside it */
};

/* What a name in braces stands for. */
struct dj_kind_field {
    struct deja_slice name;
    struct deja_slice value;
};

struct dj_kind_match {
    const struct dj_kind *kind;
    struct dj_kind_field fields[DJ_KIND_FIELDS_MAX]; /* borrowed from table and key */
    size_t field_count;
    struct deja_slice name_space; /* "shop" of "shop:v2:template:…"; empty: none */
    struct deja_slice version;    /* "v2"; empty: none */
    struct deja_slice rest;       /* after the pattern and a ':'; empty: nothing */
};

struct dj_kinds; /* opaque */

/* What somebody says about one kind, member by member, as texts of a file. */
struct dj_kind_setting {
    struct deja_slice kind;   /* "template_score" */
    struct deja_slice member; /* "ttl", "l1", "tags", … */
    struct deja_slice value;  /* a list: items joined by '\n' */
    bool is_list;
};
/* why: what is wrong and what to do, for a person; index: of the setting. Not called any more once
 * it has returned false. */
typedef void dj_kinds_fault_fn(void *ctx, size_t index, const char *why);

/* The shipped table with settings laid over it, in their order (a setting of a kind that is not
 * shipped makes one). Everything is copied. DEJA_ERR_CONFIG: fault was called, once for each fault;
 * DEJA_ERR_NOMEM. fault may be NULL where there are no settings. */
enum deja_status dj_kinds_create(const struct dj_kind_setting *settings, size_t count, void *ctx,
                                 dj_kinds_fault_fn *fault,
                                 struct dj_kinds **out_kinds) DEJA_NODISCARD;
void dj_kinds_destroy(struct dj_kinds *kinds); /* accepts NULL */

size_t dj_kinds_count(const struct dj_kinds *kinds);
const struct dj_kind *dj_kinds_at(const struct dj_kinds *kinds, size_t index);

/* By name; NULL: there is none. */
const struct dj_kind *dj_kinds_find(const struct dj_kinds *kinds, struct deja_slice name);
/* By key; NULL: of no kind (most keys: told by their first byte). out_match may be NULL. kinds
 * NULL: NULL. */
const struct dj_kind *dj_kinds_match(const struct dj_kinds *kinds, struct deja_slice key,
                                     struct dj_kind_match *out_match);

/* Life of an entry of that kind that brings no TTL of its own; 0: the kind does not say. */
uint64_t dj_kind_ttl_ms(const struct dj_kind *kind, struct deja_slice key);
/* How long a copy may stay on that level from now on. life_ms: the whole life the entry was given
 * (its end less its beginning; 0: it has no end). An entry that was given a longer life than its
 * kind has keeps it on every level below memory. UINT64_MAX: as long as it lives. */
uint64_t dj_kind_stay_ms(const struct dj_kind *kind, enum dj_kind_level level,
                         struct deja_slice key, uint64_t life_ms);
static inline bool dj_kind_is_kept(const struct dj_kind *kind, enum dj_kind_level level)
{
    return (kind->levels & (1u << level)) != 0;
}

/* Is a sliding life worth writing down again? Only when a tenth of it has passed: not a write per
 * read. */
bool dj_kind_is_slide_due(const struct dj_kind *kind, int64_t begun_ms, int64_t expires_ms,
                          int64_t now_ms);

/* The tags of an entry: "kind:NAME", then the kind's own whose fields are all there. Their bytes
 * are appended to `bytes` (which must not grow any more while they are used); values
 * are read as they stand in keys, %3A for ':' (cache/key_maker.h). At most
 * DJ_KIND_TAGS_MAX; how many. A failure is the buf's. */
size_t dj_kind_tags(const struct dj_kind *kind, const struct dj_kind_field *fields, size_t count,
                    struct dj_buf *bytes, struct deja_slice out_tags[DJ_KIND_TAGS_MAX]);

/* ---- events ---- */

#define DJ_EVENT_TAGS_MAX 256u

/* What an event voids: every entry that carries one of the tags; and, of entries that know who made
 * them (chat, embedding, put through the cache API), those of a provider, a model, or all. */
struct dj_kinds_voided {
    struct deja_slice tags[DJ_EVENT_TAGS_MAX]; /* no two alike; in `bytes` */
    size_t tag_count;
    bool is_by_model;           /* the next two hold; both empty: whatever provider and model */
    struct deja_slice provider; /* borrowed from the fields */
    struct deja_slice model;
    struct dj_buf bytes; /* end with dj_kinds_voided_fini */
};
void dj_kinds_voided_fini(struct dj_kinds_voided *voided); /* zeroed: does nothing */

/* "template:updated", "model:updated", "document:processed", or an operator's own, with what it
 * carries: template_id, provider, model, document_id, … For each kind that names the event, the
 * tags that need the most of the fields given; none given (or none that the kind's tags know): the
 * whole kind. out_voided: the caller's, zeroed. DEJA_ERR_NOT_FOUND: no kind names that event;
 * DEJA_ERR_LIMIT: too many tags; DEJA_ERR_NOMEM. */
enum deja_status dj_kinds_event(const struct dj_kinds *kinds, struct deja_slice event,
                                const struct dj_kind_field *fields, size_t count,
                                struct dj_kinds_voided *out_voided) DEJA_NODISCARD;
/* Names of all events, each once, joined by ", ": for messages. */
void dj_kinds_event_names(const struct dj_kinds *kinds, struct dj_buf *out);

#endif
