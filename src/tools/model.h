/* tools/model.h - `deja model pull|add|list|verify|path`: the weights, fetched and verified.
 *
 * Kept in DATA/models/NAME/. Files are fetched into NAME.part, checked by SHA-256 against the list
 * in model.c, then renamed: what stands under its name is whole. A marker file with sizes makes a
 * second pull quick. Trust: bytes from anywhere are untrusted until their digest matches.
 */
#ifndef DJ_TOOLS_MODEL_H
#define DJ_TOOLS_MODEL_H

#include <deja/base.h>

#include "config/command.h"

extern const struct dj_command dj_model_command;

/* argv: after "model". Results on stdout, messages on stderr. Returns the exit code: 0, 1, 2, and
 * 75 when nothing that has the model could be reached. */
int dj_model_tool_run(const char *data_dir, int argc, char *const *argv);

#endif
