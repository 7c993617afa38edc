/* support/redis_driver.c - the Valkey/Redis tier over its table, for tests against real servers.
 *
 * redis_driver NAME=VALUE...: options of the store (see set_option). Then one command a line on
 * standard input, one line of answer each: "ok …", "hit …", "miss", "error STATUS".
 * Tenants and entries are small numbers; a body is a word, or @N for N bytes.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "store/redis.h"

enum { WORDS_MAX = 8 };

struct driver {
    struct dj_store *store;
    struct dj_loop *loop;
    pthread_t thread;
    const struct dj_redis_options *options;
    char *words[WORDS_MAX];
    size_t word_count;
    struct dj_task task;
    struct dj_buf answer;
    uint32_t left; /* gets under way */
    uint32_t hits;
    uint32_t errors;
    uint64_t begun_us;
    struct dj_store_page page;
    uint32_t round; /* of bench */
    uint64_t *times_us;
    bool is_done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static uint64_t number(const struct driver *driver, size_t index)
{
    uint64_t value = 0;
    if (index >= driver->word_count)
        return 0;
    if (strcmp(driver->words[index], "any") == 0)
        return UINT64_MAX;
    enum deja_status status = dj_num_parse_u64(deja_slice_text(driver->words[index]), &value);
    assert(status == DEJA_OK);
    return value;
}

static struct dj_store_key key_at(const struct driver *driver, size_t index)
{
    struct dj_store_key key = {{0}, {0}};
    uint32_t tenant = (uint32_t)number(driver, index);
    uint32_t id = (uint32_t)number(driver, index + 1);
    memcpy(key.tenant, &tenant, sizeof tenant);
    memcpy(key.id, &id, sizeof id);
    return key;
}

static void finish(struct driver *driver)
{
    pthread_mutex_lock(&driver->mutex);
    driver->is_done = true;
    pthread_cond_signal(&driver->cond);
    pthread_mutex_unlock(&driver->mutex);
}

static void answer_status(struct driver *driver, enum deja_status status)
{
    if (status == DEJA_OK)
        dj_buf_append_text(&driver->answer, "ok");
    else
        dj_buf_append_format(&driver->answer, "error %s", deja_status_name(status));
}

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct driver *driver = ctx;
    if (status != DEJA_OK) {
        answer_status(driver, status);
    } else if (!value) {
        dj_buf_append_text(&driver->answer, "miss");
    } else {
        const struct dj_entry *entry = dj_value_entry(value);
        size_t shown = entry->body.len < 64 ? entry->body.len : 0; /* a made one is any bytes */
        dj_buf_append_format(&driver->answer, "hit %llu %zu ", (unsigned long long)entry->version,
                             entry->body.len);
        dj_buf_append(&driver->answer, entry->body.data, shown);
    }
    dj_value_unref(value);
    finish(driver);
}

static void on_done(void *ctx, enum deja_status status, uint64_t count)
{
    struct driver *driver = ctx;
    answer_status(driver, status);
    if (status == DEJA_OK)
        dj_buf_append_format(&driver->answer, " %llu", (unsigned long long)count);
    finish(driver);
}

static void on_listed(void *ctx, enum deja_status status, uint64_t count)
{
    struct driver *driver = ctx;
    (void)count;
    answer_status(driver, status);
    if (status == DEJA_OK)
        dj_buf_append_text(&driver->answer, driver->page.is_last ? " last" : " more");
    for (uint32_t i = 0; status == DEJA_OK && i < driver->page.count; i++) {
        uint32_t id = 0;
        memcpy(&id, dj_value_entry(driver->page.values[i])->id, sizeof id);
        dj_buf_append_format(&driver->answer, " %u", id);
        dj_value_unref(driver->page.values[i]);
    }
    finish(driver);
}

static void on_raised(void *ctx, enum deja_status status, uint64_t generation)
{
    on_done(ctx, status, generation);
}

static void on_counter(void *ctx, const struct dj_store_generation *counter)
{
    struct driver *driver = ctx;
    uint32_t tenant = 0;
    memcpy(&tenant, counter->tenant, sizeof tenant);
    dj_buf_append_format(&driver->answer, "%u/%.*s=%llu ", tenant, (int)counter->tag.len,
                         counter->tag.len ? counter->tag.data : "",
                         (unsigned long long)counter->generation);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    on_done(ctx, status, is_held ? 1 : 0);
}

/* ---- several at once, and one after another with a clock ---- */

