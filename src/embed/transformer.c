/* embed/transformer.c - see transformer.h: files in, embedder out, texts into batches.
 *
 * A batch holds at most 256 tokens: one long text, or as many short ones as fit. That is where
 * larger ones stop paying (the kernel is at its peak from 14 rows on) and it bounds the scratch.
 */
#include "embed/transformer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/num.h"
#include "embed/transformer_internal.h"

enum {
    PATH_BYTES_MAX = 4096,
    BATCH_TOKENS_MAX = DJ_TRANSFORMER_IDS_MAX,
    SEQUENCES_MAX = BATCH_TOKENS_MAX / 2, /* the shortest is [CLS] [SEP] */
    BATCH_TEXTS = 16                      /* of 14 tokens, they fill a batch */
};

static const uint64_t file_bytes_max = UINT64_C(8) << 30;

/* Mapped read-only; data NULL when there is none. */
static enum deja_status map_file(const char *directory, const char *name,
                                 struct deja_slice *out_bytes, struct deja_error *error)
{
    char path[PATH_BYTES_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (len < 0 || (size_t)len >= sizeof path)
        return deja_error_set(error, DEJA_ERR_INVALID, "model: path too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return deja_error_set(error, errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO,
                              "model: cannot open %s (error %d)", path, errno);
    struct stat info;
    enum deja_status status = DEJA_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0 ||
        (uint64_t)info.st_size > file_bytes_max) {
        status = deja_error_set(error, DEJA_ERR_INVALID,
                                "model: %s is empty, too large or no regular file", path);
        goto done;
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        status = deja_error_set(error, errno == ENOMEM ? DEJA_ERR_NOMEM : DEJA_ERR_IO,
                                "model: cannot map %s (error %d)", path, errno);
        goto done;
    }
    *out_bytes = deja_slice(data, (size_t)info.st_size);
done:
    close(fd);
    return status;
}

static void unmap_file(struct deja_slice bytes)
{
    union {
        const char *mapped;
        void *passed;
    } start = {.mapped = bytes.data};
    if (bytes.data)
        munmap(start.passed, bytes.len);
}

/* Everything that decides a vector goes into the name: weights, vocabulary, sizes, pooling. */
static void name_model(struct dj_transformer *transformer, const struct deja_slice files[3])
{
    uint8_t digests[3][16];
    uint8_t digest[16];
    char hex[2 * sizeof digest + 1];
    for (size_t i = 0; i < 3; i++)
        dj_hash128(files[i].data, files[i].len, 0, digests[i]);
    dj_hash128(digests, sizeof digests, 0, digest);
    dj_hex_encode(digest, sizeof digest, hex);
    const struct dj_bert_config *config = &transformer->weights.config;
    bool is_minilm = config->hidden == 384 && config->intermediate == 1536;
    (void)snprintf(transformer->base.id, sizeof transformer->base.id, "%s:xxh3-%s:mean:%u",
                   is_minilm ? "minilm" : "bert", hex, config->hidden);
}

static struct dj_transformer *of(struct dj_embedder *embedder)
{
    return (struct dj_transformer *)(void *)embedder;
}

static void on_destroy(struct dj_embedder *embedder)
{
    struct dj_transformer *transformer = of(embedder);
    dj_transformer_pool_fini(transformer);
    dj_transformer_weights_fini(&transformer->weights);
    dj_tokenizer_destroy(transformer->tokenizer);
    pthread_mutex_destroy(&transformer->lock);
    dj_free(transformer);
}

