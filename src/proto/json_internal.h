/* proto/json_internal.h - what the files over yyjson share: its allocator, the value behind a
 * dj_json, and members in the order of their names.
 */
#ifndef DJ_PROTO_JSON_INTERNAL_H
#define DJ_PROTO_JSON_INTERNAL_H

#include <yyjson.h>

#include "proto/json.h"

/* yyjson's memory through base/alloc.h, for every reader of this room. */
extern const yyjson_alc dj_json_allocator;

/* A dj_json is a yyjson_val. yyjson's readers take pointers to non-const and change nothing; the
 * detour over an integer is for -Wcast-qual. */
static inline yyjson_val *dj_json_val(const struct dj_json *value)
{
    return (yyjson_val *)(uintptr_t)value;
}

static inline const struct dj_json *dj_json_of(const yyjson_val *val)
{
    return (const struct dj_json *)(const void *)val;
}

struct dj_json_member {
    struct deja_slice name;
    yyjson_val *value;
};

#define DJ_JSON_MEMBERS_SMALL 16u /* up to here sorting needs no scratch */

/* Copies the members of object, unsorted; members has room for all of them. */
void dj_json_members_read(yyjson_val *object, struct dj_json_member *members);
/* By the bytes of their names, shorter first where one is the start of the other; stable. scratch:
 * room for count members, may be NULL up to DJ_JSON_MEMBERS_SMALL. */
void dj_json_members_sort(struct dj_json_member *members, size_t count,
                          struct dj_json_member *scratch);

/* Appends value as JSON with numbers as sent. Depth is bounded by the parser. */
void dj_json_append(struct dj_buf *buf, yyjson_val *val);
void dj_json_append_string(struct dj_buf *buf, struct deja_slice text); /* with quotes */

#endif
