/* A message of a channel. Whatever it is: it is refused with a reason, or read; what was read is
 * written as a document of a schedule and read again as the same.
 */
#include "fuzz.h"

#include "base/arena.h"
#include "base/buf.h"
#include "cache/channel_message.h"

static void check_document(const struct dj_invalidation *order, const uint8_t *tenant)
{
    struct dj_buf once = {0};
    struct dj_buf twice = {0};
    struct dj_arena arena = {0};
    struct dj_json_doc *doc = NULL;
    struct dj_invalidation again;
    struct dj_json_writer w = dj_json_writer(&once);
    dj_invalidation_write(&w, order);
    FUZZ_CHECK(once.status == DEJA_OK);
    FUZZ_CHECK(dj_json_parse(dj_buf_slice(&once), &doc, NULL) == DEJA_OK);
    enum deja_status status = dj_invalidation_read(dj_json_root(doc), tenant, &arena, &again);
    FUZZ_CHECK(status == DEJA_OK || status == DEJA_ERR_INVALID); /* too long for a document */
    if (status == DEJA_OK) {
        struct dj_json_writer second = dj_json_writer(&twice);
        dj_invalidation_write(&second, &again);
        FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&once), dj_buf_slice(&twice)));
    }
    dj_json_doc_destroy(doc);
    dj_arena_fini(&arena);
    dj_buf_fini(&once);
    dj_buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {1};
    struct dj_tenant_root root;
    struct dj_kinds *kinds = NULL;
    struct dj_channel_message message;
    if (len > 8192 || dj_kinds_create(NULL, 0, NULL, NULL, &kinds) != DEJA_OK)
        return 0;
    dj_tenant_root_init(&root, secret);
    const struct dj_channel_rules rules = {.root = &root, .kinds = kinds};
    const char *trouble = dj_channel_message_read(deja_slice(data, len), &rules, &message);
    if (trouble) {
        FUZZ_CHECK(trouble[0]);
    } else {
        if (!message.from.len)
            check_document(&message.order, message.tenant);
        dj_channel_message_fini(&message);
    }
    dj_tenant_root_fini(&root);
    dj_kinds_destroy(kinds);
    return 0;
}
