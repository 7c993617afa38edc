/* config/terminal.c - see terminal.h. */
#include "config/terminal.h"

#include <unistd.h>

#include "config/expand.h"

bool dj_terminal_has_color(FILE *out, bool is_plain, const char *const *environment)
{
    const char *no_color = dj_environment_find(environment, deja_slice_text("NO_COLOR"));
    const char *term = dj_environment_find(environment, deja_slice_text("TERM"));
    return !is_plain && isatty(fileno(out)) == 1 && (!no_color || !*no_color) && term && *term &&
           strcmp(term, "dumb") != 0;
}

const char *dj_terminal_color(bool has_color, enum dj_color color)
{
    static const char *const sequences[] = {"\033[0m", "\033[32m", "\033[33m", "\033[31m",
                                            "\033[2m"};
    return has_color ? sequences[color] : "";
}

void dj_terminal_write(FILE *out, struct deja_slice text)
{
    bool is_terminal = isatty(fileno(out)) == 1;
    for (size_t i = 0; is_terminal && i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        /* C1 controls are C2 80 … C2 9F in UTF-8; some terminals obey them. */
        bool is_c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0;
        putc(is_control || is_c1 ? '?' : c, out);
        i += is_c1;
    }
    if (!is_terminal && text.len)
        fwrite(text.data, 1, text.len, out);
}
