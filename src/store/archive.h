/* store/archive.h - a backup: every kind of entry, and documents of the deployment, as one stream
 * of bytes that is checked, packed and sealed block by block (proto/archive.h).
 *
 *   entries ──> writer ──> out: a file, or parts in a bucket
 *   in ──> reader ──> every block verified before anything of it is told
 *
 * Sealed under a key of its own, which the master key wraps: to read it elsewhere, the master key
 * of the deployment that wrote it is needed, and nothing else. Each block is bound to its backup,
 * place, type and tenant; the last one has the count of everything and the digest of all bytes
 * before it, so what was cut, turned round or mixed is refused, and the text says where.
 *
 * Blocking: tools, and threads of their own. Threads: one at a time. Trust: as proto/archive.h.
 */
#ifndef DJ_STORE_ARCHIVE_H
#define DJ_STORE_ARCHIVE_H

#include "proto/archive.h"
#include "store/value.h"

struct dj_keyring; /* security/keyring.h */

#define DJ_ARCHIVE_SECRET_TABLE "deployment_secret" /* the one document that is no authority's */

/* Where the bytes go. Both report their failures in error. */
struct dj_archive_out {
    void *ctx;
    enum deja_status (*write)(void *ctx, struct deja_slice bytes, struct deja_error *error);
    /* All were written: make them durable and known under their name. */
    enum deja_status (*finish)(void *ctx, struct deja_error *error);
    void (*close)(void *ctx); /* without finish before: nothing is left behind */
};
/* Where they come from. *out_len < len only at the end. */
struct dj_archive_in {
    void *ctx;
    enum deja_status (*read)(void *ctx, char *out_bytes, size_t len, size_t *out_len,
                             struct deja_error *error);
    void (*close)(void *ctx);
};
/* path.part until finish, then path; 0600, synced. DEJA_ERR_BUSY: there is one already. */
enum deja_status dj_archive_file_create(const char *path, struct dj_archive_out *out_out,
                                        struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_archive_file_open(const char *path, struct dj_archive_in *out_in,
                                      struct deja_error *error) DEJA_NODISCARD;

/* ---- writing ---- */

struct dj_archive_writer;

struct dj_archive_options {
    struct dj_keyring *keyring; /* borrowed during create; NULL: not sealed */
    int64_t now_ms;
    uint64_t secret_name; /* as in struct dj_archive_header */
};
/* out: taken on DEJA_OK. */
enum deja_status dj_archive_create(const struct dj_archive_options *options,
                                   const struct dj_archive_out *out,
                                   struct dj_archive_writer **out_writer,
                                   struct deja_error *error) DEJA_NODISCARD;
/* Without finish: nothing is left behind. Accepts NULL. */
void dj_archive_destroy(struct dj_archive_writer *writer);

/* vector: NULL, or dim floats (<= DJ_FRAME_DIM_MAX). After a failure nothing more can be put. */
enum deja_status dj_archive_put(struct dj_archive_writer *writer, const struct dj_entry *entry,
                                const float *vector, uint32_t dim,
                                struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_archive_put_document(struct dj_archive_writer *writer,
                                         const struct dj_archive_document *document,
                                         struct deja_error *error) DEJA_NODISCARD;
enum deja_status dj_archive_finish(struct dj_archive_writer *writer, struct dj_archive_end *out_end,
                                   struct deja_error *error) DEJA_NODISCARD;

/* ---- reading ---- */

struct dj_archive_reader;

/* Reads the header. keyring: borrowed until close; NULL: what is sealed is DEJA_ERR_DENIED. in:
 * taken on DEJA_OK. DEJA_ERR_MISMATCH: not a backup; DEJA_ERR_DENIED: of another master key;
 * DEJA_ERR_CORRUPT, DEJA_ERR_UNSUPPORTED, what in says; error says what to do. */
enum deja_status dj_archive_open(const struct dj_archive_in *in, struct dj_keyring *keyring,
                                 struct dj_archive_reader **out_reader,
                                 struct deja_error *error) DEJA_NODISCARD;
void dj_archive_close(struct dj_archive_reader *reader); /* accepts NULL */
const struct dj_archive_header *dj_archive_header_of(const struct dj_archive_reader *reader);

/* One of the two; borrowed until the next call. */
struct dj_archive_item {
    bool is_document;
    struct dj_archive_document document;
    const struct dj_entry *entry;
    const float *vector; /* NULL: none */
    uint32_t dim;
};
/* DEJA_ERR_NOT_FOUND: that was all, and all is as it was written: *out_end (may be NULL).
 * DEJA_ERR_CORRUPT: error says in which block, at which byte, and what is wrong; nothing of that
 * block was told. */
enum deja_status dj_archive_next(struct dj_archive_reader *reader, struct dj_archive_item *out_item,
                                 struct dj_archive_end *out_end,
                                 struct deja_error *error) DEJA_NODISCARD;
uint64_t dj_archive_offset(const struct dj_archive_reader *reader); /* bytes read */

#endif
