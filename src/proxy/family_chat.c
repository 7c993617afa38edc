/* proxy/family_chat.c - POST /v1/chat/completions. */
#include "proxy/completion.h"
#include "proxy/family.h"

static const char *objection(const struct dj_json *root, const struct dj_proxy_policy *policy)
{
    (void)policy;
    if (!dj_json_is(dj_json_get(root, "messages"), DJ_JSON_ARRAY))
        return "no-messages";
    return dj_json_get(root, "web_search_options") ? "web-search" : NULL;
}

static enum deja_status assemble(struct deja_slice sse, struct dj_assembly *out_assembly)
{
    return dj_completion_assemble(sse, &out_assembly->object, &out_assembly->is_done);
}

static enum deja_status replay(const struct dj_json *object,
                               const struct dj_replay_options *options, struct dj_buf *out_sse)
{
    return dj_completion_replay(object, options->has_usage, out_sse);
}

const struct dj_family dj_family_chat = {
    .name = "chat",
    .key_headers = {"anthropic-beta", "openai-organization", "openai-project"},
    .id_prefix = "chatcmpl-",
    .created_member = "created",
    .has_usage_option = true,
    .objection = objection,
    .key = dj_key_chat,
    .assemble = assemble,
    .inspect = dj_completion_inspect,
    .replay = replay,
};
