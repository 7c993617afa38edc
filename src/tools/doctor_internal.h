/* tools/doctor_internal.h - findings, and who makes them. */
#ifndef DJ_TOOLS_DOCTOR_INTERNAL_H
#define DJ_TOOLS_DOCTOR_INTERNAL_H

#include "tools/doctor.h"

#define DJ_FINDINGS_MAX 64u

enum dj_finding_level { DJ_FINDING_OK, DJ_FINDING_WARN, DJ_FINDING_FAIL, DJ_FINDING_SKIP };

struct dj_finding {
    enum dj_finding_level level;
    char name[32];
    char text[400];
    char advice[300]; /* what to do; "" for nothing */
};

struct dj_findings {
    struct dj_finding items[DJ_FINDINGS_MAX];
    size_t count;
    bool has_failed;
};

/* Beyond DJ_FINDINGS_MAX the last one is overwritten; has_failed stays. */
void dj_findings_add(struct dj_findings *findings, enum dj_finding_level level, const char *name,
                     const char *format, ...) DEJA_PRINTF(4, 5);
/* Of the finding added last. */
void dj_findings_advise(struct dj_findings *findings, const char *format, ...) DEJA_PRINTF(2, 3);

void dj_doctor_look_at_config(const struct dj_doctor_facts *facts, struct dj_findings *findings);
/* Data directory, secret, lock, model, open files. Needs a valid configuration.
 * True: a daemon holds the data directory. */
bool dj_doctor_look_at_machine(const struct dj_doctor_facts *facts, struct dj_findings *findings);
void dj_doctor_look_at_daemon(const struct dj_doctor_facts *facts, bool is_held,
                              struct dj_findings *findings);
/* Also the clock, by the upstream's. */
void dj_doctor_look_at_upstream(const struct dj_doctor_facts *facts, struct dj_findings *findings);
/* Certificates, their keys, and addresses that others reach. */
void dj_doctor_look_at_network(const struct dj_doctor_facts *facts, struct dj_findings *findings);
/* Connection, its security, pgvector, schema. */
void dj_doctor_look_at_postgres(const struct dj_doctor_facts *facts, struct dj_findings *findings);
/* Connection, its security, the server's set-up beside deploy/valkey.conf. */
void dj_doctor_look_at_redis(const struct dj_doctor_facts *facts, struct dj_findings *findings);
void dj_doctor_look_at_tiers(const struct dj_doctor_facts *facts, struct dj_findings *findings);
void dj_doctor_smoke(const char *server, const char *key, struct dj_findings *findings);

#endif
