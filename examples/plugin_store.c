/* plugin_store.c - entries kept in a store of your own: here one file per entry in a folder.
 *
 *     cc plugin_store.c -o plugin_store $(pkg-config --cflags --libs deja)
 *     ./plugin_store FOLDER      run it twice: the second run finds what the first one stored
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/stat.h>

#include <deja/deja.h>

#define NAME_CHARS (2 * DEJA_STORE_KEY_BYTES)
#define RECORD_BYTES_MAX (64u << 20)

struct folder {
    const char *path;
};

static void file_path(const struct folder *folder, const uint8_t *key, char out[4096])
{
    int len = snprintf(out, 4096 - NAME_CHARS - 1, "%s/", folder->path);
    for (int i = 0; i < DEJA_STORE_KEY_BYTES; i++)
        snprintf(out + len + 2 * i, 3, "%02x", key[i]);
}

static enum deja_status give_file(const char *path, const uint8_t *key,
                                  struct deja_store_sink *sink)
{
    enum deja_status status = DEJA_ERR_IO;
    struct stat about;
    char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno == ENOENT ? DEJA_OK : DEJA_ERR_IO; /* nothing given: a miss */
    if (fstat(fileno(file), &about) == 0 && about.st_size <= RECORD_BYTES_MAX)
        bytes = malloc((size_t)about.st_size + 1);
    if (bytes) {
        size_t len = fread(bytes, 1, (size_t)about.st_size, file);
        status = deja_store_give(sink, key, deja_slice(bytes, len));
    }
    free(bytes);
    fclose(file);
    return status;
}

static enum deja_status get(void *ctx, const uint8_t *key, struct deja_store_sink *sink)
{
    char path[4096];
    file_path(ctx, key, path);
    return give_file(path, key, sink);
}

/* Under another name first, so that a reader meets the old record or the new one. */
static enum deja_status put(void *ctx, const uint8_t *key, struct deja_slice record,
                            int64_t expires_ms)
{
    char path[4096];
    char new_path[4100];
    (void)expires_ms; /* a real store would drop what has expired */
    file_path(ctx, key, path);
    snprintf(new_path, sizeof new_path, "%s.new", path);
    FILE *file = fopen(new_path, "wb");
    if (!file)
        return DEJA_ERR_IO;
    size_t written = fwrite(record.data, 1, record.len, file);
    if (fclose(file) != 0 || written != record.len)
        return DEJA_ERR_IO;
    return rename(new_path, path) == 0 ? DEJA_OK : DEJA_ERR_IO;
}

static enum deja_status remove_entry(void *ctx, const uint8_t *key, uint64_t *out_count)
{
    char path[4096];
    file_path(ctx, key, path);
    if (unlink(path) == 0)
        *out_count = 1;
    else if (errno != ENOENT)
        return DEJA_ERR_IO;
    return DEJA_OK;
}

static int read_key(const char *name, uint8_t key[DEJA_STORE_KEY_BYTES])
{
    if (strlen(name) != NAME_CHARS)
        return 0;
    for (int i = 0; i < DEJA_STORE_KEY_BYTES; i++) {
        char digits[3] = {name[2 * i], name[2 * i + 1], '\0'};
        char *end = NULL;
        key[i] = (uint8_t)strtoul(digits, &end, 16);
        if (*end)
            return 0;
    }
    return 1;
}

/* Calls step for every entry whose key begins with prefix (NULL: every entry). */
static enum deja_status each(struct folder *folder, const uint8_t *prefix, void *ctx,
                             enum deja_status (*step)(void *ctx, const char *path,
                                                      const uint8_t *key))
{
    enum deja_status status = DEJA_OK;
    struct dirent *found = NULL;
    uint8_t key[DEJA_STORE_KEY_BYTES];
    char path[4096];
    DIR *dir = opendir(folder->path);
    if (!dir)
        return DEJA_ERR_IO;
    while (status == DEJA_OK && (found = readdir(dir)) != NULL) {
        if (!read_key(found->d_name, key) ||
            (prefix && memcmp(key, prefix, DEJA_TENANT_BYTES) != 0))
            continue;
        file_path(folder, key, path);
        status = step(ctx, path, key);
    }
    closedir(dir);
    return status;
}

static enum deja_status clear_step(void *ctx, const char *path, const uint8_t *key)
{
    uint64_t *count = ctx;
    (void)key;
    if (unlink(path) != 0)
        return DEJA_ERR_IO;
    (*count)++;
    return DEJA_OK;
}

static enum deja_status clear(void *ctx, const uint8_t *tenant, uint64_t *out_count)
{
    return each(ctx, tenant, out_count, clear_step);
}

static enum deja_status walk_step(void *ctx, const char *path, const uint8_t *key)
{
    /* A damaged record is told to the cache and passed over. */
    return give_file(path, key, ctx) == DEJA_ERR_CANCELLED ? DEJA_ERR_CANCELLED : DEJA_OK;
}

static enum deja_status walk(void *ctx, struct deja_store_sink *sink)
{
    return each(ctx, NULL, sink, walk_step);
}

int main(int argc, char **argv)
{
    /* Names of entries are made with it; a real program keeps its own somewhere safe. */
    static const uint8_t secret[DEJA_SECRET_BYTES] = "an example's secret, not a real";
    static const struct deja_store_ops ops = {sizeof ops, get,  put, remove_entry,
                                              clear,      walk, NULL};
    struct folder folder;
    struct deja_options options;
    struct deja_error error;
    struct deja *deja;
    struct deja_query query;
    struct deja_answer *answer;

    if (argc != 2) {
        fprintf(stderr, "usage: plugin_store FOLDER\n");
        return 2;
    }
    folder.path = argv[1];
    if (strlen(argv[1]) > 3000 || (mkdir(argv[1], 0700) != 0 && errno != EEXIST)) {
        perror(argv[1]);
        return 1;
    }
    deja_options_init(&options);
    options.store = &ops;
    options.store_ctx = &folder;
    options.secret = secret;
    if (deja_open(&options, &deja, &error) != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message);
        return 1;
    }
    deja_query_init(&query);
    query.text = deja_slice_text("how do I reset my password on the website");
    query.threshold = 0.75;
    if (deja_lookup(deja, &query, &answer) != DEJA_OK)
        return 1;
    if (deja_answer_outcome(answer) == DEJA_MISS) {
        struct deja_entry entry;
        deja_entry_init(&entry);
        entry.text = deja_slice_text("How do I reset my password on the website?");
        entry.body = deja_slice_text("Settings, then Security, then Reset password.");
        printf("a miss: storing it\n");
        if (deja_put(deja, &entry, NULL) != DEJA_OK)
            return 1;
    } else {
        struct deja_slice body = deja_answer_body(answer);
        printf("a hit: %.*s\n", (int)body.len, body.data);
    }
    deja_answer_release(answer);
    return deja_close(deja) == DEJA_OK ? 0 : 1;
}
