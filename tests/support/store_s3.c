/* support/store_s3.c - the S3 tier behind a line protocol, for tests/integration/test_store_s3.py.
 *
 *   store_s3 NAME=VALUE...         the options of store/s3.h
 *   stdin:  one command a line     stdout: one JSON object for each
 *
 *   put T ID VERSION KIND BYTES TTL_MS   get T ID        remove T ID VERSION|any    clear T
 *   list T (every piece)                 fill T COUNT    race T ID COUNT            probe   stats
 *   leave (the loop does)
 *
 * clock_offset_s=SECONDS: this program's clock is wrong by that much (linked with --wrap).
 * T and ID are small numbers. A body is BYTES of noise made from ID and VERSION, so that get can
 * say whether it is the right one.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/num.h"
#include "loop/loop.h"
#include "store/s3.h"

enum { WORDS_MAX = 8, LINE_BYTES = 4096, FILL_AT_ONCE = 64 };

int __real_clock_gettime(clockid_t clock, struct timespec *out_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out_time);
static time_t clock_offset_s;

int __wrap_clock_gettime(clockid_t clock, struct timespec *out_time)
{
    int code = __real_clock_gettime(clock, out_time);
    if (clock == CLOCK_REALTIME)
        out_time->tv_sec += clock_offset_s;
    return code;
}

struct driver {
    struct dj_loop *loop;
    struct dj_pool *pool;
    struct dj_store *store;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
    /* the command */
    char line[LINE_BYTES];
    char *words[WORDS_MAX];
    size_t count;
    uint32_t running;
    uint64_t next;
    uint64_t total;
    uint64_t seen;
    uint64_t pieces;
    enum deja_status failure;
    struct dj_store_page page;
};

static uint64_t number(const struct driver *driver, size_t index)
{
    uint64_t value = 0;
    if (index >= driver->count ||
        dj_num_parse_u64(deja_slice_text(driver->words[index]), &value) != DEJA_OK)
        return 0;
    return value;
}

static struct dj_store_key key_of(uint64_t tenant, uint64_t id)
{
    struct dj_store_key key = {{0}, {0}};
    for (size_t i = 0; i < 8; i++) {
        key.tenant[i] = (uint8_t)(tenant >> (8 * i));
        key.id[15 - i] = (uint8_t)(id >> (8 * i));
    }
    return key;
}

static void fill_noise(char *body, size_t bytes, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < bytes; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        body[i] = (char)x;
    }
}

static uint64_t seed_of(uint64_t id, uint64_t version)
{
    return id * 1000003 + version;
}

static struct dj_value *value_of(const struct driver *driver, uint64_t tenant, uint64_t id,
                                 uint64_t version, uint64_t kind, size_t bytes, uint64_t ttl_ms)
{
    struct dj_store_key key = key_of(tenant, id);
    char *body = dj_alloc(bytes + 1);
    assert(body);
    fill_noise(body, bytes, seed_of(id, version));
    struct dj_entry entry = {.version = version,
                             .kind = (uint8_t)kind,
                             .created_ms = dj_loop_now_ms(driver->loop),
                             .body = deja_slice(body, bytes)};
    entry.expires_ms = ttl_ms ? entry.created_ms + (int64_t)ttl_ms : 0;
    memcpy(entry.tenant, key.tenant, DJ_ID_BYTES);
    memcpy(entry.id, key.id, DJ_ID_BYTES);
    struct dj_value *value = NULL;
    enum deja_status status = dj_value_create(&entry, &value);
    assert(status == DEJA_OK);
    dj_free(body);
    return value;
}

static bool is_right(const struct dj_entry *entry, uint64_t id)
{
    char *body = dj_alloc(entry->body.len + 1);
    assert(body);
    fill_noise(body, entry->body.len, seed_of(id, entry->version));
    bool is_same = memcmp(body, entry->body.data ? entry->body.data : "", entry->body.len) == 0;
    dj_free(body);
    return is_same;
}

/* The fault is the tier's own words, quotes and backslashes taken out. */
static void print_result(struct driver *driver, enum deja_status status, const char *more)
{
    struct deja_error fault = {""};
    dj_s3_fault(driver->store, &fault);
    for (char *at = fault.message; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < 0x20)
            *at = '\'';
    printf("{\"status\": \"%s\", \"fault\": \"%s\"%s}\n", deja_status_name(status), fault.message,
           more);
    fflush(stdout);
    pthread_mutex_lock(&driver->mutex);
    driver->is_done = true;
    pthread_cond_signal(&driver->cond);
    pthread_mutex_unlock(&driver->mutex);
}

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct driver *driver = ctx;
    char more[200] = ", \"found\": false";
    if (value) {
        const struct dj_entry *entry = dj_value_entry(value);
        snprintf(more, sizeof more,
                 ", \"found\": true, \"version\": %llu, \"bytes\": %zu, \"is_right\": %s",
                 (unsigned long long)entry->version, entry->body.len,
                 is_right(entry, number(driver, 2)) ? "true" : "false");
    }
    dj_value_unref(value);
    print_result(driver, status, more);
}

