/* proxy/tenant_rules.h - the rules of who asks, where they are values: what is off, how long a
 * life, which models. What rules do not say is the deployment's; a client only narrows the two
 * (I12).
 *
 * Pure but for the last one. Threads: any.
 */
#ifndef DJ_PROXY_TENANT_RULES_H
#define DJ_PROXY_TENANT_RULES_H

#include <deja/base.h>

#include "policy/ttl.h"
#include "proto/json.h"
#include "security/principal.h"
#include "security/tenant_config.h"

/* All of these bits of enum dj_feature. An administrator who acts for a tenant has them. */
bool dj_tenant_has(const struct dj_principal *who, unsigned features);
/* What a refusal says: constant. */
const char *dj_tenant_lacks_text(enum dj_feature feature);

/* The life of what answers text: that of the text's size, the tenant's before the deployment's;
 * else said_ms of the rules (0: not said), else deployment_ms; never beyond the tenant's ttl.max.
 * text empty: its size counts for nothing. rules NULL: as the deployment has it. */
uint64_t dj_tenant_ttl(const struct dj_rules *rules, const struct dj_ttl_sizes *sizes,
                       struct deja_slice text, uint64_t said_ms, uint64_t deployment_ms);
/* What a caller asked for, cut to ttl.max; 0 stays 0. */
uint64_t dj_tenant_cut_ttl(const struct dj_rules *rules, uint64_t asked_ms);

/* May an answer of so many bytes be kept? rules NULL: yes. */
bool dj_tenant_keeps(const struct dj_rules *rules, uint64_t bytes);

bool dj_tenant_allows_model(const struct dj_rules *rules, struct deja_slice model);
/* May the "model" of a request's root go upstream? Without one: only if every model may. */
bool dj_tenant_allows(const struct dj_rules *rules, const struct dj_json *root);
#define DJ_MODEL_REFUSED \
    "This tenant may not use that model: its configuration lists others (models)."

#endif
