/* policy/valid.h - is an entry that was found still what the asker may use?
 *
 * Whoever asks says which model, provider, type, version and parameters an answer must be of, and
 * how old it may be; what an entry does not say it is not of. Pure. Threads: any.
 */
#ifndef DJ_POLICY_VALID_H
#define DJ_POLICY_VALID_H

#include <deja/base.h>

/* Borrowed. Of the wish: empty and 0 are "any". Of an entry: "does not say". */
struct dj_valid_facts {
    struct deja_slice model;
    struct deja_slice provider;
    struct deja_slice type;
    struct deja_slice version;
    struct deja_slice parameters; /* canonical text, compared byte by byte */
    uint64_t age_ms;              /* of the wish: the greatest */
};

/* NULL: it may be used; else why not, constant: "invalid-model", "invalid-provider",
 * "invalid-type", "invalid-version", "invalid-parameters", "invalid-age". */
const char *dj_valid_objection(const struct dj_valid_facts *wish,
                               const struct dj_valid_facts *entry);

#endif
