/* policy/valid.c - see valid.h. */
#include "policy/valid.h"

const char *dj_valid_objection(const struct dj_valid_facts *wish,
                               const struct dj_valid_facts *entry)
{
    const struct {
        struct deja_slice wanted;
        struct deja_slice got;
        const char *reason;
    } texts[] = {
        {wish->model, entry->model, "invalid-model"},
        {wish->provider, entry->provider, "invalid-provider"},
        {wish->type, entry->type, "invalid-type"},
        {wish->version, entry->version, "invalid-version"},
        {wish->parameters, entry->parameters, "invalid-parameters"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].wanted.len && !deja_slice_is_equal(texts[i].wanted, texts[i].got))
            return texts[i].reason;
    return wish->age_ms && entry->age_ms > wish->age_ms ? "invalid-age" : NULL;
}
