#include "library.h"

#include <deja/kv.h>

#include <math.h>
#include <stdlib.h>

/* ---- a store in an array ---- */

enum { SLOTS = 32 };

struct slot {
    bool is_used;
    uint8_t key[DEJA_STORE_KEY_BYTES];
    char *bytes;
    size_t len;
};

struct array {
    pthread_mutex_t mutex;
    struct slot slots[SLOTS];
    enum deja_status status; /* of every call while not DEJA_OK */
    int closed;
    bool is_spoilt;  /* get gives a byte that is not what was put */
    bool is_swapped; /* get gives the next entry's bytes */
};

static void array_init(struct array *array)
{
    *array = (struct array){.closed = 0};
    pthread_mutex_init(&array->mutex, NULL);
}

static void array_fini(struct array *array)
{
    for (int i = 0; i < SLOTS; i++)
        free(array->slots[i].bytes);
    pthread_mutex_destroy(&array->mutex);
}

static struct slot *find(struct array *array, const uint8_t *key)
{
    for (int i = 0; i < SLOTS; i++)
        if (array->slots[i].is_used && memcmp(array->slots[i].key, key, DEJA_STORE_KEY_BYTES) == 0)
            return &array->slots[i];
    return NULL;
}

static enum deja_status array_get(void *ctx, const uint8_t *key, struct deja_store_sink *sink)
{
    struct array *array = ctx;
    pthread_mutex_lock(&array->mutex);
    struct slot *slot = find(array, key);
    enum deja_status status = array->status;
    if (slot && status == DEJA_OK) {
        const struct slot *given = array->is_swapped ? slot + 1 : slot;
        if (array->is_spoilt)
            slot->bytes[slot->len / 2] ^= 1;
        status = deja_store_give(sink, key, deja_slice(given->bytes, given->len));
        if (array->is_spoilt)
            slot->bytes[slot->len / 2] ^= 1;
    }
    pthread_mutex_unlock(&array->mutex);
    return status;
}

static enum deja_status array_put(void *ctx, const uint8_t *key, struct deja_slice record,
                                  int64_t expires_ms)
{
    struct array *array = ctx;
    assert_true(expires_ms > 0);
    pthread_mutex_lock(&array->mutex);
    enum deja_status status = array->status;
    struct slot *slot = find(array, key);
    for (int i = 0; i < SLOTS && !slot; i++)
        if (!array->slots[i].is_used)
            slot = &array->slots[i];
    assert_non_null(slot);
    if (status == DEJA_OK) {
        free(slot->bytes);
        slot->bytes = malloc(record.len);
        assert_non_null(slot->bytes);
        memcpy(slot->bytes, record.data, record.len);
        memcpy(slot->key, key, sizeof slot->key);
        slot->len = record.len;
        slot->is_used = true;
    }
    pthread_mutex_unlock(&array->mutex);
    return status;
}

static enum deja_status array_remove(void *ctx, const uint8_t *key, uint64_t *out_count)
{
    struct array *array = ctx;
    pthread_mutex_lock(&array->mutex);
    struct slot *slot = find(array, key);
    if (slot) {
        slot->is_used = false;
        *out_count = 1;
    }
    pthread_mutex_unlock(&array->mutex);
    return array->status;
}

static enum deja_status array_clear(void *ctx, const uint8_t *tenant, uint64_t *out_count)
{
    struct array *array = ctx;
    pthread_mutex_lock(&array->mutex);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &array->slots[i];
        if (slot->is_used && memcmp(slot->key, tenant, DEJA_TENANT_BYTES) == 0) {
            slot->is_used = false;
            (*out_count)++;
        }
    }
    pthread_mutex_unlock(&array->mutex);
    return array->status;
}

static enum deja_status array_walk(void *ctx, struct deja_store_sink *sink)
{
    struct array *array = ctx;
    enum deja_status status = DEJA_OK;
    for (int i = 0; i < SLOTS && status == DEJA_OK; i++) {
        const struct slot *slot = &array->slots[i];
        if (slot->is_used)
            status = deja_store_give(sink, slot->key, deja_slice(slot->bytes, slot->len));
    }
    return status;
}

