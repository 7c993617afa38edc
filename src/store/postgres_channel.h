/* store/postgres_channel.h - messages between programs over PostgreSQL: LISTEN and NOTIFY.
 *
 * One connection that blocks, on a thread of its own, made when it is needed and again when it is
 * lost. While it is away messages are lost. A notification that this connection sent is not handed
 * back to it. docs/adr/0025.
 *
 * Trust: messages are anybody's who may connect to the database. Threads: create and destroy on
 * one; publish on any; messages come on the channel's own thread, which must not be held up.
 */
#ifndef DJ_STORE_POSTGRES_CHANNEL_H
#define DJ_STORE_POSTGRES_CHANNEL_H

#include "store/postgres.h"

#define DJ_POSTGRES_MESSAGE_BYTES_MAX 7999u /* what PostgreSQL takes */
#define DJ_POSTGRES_MESSAGES_MAX 1000u      /* that wait to be sent */

struct dj_postgres_channel;

typedef void dj_postgres_message_fn(void *ctx, struct deja_slice message);

/* options' texts are borrowed until destroy; name: a plain word. DEJA_ERR_IO: no thread. */
enum deja_status dj_postgres_channel_create(
    const struct dj_postgres_options *options, const char *name, void *ctx,
    dj_postgres_message_fn *message, struct dj_postgres_channel **out_channel) DEJA_NODISCARD;
void dj_postgres_channel_destroy(struct dj_postgres_channel *channel); /* accepts NULL */
bool dj_postgres_channel_is_listening(struct dj_postgres_channel *channel);
/* Copied. DEJA_ERR_BUSY: too many wait; DEJA_ERR_LIMIT: too long; DEJA_ERR_NOMEM. */
enum deja_status dj_postgres_publish(struct dj_postgres_channel *channel,
                                     struct deja_slice message) DEJA_NODISCARD;

#endif
