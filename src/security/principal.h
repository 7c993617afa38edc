/* security/principal.h - who asks, and what they may: the result of authentication, carried by a
 * request from its first step to its last.
 *
 * Plain data, filled by proxy/identity; the rules are one counted reference, given back by
 * dj_principal_fini. Threads: one at a time.
 */
#ifndef DJ_SECURITY_PRINCIPAL_H
#define DJ_SECURITY_PRINCIPAL_H

#include <deja/base.h>

#include "security/rules.h"
#include "security/tenant.h"

enum dj_role {
    DJ_ROLE_READ = 1,  /* look up, statistics of the own tenant */
    DJ_ROLE_WRITE = 2, /* put, delete, invalidate; proxied requests */
    DJ_ROLE_ADMIN = 4, /* tenants, keys, configuration; acts for any tenant */
    DJ_ROLE_AUDIT = 8, /* reads the audit log */
};
#define DJ_ROLES_ALL 15u

enum dj_principal_origin {
    DJ_ORIGIN_LOCAL,       /* no credential: the local tenant */
    DJ_ORIGIN_CREDENTIAL,  /* an upstream credential that names a derived or a linked tenant */
    DJ_ORIGIN_KEY,         /* a key of Deja's own */
    DJ_ORIGIN_CERTIFICATE, /* a client certificate */
    DJ_ORIGIN_OPERATOR,    /* the admin token */
};

#define DJ_KEY_ID_BYTES_MAX 24u /* public id of a key, text */

struct dj_principal {
    uint8_t tenant[DJ_TENANT_BYTES];
    enum dj_principal_origin origin;
    unsigned roles;                       /* bits of enum dj_role */
    char key_id[DJ_KEY_ID_BYTES_MAX + 1]; /* "": none */
    double key_requests_per_s;            /* of that key alone; 0: its tenant's limits are all */
    uint32_t key_burst;
    struct dj_rules *rules;         /* one reference; NULL only in a zeroed struct */
    bool has_tenant;                /* false only where none is wanted: administration */
    bool is_derived;                /* the tenant is made of an upstream credential */
    bool has_proof;                 /* an upstream credential was shown: its verdict counts */
    uint8_t proof[DJ_TENANT_BYTES]; /* what the registry knows that credential by */
    bool may_hit;                   /* not suspended */
    bool is_unknown;                /* no room to note it: neither read nor stored */
    bool has_user;                  /* X-Deja-User: narrows every key to this user */
    uint8_t user[DJ_TENANT_BYTES];  /* keyed digest of it; meaningless outside its tenant */
};

static inline void dj_principal_fini(struct dj_principal *principal)
{
    dj_rules_unref(principal->rules);
    principal->rules = NULL;
}

#endif
