/* policy/kinds_internal.h - the table while it is made, and the shipped rows. */
#ifndef DJ_POLICY_KINDS_INTERNAL_H
#define DJ_POLICY_KINDS_INTERNAL_H

#include "base/arena.h"
#include "policy/kinds.h"

/* One pattern of one kind, for the search by key. */
struct dj_kinds_pattern {
    struct deja_slice text;
    size_t literal_len; /* bytes that are no field */
    uint32_t row;
};

struct dj_kinds {
    struct dj_arena arena; /* every text */
    struct dj_kind *rows;  /* owned; room for DJ_KINDS_MAX only while it is made */
    size_t count;
    struct dj_kinds_pattern *patterns; /* owned; by first byte, then in the order of the rows */
    size_t pattern_count;
    uint32_t first[257]; /* patterns that begin with byte b: first[b] … first[b + 1] */
};

/* A shipped row says what a settings file would say: lists are separated by blanks. NULL: nothing.
 */
struct dj_kind_shipped {
    const char *name, *family, *help, *patterns, *ttl, *l1, *disk, *l2, *postgres, *s3;
    const char *tags, *events, *parts, *ignored, *sliding, *semantic, *threshold, *limit;
};
extern const struct dj_kind_shipped dj_kinds_shipped[];
extern const size_t dj_kinds_shipped_count;

/* kinds_member.c: one member of one kind, parsed into the row. false: *out_why says what is wrong
 * (DEJA_ERR_CONFIG), or there is no memory. */
enum deja_status dj_kind_set(struct dj_kinds *kinds, struct dj_kind *kind, struct deja_slice member,
                             const struct dj_kind_texts *values,
                             struct deja_error *error) DEJA_NODISCARD;
/* What is wrong with the row as a whole. */
enum deja_status dj_kind_check(const struct dj_kind *kind, struct deja_error *error) DEJA_NODISCARD;

/* The piece of a pattern or a tag at *at: its text, or, is_field, the name in the braces. false: at
 * the end. The text is well formed (checked when it was set). */
bool dj_kind_piece(struct deja_slice text, size_t *at, bool *out_is_field,
                   struct deja_slice *out_piece);

#endif
