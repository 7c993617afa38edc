/* api/resp_keys.c - names: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "base/map.h"
#include "base/num.h"
#include "policy/glob.h"

#define SCAN_COUNT_DEFAULT 10
#define PAGE 1000u

/* ---- SCAN ---- */

struct scanning {
    bool is_none; /* of another type: there are none */
};

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct dj_resp_client *client = ctx;
    const struct scanning *scanning = client->work;
    char text[DJ_NUM_U64_DIGITS_MAX];
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status != DEJA_OK) {
        dj_resp_put_failure(out, status);
    } else {
        count = scanning->is_none ? 0 : count;
        dj_resp_put_array(out, 2);
        dj_resp_put_bulk(out, deja_slice(text, dj_num_write_u64(cursor, text)));
        dj_resp_put_array(out, count);
        for (size_t i = 0; i < count; i++)
            dj_resp_put_bulk(out, dj_value_entry(values[i])->query);
    }
    dj_resp_reply_end(client);
}

struct scan_options {
    struct deja_slice pattern;
    int64_t count;
    bool is_none;
};

/* False: the error is in out. */
static bool read_scan(const struct dj_resp_args *args, struct scan_options *out_options,
                      struct dj_buf *out)
{
    *out_options = (struct scan_options){.count = SCAN_COUNT_DEFAULT};
    for (size_t i = 2; i < args->count; i += 2) {
        struct deja_slice word = args->items[i];
        if (i + 1 == args->count) {
            dj_resp_syntax_error(out);
            return false;
        }
        if (dj_resp_is(word, "count")) {
            if (!dj_resp_take_integer(args->items[i + 1], &out_options->count, out))
                return false;
            if (out_options->count < 1) {
                dj_resp_syntax_error(out);
                return false;
            }
        } else if (dj_resp_is(word, "match")) {
            out_options->pattern = args->items[i + 1];
        } else if (dj_resp_is(word, "type")) {
            out_options->is_none = !dj_resp_is(args->items[i + 1], "string");
        } else {
            dj_resp_syntax_error(out);
            return false;
        }
    }
    return true;
}

static bool check_pattern(struct deja_slice pattern, struct dj_buf *out)
{
    if (pattern.len <= DJ_GLOB_PATTERN_BYTES_MAX)
        return true;
    dj_resp_put_error(out, "ERR a pattern has at most %u bytes", DJ_GLOB_PATTERN_BYTES_MAX);
    return false;
}

/* "*" is no pattern, and costs none. */
static struct dj_plain_selector selector_of(struct deja_slice pattern)
{
    bool is_all = pattern.len == 1 && pattern.data[0] == '*';
    return (struct dj_plain_selector){.pattern = is_all ? deja_slice(NULL, 0) : pattern};
}

