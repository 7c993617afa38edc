/* store/s3_credentials.h - whose name S3 is asked in: keys that were given, or a profile of the
 * shared credentials file, which is read again when it has changed.
 *
 * Trust: the file is the operator's; its size and its lines are bounded all the same. Keys are
 * wiped when they are let go of and never printed.
 */
#ifndef DJ_STORE_S3_CREDENTIALS_H
#define DJ_STORE_S3_CREDENTIALS_H

#include <deja/base.h>

#include "loop/pool.h"
#include "store/s3_sign.h"

struct dj_s3_keys; /* immutable, shared by count */

/* Takes [profile] out of text in the form of ~/.aws/credentials: sections in brackets, "name =
 * value", comments from "#" or ";" at the start of a line. DEJA_ERR_NOT_FOUND (no such section),
 * DEJA_ERR_INVALID (it lacks a key, or has one that cannot be sent), DEJA_ERR_NOMEM. */
enum deja_status dj_s3_profile_read(struct deja_slice text, const char *profile,
                                    struct dj_s3_keys **out_keys,
                                    struct deja_error *error) DEJA_NODISCARD;
/* Of texts that were given; token may be empty. */
enum deja_status dj_s3_keys_create(const struct dj_s3_identity *identity,
                                   struct dj_s3_keys **out_keys) DEJA_NODISCARD;
void dj_s3_keys_unref(struct dj_s3_keys *keys); /* accepts NULL; any thread */
struct dj_s3_identity dj_s3_keys_identity(const struct dj_s3_keys *keys); /* until unref */

struct dj_s3_credentials;

/* identity: keys that were given (copied), or one without access key: then path and profile (both
 * copied). Reads the file: start-up only. error says what is missing and what to do. */
enum deja_status dj_s3_credentials_open(const struct dj_s3_identity *identity, const char *path,
                                        const char *profile,
                                        struct dj_s3_credentials **out_credentials,
                                        struct deja_error *error) DEJA_NODISCARD;
void dj_s3_credentials_close(struct dj_s3_credentials *credentials); /* waits for a look; NULL */
/* A reference to the keys in force. Any thread. */
struct dj_s3_keys *dj_s3_credentials_keys(struct dj_s3_credentials *credentials);
/* Looks on the pool whether the file has changed, if that was not done within the last five seconds
 * or must be now, and takes over what it says then; keys stay as they were while it cannot be read.
 * Any thread. */
void dj_s3_credentials_look(struct dj_s3_credentials *credentials, struct dj_pool *pool,
                            struct dj_loop *loop, bool is_urgent);

#endif