static enum deja_status on_embed(struct dj_embedder *embedder, const struct deja_slice *texts,
                                 size_t count, float *out)
{
    struct dj_transformer *transformer = of(embedder);
    uint32_t ids[BATCH_TOKENS_MAX + DJ_TRANSFORMER_IDS_MAX];
    uint32_t begins[SEQUENCES_MAX + 1] = {0};
    struct dj_transformer_batch batch = {.ids = ids, .begins = begins};
    for (size_t i = 0; i < count; i++) {
        uint32_t used = begins[batch.count];
        uint32_t len = dj_tokenizer_encode(transformer->tokenizer, texts[i],
                                           transformer->weights.ids_max, ids + used);
        if (used + len > BATCH_TOKENS_MAX) {
            enum deja_status status = dj_transformer_forward(transformer, &batch, out);
            if (status != DEJA_OK)
                return status;
            out += (size_t)batch.count * embedder->dim;
            memmove(ids, ids + used, len * sizeof *ids);
            batch.count = 0;
            used = 0;
        }
        begins[++batch.count] = used + len;
    }
    return batch.count ? dj_transformer_forward(transformer, &batch, out) : DEJA_OK;
}

static uint32_t on_count(const struct dj_embedder *embedder, struct deja_slice text)
{
    const struct dj_transformer *transformer = (const void *)embedder;
    uint32_t ids[DJ_TRANSFORMER_IDS_MAX];
    uint32_t len =
        dj_tokenizer_encode(transformer->tokenizer, text, transformer->weights.ids_max, ids);
    return len > 2 ? len - 2 : 0; /* without [CLS] and [SEP] */
}

static const struct dj_embedder_ops ops = {
    .embed = on_embed, .destroy = on_destroy, .count = on_count};

/* files: config.json, vocab.txt, model.safetensors. */
static enum deja_status set_up(struct dj_transformer *transformer, const struct deja_slice files[3],
                               struct deja_error *error)
{
    struct dj_transformer_weights *weights = &transformer->weights;
    enum deja_status status = dj_bert_config_parse(files[0], &weights->config, error);
    if (status != DEJA_OK)
        return status;
    weights->ids_max = weights->config.positions < DJ_TRANSFORMER_IDS_MAX
                           ? weights->config.positions
                           : DJ_TRANSFORMER_IDS_MAX;
    status = dj_tokenizer_create(files[1], &transformer->tokenizer, error);
    if (status != DEJA_OK)
        return status;
    if (dj_tokenizer_count(transformer->tokenizer) > weights->config.vocabulary)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "model: vocab.txt has more tokens than config.json says");
    status = dj_transformer_load(weights, files[2], error);
    if (status != DEJA_OK)
        return status;
    transformer->base.kind = "transformer";
    transformer->base.dim = weights->config.hidden;
    transformer->base.batch_max = BATCH_TEXTS;
    name_model(transformer, files);
    return DEJA_OK;
}

enum deja_status dj_transformer_open(const char *directory, struct dj_embedder **out_embedder,
                                     struct deja_error *error)
{
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors"};
    struct deja_slice files[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    enum deja_status status = DEJA_OK;
    struct dj_transformer *transformer = dj_alloc_zeroed(1, sizeof *transformer);
    if (!transformer)
        return deja_error_set(error, DEJA_ERR_NOMEM, "model: out of memory");
    transformer->base.ops = &ops;
    pthread_mutex_init(&transformer->lock, NULL);
    for (size_t i = 0; i < 3 && status == DEJA_OK; i++)
        status = map_file(directory, names[i], &files[i], error);
    if (status == DEJA_OK)
        status = set_up(transformer, files, error);
    for (size_t i = 0; i < 3; i++)
        unmap_file(files[i]);
    if (status != DEJA_OK) {
        on_destroy(&transformer->base);
        return status;
    }
    *out_embedder = &transformer->base;
    return DEJA_OK;
}

uint32_t dj_transformer_tokens(const struct dj_embedder *embedder, struct deja_slice text,
                               uint32_t out_ids[256])
{
    assert(embedder->ops == &ops);
    const struct dj_transformer *transformer =
        (const struct dj_transformer *)(const void *)embedder;
    return dj_tokenizer_encode(transformer->tokenizer, text, transformer->weights.ids_max, out_ids);
}