static void on_done(void *ctx, enum deja_status status, uint64_t removed)
{
    char more[64];
    snprintf(more, sizeof more, ", \"removed\": %llu", (unsigned long long)removed);
    print_result(ctx, status, more);
}

static void on_listed(void *ctx, enum deja_status status, uint64_t count)
{
    struct driver *driver = ctx;
    struct dj_store_page *page = &driver->page;
    uint64_t sum = 0;
    for (uint32_t i = 0; status == DEJA_OK && i < page->count; i++) {
        const struct dj_entry *entry = dj_value_entry(page->values[i]);
        for (size_t j = 8; j < DJ_ID_BYTES; j++)
            sum = sum * 256 + entry->id[j];
        driver->total += sum;
        sum = 0;
        dj_value_unref(page->values[i]);
    }
    driver->seen += count;
    driver->pieces++;
    struct dj_store_key key = key_of(number(driver, 1), 0);
    if (status == DEJA_OK && !page->is_last) {
        status = driver->store->ops->list(driver->store, driver->loop, key.tenant, page, driver,
                                          on_listed);
        if (status == DEJA_OK)
            return;
    }
    char more[120];
    snprintf(more, sizeof more, ", \"count\": %llu, \"pieces\": %llu, \"id_sum\": %llu",
             (unsigned long long)driver->seen, (unsigned long long)driver->pieces,
             (unsigned long long)driver->total);
    print_result(driver, status, more);
}

static void fill_on(struct driver *driver);

static void on_filled(void *ctx, enum deja_status status, uint64_t removed)
{
    struct driver *driver = ctx;
    (void)removed;
    driver->running--;
    if (status != DEJA_OK)
        driver->failure = status;
    fill_on(driver);
}

/* fill: ids 1 … COUNT at version 1; race: versions 1 … COUNT of one id, odd ones first. */
static void fill_on(struct driver *driver)
{
    bool is_race = driver->words[0][0] == 'r';
    uint64_t count = number(driver, is_race ? 3 : 2);
    while (driver->running < FILL_AT_ONCE && driver->next < count) {
        uint64_t n = ++driver->next;
        uint64_t version = is_race ? (n * 7 % count) + 1 : 1;
        uint64_t id = is_race ? number(driver, 2) : n;
        struct dj_value *value =
            value_of(driver, number(driver, 1), id, version, DJ_ENTRY_API, 40, 0);
        enum deja_status status =
            driver->store->ops->put(driver->store, driver->loop, value, NULL, 0, driver, on_filled);
        dj_value_unref(value);
        if (status == DEJA_OK)
            driver->running++;
        else
            driver->failure = status;
    }
    if (!driver->running)
        print_result(driver, driver->failure, "");
}

static void print_stats(struct driver *driver)
{
    struct dj_store_stats stats;
    char more[300];
    driver->store->ops->stats(driver->store, NULL, &stats);
    snprintf(more, sizeof more,
             ", \"expired\": %llu, \"corrupt\": %llu, \"dropped\": %llu, \"queued\": %llu, "
             "\"record_bytes\": %llu, \"plain_bytes\": %llu",
             (unsigned long long)stats.expired, (unsigned long long)stats.corrupt,
             (unsigned long long)stats.dropped, (unsigned long long)stats.queued,
             (unsigned long long)stats.record_bytes, (unsigned long long)stats.plain_bytes);
    print_result(driver, DEJA_OK, more);
}

static enum deja_status begin(struct driver *driver)
{
    struct dj_store *store = driver->store;
    struct dj_loop *loop = driver->loop;
    const char *word = driver->words[0];
    struct dj_store_key key = key_of(number(driver, 1), number(driver, 2));
    if (strcmp(word, "get") == 0)
        return store->ops->get(store, loop, &key, driver, on_got);
    if (strcmp(word, "probe") == 0)
        return store->ops->probe(store, loop, driver, on_got);
    if (strcmp(word, "put") == 0) {
        struct dj_value *value =
            value_of(driver, number(driver, 1), number(driver, 2), number(driver, 3),
                     number(driver, 4), (size_t)number(driver, 5), number(driver, 6));
        enum deja_status status = store->ops->put(store, loop, value, NULL, 0, driver, on_done);
        dj_value_unref(value);
        return status;
    }
    if (strcmp(word, "remove") == 0) {
        bool is_any = driver->count > 3 && strcmp(driver->words[3], "any") == 0;
        return store->ops->remove(store, loop, &key, is_any ? UINT64_MAX : number(driver, 3),
                                  driver, on_done);
    }
    if (strcmp(word, "clear") == 0)
        return store->ops->clear(store, loop, key.tenant, driver, on_done);
    if (strcmp(word, "list") == 0) {
        driver->page = (struct dj_store_page){.count = 0};
        return store->ops->list(store, loop, key.tenant, &driver->page, driver, on_listed);
    }
    if (strcmp(word, "fill") == 0 || strcmp(word, "race") == 0) {
        fill_on(driver);
        return DEJA_OK;
    }
    if (strcmp(word, "leave") == 0) {
        store->ops->leave(store, loop);
        print_result(driver, DEJA_OK, "");
        return DEJA_OK;
    }
    print_stats(driver);
    return DEJA_OK;
}

