/* security/audit_internal.h - what the files of the audit log share. */
#ifndef DJ_SECURITY_AUDIT_INTERNAL_H
#define DJ_SECURITY_AUDIT_INTERNAL_H

#include "base/date.h"
#include "security/audit.h"
#include "security/audit_chain.h"

#define DJ_AUDIT_PATH_MAX 4096u

/* ---- audit_event.c ---- */

/* The middle of a line: what stands between "node" and "prev", beginning with a comma. */
enum deja_status dj_audit_event_write(const struct dj_audit_event *event, int64_t now_ms,
                                      struct dj_buf *out) DEJA_NODISCARD;

/* ---- audit_folder.c ---- */

/* The files of one log, and where its chain stands. One thread at a time. */
struct dj_audit_folder {
    char directory[DJ_AUDIT_PATH_MAX];
    char node[DJ_AUDIT_NODE_TEXT_BYTES];
    struct dj_secret key; /* signs */
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    int fd; /* of the file that is written; -1: none is open */
    uint32_t number;
    uint64_t bytes;                    /* of it, up to the last whole batch */
    char begun[DJ_DATE_RFC3339_BYTES]; /* the time of its first line; "": it has none */
    uint64_t first_seq;                /* of the oldest file; 0: no line yet */
    uint64_t seq;                      /* of the last line */
    uint8_t hash[DJ_SHA256_BYTES];
};

/* What was found when it was opened, for an event each. */
struct dj_audit_found {
    bool is_new;         /* there was no log */
    uint64_t torn_bytes; /* of a line without its end, which was cut off */
    bool is_damaged;     /* the last whole line is not as it was written */
};

enum deja_status dj_audit_folder_open(struct dj_audit_folder *folder, const char *directory,
                                      struct dj_audit_found *out_found,
                                      struct deja_error *error) DEJA_NODISCARD;
void dj_audit_folder_close(struct dj_audit_folder *folder);
/* Appends whole lines and syncs; they are all there on DEJA_OK, and none otherwise. */
enum deja_status dj_audit_folder_append(struct dj_audit_folder *folder,
                                        struct deja_slice lines) DEJA_NODISCARD;
/* The next file begins. */
enum deja_status dj_audit_folder_rotate(struct dj_audit_folder *folder) DEJA_NODISCARD;
/* It was taken away while it was written. */
bool dj_audit_folder_is_gone(const struct dj_audit_folder *folder);
/* Removes files, never the one being written, whose successor was begun before `before_ms`; how
 * many. */
uint32_t dj_audit_folder_prune(struct dj_audit_folder *folder, int64_t before_ms);

/* ---- audit_recover.c ---- */

/* Before the writer runs: where the chain goes on, and what is to be told of what was found. */
void dj_audit_recover(const struct dj_authority *authority, const char *place,
                      struct dj_audit_folder *folder, const struct dj_audit_found *found,
                      struct dj_audit *audit, int64_t now_ms);

#endif
