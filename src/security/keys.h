/* security/keys.h - the API keys of this deployment: who presents one is a tenant with roles.
 *
 *   deja_<id>_<secret>     id: 16 hex digits, public; secret: 64 hex digits, shown once
 *
 * Kept is HMAC-SHA-256 of id and secret under a key derived from the deployment's secret: what is
 * stored neither is a key nor lets guesses be tested without that secret. Documents live in the
 * authority's table "api_keys"; all of them are in memory, found by their id, so a check asks no
 * storage, whatever strangers present. Who made and changed them sees it at once, the other nodes
 * when they pull (dj_keys_on_change).
 *
 *   made --rotate--> two secrets are right until the overlap has passed --> one
 *     \--expires, revoked--> right no more; the document stays and tells when
 *
 * A check does the same work for an id that is unknown as for one that is known, and for a wrong
 * secret as for a right one: one HMAC, two comparisons in constant time, three looks at the scores.
 *
 * Lock-out (security/lockout.h) is by what failed: a key's id from one address (10), an address
 * over all ids (50), an id over all addresses (100). The first refuses even a right secret; the
 * other two refuse only addresses that have failed at that id themselves, so that strangers lock
 * out nobody but themselves. Right secrets of keys that ended do not count as failures.
 *
 * Threads: any; a check holds a read lock for the time of a look-up. Time: given by the caller.
 * Trust: credentials are untrusted, documents are our own.
 */
#ifndef DJ_SECURITY_KEYS_H
#define DJ_SECURITY_KEYS_H

#include <assert.h>

#include <deja/base.h>

#include "base/buf.h"
#include "crypto/digest.h"
#include "security/authority.h"
#include "security/principal.h"

#define DJ_KEYS_TABLE "api_keys"
#define DJ_KEYS_MAX 100000u
#define DJ_KEY_ID_BYTES 16u   /* text, without a terminator */
#define DJ_KEY_TEXT_BYTES 87u /* deja_<id>_<secret>, terminated */
#define DJ_KEY_NAME_BYTES_MAX 128u
#define DJ_CERTIFICATE_BYTES 64u /* SHA-256 of a client certificate, lower-case hex */
#define DJ_KEYS_LEASE_MS 300000  /* how long what another node may have changed is believed */

static_assert(DJ_KEY_ID_BYTES <= DJ_KEY_ID_BYTES_MAX, "a principal has room for a key's id");

/* What is known of a key; plain data. Times are 0 where there is none. */
struct dj_key {
    char id[DJ_KEY_ID_BYTES + 1];
    char name[DJ_KEY_NAME_BYTES_MAX + 1];
    uint8_t tenant[DJ_TENANT_BYTES];
    bool has_tenant; /* false: an administrator's or auditor's, of no tenant */
    unsigned roles;
    double requests_per_s; /* 0: no limit of its own */
    uint32_t burst;
    int64_t created_ms;
    int64_t expires_ms;
    int64_t revoked_ms;
    int64_t rotated_ms;
    int64_t overlap_until_ms; /* the secret before the rotation is right until then */
    int64_t used_ms;          /* as of this node, to a minute */
    char
        certificate[DJ_CERTIFICATE_BYTES + 1]; /* client certificate that stands for it; "": none */
};

/* One key's document: what is stored. */
struct dj_key_record {
    struct dj_key key;
    uint8_t digest[DJ_SHA256_BYTES];
    uint8_t digest_before[DJ_SHA256_BYTES]; /* of the rotation; zero: none */
    uint64_t revision;                      /* how often it was written */
};

struct dj_keys;

/* Empty until dj_keys_reload. authority: borrowed, NULL keeps keys in memory only; secret: the
 * deployment's. keys_max: DJ_KEYS_MAX. */
enum deja_status dj_keys_create(const struct dj_authority *authority,
                                const uint8_t secret[DJ_SHA256_BYTES], size_t keys_max,
                                struct dj_keys **out_keys) DEJA_NODISCARD;
void dj_keys_destroy(struct dj_keys *keys); /* wipes; accepts NULL */
/* Blocking: every key anew, and none that is gone. On failure what is known stays; DEJA_ERR_LIMIT:
 * more are kept than keys_max. */
enum deja_status dj_keys_reload(struct dj_keys *keys) DEJA_NODISCARD;

/* ---- checking: any thread, never blocks on storage ---- */

