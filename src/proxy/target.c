/* proxy/target.c - see target.h. */
#include "proxy/target.h"

#include "base/slice.h"

bool dj_target_is_messages(struct deja_slice path)
{
    static const char messages[] = "/v1/messages";
    size_t len = sizeof messages - 1;
    return path.len >= len && memcmp(path.data, messages, len) == 0 &&
           (path.len == len || path.data[len] == '/');
}

static bool is_of_openai(struct deja_slice path)
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                                        "/v1/embeddings"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (dj_slice_is(path, paths[i]))
            return true;
    return false;
}

enum dj_target dj_target_of(const struct dj_http_request *request)
{
    if (dj_target_is_messages(request->path))
        return DJ_TARGET_ANTHROPIC;
    return dj_http_find_header(request, "anthropic-version").len && !is_of_openai(request->path)
               ? DJ_TARGET_ANTHROPIC
               : DJ_TARGET_OPENAI;
}
