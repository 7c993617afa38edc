/* daemon/encryption.h - sealing as the settings say: the master key, the keyring over the
 * authority, the stores that are sealed, and the rotation of keys.
 *
 *   rotate   due by age or number, or asked for: new key ── every entry under an old one is sealed
 *            anew, in every tier that lists, round by round until none is met ── old keys destroyed
 *
 * Threads: create and wrap at the start; the rest on loop 0 but where it says otherwise.
 */
#ifndef DJ_DAEMON_ENCRYPTION_H
#define DJ_DAEMON_ENCRYPTION_H

#include <deja/base.h>

#include "loop/pool.h"
#include "security/keyring.h"
#include "store/sealed.h"

struct dj_daemon;
struct dj_encryption;
struct dj_json_writer;

/* stores: those below the embedded one, not wrapped yet. Before the first store is wrapped, after
 * the shared tier has told its secret. With encryption.enabled false there is no keyring, and
 * stores are wrapped all the same. DEJA_ERR_CONFIG: the operator's master key cannot be used. */
enum deja_status dj_encryption_create(struct dj_daemon *daemon, struct dj_store *const *stores,
                                      uint32_t count, struct deja_error *error) DEJA_NODISCARD;
/* After the stores have been closed. Accepts NULL. */
void dj_encryption_destroy(struct dj_encryption *encryption);

/* store: taken on DEJA_OK. is_rotated: entries there are sealed anew by this program. */
enum deja_status dj_encryption_wrap(struct dj_encryption *encryption, struct dj_store *store,
                                    enum dj_sealed_vectors vectors, bool is_rotated,
                                    struct dj_store **out_store) DEJA_NODISCARD;
struct dj_keyring *dj_encryption_keyring(struct dj_encryption *encryption); /* NULL: off */

enum deja_status dj_encryption_start(struct dj_encryption *encryption) DEJA_NODISCARD;
void dj_encryption_stop(struct dj_encryption *encryption); /* accepts NULL */

/* Any thread: soon, on loop 0. tenant NULL: every tenant. DEJA_ERR_BUSY: one is under way;
 * DEJA_ERR_UNSUPPORTED: encryption is off. */
enum deja_status dj_encryption_rotate(void *encryption, const uint8_t *tenant,
                                      bool has_lost_master) DEJA_NODISCARD;
/* Any thread: members of an object, for GET /api/v1/encryption and health. */
void dj_encryption_write(void *encryption, struct dj_json_writer *w);
bool dj_encryption_is_on(void *encryption);
/* Any thread: NULL: nothing is wrong; else what, for people. */
const char *dj_encryption_trouble(void *encryption);

#endif
