/* policy/glob.h - does a name fit a pattern: * ? [abc] [a-z] [^a] and \x for an x that means
 * itself.
 *
 *   *      any bytes, also none           [a-z0]  one byte of these
 *   ?      any one byte                   [^a-z]  one byte, none of these
 *   \x     the byte x, whatever it is     other   itself
 *
 * Bytes, not characters: ? is one byte of UTF-8. The rules are those of Redis and Valkey to the
 * letter, also where a pattern is unfinished, so that KEYS, SCAN, DELETE by pattern and an
 * invalidation mean the same: a class that never closes ends with the pattern, [] fits nothing,
 * [^] fits any byte, a range is right whichever end comes first, a last \ is itself.
 *
 * Trust: untrusted. Every pattern has a meaning, so nothing here fails. Time: no more than pattern
 * bytes times text bytes, whatever both are (a star never has to be tried again once a later one
 * was reached); no memory, no recursion. Callers refuse patterns above DJ_GLOB_PATTERN_BYTES_MAX.
 *
 * Pure. Threads: any.
 */
#ifndef DJ_POLICY_GLOB_H
#define DJ_POLICY_GLOB_H

#include <deja/base.h>

#define DJ_GLOB_PATTERN_BYTES_MAX 1024u

bool dj_glob_is_match(struct deja_slice pattern, struct deja_slice text);
/* Nothing in it but plain and escaped bytes: it fits one text, the one dj_glob_literal() writes. */
bool dj_glob_is_literal(struct deja_slice pattern);
/* The bytes each fitting text begins with, unescaped, into out (pattern.len bytes are enough); how
 * many. For a store that can look for names by their beginning. */
size_t dj_glob_literal(struct deja_slice pattern, char *out);
/* The pattern that fits text alone, into out (2 * text.len bytes are enough); its length. */
size_t dj_glob_escape(struct deja_slice text, char *out);

#endif
