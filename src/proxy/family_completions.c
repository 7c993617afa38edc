/* proxy/family_completions.c - the legacy POST /v1/completions. */
#include "proxy/completion.h"
#include "proxy/family.h"

static const char *objection(const struct dj_json *root, const struct dj_proxy_policy *policy)
{
    (void)policy;
    const struct dj_json *prompt = dj_json_get(root, "prompt");
    bool is_prompt = dj_json_is(prompt, DJ_JSON_STRING) || dj_json_count(prompt) > 0;
    return is_prompt ? NULL : "no-prompt";
}

/* A list of texts or of lists of tokens is so many prompts, each with an answer of its own. */
static uint32_t count_prompts(const struct dj_json *root)
{
    const struct dj_json *prompt = dj_json_get(root, "prompt");
    if (!dj_json_is(prompt, DJ_JSON_ARRAY) || dj_json_is(dj_json_at(prompt, 0), DJ_JSON_NUMBER))
        return 1;
    size_t count = dj_json_count(prompt);
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static enum deja_status assemble(struct deja_slice sse, struct dj_assembly *out_assembly)
{
    return dj_text_completion_assemble(sse, &out_assembly->object, &out_assembly->is_done);
}

static enum deja_status replay(const struct dj_json *object,
                               const struct dj_replay_options *options, struct dj_buf *out_sse)
{
    return dj_text_completion_replay(object, options->has_usage, out_sse);
}

const struct dj_family dj_family_completions = {
    .name = "completions",
    .key_headers = {NULL, "openai-organization", "openai-project"},
    .id_prefix = "cmpl-",
    .created_member = "created",
    .has_usage_option = true,
    .objection = objection,
    .count_answers = count_prompts,
    .key = dj_key_completions,
    .assemble = assemble,
    .inspect = dj_text_completion_inspect,
    .replay = replay,
};
