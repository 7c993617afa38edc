/* proto/resp.h - the Redis serialisation protocol, versions 2 and 3, from the server's side:
 * commands out of what a client sends, replies into a buffer.
 *
 *   *2\r\n$3\r\nGET\r\n$1\r\nk\r\n     a command as libraries send it: an array of bulk strings
 *   GET "k"\r\n                        inline, as a person types it; quoted as in a shell
 *
 * Trust: untrusted. What a client announces (counts, lengths) is checked against the limits and
 * takes no memory before it has come. Threads: none of its own.
 */
#ifndef DJ_PROTO_RESP_H
#define DJ_PROTO_RESP_H

#include <deja/base.h>

#include "base/buf.h"

/* ---- commands ---- */

struct dj_resp_limits {
    uint32_t args_max;          /* words of a command, its name included */
    uint32_t inline_bytes_max;  /* of a line */
    uint64_t bulk_bytes_max;    /* one argument; at most UINT32_MAX / 2 */
    uint64_t command_bytes_max; /* the whole of it, likewise */
};

enum dj_resp_step {
    DJ_RESP_MORE,    /* the command is not whole yet */
    DJ_RESP_COMMAND, /* one; without arguments: an empty line or array, to be passed over */
    DJ_RESP_HTTP,    /* somebody speaks HTTP, perhaps a web page made to */
    DJ_RESP_BAD,     /* not the protocol, or beyond a limit: `error` says what */
    DJ_RESP_NOMEM,
};

struct dj_resp_span {
    uint32_t offset;
    uint32_t len;
};

#define DJ_RESP_ERROR_BYTES 96u

/* Of one connection. Zeroed: at the beginning of a command. */
struct dj_resp_parser {
    struct dj_resp_span *spans; /* of the arguments that have come */
    struct deja_slice *args;    /* of a whole command */
    size_t cap;
    size_t count;
    size_t expected;                 /* arguments of the array; 0: its head has not come */
    size_t offset;                   /* bytes of the command that were looked at */
    size_t wanted;                   /* with fewer in all there is nothing new to look at */
    struct dj_buf words;             /* of an inline command, without their quotes */
    char error[DJ_RESP_ERROR_BYTES]; /* as Redis says it, without "-ERR " */
};

void dj_resp_parser_fini(struct dj_resp_parser *parser); /* zeroed is fine; frees, zeroes */
/* Between two commands: gives back memory a large one took. */
void dj_resp_parser_trim(struct dj_resp_parser *parser);
bool dj_resp_parser_has_begun(const struct dj_resp_parser *parser); /* half a command is there */

/* bytes: from the first of the command on; after DJ_RESP_MORE the same ones again (perhaps
 * elsewhere) with more behind them, which is not looked at twice. DJ_RESP_COMMAND: *out_used of
 * them were the command; parser->args[0 … count) point into them, or into the parser, until either
 * changes. limits may become wider from call to call. */
enum dj_resp_step dj_resp_parse(struct dj_resp_parser *parser, const struct dj_resp_limits *limits,
                                struct deja_slice bytes, size_t *out_used) DEJA_NODISCARD;

/* ---- replies ---- */

/* Appended to out, whose status tells of memory. version: 2 or 3, of those whose form differs. */
void dj_resp_put_status(struct dj_buf *out, const char *text); /* +OK */
/* "ERR …", "NOAUTH …"; line ends in it become spaces. */
void dj_resp_put_error(struct dj_buf *out, const char *format, ...) DEJA_PRINTF(2, 3);
void dj_resp_put_integer(struct dj_buf *out, int64_t value);
void dj_resp_put_bulk(struct dj_buf *out, struct deja_slice bytes);
void dj_resp_put_text(struct dj_buf *out, const char *text); /* a bulk of a terminated one */
void dj_resp_put_null(struct dj_buf *out, int version);
void dj_resp_put_null_array(struct dj_buf *out, int version);
void dj_resp_put_array(struct dj_buf *out, size_t count);            /* then so many replies */
void dj_resp_put_map(struct dj_buf *out, int version, size_t pairs); /* then twice as many */
void dj_resp_put_set(struct dj_buf *out, int version, size_t count);
void dj_resp_put_push(struct dj_buf *out, int version, size_t count); /* out of band */
/* format: 3 letters, "txt". */
void dj_resp_put_verbatim(struct dj_buf *out, int version, const char *format,
                          struct deja_slice bytes);

#endif
