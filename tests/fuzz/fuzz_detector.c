/* What the detector finds lies in the text, in order, and is the same the second time; a text
 * redacted has none of it; JSON redacted is JSON, and whoever only looks sees the same classes.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "security/redact.h"

#define CLASSES (DJ_SENSITIVE_ALL | DJ_SENSITIVE_NAMED)

static void check_text(const struct dj_detector *detector, struct deja_slice text)
{
    struct dj_findings first = {0};
    struct dj_findings again = {0};
    struct dj_buf out = {0};
    FUZZ_CHECK(dj_detector_scan(detector, CLASSES, text, &first) == DEJA_OK);
    FUZZ_CHECK(dj_redact_text(detector, CLASSES, text, &again, &out) == DEJA_OK);
    FUZZ_CHECK(first.count == again.count && first.classes == again.classes);
    FUZZ_CHECK(!first.is_limited && (first.count > 0) == (first.rule != NULL));
    for (size_t i = 0; i < first.count; i++) {
        const struct dj_sensitive_span *span = &first.spans[i];
        FUZZ_CHECK(span->len > 0 && span->offset + span->len <= text.len);
        FUZZ_CHECK(i == 0 || span->offset >= first.spans[i - 1].offset);
        FUZZ_CHECK(again.spans[i].offset == span->offset && again.spans[i].len == span->len);
    }
    FUZZ_CHECK(first.count > 0 || deja_slice_is_equal(dj_buf_slice(&out), text));
    FUZZ_CHECK(out.len <= text.len + first.count * sizeof DJ_REDACTED);
    dj_findings_fini(&first);
    dj_findings_fini(&again);
    dj_buf_fini(&out);
}

static void check_json(const struct dj_detector *detector, struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    struct dj_json_doc *redacted = NULL;
    struct dj_findings looked = {0};
    struct dj_findings found = {0};
    struct dj_buf out = {0};
    if (dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return;
    FUZZ_CHECK(dj_redact_json(detector, DJ_SENSITIVE_ALL, dj_json_root(doc), &looked, NULL) ==
               DEJA_OK);
    FUZZ_CHECK(dj_redact_json(detector, DJ_SENSITIVE_ALL, dj_json_root(doc), &found, &out) ==
               DEJA_OK);
    FUZZ_CHECK(looked.classes == found.classes && looked.rule == found.rule);
    FUZZ_CHECK(dj_json_parse(dj_buf_slice(&out), &redacted, NULL) == DEJA_OK);
    dj_json_doc_destroy(doc);
    dj_json_doc_destroy(redacted);
    dj_findings_fini(&looked);
    dj_findings_fini(&found);
    dj_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct dj_detector *detector; /* its making costs more than all runs */
    if (!detector)
        FUZZ_CHECK(dj_detector_create(NULL, 0, &detector, NULL) == DEJA_OK);
    check_text(detector, deja_slice(data, len));
    check_json(detector, deja_slice(data, len));
    return 0;
}
