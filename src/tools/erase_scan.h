/* tools/erase_scan.h - whether something that should be gone is still in some file.
 *
 * Looks for canaries: texts that were put in and must not be found any more. Each is looked for as
 * it is, as UTF-16 in both orders, and as base64 at each of its three places in a longer text.
 * Blocking. Trust: files are bytes, nothing is made of them.
 */
#ifndef DJ_TOOLS_ERASE_SCAN_H
#define DJ_TOOLS_ERASE_SCAN_H

#include <deja/base.h>

#define DJ_CANARIES_MAX 10000u
#define DJ_CANARY_BYTES_MIN 4u
#define DJ_CANARY_BYTES_MAX 1024u

struct dj_canaries;

/* One a line; empty lines are passed over. DEJA_ERR_INVALID: one is too short or too long, or there
 * is none, error says which; DEJA_ERR_LIMIT; DEJA_ERR_NOMEM. */
enum deja_status dj_canaries_create(struct deja_slice text, struct dj_canaries **out_canaries,
                                    struct deja_error *error) DEJA_NODISCARD;
void dj_canaries_destroy(struct dj_canaries *canaries); /* accepts NULL */
size_t dj_canaries_count(const struct dj_canaries *canaries);

struct dj_canary_find {
    const char *path;
    uint64_t offset;
    uint32_t line;    /* of the canary, 1-based: its text is not repeated */
    const char *form; /* "text", "utf-16le", "utf-16be", "base64" */
};
typedef void dj_canary_found_fn(void *ctx, const struct dj_canary_find *find);

/* First place of each form of each canary in bytes. */
void dj_canaries_look(const struct dj_canaries *canaries, const char *path, struct deja_slice bytes,
                      void *ctx, dj_canary_found_fn *found);
/* Every regular file below directory, whatever its name; links are not followed. out_files,
 * out_bytes: what was looked at. DEJA_ERR_IO: one could not be read, error says which. */
enum deja_status dj_canaries_scan(const struct dj_canaries *canaries, const char *directory,
                                  uint64_t *out_files, uint64_t *out_bytes, void *ctx,
                                  dj_canary_found_fn *found,
                                  struct deja_error *error) DEJA_NODISCARD;

#endif
