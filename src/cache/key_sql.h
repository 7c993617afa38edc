/* cache/key_sql.h - what a statement is about, and one form of it. Pure. Trust: untrusted. */
#ifndef DJ_CACHE_KEY_SQL_H
#define DJ_CACHE_KEY_SQL_H

#include <deja/base.h>

#include "base/buf.h"

/* The statement with single blanks outside of quotes, none at its ends, no ';' there; one with
 * comments, backslashes or $tag$ as it is. */
void dj_key_sql_form(struct deja_slice statement, struct dj_buf *out);
/* Its first word, and the first name after FROM, INTO, UPDATE, TABLE or JOIN, both in lower case,
 * quotes taken off; "none" where there is no such. */
void dj_key_sql_about(struct deja_slice statement, struct dj_buf *out_verb,
                      struct dj_buf *out_table);

#endif
