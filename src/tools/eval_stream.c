/* tools/eval_stream.c - see eval_stream.h.
 *
 *   texts:     distinct prompts in order of first appearance, each with vector and features
 *   requests:  text and class of each line
 *   links:     per text its neighbours among the texts before it, best first
 *
 * (1) An entry is a text and the class of the request that inserted it. A text is inserted at most
 *     once: when it comes again it is an exact hit, or a hit by the neighbour that served it
 * before. (2) A link keeps its verdict once it was asked for: replays at other cuts ask again.
 */
#include "tools/eval_stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"
#include "policy/guards.h"
#include "policy/reuse.h"
#include "proto/json.h"
#include "simd/simd.h"
#include "tools/file.h"

#define BATCH_MAX 32u
#define VERDICT_UNKNOWN UINT32_MAX
#define NOT_STORED UINT32_MAX

struct text {
    struct deja_slice prompt; /* owned copy */
    struct dj_guard_features features;
    struct link *links; /* owned */
    uint32_t link_count;
};

struct link {
    uint32_t text; /* the neighbour */
    float similarity;
    uint32_t refused; /* guards; VERDICT_UNKNOWN: not asked yet */
};

struct request {
    uint32_t text;
    uint32_t class;
};

struct dj_eval_stream {
    char *name; /* owned */
    struct text *texts;
    uint32_t text_count;
    uint32_t text_cap;
    struct request *requests;
    size_t request_count;
    size_t request_cap;
    struct dj_map *text_ids; /* prompt -> index + 1, as a pointer */
    struct dj_map *class_ids;
    float *vectors;
    bool has_guards;
};

/* ---- reading ---- */

static uint64_t hash_key(void *ctx, struct deja_slice key)
{
    (void)ctx; /* a file the user chose to measure: no flooding to fear */
    return dj_hash64(key.data, key.len, 0);
}

/* The number of key in map, a new one when it is not there. */
static enum deja_status number_of(struct dj_map *map, struct deja_slice key, uint32_t *out_number,
                                  bool *out_is_new)
{
    uintptr_t found = (uintptr_t)dj_map_find(map, key);
    *out_is_new = !found;
    if (found) {
        *out_number = (uint32_t)(found - 1);
        return DEJA_OK;
    }
    uint32_t number = (uint32_t)dj_map_count(map);
    enum deja_status status = dj_map_put(map, key, (void *)(uintptr_t)(number + 1), NULL);
    if (status == DEJA_OK)
        *out_number = number;
    return status;
}

/* Room for one more item in a growing array. */
static void *grown(void *items, size_t count, size_t *cap, size_t item_bytes)
{
    if (count < *cap)
        return items;
    size_t cap_new = *cap ? *cap * 2 : 1024;
    void *items_new = dj_realloc(items, cap_new * item_bytes);
    if (items_new)
        *cap = cap_new;
    return items_new;
}

static enum deja_status add_text(struct dj_eval_stream *stream, struct deja_slice prompt)
{
    size_t cap = stream->text_cap;
    struct text *texts = grown(stream->texts, stream->text_count, &cap, sizeof *texts);
    if (!texts)
        return DEJA_ERR_NOMEM;
    stream->texts = texts;
    stream->text_cap = (uint32_t)cap;
    char *copy = dj_strdup(prompt);
    if (!copy)
        return DEJA_ERR_NOMEM;
    texts[stream->text_count++] = (struct text){.prompt = deja_slice(copy, prompt.len)};
    return DEJA_OK;
}

static enum deja_status add_request(struct dj_eval_stream *stream, struct deja_slice prompt,
                                    struct deja_slice class)
{
    struct request request = {0};
    bool is_new = false;
    struct request *requests =
        grown(stream->requests, stream->request_count, &stream->request_cap, sizeof *requests);
    if (!requests)
        return DEJA_ERR_NOMEM;
    stream->requests = requests;
    enum deja_status status = number_of(stream->class_ids, class, &request.class, &is_new);
    if (status == DEJA_OK)
        status = number_of(stream->text_ids, prompt, &request.text, &is_new);
    if (status == DEJA_OK && is_new)
        status = add_text(stream, prompt);
    if (status == DEJA_OK)
        requests[stream->request_count++] = request;
    return status;
}

static enum deja_status read_line(struct dj_eval_stream *stream, struct deja_slice line,
                                  const char *path, size_t number, struct deja_error *error)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error reason;
    enum deja_status status = dj_json_parse(line, &doc, &reason);
    if (status == DEJA_ERR_INVALID || status == DEJA_ERR_LIMIT)
        return deja_error_set(error, status, "%s:%zu: %s", path, number, reason.message);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "%s:%zu: %s", path, number, deja_status_text(status));
    const struct dj_json *prompt = dj_json_get(dj_json_root(doc), "prompt");
    const struct dj_json *class = dj_json_get(dj_json_root(doc), "answer_class");
    if (!dj_json_is(prompt, DJ_JSON_STRING) || !dj_json_is(class, DJ_JSON_STRING)) {
        status =
            deja_error_set(error, DEJA_ERR_INVALID,
                           "%s:%zu: \"prompt\" and \"answer_class\" must be strings", path, number);
        goto done;
    }
    status = add_request(stream, dj_json_string(prompt), dj_json_string(class));
    if (status != DEJA_OK)
        deja_error_set(error, status, "%s:%zu: %s", path, number, deja_status_text(status));
