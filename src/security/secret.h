/* security/secret.h - the deployment secret of DESIGN §9: from the configuration, or a file of the
 * data directory that is made at first start. Blocking; start-up only.
 */
#ifndef DJ_SECURITY_SECRET_H
#define DJ_SECURITY_SECRET_H

#include <deja/base.h>

#include "crypto/digest.h"

/* hex: 64 hex digits from the configuration, or NULL: DIRECTORY/secret, mode 0600.
 * DEJA_ERR_CONFIG (hex), DEJA_ERR_CORRUPT (the file is not 32 bytes), DEJA_ERR_IO. */
enum deja_status dj_secret_load(const char *hex, const char *directory,
                                struct dj_secret *out_secret,
                                struct deja_error *error) DEJA_NODISCARD;
/* Another one, kept and made alike as DIRECTORY/name. loss: what a new one would mean, for the
 * message about a file that is not 32 bytes. */
enum deja_status dj_secret_load_named(const char *directory, const char *name, const char *loss,
                                      struct dj_secret *out_secret,
                                      struct deja_error *error) DEJA_NODISCARD;
/* DIRECTORY/secret becomes this one, whole or not at all. DEJA_ERR_CONFIG, DEJA_ERR_IO. */
enum deja_status dj_secret_keep(const char *directory, const struct dj_secret *secret,
                                struct deja_error *error) DEJA_NODISCARD;

#endif
