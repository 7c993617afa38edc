/* daemon/master_key.h - where the key comes from that wraps all others: the configuration, a
 * command of the operator's, a file of the data directory, or the secret that programs of a shared
 * tier have in common. Blocking; start-up only.
 */
#ifndef DJ_DAEMON_MASTER_KEY_H
#define DJ_DAEMON_MASTER_KEY_H

#include "crypto/digest.h"
#include "daemon/settings.h"

enum dj_master_key_source {
    DJ_MASTER_KEY_CONFIGURED,
    DJ_MASTER_KEY_COMMAND,
    DJ_MASTER_KEY_FILE,    /* DIRECTORY/master.key, made at the first start */
    DJ_MASTER_KEY_DERIVED, /* from the deployment's secret: whoever can read that reads everything
                            */
};
/* "configuration", "command", "file", "deployment secret" */
const char *dj_master_key_source_text(enum dj_master_key_source source);

/* shared: the deployment's secret, where tiers are shared; NULL: they are not. DEJA_ERR_CONFIG:
 * what the operator said cannot be used; DEJA_ERR_CORRUPT, DEJA_ERR_IO: the file. */
enum deja_status dj_master_key_load(const struct dj_settings *settings, const uint8_t *shared,
                                    struct dj_secret *out_key,
                                    enum dj_master_key_source *out_source,
                                    struct deja_error *error) DEJA_NODISCARD;

/* encryption.master_key_previous; where there is none and `source` is not the file, the file that
 * was made at the first start, if it is still there. *out_has: is there one? out_key is zeroed or
 * it; to be ended either way. Errors as above. */
enum deja_status dj_master_key_load_previous(const struct dj_settings *settings,
                                             enum dj_master_key_source source,
                                             struct dj_secret *out_key, bool *out_has,
                                             struct deja_error *error) DEJA_NODISCARD;

#endif