done:
    dj_json_doc_destroy(doc);
    return status;
}

static enum deja_status read_lines(struct dj_eval_stream *stream, struct deja_slice text,
                                   const char *path, struct deja_error *error)
{
    size_t number = 0;
    for (size_t offset = 0; offset < text.len;) {
        const char *start = text.data + offset;
        const char *end = memchr(start, '\n', text.len - offset);
        size_t len = end ? (size_t)(end - start) : text.len - offset;
        offset += len + 1;
        number++;
        if (len && start[len - 1] == '\r')
            len--;
        if (!len)
            continue;
        enum deja_status status = read_line(stream, deja_slice(start, len), path, number, error);
        if (status != DEJA_OK)
            return status;
    }
    if (!stream->request_count)
        return deja_error_set(error, DEJA_ERR_INVALID, "%s: holds no requests", path);
    return DEJA_OK;
}

/* "dir/stream_a.jsonl": "stream_a". */
static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return dj_strdup(deja_slice(name, dot && dot > name ? (size_t)(dot - name) : strlen(name)));
}

enum deja_status dj_eval_stream_create(const char *path, struct dj_eval_stream **out_stream,
                                       struct deja_error *error)
{
    struct dj_buf text = {.bytes_max = DJ_EVAL_FILE_BYTES_MAX};
    struct dj_eval_stream *stream = dj_alloc_zeroed(1, sizeof *stream);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (!stream)
        goto done;
    stream->name = name_of(path);
    if (!stream->name)
        goto done;
    status = dj_map_create(DJ_EVAL_TEXTS_MAX, hash_key, NULL, &stream->text_ids);
    if (status == DEJA_OK)
        status = dj_map_create(DJ_EVAL_TEXTS_MAX, hash_key, NULL, &stream->class_ids);
    if (status != DEJA_OK)
        goto done;
    status = dj_tool_read_file(path, &text, error);
    if (status == DEJA_OK)
        status = read_lines(stream, dj_buf_slice(&text), path, error);
    dj_buf_fini(&text);
    if (status == DEJA_OK) {
        *out_stream = stream;
        return DEJA_OK;
    }
    dj_eval_stream_destroy(stream);
    return status;
done:
    dj_eval_stream_destroy(stream);
    return deja_error_set(error, status, "%s: %s", path, deja_status_text(status));
}

static void free_text(struct text *text)
{
    char *prompt = NULL;
    memcpy(&prompt, &text->prompt.data, sizeof prompt); /* ours: the slice only borrows its type */
    dj_free(prompt);
    dj_free(text->links);
    dj_guard_features_fini(&text->features);
}

void dj_eval_stream_destroy(struct dj_eval_stream *stream)
{
    if (!stream)
        return;
    for (uint32_t i = 0; i < stream->text_count; i++)
        free_text(&stream->texts[i]);
    dj_free(stream->texts);
    dj_free(stream->requests);
    dj_free(stream->vectors);
    dj_free(stream->name);
    dj_map_destroy(stream->text_ids);
    dj_map_destroy(stream->class_ids);
    dj_free(stream);
}

const char *dj_eval_stream_name(const struct dj_eval_stream *stream)
{
    return stream->name;
}

/* ---- vectors and neighbours ---- */

static enum deja_status embed_texts(struct dj_eval_stream *stream, struct dj_embedder *embedder,
                                    void *ctx, dj_eval_progress_fn *progress)
{
    struct deja_slice batch[BATCH_MAX];
    size_t batch_max = embedder->batch_max < BATCH_MAX ? embedder->batch_max : BATCH_MAX;
    batch_max = batch_max ? batch_max : 1;
    stream->vectors =
        dj_alloc_zeroed((size_t)stream->text_count * embedder->dim, sizeof *stream->vectors);
    if (!stream->vectors)
        return DEJA_ERR_NOMEM;
    for (size_t done = 0; done < stream->text_count;) {
        size_t count = 0;
        while (count < batch_max && done + count < stream->text_count) {
            batch[count] = stream->texts[done + count].prompt;
            count++;
        }
        enum deja_status status =
            dj_embedder_embed(embedder, batch, count, stream->vectors + done * embedder->dim);
        if (status != DEJA_OK)
            return status;
        done += count;
        if (progress)
            progress(ctx, done, stream->text_count);
    }
    return DEJA_OK;
}

