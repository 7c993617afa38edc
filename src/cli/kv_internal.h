/* cli/kv_internal.h - what kv.c and kv_batch.c share. */
#ifndef DJ_CLI_KV_INTERNAL_H
#define DJ_CLI_KV_INTERNAL_H

#include "cli/cli_internal.h"

#define DJ_CLI_KV_PATH "/api/v1/kv"

/* "?name=value", or with "&"; nothing for a NULL value. */
void dj_cli_kv_append(struct dj_buf *path, const char *name, const char *value);
/* As dj_session_call; terminates path, and ends it. */
int dj_cli_kv_call(const struct dj_session *session, const char *method, struct dj_buf *path,
                   struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc);
/* Of a length that a key can have; false: told on stderr. */
bool dj_cli_kv_is_key(const struct dj_session *session, const char *key);

/* kv_batch.c: the verbs that are operations of a batch, with the keys behind them; an exit code. */
int dj_cli_kv_batch(const struct dj_session *session);

#endif
