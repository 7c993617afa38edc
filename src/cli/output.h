/* cli/output.h - answers for people: flat lines, and text that cannot drive a terminal. */
#ifndef DJ_CLI_OUTPUT_H
#define DJ_CLI_OUTPUT_H

#include <stdio.h>

#include "proto/json.h"

/* On a terminal control characters become '?', since answers are strangers' text; otherwise the
 * bytes as they are. A line end follows. */
void dj_output_text(FILE *out, struct deja_slice text);
/* As the last column of a table: at most DJ_OUTPUT_LINE_BYTES of it, line ends and tabs as ' '. */
#define DJ_OUTPUT_LINE_BYTES 100u
void dj_output_line(FILE *out, struct deja_slice text);
/* As JSON in one line, as it came; no line end follows. */
void dj_output_json(FILE *out, const struct dj_json *value);
/* A string as dj_output_text, anything else as JSON; a line end follows. */
void dj_output_value(FILE *out, const struct dj_json *value);
/* One "name  value" line for each leaf, names dotted: "l1.hits  12". */
void dj_output_flat(FILE *out, const struct dj_json *value);

#endif