static void array_close(void *ctx)
{
    struct array *array = ctx;
    array->closed++;
}

static const struct deja_store_ops array_ops = {
    .struct_bytes = sizeof array_ops,
    .get = array_get,
    .put = array_put,
    .remove = array_remove,
    .clear = array_clear,
    .walk = array_walk,
    .close = array_close,
};

static const uint8_t secret[DEJA_SECRET_BYTES] = "a secret of a test, 32 bytes...";

static struct deja *open_on(struct array *array)
{
    struct deja_options options;
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.store = &array_ops;
    options.store_ctx = array;
    options.secret = secret;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    return deja;
}

static void callers_store_keeps_entries_over_a_restart(void **state)
{
    (void)state;
    struct array array;
    array_init(&array);
    struct deja *deja = open_on(&array);
    put(deja, STORED, "kept");
    deja_close(deja);
    assert_int_equal(array.closed, 1);
    deja = open_on(&array);
    struct deja_query query = query_of(REWORDED);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), DEJA_HIT_SEMANTIC);
    assert_string_equal(deja_answer_reason(answer), "store");
    assert_slice(deja_answer_body(answer), "kept");
    deja_answer_release(answer);
    deja_close(deja);
    array_fini(&array);
}

static void removed_and_cleared_leave_the_callers_store(void **state)
{
    (void)state;
    struct array array;
    struct deja_query query = query_of(STORED);
    uint64_t count = 0;
    array_init(&array);
    struct deja *deja = open_on(&array);
    put(deja, STORED, "an answer");
    put(deja, "another question", "an answer");
    assert_int_equal(deja_remove(deja, &query, &count), DEJA_OK);
    assert_int_equal(count, 1);
    deja_close(deja);
    deja = open_on(&array);
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    assert_int_equal(lookup_text(deja, "another question"), DEJA_HIT_EXACT);
    assert_int_equal(deja_clear(deja, NULL, NO_LIMIT_MS, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(lookup_text(deja, "another question"), DEJA_MISS);
    assert_int_equal(deja_invalidate(deja, NULL, deja_slice_text("tag"), 0, NULL),
                     DEJA_ERR_FEATURE_DISABLED);
    deja_close(deja);
    array_fini(&array);
}

static void cleared_entries_are_counted_once_wherever_they_were(void **state)
{
    (void)state;
    struct array array;
    struct deja_stats stats;
    uint64_t count = 0;
    array_init(&array);
    struct deja *deja = open_on(&array);
    put(deja, STORED, "an answer");
    put(deja, "another question", "an answer");
    deja_close(deja);
    deja = open_on(&array);
    put(deja, "in memory too", "an answer");
    assert_int_equal(deja_clear(deja, NULL, NO_LIMIT_MS, &count), DEJA_OK);
    assert_int_equal(count, 3);
    deja_stats_init(&stats);
    assert_int_equal(deja_stats(deja, NULL, &stats), DEJA_OK);
    assert_int_equal(stats.memory_entries, 0);
    deja_close(deja);
    for (int i = 0; i < SLOTS; i++)
        assert_false(array.slots[i].is_used);
    array_fini(&array);
}

static void sick_store_is_a_miss_and_a_put_says_so(void **state)
{
    (void)state;
    struct array array;
    array_init(&array);
    struct deja *deja = open_on(&array);
    struct deja_entry entry = entry_of("another question", "an answer");
    put(deja, STORED, "an answer");
    deja_close(deja);
    deja = open_on(&array);
    array.status = DEJA_ERR_IO;
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_CACHE_UNAVAILABLE);
    array.status = DEJA_ERR_CIRCUIT_OPEN;
    assert_int_equal(deja_put(deja, &entry, NULL), DEJA_ERR_CIRCUIT_OPEN);
    deja_close(deja);
    array_fini(&array);
}

static void damaged_and_misplaced_records_are_misses(void **state)
{
    (void)state;
    struct array array;
    array_init(&array);
    struct deja *deja = open_on(&array);
    put(deja, STORED, "an answer");
    put(deja, "another question", "another answer");
    deja_close(deja);
    deja = open_on(&array);
    array.is_spoilt = true;
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    array.is_spoilt = false;
    array.is_swapped = true;
    assert_int_equal(lookup_text(deja, STORED), DEJA_MISS);
    array.is_swapped = false;
    assert_int_equal(lookup_text(deja, STORED), DEJA_HIT_EXACT);
    deja_close(deja);
    array_fini(&array);
}

/* ---- an embedder that knows three meanings ---- */

struct toy {
    enum deja_status status;
    bool is_zero;
    int closed;
};

static bool has(struct deja_slice text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++)
        if (memcmp(text.data + i, word, len) == 0)
            return true;
    return false;
}

