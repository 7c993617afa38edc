/* proto/json_merge.c - a value changed by a merge patch; see json.h. */
#include "proto/json.h"

void dj_json_merge(struct dj_json_writer *w, const struct dj_json *target,
                   const struct dj_json *patch)
{
    dj_json_begin_object(w);
    struct dj_json_walk walk = dj_json_walk(dj_json_is(target, DJ_JSON_OBJECT) ? target : NULL);
    while (dj_json_walk_next(&walk)) {
        const struct dj_json *change = dj_json_get_slice(patch, walk.key);
        if (dj_json_is(change, DJ_JSON_NULL))
            continue;
        dj_json_key_slice(w, walk.key);
        if (dj_json_is(change, DJ_JSON_OBJECT))
            dj_json_merge(w, walk.value, change);
        else
            dj_json_put_value(w, change ? change : walk.value);
    }
    walk = dj_json_walk(dj_json_is(patch, DJ_JSON_OBJECT) ? patch : NULL);
    while (dj_json_walk_next(&walk)) {
        if (dj_json_get_slice(target, walk.key) || dj_json_is(walk.value, DJ_JSON_NULL))
            continue;
        dj_json_key_slice(w, walk.key);
        if (dj_json_is(walk.value, DJ_JSON_OBJECT))
            dj_json_merge(w, NULL, walk.value);
        else
            dj_json_put_value(w, walk.value);
    }
    dj_json_end_object(w);
}