static void on_one_of_many(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct driver *driver = ctx;
    driver->hits += value ? 1 : 0;
    driver->errors += status != DEJA_OK ? 1 : 0;
    dj_value_unref(value);
    if (--driver->left > 0)
        return;
    dj_buf_append_format(&driver->answer, "ok hits %u errors %u", driver->hits, driver->errors);
    finish(driver);
}

/* gets TENANT FIRST COUNT: all in one turn of the loop */
static void run_gets(struct driver *driver)
{
    uint32_t count = (uint32_t)number(driver, 3);
    driver->hits = driver->errors = 0;
    driver->left = count;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct dj_store_key key = key_at(driver, 1);
        uint32_t id = (uint32_t)number(driver, 2) + i;
        memcpy(key.id, &id, sizeof id);
        if (driver->store->ops->get(driver->store, driver->loop, &key, driver, on_one_of_many) !=
            DEJA_OK)
            refused++;
    }
    driver->errors += refused;
    driver->left -= refused;
    if (driver->left == 0) {
        dj_buf_append_format(&driver->answer, "ok hits 0 errors %u", refused);
        finish(driver);
    }
}

static void next_round(struct driver *driver);

static void on_round(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct driver *driver = ctx;
    dj_value_unref(value);
    driver->times_us[driver->round++] = dj_loop_monotonic_us(driver->loop) - driver->begun_us;
    driver->errors += status != DEJA_OK ? 1 : 0;
    next_round(driver);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void next_round(struct driver *driver)
{
    uint32_t count = (uint32_t)number(driver, 3);
    struct dj_store_key key = key_at(driver, 1);
    enum deja_status status = DEJA_OK;
    if (driver->round < count) {
        driver->begun_us = dj_loop_monotonic_us(driver->loop);
        status = driver->store->ops->get(driver->store, driver->loop, &key, driver, on_round);
        if (status == DEJA_OK)
            return;
    }
    qsort(driver->times_us, driver->round, sizeof *driver->times_us, compare_times);
    dj_buf_append_format(&driver->answer, "ok median_us %llu errors %u",
                         driver->round ? (unsigned long long)driver->times_us[driver->round / 2]
                                       : 0ull,
                         driver->errors + (status != DEJA_OK));
    finish(driver);
}

/* ---- commands ---- */

static struct dj_value *value_of(struct driver *driver)
{
    struct dj_store_key key = key_at(driver, 1);
    const char *body = driver->words[4];
    char *made = NULL;
    struct dj_entry entry = {
        .version = number(driver, 3), .kind = DJ_ENTRY_API, .created_ms = dj_clock_now_ms()};
    memcpy(entry.tenant, key.tenant, sizeof entry.tenant);
    memcpy(entry.id, key.id, sizeof entry.id);
    entry.body = deja_slice_text(body);
    if (body[0] == '@') {
        uint64_t len = 0;
        enum deja_status status = dj_num_parse_u64(deja_slice_text(body + 1), &len);
        assert(status == DEJA_OK);
        made = dj_alloc((size_t)len + 1);
        assert(made);
        dj_random_bytes(made, (size_t)len);
        entry.body = deja_slice(made, (size_t)len);
    }
    if (driver->word_count > 5)
        entry.expires_ms = dj_clock_now_ms() + (int64_t)number(driver, 5);
    struct dj_value *value = NULL;
    enum deja_status status = dj_value_create(&entry, &value);
    assert(status == DEJA_OK);
    dj_free(made);
    return value;
}

static void fill_token(const struct driver *driver, uint8_t out_token[16])
{
    memset(out_token, 0, 16);
    size_t len = strlen(driver->words[3]);
    memcpy(out_token, driver->words[3], len < 16 ? len : 16);
}

static enum deja_status begin_put(struct driver *driver)
{
    struct dj_value *value = value_of(driver);
    enum deja_status status =
        driver->store->ops->put(driver->store, driver->loop, value, NULL, 0, driver, on_done);
    dj_value_unref(value);
    return status;
}

static enum deja_status begin(struct driver *driver)
{
    struct dj_store *store = driver->store;
    struct dj_loop *loop = driver->loop;
    const char *word = driver->words[0];
    struct dj_store_key key = {{0}, {0}};
    uint8_t token[16];
    if (strcmp(word, "probe") != 0 && strcmp(word, "pull") != 0)
        key = key_at(driver, 1);
    if (strcmp(word, "get") == 0)
        return store->ops->get(store, loop, &key, driver, on_got);
    if (strcmp(word, "put") == 0)
        return begin_put(driver);
    if (strcmp(word, "remove") == 0)
        return store->ops->remove(store, loop, &key, number(driver, 3), driver, on_done);
    if (strcmp(word, "clear") == 0)
        return store->ops->clear(store, loop, key.tenant, driver, on_done);
    if (strcmp(word, "list") == 0)
        return store->ops->list(store, loop, key.tenant, &driver->page, driver, on_listed);
    if (strcmp(word, "probe") == 0)
        return store->ops->probe(store, loop, driver, on_got);
    if (strcmp(word, "pull") == 0)
        return store->ops->pull(store, loop, number(driver, 1), driver, on_counter, on_raised);
    fill_token(driver, token);
    if (strcmp(word, "lock") == 0)
        return store->ops->lock(store, loop, &key, token, (uint32_t)number(driver, 4), driver,
                                on_locked);
    assert(strcmp(word, "unlock") == 0);
    return store->ops->unlock(store, loop, &key, token, driver, on_done);
}

static enum deja_status begin_raise(struct driver *driver)
{
    uint8_t tenant[DJ_ID_BYTES] = {0};
    uint32_t name = (uint32_t)number(driver, 1);
    memcpy(tenant, &name, sizeof name);
    struct deja_slice tag = deja_slice_text(driver->word_count > 2 ? driver->words[2] : "");
    return driver->store->ops->raise(driver->store, driver->loop, tenant, tag, driver, on_raised);
}

static void on_command(void *ctx)
{
    struct driver *driver = ctx;
    const char *word = driver->words[0];
    enum deja_status status = DEJA_OK;
    if (strcmp(word, "gets") == 0) {
        run_gets(driver);
        return;
    }
    if (strcmp(word, "bench") == 0) {
        driver->round = driver->errors = 0;
        next_round(driver);
        return;
    }
    if (strcmp(word, "list") == 0 && number(driver, 2) == 0)
        driver->page = (struct dj_store_page){.count = 0};
    status = strcmp(word, "raise") == 0 ? begin_raise(driver) : begin(driver);
    if (status == DEJA_OK)
        return;
    answer_status(driver, status);
    finish(driver);
}

static void on_leave(void *ctx)
{
    struct driver *driver = ctx;
    driver->store->ops->leave(driver->store, driver->loop);
    dj_loop_stop(driver->loop);
}

/* ---- commands that need no loop ---- */

static void look(struct driver *driver)
{
    struct dj_redis_security security = {0};
    struct deja_error error = {.message = ""};
    enum deja_status status = dj_redis_look(driver->options, 5000, &security, &error);
    answer_status(driver, status);
    if (status != DEJA_OK) {
        dj_buf_append_format(&driver->answer, " %s", error.message);
        return;
    }
    dj_buf_append_format(&driver->answer, " tls=%d auth=%d user=%s software=%s", security.is_tls,
                         security.is_authenticated, security.user, security.software);
    for (size_t i = 0; i < security.advice_count; i++)
        dj_buf_append_format(&driver->answer, " | %s", security.advice[i].fault);
}

static void secret(struct driver *driver)
{
    uint8_t mine[32];
    uint8_t shared[32];
    char hex[65];
    struct deja_error error = {.message = ""};
    memset(mine, driver->words[1][0], sizeof mine);
    enum deja_status status = dj_redis_adopt_secret(driver->options, 5000, mine, shared, &error);
    answer_status(driver, status);
    if (status == DEJA_OK)
        dj_hex_encode(shared, sizeof shared, hex);
    dj_buf_append_format(&driver->answer, " %s", status == DEJA_OK ? hex : error.message);
}

static bool run_here(struct driver *driver)
{
    const char *word = driver->words[0];
    if (strcmp(word, "stats") == 0) {
        struct dj_store_stats stats;
        driver->store->ops->stats(driver->store, NULL, &stats);
        dj_buf_append_format(&driver->answer, "ok entries %llu bytes %llu corrupt %llu queued %llu",
                             (unsigned long long)stats.entries, (unsigned long long)stats.bytes,
                             (unsigned long long)stats.corrupt, (unsigned long long)stats.queued);
        return true;
    }
    if (strcmp(word, "trouble") == 0) {
        struct deja_error trouble;
        dj_redis_trouble(driver->store, &trouble);
        dj_buf_append_format(&driver->answer, "ok %s", trouble.message);
        return true;
    }
    if (strcmp(word, "look") == 0)
        look(driver);
    else if (strcmp(word, "secret") == 0)
        secret(driver);
    else
        return false;
    return true;
}

static void run(struct driver *driver)
{
    dj_buf_clear(&driver->answer);
    if (!run_here(driver)) {
        driver->is_done = false;
        driver->task = (struct dj_task){.run = on_command, .ctx = driver};
        dj_loop_post(driver->loop, &driver->task);
        pthread_mutex_lock(&driver->mutex);
        while (!driver->is_done)
            pthread_cond_wait(&driver->cond, &driver->mutex);
        pthread_mutex_unlock(&driver->mutex);
    }
    dj_buf_append_byte(&driver->answer, '\n');
    fwrite(driver->answer.data, 1, driver->answer.len, stdout);
    fflush(stdout);
}

/* ---- start ---- */

static void set_option(struct dj_redis_options *options, struct dj_redis_address *addresses,
                       char *text)
{
    char *value = strchr(text, '=');
    assert(value);
    *value++ = '\0';
    const struct {
        const char *name;
        const char **member;
    } texts[] = {{"user", &options->user},
                 {"password", &options->password},
                 {"sentinel_password", &options->sentinel_password},
                 {"prefix", &options->prefix},
                 {"ca", &options->ca_file},
                 {"cert", &options->cert_file},
                 {"key", &options->key_file},
                 {"server_name", &options->server_name},
                 {"master", &options->master_name}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(text, texts[i].name) == 0)
            *texts[i].member = value;
    uint64_t amount = 0;
    bool is_amount = dj_num_parse_u64(deja_slice_text(value), &amount) == DEJA_OK;
    if (strcmp(text, "mode") == 0)
        options->mode = value[0] == 'c'                  ? DJ_REDIS_CLUSTER
                        : strcmp(value, "sentinel") == 0 ? DJ_REDIS_SENTINEL
                                                         : DJ_REDIS_STANDALONE;
    else if (strcmp(text, "address") == 0) {
        enum deja_status status =
            dj_redis_address_read(deja_slice_text(value), 0, &addresses[options->address_count++]);
        assert(status == DEJA_OK);
    } else if (is_amount && strcmp(text, "db") == 0)
        options->db = (uint32_t)amount;
    else if (is_amount && strcmp(text, "tls") == 0)
        options->is_tls = amount != 0;
    else if (is_amount && strcmp(text, "scriptless") == 0)
        options->is_scriptless = amount != 0;
    else if (is_amount && strcmp(text, "read_ms") == 0)
        options->read_ms = (uint32_t)amount;
    else if (is_amount && strcmp(text, "dial_ms") == 0)
        options->dial_ms = (uint32_t)amount;
    else if (is_amount && strcmp(text, "ttl_ms") == 0)
        options->ttl_ms = amount;
    else if (is_amount && strcmp(text, "tombstone_ms") == 0)
        options->tombstone_ms = (uint32_t)amount;
    else if (is_amount && strcmp(text, "connections_max") == 0)
        options->connections_max = (uint32_t)amount;
    else if (is_amount && strcmp(text, "queue_max") == 0)
        options->queue_max = (uint32_t)amount;
    else if (is_amount && strcmp(text, "record_bytes_max") == 0)
        options->record_bytes_max = amount;
}

static void *run_loop(void *ctx)
{
    dj_loop_run(ctx);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct driver driver;
    static struct dj_redis_address addresses[DJ_REDIS_SEEDS_MAX];
    struct dj_redis_options options = {.addresses = addresses, .loop_count = 1, .idle_min = 1};
    struct deja_error error = {.message = ""};
    char line[4096];
    for (int i = 1; i < argc; i++)
        set_option(&options, addresses, argv[i]);
    driver.options = &options;
    driver.times_us = dj_alloc_zeroed(1000000, sizeof *driver.times_us);
    if (dj_redis_open(&options, &driver.store, &error) != DEJA_OK ||
        dj_loop_create(0, &driver.loop) != DEJA_OK || !driver.times_us) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    pthread_mutex_init(&driver.mutex, NULL);
    pthread_cond_init(&driver.cond, NULL);
    int code = pthread_create(&driver.thread, NULL, run_loop, driver.loop);
    assert(code == 0);
    while (fgets(line, sizeof line, stdin)) {
        char *rest = line;
        driver.word_count = 0;
        line[strcspn(line, "\n")] = '\0';
        for (char *word; driver.word_count < WORDS_MAX && (word = strsep(&rest, " "));)
            driver.words[driver.word_count++] = word;
        run(&driver);
    }
    driver.task = (struct dj_task){.run = on_leave, .ctx = &driver};
    dj_loop_post(driver.loop, &driver.task);
    pthread_join(driver.thread, NULL);
    driver.store->ops->close(driver.store);
    dj_loop_destroy(driver.loop);
    dj_buf_fini(&driver.answer);
    dj_free(driver.times_us);
    return 0;
}
