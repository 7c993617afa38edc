/* kinds.c - a kind of your own: how long its keys live, and the event that makes them void.
 *
 *     cc kinds.c -o kinds $(pkg-config --cflags --libs deja)
 */
#include <inttypes.h>
#include <stdio.h>

#include <deja/kv.h>

static const struct deja_kind_setting settings[] = {
    {"invoice", "pattern", "invoice:{invoice_id}"},
    {"invoice", "ttl", "2d"},
    {"invoice", "tags", "invoice:{invoice_id}"},
    {"invoice", "events", "invoice:paid"},
};

static struct deja_kv kv_of(const char *key, const char *version, const char *body)
{
    struct deja_kv kv;
    deja_kv_init(&kv);
    kv.key = deja_slice_text(key);
    kv.version_name = deja_slice_text(version);
    kv.body = deja_slice_text(body);
    return kv;
}

static void show(struct deja *deja, const char *version)
{
    struct deja_kv kv = kv_of("invoice:7", version, "");
    struct deja_answer *answer;
    if (deja_kv_get(deja, &kv, &answer) != DEJA_OK)
        return;
    struct deja_slice body = deja_answer_body(answer);
    if (deja_answer_outcome(answer) == DEJA_MISS)
        printf("%s: not there\n", version);
    else
        printf("%s: %.*s\n", version, (int)body.len, body.data);
    deja_answer_release(answer);
}

int main(void)
{
    const struct deja_event_field paid = {deja_slice_text("invoice_id"), deja_slice_text("7")};
    struct deja_options options;
    struct deja_selection event;
    struct deja_error error;
    struct deja *deja;
    uint64_t ttl_ms = 0;
    uint64_t count = 0;

    deja_options_init(&options);
    options.kinds = settings;
    options.kind_count = sizeof settings / sizeof *settings;
    if (deja_open(&options, &deja, &error) != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message); /* names what is wrong with a kind */
        return 1;
    }

    struct deja_kv kv = kv_of("invoice:7", "draft", "100 EUR");
    int failed = deja_kv_set(deja, &kv, NULL) != DEJA_OK;
    kv = kv_of("invoice:7", "final", "120 EUR");
    failed |= deja_kv_set(deja, &kv, NULL) != DEJA_OK;
    failed |= deja_kv_ttl(deja, &kv, &ttl_ms) != DEJA_OK;
    printf("lives %" PRIu64 " hours\n", (ttl_ms + 3599999) / 3600000);
    show(deja, "draft");
    show(deja, "final");

    deja_selection_init(&event);
    event.event = deja_slice_text("invoice:paid");
    event.fields = &paid;
    event.field_count = 1;
    event.is_dry_run = true;
    failed |= deja_invalidate_selected(deja, &event, &count) != DEJA_OK;
    printf("%" PRIu64 " would go\n", count);
    event.is_dry_run = false;
    failed |= deja_invalidate_selected(deja, &event, NULL) != DEJA_OK;
    show(deja, "final");
    deja_close(deja);
    return failed;
}
