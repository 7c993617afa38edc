/* security/directory.h - the tenants an administrator made, and which upstream credentials are
 * theirs.
 *
 *   authority ── documents ──> directory ── find ──> rules of a tenant     (read lock, no memory)
 *                                        └─ link ──> tenant of a credential
 *
 * Everything is in memory: what changes anywhere arrives through dj_directory_changed, and all of
 * it is read anew when a change was missed or DJ_DIRECTORY_AGE_MS have passed.
 *
 * A document of table "tenants_configured", under the tenant's UUID as text:
 *   {"id","name","state":"active"|"suspended","created","updated","inherits":id|null,"config":{…}}
 * (times: ms since 1970; config: security/tenant_config.h). A tenant inherits what it does not say
 * itself from another one, over at most DJ_DIRECTORY_DEPTH_MAX; its state is its own.
 * A document of table "links", under the id that the credential's derived tenant has (an HMAC under
 * the deployment secret, so that nothing here tells the credential): {"tenant","name","created"}.
 *
 * Threads: any. find, link, has_tenants: also loops. What calls the authority blocks: workers and
 * start only. Locks: changes of one program are made one after the other (writes), below that the
 * table's own. Trust: documents of the authority are checked again; one that cannot be used keeps
 * its tenant suspended.
 */
#ifndef DJ_SECURITY_DIRECTORY_H
#define DJ_SECURITY_DIRECTORY_H

#include <deja/base.h>

#include "security/authority.h"
#include "security/tenant.h"
#include "security/tenant_config.h"

#define DJ_DIRECTORY_TENANTS "tenants_configured"
#define DJ_DIRECTORY_LINKS "links"
#define DJ_DIRECTORY_TENANTS_MAX 10000u
#define DJ_DIRECTORY_LINKS_MAX 100000u
#define DJ_DIRECTORY_DEPTH_MAX 8u
#define DJ_DIRECTORY_AGE_MS INT64_C(300000)
#define DJ_DIRECTORY_NAME_BYTES_MAX 128u
#define DJ_DIRECTORY_DOCUMENT_BYTES_MAX 32768u

struct dj_directory;

struct dj_directory_options {
    const struct dj_authority *authority;   /* borrowed */
    const struct dj_rules_values *defaults; /* of the deployment; copied, its texts borrowed */
    struct dj_tenant_config_names names;    /* copied, its texts borrowed */
    size_t tenants_max;                     /* 0: DJ_DIRECTORY_TENANTS_MAX */
};

enum deja_status dj_directory_create(const struct dj_directory_options *options,
                                     struct dj_directory **out_directory) DEJA_NODISCARD;
void dj_directory_destroy(struct dj_directory *directory); /* accepts NULL */

/* ---- what is asked on the way of a request ---- */

/* One reference, the caller's; NULL: nobody configured this tenant. */
struct dj_rules *dj_directory_find(struct dj_directory *directory,
                                   const uint8_t tenant[DJ_TENANT_BYTES]);
/* derived: what dj_tenant_derive gives for the credential. False: it is nobody's. */
bool dj_directory_link(struct dj_directory *directory, const uint8_t derived[DJ_TENANT_BYTES],
                       uint8_t out_tenant[DJ_TENANT_BYTES]);
/* Once there is one, a request that belongs to none of them may be refused. */
bool dj_directory_has_tenants(const struct dj_directory *directory);

/* ---- keeping up ---- */

/* Reads everything anew. Blocking. What cannot be read leaves everything as it was. */
enum deja_status dj_directory_reload(struct dj_directory *directory, int64_t now_ms) DEJA_NODISCARD;
/* Reads one tenant anew. Blocking. */
enum deja_status dj_directory_invalidate(struct dj_directory *directory,
                                         const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* Is a reload due: was a change missed, or is what is here DJ_DIRECTORY_AGE_MS old? Any thread. */
bool dj_directory_is_due(const struct dj_directory *directory, int64_t now_ms);
/* All of it may be out of date: a reload is due. Any thread. */
void dj_directory_expire(void *directory);
/* A dj_authority_change_fn over a struct dj_directory; other tables are passed over. */
void dj_directory_changed(void *directory, const char *table, struct deja_slice key,
                          struct deja_slice value);

/* ---- what administrators do; blocking ---- */

/* A new tenant out of {"name", "id"?, "inherits"?, "state"?, "config"?}. *out_tenant is set on
 * success. DEJA_ERR_INVALID: told in faults; DEJA_ERR_BUSY: id or name are taken; DEJA_ERR_LIMIT:
 * there are tenants_max, or the document is too long; and what the authority answers. */
enum deja_status dj_directory_add(struct dj_directory *directory, const struct dj_json *wanted,
                                  int64_t now_ms, const struct dj_tenant_config_faults *faults,
                                  uint8_t out_tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* {"name"?, "inherits"?, "state"?, "config"?}; is_patch: config is merged into what there is
 * (RFC 7396), otherwise it replaces it. DEJA_ERR_NOT_FOUND, and as above. */
enum deja_status dj_directory_set(struct dj_directory *directory,
                                  const uint8_t tenant[DJ_TENANT_BYTES],
                                  const struct dj_json *wanted, bool is_patch, int64_t now_ms,
                                  const struct dj_tenant_config_faults *faults) DEJA_NODISCARD;
/* Its links go with it. DEJA_ERR_NOT_FOUND; DEJA_ERR_BUSY: others inherit from it. */
enum deja_status dj_directory_remove(struct dj_directory *directory,
                                     const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* The credential of this derived tenant belongs to the tenant; before, to another one or nobody.
 * name: for people, up to DJ_DIRECTORY_NAME_BYTES_MAX, may be empty. DEJA_ERR_NOT_FOUND: no such
 * tenant; DEJA_ERR_LIMIT. */
enum deja_status dj_directory_add_link(struct dj_directory *directory,
                                       const uint8_t derived[DJ_TENANT_BYTES],
                                       const uint8_t tenant[DJ_TENANT_BYTES],
                                       struct deja_slice name, int64_t now_ms) DEJA_NODISCARD;
/* DEJA_ERR_NOT_FOUND: it is not a link of this tenant. */
enum deja_status dj_directory_remove_link(struct dj_directory *directory,
                                          const uint8_t derived[DJ_TENANT_BYTES],
                                          const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;

/* ---- showing; in memory ---- */

/* The document as an object, times as RFC 3339; with is_whole also "effective", "broken" (only if
 * it is) and "links". DEJA_ERR_NOT_FOUND: nothing is written. */
enum deja_status dj_directory_put(struct dj_directory *directory,
                                  const uint8_t tenant[DJ_TENANT_BYTES], bool is_whole,
                                  struct dj_json_writer *w) DEJA_NODISCARD;
/* Up to count of them in the order of their ids, from behind `after` (NULL: from the first), each
 * as above; name (empty: any): only this one. *out_next: the last one shown if there are more;
 * false: there are none. DEJA_ERR_NOMEM. */
enum deja_status dj_directory_list(struct dj_directory *directory, const uint8_t *after,
                                   struct deja_slice name, size_t count, struct dj_json_writer *w,
                                   uint8_t out_next[DJ_TENANT_BYTES],
                                   bool *out_has_more) DEJA_NODISCARD;
size_t dj_directory_count(const struct dj_directory *directory);

#endif
