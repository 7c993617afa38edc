/* security/roles.c - see roles.h. */
#include "security/roles.h"

#include "base/slice.h"

static const struct {
    unsigned role;
    const char *text;
} roles[] = {
    {DJ_ROLE_READ, "read"},
    {DJ_ROLE_WRITE, "write"},
    {DJ_ROLE_ADMIN, "admin"},
    {DJ_ROLE_AUDIT, "audit"},
};
#define ROLES (sizeof roles / sizeof *roles)

const char *dj_role_text(unsigned role)
{
    for (size_t i = 0; i < ROLES; i++)
        if (roles[i].role == role)
            return roles[i].text;
    return NULL;
}

unsigned dj_role_of(struct deja_slice text)
{
    for (size_t i = 0; i < ROLES; i++)
        if (dj_slice_is(text, roles[i].text))
            return roles[i].role;
    return 0;
}
