/* tools/lines_internal.h - what export and import share: the calls, and the state to go on from. */
#ifndef DJ_TOOLS_LINES_INTERNAL_H
#define DJ_TOOLS_LINES_INTERNAL_H

#include <stdio.h>

#include "crypto/digest.h"
#include "tools/call.h"
#include "tools/lines_tool.h"

/* Kept as JSON in the file of --resume, written whole after each step. */
struct lines_state {
    uint64_t position; /* export: bytes of the file; import: as its source says */
    uint64_t units;    /* done so far, as are the next */
    uint64_t stored;
    uint64_t bad;
    char cursor[128];
    char digest[2 * DJ_SHA256_BYTES + 1]; /* as lines_digest; empty: none */
    bool is_done;
};
/* DEJA_ERR_NOT_FOUND: there is none yet. */
enum deja_status lines_state_read(const char *path, struct lines_state *out_state,
                                  struct deja_error *error) DEJA_NODISCARD;
enum deja_status lines_state_write(const char *path, const struct lines_state *state,
                                   struct deja_error *error) DEJA_NODISCARD;
/* Of the last bytes of the first len, at most a MiB; DEJA_ERR_INVALID: there are fewer. */
enum deja_status lines_digest(const char *path, uint64_t len, char out_hex[2 * DJ_SHA256_BYTES + 1],
                              struct deja_error *error) DEJA_NODISCARD;

struct lines_call {
    const struct dj_lines_facts *facts;
    const struct dj_lines_flags *flags;
    const char *command;
    struct dj_tool_caller caller; /* filled by lines_begin, as is the next */
    char tenant[DJ_TENANT_NAME_ID_BYTES];
    struct dj_client_answer answer;
};
/* Finds out who is meant; the call stays where it is. An exit code. */
int lines_begin(struct lines_call *call);
/* DJ_EXIT_OK: answered with 2xx; else told on stderr. */
int lines_ask(struct lines_call *call, const char *method, const char *path,
              struct deja_slice body);
void lines_show(const char *what, uint64_t units); /* on a terminal's stderr */
void lines_show_end(void);

#endif
