/* security/tenant_config.h - what an administrator says about one tenant, out of JSON: only what
 * differs from the deployment, or from the tenant it inherits from.
 *
 *   {"features": {"semantic": false},  "ttl": {"response": "1h"},  "limits": {"burst": 50}, …}
 *
 * Names are those of the configuration file; docs/api.md has the list. Trust: untrusted
 * (an administrator's, and bytes of storage): everything is bounded and checked. Threads: a config
 * is immutable once read.
 */
#ifndef DJ_SECURITY_TENANT_CONFIG_H
#define DJ_SECURITY_TENANT_CONFIG_H

#include <deja/base.h>

#include "proto/json.h"
#include "security/address_guard.h"
#include "security/rules.h"

#define DJ_TENANT_MODEL_BYTES_MAX 128u
#define DJ_TENANT_URL_BYTES_MAX 2048u
#define DJ_TENANT_PRICES_BYTES_MAX 16384u
#define DJ_TENANT_FIELD_BYTES 160u /* of what a fault names */

/* What this room cannot know of itself; borrowed. */
struct dj_tenant_config_names {
    const char *const *guards; /* the bit of a guard is its place here */
    size_t guard_count;        /* at most 32 */
    bool (*is_kind)(const void *kinds, struct deja_slice name); /* NULL: there are none */
    const void *kinds;
    /* Whose exceptions a tenant's upstream may be; NULL: none. */
    const struct dj_address_guard *upstream_guard;
};

/* What is wrong with a member: "limits.burst", "range", "must be …". Texts are borrowed until
 * return. */
struct dj_tenant_config_faults {
    void *ctx;
    void (*tell)(void *ctx, const char *field, const char *rule, const char *message);
};

struct dj_tenant_config;

/* object NULL or null: nothing is said. With faults every one is told, and the end is
 * DEJA_ERR_INVALID. faults NULL, for what is stored already: members of a later version are passed
 * over; one that cannot be used is, too, but the config says so. DEJA_ERR_NOMEM. */
enum deja_status dj_tenant_config_read(const struct dj_json *object,
                                       const struct dj_tenant_config_names *names,
                                       const struct dj_tenant_config_faults *faults,
                                       struct dj_tenant_config **out_config) DEJA_NODISCARD;
void dj_tenant_config_destroy(struct dj_tenant_config *config); /* accepts NULL */
/* Something was passed over that may have been a limit: the tenant must not be served. */
bool dj_tenant_config_is_broken(const struct dj_tenant_config *config);

/* What it says replaces what is in values; its texts are borrowed from config. */
void dj_tenant_config_apply(const struct dj_tenant_config *config, struct dj_rules_values *values);

/* All of values as members of an object, under the same names; 0 and NULL, which stand for the
 * deployment's, are left out where they mean that. */
void dj_tenant_config_put(struct dj_json_writer *w, const struct dj_tenant_config_names *names,
                          const struct dj_rules_values *values);

#endif