static enum deja_status toy_embed(void *ctx, const struct deja_slice *texts, size_t count,
                                  float *out)
{
    struct toy *toy = ctx;
    for (size_t i = 0; i < count; i++) {
        float *vector = out + 3 * i;
        vector[0] = toy->is_zero ? 0 : 0.1f;
        vector[1] = has(texts[i], "dog") || has(texts[i], "puppy") ? 5.0f : 0;
        vector[2] = has(texts[i], "car") || has(texts[i], "automobile") ? 5.0f : 0;
    }
    return toy->status;
}

static void toy_close(void *ctx)
{
    struct toy *toy = ctx;
    toy->closed++;
}

static struct deja_embedder_ops toy_ops(void)
{
    return (struct deja_embedder_ops){.struct_bytes = sizeof(struct deja_embedder_ops),
                                      .id = "toy:v1",
                                      .dim = 3,
                                      .embed = toy_embed,
                                      .close = toy_close};
}

static struct deja *open_toy(struct toy *toy)
{
    struct deja_embedder_ops ops = toy_ops();
    struct deja_options options;
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.embedder = &ops;
    options.embedder_ctx = toy;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    return deja;
}

static void callers_embedder_decides_what_is_alike(void **state)
{
    (void)state;
    struct toy toy = {.closed = 0};
    struct deja *deja = open_toy(&toy);
    assert_string_equal(deja_embedder_id(deja), "toy:v1");
    put(deja, "how do you feed a dog", "with food");
    assert_int_equal(lookup_text(deja, "what does a puppy eat"), DEJA_HIT_SEMANTIC);
    assert_int_equal(lookup_text(deja, "how do you wash an automobile"), DEJA_MISS);
    deja_close(deja);
    assert_int_equal(toy.closed, 1);
}

static void sick_embedder_is_a_miss(void **state)
{
    (void)state;
    struct toy toy = {.closed = 0};
    struct deja *deja = open_toy(&toy);
    put(deja, "how do you feed a dog", "with food");
    toy.status = DEJA_ERR_IO;
    assert_int_equal(lookup_text(deja, "what does a puppy eat"), DEJA_MISS);
    assert_int_equal(lookup_text(deja, "how do you feed a dog"), DEJA_HIT_EXACT);
    toy.status = DEJA_OK;
    toy.is_zero = true;
    assert_int_equal(lookup_text(deja, "where do fish live"), DEJA_MISS);
    deja_close(deja);
}

static size_t count_slots(const struct array *array)
{
    size_t count = 0;
    for (int i = 0; i < SLOTS; i++)
        count += array->slots[i].is_used;
    return count;
}

static struct deja_kv password_of(const char *key)
{
    struct deja_kv kv;
    deja_kv_init(&kv);
    kv.key = deja_slice_text(key);
    kv.body = deja_slice_text("{\"password\":\"letmein\"}");
    kv.timeout_ms = NO_LIMIT_MS;
    return kv;
}

static enum deja_status compute_password(void *ctx, struct deja_made *made)
{
    (void)ctx;
    deja_made_append(made, deja_slice_text("my password is hunter2-Tr0ub4dor"));
    return DEJA_OK;
}

