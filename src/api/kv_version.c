/* api/kv_version.c - versions of a plain key as requests say them; see cache/plain_version.h. */
#include "api/kv.h"
#include "api/query.h"

static bool check(struct dj_request *request, struct deja_slice version, const char *name)
{
    if (dj_plain_version_is_name(version))
        return true;
    dj_request_complain(request, "invalid_request", name, "format",
                        "1 to 128 bytes of text without control characters");
    return false;
}

bool dj_kv_read_version(struct dj_request *request, struct deja_slice *out_version)
{
    struct deja_slice version = dj_kv_said(request, "x-deja-version", "version");
    if (request->complaint || (version.data && !check(request, version, "version")))
        return false;
    *out_version = version;
    return true;
}

bool dj_kv_version_member(struct dj_request *request, const struct dj_json *object,
                          const char *where, struct deja_slice *out_version)
{
    const struct dj_json *member = dj_json_get(object, "version");
    struct deja_slice version = dj_json_string(member);
    if (member && !check(request, version, dj_request_text(request, "%sversion", where)))
        return false;
    *out_version = version;
    return true;
}

void dj_kv_draft_version(struct deja_slice version, struct dj_draft *draft)
{
    struct dj_buf metadata = {0};
    if (!version.data)
        return;
    enum deja_status status =
        dj_plain_version_write(dj_buf_slice(&draft->metadata), version, &metadata);
    dj_buf_fini(&draft->metadata);
    draft->metadata = metadata;
    if (status != DEJA_OK)
        draft->status = status;
}

enum deja_status dj_kv_keep_previous(struct dj_request *request, const struct dj_kv_names *names,
                                     struct deja_slice key, struct deja_slice version,
                                     struct dj_value *before, void *ctx, void (*done)(void *ctx))
{
    struct dj_plain_space space;
    dj_kv_space(request, names, &space);
    enum deja_status status =
        dj_plain_version_keep(request->api->proxy->plain, request->loop, &space, key, version,
                              before, request->skip, ctx, done);
    dj_plain_space_fini(&space);
    return status;
}
