/* proto/archive.h - the pieces of a backup: its header, its blocks, what lies in a block, its end.
 *
 *   | header 192 | block | block | … | end block |
 *
 *   header  "DJBACKUP" 8 | format 2 | flags 2 | zero 4 | id 16 | created 8 | secret's name 8 |
 *           wrapped key 120 | zero 16 | checksum 8
 *   block   "DJBB" 4 | type 1 | flags 1 | zero 2 | index 4 | items 4 | tenant 16 |
 *           plain bytes 4 | stored bytes 4 | checksum 8 | stored bytes
 *   end     a block whose plain bytes are: blocks 8 | entries 8 | documents 8 | bytes before 8 |
 *           SHA-256 of everything before it 32
 *
 * Plain bytes are packed (zstd) where that helps, then sealed where there is a key (store/archive.h
 * does that): stored bytes. Little endian; checksums (XXH3-64) are over everything before them, and
 * the stored bytes. Documents: table 1 + n, key 2 + n, value 4 + n. Entries: proto/frame.h, each
 * behind its length 4. docs/adr/0029.
 *
 * Trust: a file that lay anywhere: untrusted; every length is checked. Threads: any; pure.
 */
#ifndef DJ_PROTO_ARCHIVE_H
#define DJ_PROTO_ARCHIVE_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/record.h"

#define DJ_ARCHIVE_HEADER_BYTES 192u
#define DJ_ARCHIVE_HEAD_BYTES 48u
#define DJ_ARCHIVE_HEAD_BOUND_BYTES 40u /* of it, before the checksum */
#define DJ_ARCHIVE_KEY_BYTES 120u
#define DJ_ARCHIVE_END_BYTES 64u
#define DJ_ARCHIVE_BLOCK_BYTES (1u << 20) /* plain, from which a block is closed */
/* An entry is at most a 64 MiB payload, its vector, and their heads. */
#define DJ_ARCHIVE_BLOCK_BYTES_MAX (68u << 20)

struct dj_archive_header {
    uint8_t id[DJ_ID_BYTES]; /* random */
    int64_t created_ms;
    uint64_t secret_name; /* of the secret that names its entries; 0: not told */
    bool is_sealed;
    uint8_t key[DJ_ARCHIVE_KEY_BYTES]; /* wrapped; zeros unless sealed */
};
void dj_archive_header_write(const struct dj_archive_header *header,
                             char out_bytes[DJ_ARCHIVE_HEADER_BYTES]);
/* DEJA_ERR_MISMATCH: not a backup at all; DEJA_ERR_UNSUPPORTED: of a newer format;
 * DEJA_ERR_CORRUPT. */
enum deja_status dj_archive_header_read(struct deja_slice bytes,
                                        struct dj_archive_header *out_header) DEJA_NODISCARD;

enum dj_archive_type {
    DJ_ARCHIVE_DOCUMENTS = 1,
    DJ_ARCHIVE_ENTRIES = 2, /* of one tenant */
    DJ_ARCHIVE_END = 3
};
struct dj_archive_block {
    enum dj_archive_type type;
    bool is_packed;
    bool is_sealed;
    uint32_t index; /* from 0 */
    uint32_t items;
    uint8_t tenant[DJ_ID_BYTES]; /* zeros but for entries */
    uint32_t plain_bytes;        /* unpacked */
    uint32_t stored_bytes;
};
/* Without its checksum: what sealing binds. */
void dj_archive_block_bound(const struct dj_archive_block *block,
                            char out_bytes[DJ_ARCHIVE_HEAD_BOUND_BYTES]);
/* stored: block->stored_bytes of them. */
void dj_archive_block_write(const struct dj_archive_block *block, struct deja_slice stored,
                            char out_head[DJ_ARCHIVE_HEAD_BYTES]);
/* The head alone, bounds checked. DEJA_ERR_CORRUPT. */
enum deja_status dj_archive_block_read(struct deja_slice head,
                                       struct dj_archive_block *out_block) DEJA_NODISCARD;
bool dj_archive_block_is_whole(struct deja_slice head, struct deja_slice stored) DEJA_NODISCARD;

struct dj_archive_end {
    uint64_t blocks; /* before it, as are the next */
    uint64_t entries;
    uint64_t documents;
    uint64_t bytes;
    uint8_t digest[DJ_DIGEST_BYTES];
};
void dj_archive_end_write(const struct dj_archive_end *end, char out_bytes[DJ_ARCHIVE_END_BYTES]);
enum deja_status dj_archive_end_read(struct deja_slice bytes,
                                     struct dj_archive_end *out_end) DEJA_NODISCARD;

/* Appends plain packed, if that makes it shorter: *out_is_packed; otherwise nothing.
 * DEJA_ERR_NOMEM. */
enum deja_status dj_archive_pack(struct deja_slice plain, struct dj_buf *out,
                                 bool *out_is_packed) DEJA_NODISCARD;
/* Appends exactly plain_bytes. DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM. */
enum deja_status dj_archive_unpack(struct deja_slice packed, uint32_t plain_bytes,
                                   struct dj_buf *out) DEJA_NODISCARD;

/* Slices borrow from the block's plain bytes. */
struct dj_archive_document {
    struct deja_slice table;
    struct deja_slice key;
    struct deja_slice value;
};
/* Appends. DEJA_ERR_LIMIT: a part is too long; DEJA_ERR_NOMEM. */
enum deja_status dj_archive_document_write(const struct dj_archive_document *document,
                                           struct dj_buf *out) DEJA_NODISCARD;
/* Takes the next one off the front of rest. DEJA_ERR_CORRUPT. */
enum deja_status dj_archive_document_read(struct deja_slice *rest,
                                          struct dj_archive_document *out_document) DEJA_NODISCARD;
enum deja_status dj_archive_entry_write(const struct dj_entry *entry, const float *vector,
                                        uint32_t dim, struct dj_buf *out) DEJA_NODISCARD;
/* *out_frame: for dj_frame_decode. */
enum deja_status dj_archive_entry_read(struct deja_slice *rest,
                                       struct deja_slice *out_frame) DEJA_NODISCARD;

#endif
