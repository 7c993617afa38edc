/* proto/zip.h - reads members of a zip archive that is in memory: enough for one wheel.
 *
 * Stored and deflated members only; no encryption, no zip64, no archive in parts. Every offset and
 * length is checked against the archive, names are given as they are (the caller compares them with
 * names it knows and never makes a path of them), and what is written is bounded by the caller.
 *
 * Trust: untrusted. Threads: none of its own; the archive is borrowed.
 */
#ifndef DJ_PROTO_ZIP_H
#define DJ_PROTO_ZIP_H

#include <deja/base.h>

#define DJ_ZIP_MEMBERS_MAX 65535u

struct dj_zip {
    struct deja_slice archive; /* borrowed */
    size_t directory;          /* offset of the central directory */
    size_t cursor;             /* offset of the next record in it */
    size_t directory_end;
    uint32_t left; /* records not yet read */
};

struct dj_zip_member {
    struct deja_slice name; /* borrowed from the archive */
    uint64_t bytes;         /* unpacked, as declared: extract holds it to that */
    uint64_t packed_bytes;
    size_t offset; /* of the local header */
    uint32_t crc;
    uint16_t method;
    uint16_t flags;
};

/* Finds the directory. DEJA_ERR_INVALID: not a zip, or broken; DEJA_ERR_UNSUPPORTED: zip64, parts.
 */
enum deja_status dj_zip_open(struct deja_slice archive, struct dj_zip *out_zip) DEJA_NODISCARD;
/* DEJA_ERR_NOT_FOUND after the last; DEJA_ERR_INVALID: the directory is broken. */
enum deja_status dj_zip_next(struct dj_zip *zip, struct dj_zip_member *out_member) DEJA_NODISCARD;

/* Unpacked bytes, in pieces, borrowed until return. Anything but DEJA_OK ends the extraction. */
typedef enum deja_status dj_zip_write_fn(void *ctx, struct deja_slice bytes);
/* DEJA_ERR_LIMIT: more than bytes_max; DEJA_ERR_INVALID: broken, or the checksum does not match
 * (what was written must then be thrown away); DEJA_ERR_UNSUPPORTED: encrypted, other methods. */
enum deja_status dj_zip_extract(const struct dj_zip *zip, const struct dj_zip_member *member,
                                uint64_t bytes_max, void *ctx,
                                dj_zip_write_fn *write) DEJA_NODISCARD;

#endif
