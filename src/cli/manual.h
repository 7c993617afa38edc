/* cli/manual.h - man pages and shell completions, written from the tables of the commands.
 *
 * Threads: none of its own; out keeps its own status.
 */
#ifndef DJ_CLI_MANUAL_H
#define DJ_CLI_MANUAL_H

#include "config/command.h"

/* page: "deja.1", "deja.conf.5" or "deja.8". False: no such page. */
bool dj_manual_write_page(const struct dj_manual *manual, const char *page, struct dj_buf *out);

/* shell: "bash", "zsh" or "fish". False: no such shell. */
bool dj_manual_write_completions(const struct dj_manual *manual, const char *shell,
                                 struct dj_buf *out);

#endif
