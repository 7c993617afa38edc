/* cache/depends.c - see depends.h. */
#include "cache/depends.h"

static const char prefix[] = "\x01"
                             "dep:";
#define PREFIX_BYTES (sizeof prefix - 1)

struct deja_slice dj_depends_tag(struct deja_slice name, char bytes[DJ_DEPENDS_TAG_BYTES])
{
    size_t len = name.len < DJ_DEPENDS_NAME_BYTES_MAX ? name.len : DJ_DEPENDS_NAME_BYTES_MAX;
    memcpy(bytes, prefix, PREFIX_BYTES);
    if (len)
        memcpy(bytes + PREFIX_BYTES, name.data, len);
    return deja_slice(bytes, PREFIX_BYTES + len);
}

struct deja_slice dj_depends_name(struct deja_slice tag)
{
    if (tag.len < PREFIX_BYTES || memcmp(tag.data, prefix, PREFIX_BYTES) != 0)
        return deja_slice(NULL, 0);
    return deja_slice(tag.data + PREFIX_BYTES, tag.len - PREFIX_BYTES);
}