enum dj_resp_flow dj_resp_scan(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    uint64_t cursor = 0;
    struct scan_options options;
    if (dj_num_parse_u64(args->items[1], &cursor) != DEJA_OK) {
        dj_resp_put_error(out, "ERR invalid cursor");
        return DJ_RESP_ANSWERED;
    }
    if (!read_scan(args, &options, out) || !check_pattern(options.pattern, out))
        return DJ_RESP_ANSWERED;
    args = dj_resp_hold(client, args, out);
    struct scanning *scanning = args ? dj_resp_hold_alloc(client, sizeof *scanning, out) : NULL;
    if (!scanning)
        return DJ_RESP_ANSWERED;
    scanning->is_none = options.is_none;
    client->work = scanning;
    const struct dj_plain_selector selector = selector_of(options.pattern);
    uint32_t limit =
        options.count < (int64_t)DJ_PLAIN_PAGE_MAX ? (uint32_t)options.count : DJ_PLAIN_PAGE_MAX;
    enum deja_status status = dj_plain_scan(client->api->plain, client->loop, &client->space,
                                            &selector, cursor, limit, client, on_scanned);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

/* ---- KEYS ---- */

#define NAME_COST_BYTES 64u  /* of a name in the map, beside its bytes */
#define REPLY_FRAME_BYTES 9u /* "$4096", and two line ends */

/* What a walk gives twice is told once. */
struct listing {
    struct dj_map *names;
    uint64_t bytes; /* of all names */
    struct dj_plain_selector selector;
    uint8_t seed[16];
    enum deja_status status;
    const char *trouble; /* constant; NULL: as status says */
};

static uint64_t hash_name(void *ctx, struct deja_slice name)
{
    return dj_siphash(((struct listing *)ctx)->seed, name);
}

static void refuse(struct listing *listing, const char *trouble)
{
    listing->status = DEJA_ERR_LIMIT;
    listing->trouble = trouble;
}

/* The names that are kept, and the reply that will be made of them, have to fit. */
static void charge(struct dj_resp_client *client, struct listing *listing)
{
    uint64_t count = dj_map_count(listing->names);
    uint64_t reply_bytes = listing->bytes + (count + 1) * REPLY_FRAME_BYTES;
    if (listing->status != DEJA_OK)
        return;
    if (reply_bytes > dj_resp_session_reply_bytes_max(client->session))
        refuse(listing, "ERR the names are larger than resp.max_reply_bytes: walk them with SCAN");
    else if (!dj_resp_session_hold(client->session,
                                   listing->bytes + count * NAME_COST_BYTES + reply_bytes))
        refuse(listing, "ERR too many bytes wait for their clients: try again, or walk the keys "
                        "with SCAN");
}

static void add_names(struct listing *listing, struct dj_value *const *values, size_t count)
{
    for (size_t i = 0; i < count && listing->status == DEJA_OK; i++) {
        struct deja_slice name = dj_value_entry(values[i])->query;
        if (dj_map_find(listing->names, name))
            continue;
        listing->status = dj_map_put(listing->names, name, listing, NULL);
        if (listing->status == DEJA_OK)
            listing->bytes += name.len;
        else if (listing->status == DEJA_ERR_LIMIT)
            refuse(listing, "ERR more than 100000 keys fit: walk them with SCAN");
    }
}
static_assert(DJ_RESP_KEYS_MAX == 100000, "the message names it");

static void put_names(struct listing *listing, struct dj_buf *out)
{
    struct deja_slice name;
    void *value = NULL;
    size_t cursor = 0;
    if (listing->trouble) {
        dj_resp_put_error(out, "%s", listing->trouble);
    } else if (listing->status != DEJA_OK) {
        dj_resp_put_failure(out, listing->status);
    } else {
        dj_resp_put_array(out, dj_map_count(listing->names));
        while (dj_map_next(listing->names, &cursor, &name, &value))
            dj_resp_put_bulk(out, name);
    }
}

static void on_listed(void *ctx, enum deja_status status, uint64_t cursor,
                      struct dj_value *const *values, size_t count)
{
    struct dj_resp_client *client = ctx;
    struct listing *listing = client->work;
    listing->status = status;
    add_names(listing, values, count);
    charge(client, listing);
    if (listing->status == DEJA_OK && cursor != 0) {
        listing->status = dj_plain_scan(client->api->plain, client->loop, &client->space,
                                        &listing->selector, cursor, PAGE, client, on_listed);
        if (listing->status == DEJA_OK)
            return;
    }
    struct dj_buf *out = dj_resp_reply_begin(client);
    put_names(listing, out);
    dj_map_destroy(listing->names);
    dj_resp_session_let_go(client->session);
    dj_resp_reply_end(client);
}

enum dj_resp_flow dj_resp_keys(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    if (!check_pattern(args->items[1], out))
        return DJ_RESP_ANSWERED;
    args = dj_resp_hold(client, args, out);
    struct listing *listing = args ? dj_resp_hold_alloc(client, sizeof *listing, out) : NULL;
    if (!listing)
        return DJ_RESP_ANSWERED;
    dj_random_bytes(listing->seed, sizeof listing->seed);
    listing->selector = selector_of(args->items[1]);
    client->work = listing;
    enum deja_status status = dj_map_create(DJ_RESP_KEYS_MAX, hash_name, listing, &listing->names);
    if (status == DEJA_OK) {
        status = dj_plain_scan(client->api->plain, client->loop, &client->space, &listing->selector,
                               0, PAGE, client, on_listed);
        if (status != DEJA_OK)
            dj_map_destroy(listing->names);
    }
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

/* ---- RANDOMKEY ---- */

/* One of the first names a walk finds. */
static void on_some(void *ctx, enum deja_status status, uint64_t cursor,
                    struct dj_value *const *values, size_t count)
{
    struct dj_resp_client *client = ctx;
    enum deja_status next = DEJA_OK;
    if (status == DEJA_OK && count == 0 && cursor != 0) {
        const struct dj_plain_selector all = {.pattern = {0}};
        next = dj_plain_scan(client->api->plain, client->loop, &client->space, &all, cursor, 100,
                             client, on_some);
        if (next == DEJA_OK)
            return;
        status = next;
    }
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status != DEJA_OK) {
        dj_resp_put_failure(out, status);
    } else if (count == 0) {
        dj_resp_put_null(out, client->version);
    } else {
        uint32_t drawn = 0;
        dj_random_bytes(&drawn, sizeof drawn);
        dj_resp_put_bulk(out, dj_value_entry(values[drawn % count])->query);
    }
    dj_resp_reply_end(client);
}

enum dj_resp_flow dj_resp_randomkey(struct dj_resp_client *client, const struct dj_resp_args *args,
                                    struct dj_buf *out)
{
    const struct dj_plain_selector all = {.pattern = {0}};
    (void)args;
    enum deja_status status = dj_plain_scan(client->api->plain, client->loop, &client->space, &all,
                                            0, 100, client, on_some);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

/* ---- all of them ---- */

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct dj_resp_client *client = ctx;
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status == DEJA_OK)
        dj_resp_put_integer(out, (int64_t)sum->keys);
    else
        dj_resp_put_failure(out, status);
    dj_resp_reply_end(client);
}

