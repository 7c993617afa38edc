/* proxy/family_responses.c - OpenAI's POST /v1/responses, as far as a request says all it means. */
#include "base/slice.h"
#include "proxy/context.h"
#include "proxy/family.h"
#include "proxy/responses.h"

static bool is_said(const struct dj_json *root, const char *name)
{
    return dj_json_type(dj_json_get(root, name)) != DJ_JSON_NULL;
}

/* Only these are run by the client; all others, also those not known yet, find what is of that
 * moment. */
static bool is_hosted(const struct dj_json *tool)
{
    static const char *const own[] = {"function", "custom", "local_shell", "apply_patch"};
    struct deja_slice type = dj_json_string(dj_json_get(tool, "type"));
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (dj_slice_is(type, own[i]))
            return false;
    return true;
}

/* An item of the input that only the upstream has. */
static bool has_reference(const struct dj_json *input)
{
    if (!dj_json_is(input, DJ_JSON_ARRAY))
        return false;
    for (struct dj_json_walk item = dj_json_walk(input); dj_json_walk_next(&item);)
        if (dj_slice_is(dj_json_string(dj_json_get(item.value, "type")), "item_reference"))
            return true;
    return false;
}

static const char *objection(const struct dj_json *root, const struct dj_proxy_policy *policy)
{
    const struct dj_json *input = dj_json_get(root, "input");
    if (is_said(root, "prompt"))
        return "prompt-template";
    if (is_said(root, "previous_response_id") || is_said(root, "conversation") ||
        dj_json_bool(dj_json_get(root, "background"), false) || has_reference(input))
        return "stateful";
    if (!dj_json_is(input, DJ_JSON_STRING) && !dj_json_is(input, DJ_JSON_ARRAY))
        return "no-input";
    for (struct dj_json_walk tool = dj_json_walk(dj_json_get(root, "tools"));
         dj_json_walk_next(&tool);)
        if (is_hosted(tool.value))
            return "hosted-tools";
    /* What is kept upstream is asked for by its id later; one that was given out twice is two
     * conversations' predecessor. */
    if (!policy->is_stored_response_kept && dj_json_bool(dj_json_get(root, "store"), true))
        return "stored-upstream";
    return NULL;
}

const struct dj_family dj_family_responses = {
    .name = "responses",
    .key_headers = {"openai-beta", "openai-organization", "openai-project"},
    .id_prefix = "resp_",
    .created_member = "created_at",
    .objection = objection,
    .key = dj_key_responses,
    .assemble = dj_responses_assemble,
    .inspect = dj_responses_inspect,
    .replay = dj_responses_replay,
};
