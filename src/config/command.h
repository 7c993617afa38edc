/* config/command.h - a command of the program, described as a table.
 *
 * Parsing, --help, the completions and the man pages read the same rows, so none of them can say
 * something else than the others. The rooms that hold commands declare them; daemon collects them.
 *
 * Threads: tables are constant; nothing here keeps state. Texts are our own and plain ASCII but for
 * examples, and hold no backslashes.
 */
#ifndef DJ_CONFIG_COMMAND_H
#define DJ_CONFIG_COMMAND_H

#include <deja/base.h>

#include "base/buf.h"
#include "config/args.h"
#include "config/options.h"

/* How every command ends. */
enum dj_exit {
    DJ_EXIT_OK = 0,
    DJ_EXIT_FAILED = 1,
    DJ_EXIT_USAGE = 2,
    DJ_EXIT_MISS = 3, /* asked for something that is not there */
    DJ_EXIT_UNREACHABLE = 69,
    DJ_EXIT_TRY_AGAIN = 75,
    DJ_EXIT_DENIED = 77,
    DJ_EXIT_CONFIG = 78,
};

/* What the codes mean, in their order, for the documents; the last row's text is NULL. */
struct dj_exit_row {
    enum dj_exit code;
    const char *text;
};
extern const struct dj_exit_row dj_exit_table[];

enum dj_command_kind {
    DJ_COMMAND_SWITCH, /* bool */
    DJ_COMMAND_TEXT,   /* const char *, the last one wins */
    DJ_COMMAND_TEXTS,  /* struct dj_arg_values */
};

struct dj_command_option {
    const char *name; /* "--ttl" */
    enum dj_command_kind kind;
    const char *value; /* as help shows it: "DURATION", "FILE", "json|text"; NULL: a switch */
    const char *help;  /* one sentence without its full stop */
    size_t offset;     /* in the struct that dj_command_parse fills */
};

struct dj_command_options {
    const struct dj_command_option *rows;
    size_t count;
};

#define DJ_COMMAND_SETS_MAX 4u
#define DJ_COMMAND_OPTIONS_MAX 32u

struct dj_command {
    const char *name;
    const char *summary;     /* one line, no full stop */
    const char *synopsis;    /* what follows the name; forms parted by '\n'; "" for nothing */
    const char *examples;    /* "command line\tcomment" parted by '\n'; NULL: none */
    const char *description; /* paragraphs parted by '\n'; NULL: the summary says it all */
    const char *first_words; /* "check|print|describe": what the first word can be; or NULL */
    struct dj_command_options options[DJ_COMMAND_SETS_MAX];
    bool takes_settings; /* also --config, --set and the flags of the settings table */
    bool is_hidden;      /* works, and is shown nowhere */
};

/* All of it, as help, completions and man pages need it. Everything is borrowed. */
struct dj_manual {
    const struct dj_command *const *commands;
    size_t command_count;
    const struct dj_option *settings;
    size_t setting_count;
};

/* Fills target (zeroed by the caller) by the rows' offsets. argv: what follows the command; --help
 * and -h are the caller's to look for first (dj_command_wants_help). DEJA_ERR_INVALID: error says
 * what, with "did you mean". */
enum deja_status dj_command_parse(const struct dj_command *command, int argc, char *const *argv,
                                  void *target, struct dj_words *out_words,
                                  struct deja_error *error) DEJA_NODISCARD;
/* --help or -h stands among argv, before any "--". */
bool dj_command_wants_help(int argc, char *const *argv);

/* NULL: there is none of that name. */
const struct dj_command *dj_manual_find(const struct dj_manual *manual, const char *name);

/* "usage: deja put PROMPT RESPONSE [options]" and its further forms. */
void dj_command_write_usage(const struct dj_command *command, struct dj_buf *out);
/* Examples first, then usage, what it does, and the options. */
void dj_command_write_help(const struct dj_manual *manual, const struct dj_command *command,
                           struct dj_buf *out);

/* Words filled into lines of 79 columns, the first going on at column `at`, further ones indented
 * by indent; a line end follows. */
void dj_command_wrap(struct dj_buf *out, const char *text, size_t at, size_t indent);

/* Says on stderr what is wrong and where help is; DJ_EXIT_USAGE. */
int dj_command_misused(const struct dj_command *command, const char *message);
/* The first word is none of the command's, or what follows it does not fit: likewise, with the
 * nearest word or the usage. word: "" for none. */
int dj_command_misplaced(const struct dj_command *command, const char *word);

#endif
