/* security/detector.h - finds what should not be kept or shown: keys of vendors, passwords, private
 * keys, payment cards, numbers of persons, and, as an option, addresses.
 *
 * One pass over the text looks for words that rules begin with ("sk-", "password", a run of
 * digits); only there is a pattern matched, at that place and over a bounded piece, under limits of
 * steps, depth and memory. Check digits are checked. What reaches a limit is told as such: whoever
 * asks takes it as found. An operator's own patterns are searched in overlapping windows.
 *
 * Threads: a detector is immutable, any thread. Time: about a nanosecond per byte of ordinary text;
 * off the loop all the same, for texts are long. Trust: texts are untrusted, any bytes.
 */
#ifndef DJ_SECURITY_DETECTOR_H
#define DJ_SECURITY_DETECTOR_H

#include <deja/base.h>

#include "security/rules.h"

#define DJ_SENSITIVE_BIT(class) (1u << (class))
#define DJ_SENSITIVE_ALL ((1u << DJ_SENSITIVE_CLASS_COUNT) - 1u)
/* Whatever stands after a sensitive name (dj_redact_is_name), be it like a secret or not: for logs.
 */
#define DJ_SENSITIVE_NAMED (1u << 8)

#define DJ_DETECTOR_PATTERNS_MAX 64u /* of the operator */
#define DJ_DETECTOR_SPANS_MAX 10000u /* in one text; more is a limit that was reached */

struct dj_detector; /* opaque, any thread */

/* An operator's own; a PCRE2 pattern over bytes. If it has a first group, that is what it finds. */
struct dj_detector_pattern {
    const char *name; /* copied; told with what is found */
    const char *pattern;
    enum dj_sensitive_class class;
};

/* patterns may be NULL. DEJA_ERR_INVALID: a pattern is none, error says which and where;
 * DEJA_ERR_LIMIT: too many; DEJA_ERR_NOMEM. */
enum deja_status dj_detector_create(const struct dj_detector_pattern *patterns, size_t count,
                                    struct dj_detector **out_detector,
                                    struct deja_error *error) DEJA_NODISCARD;
void dj_detector_destroy(struct dj_detector *detector); /* accepts NULL */

struct dj_sensitive_span {
    size_t offset;
    size_t len;
    enum dj_sensitive_class class;
    const char *rule; /* as docs/security.md lists them; lives as long as the detector */
};

/* Zeroed is empty; may be used for one text after another, which adds to it. */
struct dj_findings {
    struct dj_sensitive_span *spans; /* of the last text: by offset, they may overlap; owned */
    size_t count;
    size_t cap;
    unsigned classes; /* bits of all texts */
    bool is_limited;  /* a limit was reached: something may have been overlooked */
    const char *rule; /* the first that found something; NULL: none */
};
void dj_findings_fini(struct dj_findings *findings); /* frees and zeroes */

/* classes: bits of DJ_SENSITIVE_BIT, and DJ_SENSITIVE_NAMED. DEJA_ERR_NOMEM: findings are then as
 * they were but for spans, of which there are none. */
enum deja_status dj_detector_scan(const struct dj_detector *detector, unsigned classes,
                                  struct deja_slice text,
                                  struct dj_findings *findings) DEJA_NODISCARD;

/* Every rule the detector has built in, for documents and tests: its name, NULL beyond the last. */
const char *dj_detector_rule_name(size_t index);

#endif
