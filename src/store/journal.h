/* store/journal.h - what a tier that is down has missed: bounded, in order, newest wins.
 *
 *   one record a key:     take away up to a version, then put a newer one (either may be missing)
 *   one record a clear:   of a tenant; the tenant's generation is raised too if a raise was lost
 *   one record a raise
 *
 * Room is made by forgetting puts first: what may be in the tier of that key, older than the put,
 * is taken away instead. Then all that the tenant with the most records has gives way to a
 * clear. When even that finds no room nothing of the tier may be read again (is_lost). So whatever
 * is forgotten costs hits and never brings back an answer. Adding never fails: it gives way
 * likewise when memory is short.
 *
 * Threads: none of its own; the owner's lock.
 */
#ifndef DJ_STORE_JOURNAL_H
#define DJ_STORE_JOURNAL_H

#include <deja/base.h>

#include "base/list.h"
#include "store/store.h"

struct dj_journal;

struct dj_journal_options {
    uint32_t records_max; /* at least 1 */
    uint64_t bytes_max;   /* of the puts: values, vectors */
};

enum dj_journal_kind { DJ_JOURNAL_KEY, DJ_JOURNAL_CLEAR, DJ_JOURNAL_RAISE };

/* The journal's; what is taken does not change until it is given back. */
struct dj_journal_record {
    struct dj_list order;
    struct dj_list puts;           /* those with a value, oldest first */
    struct dj_list same;           /* those of its tenant */
    struct journal_tenant *tenant; /* NULL: kept for want of memory */
    enum dj_journal_kind kind;
    struct dj_store_key key; /* id of zeros: of no key */
    bool is_taken;
    uint32_t failures; /* the owner's: replays of it that failed */
    bool has_remove;
    uint64_t version_max;   /* of the remove */
    struct dj_value *value; /* NULL: no put */
    float *vector;          /* owned; NULL: none */
    uint32_t dim;
    bool is_raised; /* a clear that raises the tenant's generation too */
    char *tag;      /* of a raise; owned */
    size_t tag_len;
    uint64_t bytes; /* counted for the put */
};

struct dj_journal_figures {
    uint64_t records;
    uint64_t puts;
    uint64_t removes; /* keys, clears and raises that take something away */
    uint64_t bytes;
    uint64_t puts_dropped;   /* gave way, since the journal was made */
    uint64_t tenants_voided; /* clears that stand for what gave way */
    bool is_lost;
};

enum deja_status dj_journal_create(const struct dj_journal_options *options,
                                   struct dj_journal **out_journal) DEJA_NODISCARD;
void dj_journal_destroy(struct dj_journal *journal); /* accepts NULL */

/* Takes its own reference of value and its own copy of vector (NULL: none). */
void dj_journal_put(struct dj_journal *journal, struct dj_value *value, const float *vector,
                    uint32_t dim);
void dj_journal_remove(struct dj_journal *journal, const struct dj_store_key *key,
                       uint64_t version_max);
void dj_journal_clear(struct dj_journal *journal, const uint8_t tenant[DJ_ID_BYTES]);
void dj_journal_raise(struct dj_journal *journal, const uint8_t tenant[DJ_ID_BYTES],
                      struct deja_slice tag);

/* The oldest records that are not taken and whose order among themselves does not matter: a clear
 * comes alone, when everything before it is done. Returns how many, at most count. */
size_t dj_journal_take(struct dj_journal *journal, struct dj_journal_record **out_records,
                       size_t count);
/* is_done: it is forgotten; otherwise it stays where it was. */
void dj_journal_give_back(struct dj_journal *journal, struct dj_journal_record *record,
                          bool is_done);

/* Of a taken record: its put gives way to the removal of what is older. */
void dj_journal_drop_put(struct dj_journal *journal, struct dj_journal_record *record);

/* Something that was missed is of that key or of all its tenant's: what is new comes after it. */
bool dj_journal_concerns(const struct dj_journal *journal, const struct dj_store_key *key);
bool dj_journal_is_empty(const struct dj_journal *journal); /* nothing missed, nothing lost */
void dj_journal_look(const struct dj_journal *journal, struct dj_journal_figures *out_figures);
/* As dj_map_probes_max, of its keys. */
size_t dj_journal_probes_max(const struct dj_journal *journal);

#endif
