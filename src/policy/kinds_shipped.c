/* policy/kinds_shipped.c - the kinds Deja knows by itself (docs/kinds.md is checked against this).
 *
 * ttl is the whole life; a level's own time is how long a copy stays there; "off": none is kept
 * there. What is made by a model stays cold in PostgreSQL for its history; in the bucket only what
 * is dear to make anew (pages read by OCR).
 */
#include "policy/kinds_internal.h"

/* What typed requests and contexts of templates carry and does not change the answer. */
#define OF_REQUESTS "timestamp requestId request_id"
#define OF_TEMPLATES "timestamp userId"
#define NOT_COLD .postgres = "off", .s3 = "off"
#define TEMPLATE \
    .family = "template", .tags = "template:{template_id}", .events = "template:updated", \
    .ignored = OF_TEMPLATES
#define DOCUMENT \
    .family = "document", .tags = "document:{document_id}", .events = "document:processed"
#define MODEL .family = "ai", .events = "model:updated", .ignored = OF_REQUESTS
#define SESSION \
    .family = "session", .events = "session:ended", .ttl = "30m", .l1 = "30m", .l2 = "30m", \
    .sliding = "true", NOT_COLD

const struct dj_kind_shipped dj_kinds_shipped[] = {
    {.name = "template_score", TEMPLATE, .patterns = "template:score:{template_id}", .ttl = "6h",
     .l1 = "15m", .l2 = "6h", .s3 = "off", .help = "How well a template fits"},
    {.name = "template_match", TEMPLATE, .patterns = "template:match:{template_id}", .ttl = "6h",
     .l1 = "15m", .l2 = "6h", .s3 = "off", .help = "What a template was matched with"},
    {.name = "template_semantic", TEMPLATE, .patterns = "template:semantic:{template_id}",
     .ttl = "2h", .l1 = "15m", .l2 = "2h", .s3 = "off", .semantic = "true", .threshold = "0.8",
     .limit = "10", .help = "Templates found by meaning"},
    {.name = "template_render", TEMPLATE, .patterns = "template:render:{template_id}:{hash}",
     .ttl = "6h", .l1 = "15m", .l2 = "6h", .s3 = "off",
     .help = "A template filled with data, by the hash of the data"},
    {.name = "template_embedding", TEMPLATE, .patterns = "template:embedding:{template_id}",
     .ttl = "7d", .l1 = "15m", .l2 = "24h", .s3 = "off", .help = "The vector of a template"},
    {.name = "doc_parse", DOCUMENT, .patterns = "doc:parse:{format}:{hash}", .ttl = "24h",
     .l1 = "15m", .l2 = "24h", .help = "A document's text, by format and content"},
    {.name = "doc_analysis", DOCUMENT, .patterns = "doc:analysis:{document_id}:{type}",
     .ttl = "24h", .l1 = "15m", .l2 = "24h", .ignored = OF_REQUESTS,
     .help = "What a document was found to say"},
    {.name = "doc_extraction", DOCUMENT,
     .patterns = "doc:extract:{document_id}:{part} doc:extract:{document_id}",
     .parts = "features requirements metadata", .ttl = "24h", .l1 = "15m", .l2 = "24h",
     .help = "What was taken out of a document, whole or in parts"},
    {.name = "doc_chunk", DOCUMENT, .patterns = "doc:chunk:{document_id}:{n}", .ttl = "1h",
     .l1 = "15m", .l2 = "1h", NOT_COLD, .help = "A piece of a document, by its number"},
    {.name = "doc_chunks", DOCUMENT, .patterns = "doc:chunks:{document_id}:meta", .ttl = "1h",
     .l1 = "15m", .l2 = "1h", NOT_COLD, .help = "How a document was cut"},
    {.name = "ocr_result", .family = "ocr", .patterns = "ocr:result:{hash} ocr-cache/{hash}.json",
     .tags = "image:{hash} document:{document_id}", .events = "image:processed", .ttl = "365d",
     .l1 = "1h", .disk = "7d", .l2 = "7d", .postgres = "off", .s3 = "365d",
     .help = "Text read from a picture, by its hash"},
    {.name = "ai_response", MODEL, .patterns = "ai:response:{provider}:{model}:{hash}",
     .tags = "provider:{provider} model:{model} model:{provider}:{model}", .ttl = "24h",
     .l1 = "5m", .l2 = "1h", .semantic = "true", .threshold = "0.85", .limit = "4",
     .help = "A model's answer"},
    {.name = "analysis", MODEL, .patterns = "ai:analysis:{type}:{hash}",
     .tags = "analysis:{type} provider:{provider} model:{model} model:{provider}:{model}",
     .ttl = "48h", .l1 = "15m", .l2 = "24h", .help = "An analysis, by type and content"},
    {.name = "embedding", MODEL,
     .patterns = "ai:embedding:{provider}:{model}:{hash} ai:embedding:{model}:{hash} "
                 "embedding:{model}:{hash}",
     .tags = "provider:{provider} model:{model} model:{provider}:{model}", .ttl = "24h",
     .l1 = "5m", .l2 = "24h", .s3 = "off", .help = "A vector, by model and text; its ttl_for is "
                                                   "per model"},
    {.name = "session_user", SESSION, .patterns = "session:user:{user_id}", .tags = "user:{user_id}",
     .help = "A user's session"},
    {.name = "session_ws", SESSION, .patterns = "session:ws:{connection_id}",
     .tags = "connection:{connection_id}", .help = "An open connection"},
    {.name = "session_rate", SESSION, .patterns = "session:rate:{user_id}", .tags = "user:{user_id}",
     .help = "A counter of somebody's requests"},
    {.name = "query_result", .family = "query", .patterns = "query:{verb}:{table}:{hash}",
     .tags = "table:{table}", .events = "table:updated", .ttl = "15m", .l1 = "5m", .l2 = "15m",
     NOT_COLD, .help = "Rows of a database, by statement and arguments; its ttl_for is per "
                       "statement"},
};
const size_t dj_kinds_shipped_count = sizeof dj_kinds_shipped / sizeof *dj_kinds_shipped;
