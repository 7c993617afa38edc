/* tools/doctor_redis.c - the shared tier: is it there, how safely is it reached, how is it set up.
 */
#include "tools/doctor_internal.h"

#define LOOK_TIMEOUT_MS 5000u

static const char *way_of(const struct dj_redis_security *security)
{
    if (security->is_tls)
        return security->has_certificate ? "TLS with a certificate of our own" : "TLS";
    return security->is_local ? "not encrypted, on this machine"
                              : "not encrypted, over the network";
}

void dj_doctor_look_at_redis(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    struct deja_error error = {{0}};
    struct dj_redis_security security;
    if (!facts->redis)
        return;
    if (dj_redis_look(facts->redis, LOOK_TIMEOUT_MS, &security, &error) != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "redis", "%s", error.message);
        dj_findings_advise(findings, "start the server, or correct what l2.redis says of it; until "
                                     "then Deja goes on without it");
        return;
    }
    dj_findings_add(findings, DJ_FINDING_OK, "redis", "%s answers",
                    security.software[0] ? security.software : "the server");
    dj_findings_add(findings, DJ_FINDING_OK, "redis security", "%s; user %s", way_of(&security),
                    security.is_authenticated && security.user[0] ? security.user
                                                                  : "without password");
    for (size_t i = 0; i < security.advice_count; i++) {
        dj_findings_add(findings, DJ_FINDING_WARN, "redis set-up", "%s", security.advice[i].fault);
        dj_findings_advise(findings, "%s", security.advice[i].cure);
    }
}
