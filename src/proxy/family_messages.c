/* proxy/family_messages.c - Anthropic's POST /v1/messages. */
#include "proxy/family.h"
#include "proxy/messages.h"

/* Tools that the provider runs: what they find is of that moment. */
static bool is_hosted(const struct dj_json *tool)
{
    static const char *const heads[] = {"web_search", "web_fetch", "code_execution", "mcp_toolset",
                                        "advisor"};
    struct deja_slice type = dj_json_string(dj_json_get(tool, "type"));
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t len = strlen(heads[i]);
        if (type.len >= len && memcmp(type.data, heads[i], len) == 0)
            return true;
    }
    return false;
}

static const char *objection(const struct dj_json *root, const struct dj_proxy_policy *policy)
{
    (void)policy;
    if (!dj_json_is(dj_json_get(root, "messages"), DJ_JSON_ARRAY))
        return "no-messages";
    if (dj_json_type(dj_json_get(root, "container")) != DJ_JSON_NULL)
        return "stateful";
    if (dj_json_count(dj_json_get(root, "mcp_servers")) > 0)
        return "hosted-tools";
    for (struct dj_json_walk tool = dj_json_walk(dj_json_get(root, "tools"));
         dj_json_walk_next(&tool);)
        if (is_hosted(tool.value))
            return "hosted-tools";
    return NULL;
}

const struct dj_family dj_family_messages = {
    .name = "messages",
    .target = DJ_TARGET_ANTHROPIC,
    .key_headers = {"anthropic-beta", "anthropic-version"},
    .id_prefix = "msg_",
    .objection = objection,
    .key = dj_key_messages,
    .assemble = dj_messages_assemble,
    .inspect = dj_messages_inspect,
    .replay = dj_messages_replay,
};