/* It knows nothing of sealing, so it gets nothing that must be sealed; nor a copy of that. */
static void callers_store_gets_no_secrets(void **state)
{
    (void)state;
    struct array array;
    struct deja_kv kv = password_of("k");
    struct deja_answer *answer = NULL;
    int64_t number = 0;
    array_init(&array);
    struct deja *deja = open_on(&array);
    put(deja, "what is it", "my password is hunter2-Tr0ub4dor");
    assert_int_equal(lookup_text(deja, "what is it"), DEJA_HIT_EXACT);
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(deja_kv_expire(deja, &kv, NULL), DEJA_OK);
    struct deja_kv patch = password_of("k");
    patch.body = deja_slice_text("{\"more\":1}");
    assert_int_equal(deja_kv_merge(deja, &patch, NULL), DEJA_OK);
    struct deja_kv counter = password_of("password=hunter2-Tr0ub4dor");
    assert_int_equal(deja_kv_increment(deja, &counter, 2, &number), DEJA_OK);
    assert_int_equal(deja_kv_increment(deja, &counter, 2, &number), DEJA_OK);
    assert_int_equal(number, 4);
    struct deja_kv made = password_of("made");
    assert_int_equal(deja_kv_get_or_compute(deja, &made, NULL, compute_password, &answer), DEJA_OK);
    deja_answer_release(answer);
    assert_int_equal(deja_kv_expire(deja, &made, NULL), DEJA_OK);
    struct deja_query query = query_of("what is the other");
    assert_int_equal(deja_get_or_compute(deja, &query, NULL, compute_password, &answer), DEJA_OK);
    deja_answer_release(answer);
    assert_int_equal(lookup(deja, &query), DEJA_HIT_EXACT);
    assert_int_equal(count_slots(&array), 0);
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_slice(deja_answer_body(answer), "{\"password\":\"letmein\",\"more\":1}");
    deja_answer_release(answer);
    kv.metadata = deja_slice_text("any bytes");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_DENIED);
    kv.body = deja_slice_text("nothing of that kind");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_OK);
    assert_int_equal(count_slots(&array), 1);
    deja_close(deja);
    array_fini(&array);
}

static void incomplete_tables_are_refused_and_not_closed(void **state)
{
    (void)state;
    struct toy toy = {.closed = 0};
    struct array array;
    struct deja_options options;
    struct deja_error error;
    struct deja *deja = NULL;
    struct deja_embedder_ops ops = toy_ops();
    struct deja_store_ops store = array_ops;
    array_init(&array);
    deja_options_init(&options);
    options.embedder = &ops;
    options.embedder_ctx = &toy;
    ops.dim = 0;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    ops = toy_ops();
    ops.id = "two words";
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    ops = toy_ops();
    options.store = &store;
    options.store_ctx = &array;
    store.get = NULL;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "get"));
    store.get = array_get;
    options.data_dir = "/tmp";
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_int_equal(toy.closed + array.closed, 0);
    array_fini(&array);
}

static void plugins_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct toy toy = {.closed = 0};
        struct array array;
        struct deja_options options;
        struct deja_embedder_ops ops = toy_ops();
        struct deja *deja = NULL;
        array_init(&array);
        deja_options_init(&options);
        options.embedder = &ops;
        options.embedder_ctx = &toy;
        options.store = &array_ops;
        options.store_ctx = &array;
        failing_malloc_arm(n);
        enum deja_status status = deja_open(&options, &deja, NULL);
        bool has_failed = failing_malloc_disarm();
        if (status == DEJA_OK)
            deja_close(deja);
        assert_int_equal(toy.closed, status == DEJA_OK ? 1 : 0);
        assert_int_equal(array.closed, status == DEJA_OK ? 1 : 0);
        array_fini(&array);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_store_keeps_entries_over_a_restart),
        cmocka_unit_test(removed_and_cleared_leave_the_callers_store),
        cmocka_unit_test(cleared_entries_are_counted_once_wherever_they_were),
        cmocka_unit_test(sick_store_is_a_miss_and_a_put_says_so),
        cmocka_unit_test(damaged_and_misplaced_records_are_misses),
        cmocka_unit_test(callers_embedder_decides_what_is_alike),
        cmocka_unit_test(sick_embedder_is_a_miss),
        cmocka_unit_test(callers_store_gets_no_secrets),
        cmocka_unit_test(incomplete_tables_are_refused_and_not_closed),
        cmocka_unit_test(plugins_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
