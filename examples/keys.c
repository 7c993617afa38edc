/* keys.c - plain keys beside the entries: set, get, count, merge, and being told of it.
 *
 *     cc keys.c -o keys $(pkg-config --cflags --libs deja)
 */
#include <inttypes.h>
#include <stdio.h>

#include <deja/kv.h>

static enum deja_status on_event(void *ctx, const struct deja_event *event)
{
    int *misses = ctx;
    if (event->kind == DEJA_ON_GET_MISS)
        (*misses)++;
    return DEJA_OK;
}

static struct deja_kv kv_of(const char *key, const char *body)
{
    struct deja_kv kv;
    deja_kv_init(&kv);
    kv.key = deja_slice_text(key);
    kv.body = deja_slice_text(body);
    return kv;
}

static void show(struct deja *deja, const char *key)
{
    struct deja_kv kv = kv_of(key, "");
    struct deja_answer *answer;
    if (deja_kv_get(deja, &kv, &answer) != DEJA_OK)
        return;
    struct deja_slice body = deja_answer_body(answer);
    if (deja_answer_outcome(answer) == DEJA_MISS)
        printf("%s: not there\n", key);
    else
        printf("%s: %.*s (%s)\n", key, (int)body.len, body.data, deja_answer_reason(answer));
    deja_answer_release(answer);
}

int main(void)
{
    struct deja_error error;
    struct deja *deja;
    struct deja_kv kv;
    uint64_t count = 0;
    int64_t visits = 0;
    int misses = 0;

    if (deja_open(NULL, &deja, &error) != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message);
        return 1;
    }
    int failed = deja_on(deja, DEJA_ON_GET_MISS, "count", &misses, on_event) != DEJA_OK;

    show(deja, "session:7");
    kv = kv_of("session:7", "{\"user\":7,\"cart\":[]}");
    kv.ttl_ms = 30 * 60 * 1000;
    failed |= deja_kv_set(deja, &kv, NULL) != DEJA_OK;
    kv = kv_of("session:7", "{\"cart\":[\"tea\"]}");
    failed |= deja_kv_merge(deja, &kv, NULL) != DEJA_OK; /* it lives on as it was to */
    show(deja, "session:7");

    kv = kv_of("visits", "");
    for (int i = 0; i < 3; i++)
        failed |= deja_kv_increment(deja, &kv, 1, &visits) != DEJA_OK;
    printf("visits: %" PRId64 "\n", visits);

    kv = kv_of("once", "first");
    kv.condition = DEJA_IF_ABSENT;
    failed |= deja_kv_set(deja, &kv, &count) != DEJA_OK;
    kv.body = deja_slice_text("second");
    failed |= deja_kv_set(deja, &kv, &count) != DEJA_OK;
    printf("the second was %s\n", count ? "set" : "not set");

    kv = kv_of("session:*", "");
    failed |= deja_kv_invalidate(deja, &kv, &count) != DEJA_OK;
    printf("%" PRIu64 " removed, %d missed\n", count, misses);
    deja_close(deja);
    return failed;
}
