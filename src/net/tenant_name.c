/* net/tenant_name.c - see tenant_name.h. */
#include "net/tenant_name.h"

#include "net/client.h"

#define ID_LEN (DJ_TENANT_NAME_ID_BYTES - 1u)

bool dj_tenant_name_is_id(const char *text)
{
    return strlen(text) == ID_LEN && text[8] == '-' && text[13] == '-' && text[18] == '-' &&
           text[23] == '-';
}

bool dj_tenant_name_read(const char *text, char out_id[DJ_TENANT_NAME_ID_BYTES],
                         struct dj_buf *out_path)
{
    bool is_id = dj_tenant_name_is_id(text);
    if (is_id) {
        memcpy(out_id, text, ID_LEN + 1);
        return true;
    }
    dj_buf_append_text(out_path, "/api/v1/tenants?limit=1&name=");
    dj_percent_encode(out_path, text);
    dj_buf_append_byte(out_path, '\0');
    return false;
}

bool dj_tenant_name_found(const struct dj_json *answer, const char *text,
                          char out_id[DJ_TENANT_NAME_ID_BYTES])
{
    const struct dj_json *first = dj_json_at(dj_json_get(answer, "tenants"), 0);
    struct deja_slice id = dj_json_string(dj_json_get(first, "id"));
    struct deja_slice name = dj_json_string(dj_json_get(first, "name"));
    if (id.len != ID_LEN || !deja_slice_is_equal(name, deja_slice_text(text)))
        return false;
    memcpy(out_id, id.data, ID_LEN);
    out_id[ID_LEN] = '\0';
    return true;
}
