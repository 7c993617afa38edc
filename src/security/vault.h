/* security/vault.h - credentials of upstreams that Deja holds for tenants, so that their clients
 * need only a key of Deja's: written, never shown.
 *
 * Kept in the authority's table "upstream_credentials" under the tenant's UUID, sealed and bound to
 * that tenant; all of them are in memory. Threads: any; look holds a read lock. Trust: our own
 * documents, sealed: one that does not open is none, and counted.
 */
#ifndef DJ_SECURITY_VAULT_H
#define DJ_SECURITY_VAULT_H

#include <deja/base.h>

#include "base/arena.h"
#include "base/buf.h"
#include "security/authority.h"
#include "security/tenant.h"

#define DJ_VAULT_TABLE "upstream_credentials"
#define DJ_VAULT_TENANTS_MAX 10000u
#define DJ_VAULT_VALUE_BYTES_MAX 4096u

/* How the upstream wants to be told. */
enum dj_vault_scheme {
    DJ_VAULT_BEARER,     /* Authorization: Bearer VALUE */
    DJ_VAULT_X_API_KEY,  /* x-api-key: VALUE (Anthropic) */
    DJ_VAULT_API_KEY,    /* api-key: VALUE (Azure) */
    DJ_VAULT_GOOGLE_KEY, /* x-goog-api-key: VALUE */
    DJ_VAULT_SCHEMES
};
const char *dj_vault_scheme_text(enum dj_vault_scheme scheme); /* "bearer", "x-api-key" … */
/* DEJA_ERR_INVALID: none of them. */
enum deja_status dj_vault_scheme_of(struct deja_slice text,
                                    enum dj_vault_scheme *out_scheme) DEJA_NODISCARD;

/* Who seals what is kept: the tenant's data keys, or a key of the deployment. Blocking. bound is
 * checked when opening. */
struct dj_vault_sealer {
    void *ctx;
    enum deja_status (*seal)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES],
                             struct deja_slice bound, struct deja_slice plain, struct dj_buf *out);
    enum deja_status (*open)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES],
                             struct deja_slice bound, struct deja_slice sealed, struct dj_buf *out);
};

struct dj_vault;

/* What may be told of one. */
struct dj_vault_facts {
    uint8_t tenant[DJ_TENANT_BYTES];
    enum dj_vault_scheme scheme;
    int64_t set_ms;
};

/* Empty until dj_vault_reload. authority: borrowed, NULL: memory only; sealer is copied. */
enum deja_status dj_vault_create(const struct dj_authority *authority,
                                 const struct dj_vault_sealer *sealer, size_t tenants_max,
                                 struct dj_vault **out_vault) DEJA_NODISCARD;
void dj_vault_destroy(struct dj_vault *vault); /* wipes; accepts NULL */
/* Blocking: every one anew, and none that is gone. On failure what is known stays. */
enum deja_status dj_vault_reload(struct dj_vault *vault) DEJA_NODISCARD;

/* The header to send; DEJA_ERR_NOT_FOUND: none is held. *out_name is constant, *out_value a copy in
 * arena: wipe it after use. DEJA_ERR_NOMEM. */
enum deja_status dj_vault_look(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                               struct dj_arena *arena, struct deja_slice *out_name,
                               struct deja_slice *out_value) DEJA_NODISCARD;
/* DEJA_ERR_NOT_FOUND. */
enum deja_status dj_vault_get(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                              struct dj_vault_facts *out_facts) DEJA_NODISCARD;
size_t dj_vault_damaged(const struct dj_vault *vault); /* documents that did not open */

/* Blocking. value: 1 to DJ_VAULT_VALUE_BYTES_MAX visible characters, or DEJA_ERR_INVALID;
 * DEJA_ERR_LIMIT: tenants_max have one; what sealer and authority say. */
enum deja_status dj_vault_set(struct dj_vault *vault, const uint8_t tenant[DJ_TENANT_BYTES],
                              enum dj_vault_scheme scheme, struct deja_slice value,
                              int64_t now_ms) DEJA_NODISCARD;
/* Blocking. DEJA_ERR_NOT_FOUND. */
enum deja_status dj_vault_remove(struct dj_vault *vault,
                                 const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;

/* A dj_authority_change_fn (ctx: the vault); other tables are passed over. */
void dj_vault_on_change(void *vault, const char *table, struct deja_slice key,
                        struct deja_slice value);

#endif