enum dj_key_verdict {
    DJ_KEY_GOOD,
    DJ_KEY_WRONG,    /* no such key, or another secret: not told apart */
    DJ_KEY_REPLACED, /* the secret before a rotation whose overlap has passed */
    DJ_KEY_EXPIRED,
    DJ_KEY_REVOKED,
    DJ_KEY_LOCKED, /* too many failures; *out_retry_ms */
    DJ_KEY_UNSURE, /* the authority was not heard for DJ_KEYS_LEASE_MS */
};

/* Does it claim to be one of Deja's own? Such a credential never leaves this process. */
bool dj_key_is_claimed(struct deja_slice credential);

/* address: of the client, as in net/http_addresses.h. *out_key is set for DJ_KEY_GOOD only,
 * *out_retry_ms for DJ_KEY_LOCKED only. */
enum dj_key_verdict dj_keys_check(struct dj_keys *keys, struct deja_slice credential,
                                  const uint8_t address[16], int64_t now_ms, struct dj_key *out_key,
                                  int64_t *out_retry_ms) DEJA_NODISCARD;
/* The key that this client certificate stands for; proven by TLS, so nothing is compared here. */
enum dj_key_verdict dj_keys_check_certificate(struct dj_keys *keys, struct deja_slice fingerprint,
                                              int64_t now_ms,
                                              struct dj_key *out_key) DEJA_NODISCARD;

size_t dj_keys_count(struct dj_keys *keys); /* revoked ones too */
/* DEJA_ERR_NOT_FOUND. */
enum deja_status dj_keys_get(struct dj_keys *keys, struct deja_slice id,
                             struct dj_key *out_key) DEJA_NODISCARD;
/* Every key (tenant NULL) or those of one tenant, in the order of their ids, at most max of those
 * behind `after` (empty: from the first); how many. *out_keys: the caller's, dj_free. */
enum deja_status dj_keys_list(struct dj_keys *keys, const uint8_t *tenant, struct deja_slice after,
                              size_t max, struct dj_key **out_keys,
                              size_t *out_count) DEJA_NODISCARD;

/* ---- changing: blocking, workers and start-up only; durable on return ---- */

/* What wish says of name, tenant, roles, limits, expiry and certificate becomes a new key; the rest
 * of wish is not read. out_text: the key itself, the only time it is known; wipe it.
 * DEJA_ERR_LIMIT: there are keys_max; DEJA_ERR_BUSY: another key has the certificate; what the
 * authority says. */
enum deja_status dj_keys_make(struct dj_keys *keys, const struct dj_key *wish, int64_t now_ms,
                              char out_text[DJ_KEY_TEXT_BYTES],
                              struct dj_key *out_key) DEJA_NODISCARD;
/* A new secret under the same id; the one before is right for overlap_ms more. DEJA_ERR_NOT_FOUND;
 * DEJA_ERR_DENIED: it is revoked or has expired. */
enum deja_status dj_keys_rotate(struct dj_keys *keys, struct deja_slice id, uint64_t overlap_ms,
                                int64_t now_ms, char out_text[DJ_KEY_TEXT_BYTES],
                                struct dj_key *out_key) DEJA_NODISCARD;
/* At once here, on other nodes when they pull; again: stays as it was. DEJA_ERR_NOT_FOUND. */
enum deja_status dj_keys_revoke(struct dj_keys *keys, struct deja_slice id, int64_t now_ms,
                                struct dj_key *out_key) DEJA_NODISCARD;
/* Every key of a tenant that is deleted, with its document. */
enum deja_status dj_keys_remove_tenant(struct dj_keys *keys,
                                       const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;

/* ---- what other nodes changed ---- */

/* A dj_authority_change_fn (ctx: the keys) for DJ_KEYS_TABLE; other tables are passed over. */
void dj_keys_on_change(void *keys, const char *table, struct deja_slice key,
                       struct deja_slice value);
/* Everything the authority knew at now_ms was passed on, by changes or a reload. Where another node
 * may change keys (its pull is not NULL), they are believed for DJ_KEYS_LEASE_MS from here. */
void dj_keys_on_pulled(struct dj_keys *keys, int64_t now_ms);

/* ---- documents (keys_document.c) ---- */

/* Appends JSON; failures are the buf's. */
void dj_key_document_write(const struct dj_key_record *record, struct dj_buf *out);
/* DEJA_ERR_CORRUPT: no document of a key. */
enum deja_status dj_key_document_read(struct deja_slice bytes,
                                      struct dj_key_record *out_record) DEJA_NODISCARD;

#endif
