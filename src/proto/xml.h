/* proto/xml.h - the XML that object stores answer with: elements and their text.
 *
 * Trust: untrusted. Documents without a document type: what could define entities or fetch
 * something is refused whole. Attributes are checked and passed over. Bytes from 0x80 on are passed
 * on as they are; whoever keeps them checks them. Threads: any; no state.
 */
#ifndef DJ_PROTO_XML_H
#define DJ_PROTO_XML_H

#include <deja/base.h>

#include "base/buf.h"

enum { DJ_XML_DEPTH_MAX = 16 };

enum dj_xml_event {
    DJ_XML_BEGIN, /* of an element */
    DJ_XML_END,   /* text: all character data directly inside it, decoded, blanks included */
};
/* depth: 1 for the root. name: without its namespace prefix. Both slices are borrowed until return.
 * Return false to stop. */
typedef bool dj_xml_fn(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                       struct deja_slice text);

/* Reads a whole document. text_bytes_max: of one element. scratch: cleared; holds the text while
 * `each` is called. DEJA_ERR_INVALID (not well-formed, a document type),
 * DEJA_ERR_LIMIT (deeper than DJ_XML_DEPTH_MAX, a longer text), DEJA_ERR_CANCELLED (each said so),
 * DEJA_ERR_NOMEM; what was told before stays told. */
enum deja_status dj_xml_read(struct deja_slice document, size_t text_bytes_max,
                             struct dj_buf *scratch, void *ctx, dj_xml_fn *each) DEJA_NODISCARD;

/* Appends text with &, <, >, quotes and control characters escaped. */
void dj_xml_append(struct dj_buf *buf, struct deja_slice text);

#endif
