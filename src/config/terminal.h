/* config/terminal.h - what may be sent to a person's terminal: colours, and strangers' text. */
#ifndef DJ_CONFIG_TERMINAL_H
#define DJ_CONFIG_TERMINAL_H

#include <stdio.h>

#include <deja/base.h>

enum dj_color { DJ_COLOR_NONE, DJ_COLOR_GREEN, DJ_COLOR_YELLOW, DJ_COLOR_RED, DJ_COLOR_DIM };

/* out is a terminal that knows colours, and neither --plain or --no-color (is_plain), NO_COLOR nor
 * TERM=dumb speaks against it. environment: "NAME=value", NULL-terminated. */
bool dj_terminal_has_color(FILE *out, bool is_plain, const char *const *environment);
/* The sequence that starts a colour or, with DJ_COLOR_NONE, ends it; "" without colours. */
const char *dj_terminal_color(bool has_color, enum dj_color color);

/* On a terminal control characters become '?', since answers are strangers' text; otherwise the
 * bytes as they are. */
void dj_terminal_write(FILE *out, struct deja_slice text);

#endif
