/* security/rules.h - what one tenant may and wants, with every default filled in.
 *
 * Immutable and counted. The document an administrator writes (security/tenant_config.h) names only
 * what differs from the deployment's defaults; this is the two put together. A value of 0 has the
 * meaning its line tells. Threads: any.
 */
#ifndef DJ_SECURITY_RULES_H
#define DJ_SECURITY_RULES_H

#include <deja/base.h>

/* What a tenant may use at all; what is off answers 403 feature_disabled. */
enum dj_feature {
    DJ_FEATURE_PROXY = 1,    /* /v1/ */
    DJ_FEATURE_API = 2,      /* the cache APIs */
    DJ_FEATURE_SEMANTIC = 4, /* hits by meaning; off: exact hits only, no 403 */
    DJ_FEATURE_EMBEDDINGS = 8,
};
#define DJ_FEATURES_ALL 15u

enum dj_audit_choice { DJ_AUDIT_OFF, DJ_AUDIT_WRITES, DJ_AUDIT_ALL };

/* What a request's log line tells of its texts (WIRE §15). */
enum dj_content_log {
    DJ_CONTENT_OFF,
    DJ_CONTENT_HASH, /* 8 hex digits of a keyed digest, and lengths */
    DJ_CONTENT_FULL, /* their beginning too, redacted */
};

/* What is done about sensitive data of a class, in the order of strictness. */
enum dj_sensitive_policy {
    DJ_SENSITIVE_ALLOW,
    DJ_SENSITIVE_ENCRYPT, /* kept only where it is sealed */
    DJ_SENSITIVE_REDACT,  /* [REDACTED] in the stored copy; never found by meaning */
    DJ_SENSITIVE_REFUSE,  /* not stored */
};
enum dj_sensitive_class {
    DJ_SENSITIVE_SECRET,   /* API keys of vendors, passwords, tokens, private keys, JWTs */
    DJ_SENSITIVE_CARD,     /* payment cards, check digit right */
    DJ_SENSITIVE_IDENTITY, /* SSN and the like */
    DJ_SENSITIVE_CONTACT,  /* e-mail addresses, phone numbers; an option */
    DJ_SENSITIVE_CLASS_COUNT
};

struct dj_rules_limits {
    double requests_per_s; /* 0: no limit */
    uint32_t burst;
    double misses_per_minute; /* calls upstream this tenant may cause; 0: no limit */
    double spend_usd_per_day; /* upstream money; 0: no limit */
    uint32_t connections_max; /* 0: no limit of its own */
    uint32_t requests_max;    /* being answered at the same time; 0: no limit */
    uint32_t weight;          /* of its share of the upstream under overload; 0: 1 */
    uint64_t bytes_per_s;     /* request and answer bodies; 0: no limit */
    uint32_t entries_max;     /* fair share in memory; 0: the deployment's */
    uint64_t entry_bytes_max; /* of one answer that is kept; 0: the deployment's */
};

#define DJ_RULES_MODELS_MAX 64u

struct dj_rules;

/* Plain values; read it through dj_rules_of. */
struct dj_rules_values {
    bool is_configured; /* made by an administrator, not derived from a credential */
    bool is_suspended;
    unsigned features;        /* bits of enum dj_feature */
    uint64_t response_ttl_ms; /* 0: the deployment's, as are the next five */
    uint64_t api_ttl_ms;
    uint64_t size_ttl_ms[3]; /* of what answers a small, a medium, a large text */
    uint64_t ttl_max_ms;
    double threshold;
    double api_threshold;
    double delta;        /* bound on wrong answers per hit; 0: none is claimed */
    unsigned guards_off; /* bits of policy/guards.h the tenant has switched off */
    struct dj_rules_limits limits;
    enum dj_sensitive_policy sensitive[DJ_SENSITIVE_CLASS_COUNT];
    enum dj_audit_choice audit;
    enum dj_content_log content_log;
    size_t model_count; /* 0: every model */
    const char *models[DJ_RULES_MODELS_MAX];
    bool is_upstream_obeyed;  /* its Cache-Control; of the deployment's upstream: or its setting */
    const char *upstream_url; /* NULL: the deployment's */
    const char *prices;       /* JSON text, a price table; NULL: the deployment's */
};

/* Copies everything. */
enum deja_status dj_rules_create(const struct dj_rules_values *values,
                                 struct dj_rules **out_rules) DEJA_NODISCARD;
const struct dj_rules_values *dj_rules_of(const struct dj_rules *rules);
struct dj_rules *dj_rules_ref(struct dj_rules *rules); /* returns rules */
void dj_rules_unref(struct dj_rules *rules);           /* accepts NULL */

/* May a tenant with these rules use the model? A name, or its beginning with "*" at the end. */
bool dj_rules_allow_model(const struct dj_rules_values *values, struct deja_slice model);

#endif