static void on_command(void *ctx)
{
    struct driver *driver = ctx;
    driver->next = driver->total = driver->seen = driver->pieces = driver->running = 0;
    driver->failure = DEJA_OK;
    enum deja_status status = begin(driver);
    if (status != DEJA_OK)
        print_result(driver, status, "");
}

static void *run_loop(void *ctx)
{
    dj_loop_run(ctx);
    return NULL;
}

static void leave(void *ctx)
{
    struct driver *driver = ctx;
    driver->store->ops->leave(driver->store, driver->loop);
}

static bool take_option(struct dj_s3_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"endpoint", &options->endpoint},
                 {"region", &options->region},
                 {"bucket", &options->bucket},
                 {"prefix", &options->prefix},
                 {"credentials_file", &options->credentials_file},
                 {"profile", &options->profile},
                 {"encryption", &options->encryption},
                 {"storage_class", &options->storage_class},
                 {"ca_file", &options->ca_file}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].text = value;
            return true;
        }
    uint64_t amount = 0;
    enum deja_status status = dj_num_parse_u64(deja_slice_text(value), &amount);
    if (strcmp(name, "access_key") == 0)
        options->identity.access_key = deja_slice_text(value);
    else if (strcmp(name, "secret_key") == 0)
        options->identity.secret_key = deja_slice_text(value);
    else if (strcmp(name, "token") == 0)
        options->identity.token = deja_slice_text(value);
    else if (status != DEJA_OK)
        return false;
    else if (strcmp(name, "style") == 0)
        options->style = (enum dj_s3_style)amount;
    else if (strcmp(name, "kinds") == 0)
        options->kinds = (uint32_t)amount;
    else if (strcmp(name, "tags") == 0)
        options->has_kind_tags = amount != 0;
    else if (strcmp(name, "ttl_ms") == 0)
        options->ttl_ms = amount;
    else if (strcmp(name, "tombstone_ttl_ms") == 0)
        options->tombstone_ttl_ms = amount;
    else if (strcmp(name, "clock_offset_s") == 0)
        clock_offset_s = (time_t)amount;
    else if (strcmp(name, "bytes_max") == 0)
        options->bytes_max = amount;
    else if (strcmp(name, "timeout_ms") == 0)
        options->timeout_ms = (uint32_t)amount;
    else
        return false;
    return true;
}

static void split(struct driver *driver)
{
    char *at = driver->line;
    driver->count = 0;
    while (driver->count < WORDS_MAX) {
        at += strspn(at, " \n");
        if (!*at)
            return;
        driver->words[driver->count++] = at;
        at += strcspn(at, " \n");
        if (*at)
            *at++ = '\0';
    }
}

static void serve(struct driver *driver)
{
    struct dj_task task = {.run = on_command, .ctx = driver};
    while (fgets(driver->line, sizeof driver->line, stdin)) {
        split(driver);
        if (!driver->count)
            continue;
        driver->is_done = false;
        dj_loop_post(driver->loop, &task);
        pthread_mutex_lock(&driver->mutex);
        while (!driver->is_done)
            pthread_cond_wait(&driver->cond, &driver->mutex);
        pthread_mutex_unlock(&driver->mutex);
    }
}

int main(int argc, char **argv)
{
    static struct driver driver;
    struct dj_s3_options options = dj_s3_options_default;
    struct deja_error error = {""};
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals || (*equals = '\0', !take_option(&options, argv[i], equals + 1))) {
            fprintf(stderr, "store_s3: what is %s?\n", argv[i]);
            return 2;
        }
    }
    pthread_mutex_init(&driver.mutex, NULL);
    pthread_cond_init(&driver.cond, NULL);
    enum deja_status status = dj_loop_create(0, &driver.loop);
    assert(status == DEJA_OK);
    status = dj_pool_create("pool", 2, 256, &driver.pool);
    assert(status == DEJA_OK);
    options.pool = driver.pool;
    status = dj_s3_open(&options, &driver.store, &error);
    if (status == DEJA_OK) {
        pthread_t thread;
        int code = pthread_create(&thread, NULL, run_loop, driver.loop);
        assert(code == 0);
        serve(&driver);
        struct dj_task task = {.run = leave, .ctx = &driver};
        dj_loop_post(driver.loop, &task);
        dj_loop_stop(driver.loop);
        pthread_join(thread, NULL);
        driver.store->ops->close(driver.store);
    } else {
        for (char *at = error.message; *at; at++)
            if (*at == '"')
                *at = '\'';
        printf("{\"status\": \"%s\", \"fault\": \"%s\"}\n", deja_status_name(status),
               error.message);
    }
    dj_loop_destroy(driver.loop);
    dj_pool_destroy(driver.pool);
    return 0;
}