static int by_similarity(const void *x, const void *y)
{
    const struct link *a = x;
    const struct link *b = y;
    if (a->similarity != b->similarity)
        return a->similarity < b->similarity ? 1 : -1;
    return a->text < b->text ? -1 : a->text > b->text; /* the older entry first */
}

/* Links of text index, found in scratch (room for every text before it). */
static enum deja_status link_text(struct dj_eval_stream *stream, uint32_t index, uint32_t dim,
                                  double floor, struct link *scratch)
{
    const float *vector = stream->vectors + (size_t)index * dim;
    uint32_t count = 0;
    for (uint32_t other = 0; other < stream->text_count; other++) {
        if (other == index)
            continue;
        float similarity = dj_simd()->dot_f32(vector, stream->vectors + (size_t)other * dim, dim);
        if (!isfinite(similarity) || (double)similarity < floor)
            continue;
        scratch[count++] =
            (struct link){.text = other, .similarity = similarity, .refused = VERDICT_UNKNOWN};
    }
    if (!count)
        return DEJA_OK;
    struct link *links = dj_alloc(count * sizeof *links);
    if (!links)
        return DEJA_ERR_NOMEM;
    qsort(scratch, count, sizeof *scratch, by_similarity);
    memcpy(links, scratch, count * sizeof *links);
    stream->texts[index].links = links;
    stream->texts[index].link_count = count;
    return DEJA_OK;
}

enum deja_status dj_eval_stream_prepare(struct dj_eval_stream *stream, struct dj_embedder *embedder,
                                        double floor, bool has_guards, void *ctx,
                                        dj_eval_progress_fn *progress, struct deja_error *error)
{
    struct link *scratch = dj_alloc(stream->text_count * sizeof *scratch);
    enum deja_status status = scratch ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = embed_texts(stream, embedder, ctx, progress);
    for (uint32_t i = 0; i < stream->text_count && status == DEJA_OK; i++) {
        status = link_text(stream, i, embedder->dim, floor, scratch);
        if (status == DEJA_OK && has_guards && stream->texts[i].link_count)
            status = dj_guard_features_init(&stream->texts[i].features, stream->texts[i].prompt);
    }
    stream->has_guards = has_guards;
    dj_free(scratch);
    if (status != DEJA_OK)
        deja_error_set(error, status, "%s: %s", stream->name, deja_status_text(status));
    return status;
}

/* ---- replay ---- */

static uint32_t verdict_of(struct dj_eval_stream *stream, struct text *text, struct link *link)
{
    if (!stream->has_guards)
        return 0;
    if (link->refused == VERDICT_UNKNOWN) {
        struct dj_guard_verdict verdict;
        dj_guards_compare(&text->features, &stream->texts[link->text].features, &verdict);
        link->refused = verdict.refused;
    }
    return link->refused;
}

/* The text whose entry answers a request for index, or NOT_STORED. */
static uint32_t find_entry(struct dj_eval_stream *stream, uint32_t index, double threshold,
                           const uint32_t *stored_class)
{
    if (stored_class[index] != NOT_STORED)
        return index;
    struct text *text = &stream->texts[index];
    struct dj_reuse_candidate candidates[DJ_EVAL_CANDIDATES];
    uint32_t of_text[DJ_EVAL_CANDIDATES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < text->link_count && count < DJ_EVAL_CANDIDATES; i++) {
        struct link *link = &text->links[i];
        if ((double)link->similarity < threshold)
            break;
        if (stored_class[link->text] == NOT_STORED)
            continue;
        of_text[count] = link->text;
        candidates[count++] =
            (struct dj_reuse_candidate){.similarity = link->similarity,
                                        .guards_refused = verdict_of(stream, text, link),
                                        .is_usable = true};
    }
    struct dj_reuse_decision decision;
    dj_reuse_decide(candidates, count, threshold, &decision);
    return decision.is_served ? of_text[decision.index] : NOT_STORED;
}

enum deja_status dj_eval_stream_replay(struct dj_eval_stream *stream, double threshold,
                                       struct dj_eval_result *out_result)
{
    uint32_t *stored_class = dj_alloc(stream->text_count * sizeof *stored_class);
    if (!stored_class)
        return DEJA_ERR_NOMEM;
    memset(stored_class, 0xff, stream->text_count * sizeof *stored_class); /* NOT_STORED */
    struct dj_eval_result result = {.threshold = threshold, .requests = stream->request_count};
    for (size_t i = 0; i < stream->request_count; i++) {
        const struct request *request = &stream->requests[i];
        uint32_t entry = find_entry(stream, request->text, threshold, stored_class);
        if (entry == NOT_STORED) {
            stored_class[request->text] = request->class;
            continue;
        }
        result.hits++;
        result.exact += entry == request->text;
        result.wrong += stored_class[entry] != request->class;
    }
    dj_free(stored_class);
    *out_result = result;
    return DEJA_OK;
}
