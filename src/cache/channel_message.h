/* cache/channel_message.h - one message of a channel: what another program wants void.
 *
 *   {"key": "user:7", "namespace": "", "reason": "logged out", "tenant": "…uuid…"}
 *   {"pattern": "user:*"}   {"tag": "t"}   {"namespace": "n"}   {"all": true}
 *   {"cascade": "template:7"}   {"event": {"name": "template:updated", "template_id": "7"}}
 *   and beside any of them: "cascade": true
 *
 * On Redis, as NOTIFY, and over RESP, where who sends it is known: he speaks of his own tenant.
 * What Deja sends has "from" (its node) and "kind" besides.
 *
 * Trust: untrusted; refused whole when a member is unknown or wrong. Threads: any.
 */
#ifndef DJ_CACHE_CHANNEL_MESSAGE_H
#define DJ_CACHE_CHANNEL_MESSAGE_H

#include <deja/base.h>

#include "base/arena.h"
#include "cache/invalidation.h"
#include "policy/kinds.h"
#include "security/tenant.h"

#define DJ_CHANNEL_MESSAGE_BYTES_MAX 65536u

/* Plain data but for doc and arena: end with fini. */
struct dj_channel_message {
    uint8_t tenant[DJ_TENANT_BYTES];
    struct dj_invalidation order;
    struct deja_slice plain_key; /* order.key is to be found; empty: none */
    struct deja_slice from;      /* a node of Deja; empty: another program */
    struct dj_json_doc *doc;
    struct dj_arena arena;
};

struct dj_channel_rules {
    const struct dj_tenant_root *root;
    const struct dj_kinds *kinds;
    const char *tenant; /* whose, where none is named; NULL: the local one's */
    bool is_unnamed_refused;
    const uint8_t *only; /* the tenant of who says it: no other may be named, and it is meant where
                          * none is. What a node of Deja sent is refused then. NULL: any */
};

/* NULL: it was read; otherwise constant text that says what is wrong, and nothing is to be ended.
 */
const char *dj_channel_message_read(struct deja_slice text, const struct dj_channel_rules *rules,
                                    struct dj_channel_message *out_message);
void dj_channel_message_fini(struct dj_channel_message *message);
void dj_channel_message_write(const struct dj_notice *notice, const char *node, struct dj_buf *out);

#endif