enum dj_resp_flow dj_resp_count(struct dj_resp_client *client, dj_plain_counted_fn *done,
                                struct dj_buf *out)
{
    const struct dj_plain_selector all = {.pattern = {0}};
    enum deja_status status =
        dj_plain_count(client->api->plain, client->loop, &client->space, &all, client, done);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_dbsize(struct dj_resp_client *client, const struct dj_resp_args *args,
                                 struct dj_buf *out)
{
    (void)args;
    return dj_resp_count(client, on_counted, out);
}

/* One database after another. */
struct flushing {
    struct dj_plain_space space;
    char name_space[16];
    uint32_t database;
    uint32_t end;
};

static void on_cleared(void *ctx, enum deja_status status, const struct dj_plain_sum *sum);

static enum deja_status clear_next(struct dj_resp_client *client)
{
    struct flushing *flushing = client->work;
    const struct dj_plain_selector all = {.pattern = {0}};
    dj_plain_space_fini(&flushing->space);
    dj_resp_space_of(client, flushing->database, flushing->name_space, &flushing->space);
    enum deja_status status = dj_plain_clear(client->api->plain, client->loop, &flushing->space,
                                             &all, client, on_cleared);
    if (status != DEJA_OK)
        dj_plain_space_fini(&flushing->space);
    return status;
}

static void on_cleared(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct dj_resp_client *client = ctx;
    struct flushing *flushing = client->work;
    (void)sum;
    if (status == DEJA_OK && ++flushing->database < flushing->end) {
        status = clear_next(client);
        if (status == DEJA_OK)
            return;
    }
    dj_plain_space_fini(&flushing->space);
    struct dj_buf *out = dj_resp_reply_begin(client);
    if (status == DEJA_OK)
        dj_resp_put_status(out, "OK");
    else
        dj_resp_put_failure(out, status);
    dj_resp_reply_end(client);
}

static enum dj_resp_flow clear(struct dj_resp_client *client, const struct dj_resp_args *args,
                               uint32_t first, uint32_t end, struct dj_buf *out)
{
    bool is_way = args->count == 2 &&
                  (dj_resp_is(args->items[1], "async") || dj_resp_is(args->items[1], "sync"));
    if (args->count > 1 && !is_way)
        return dj_resp_syntax_error(out);
    if (!dj_resp_hold(client, args, out))
        return DJ_RESP_ANSWERED;
    struct flushing *flushing = dj_resp_hold_alloc(client, sizeof *flushing, out);
    if (!flushing)
        return DJ_RESP_ANSWERED;
    flushing->database = first;
    flushing->end = end;
    client->work = flushing;
    enum deja_status status = clear_next(client);
    if (status == DEJA_OK)
        return DJ_RESP_WAITING;
    dj_resp_put_failure(out, status);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_flushdb(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    return clear(client, args, client->database, client->database + 1, out);
}

enum dj_resp_flow dj_resp_flushall(struct dj_resp_client *client, const struct dj_resp_args *args,
                                   struct dj_buf *out)
{
    return clear(client, args, 0, DJ_RESP_DATABASES, out);
}
