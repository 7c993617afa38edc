/* async.c - calls that return at once; their callbacks come on the cache's own thread.
 *
 *     cc async.c -o async $(pkg-config --cflags --libs deja) -lpthread
 */
#include <pthread.h>
#include <stdio.h>

#include <deja/deja.h>

#define QUESTIONS 100

/* What the callbacks share with main. */
struct batch {
    struct deja *deja;
    pthread_mutex_t mutex;
    pthread_cond_t is_over;
    int left;
    int hits;
    int failures;
};

static void count(struct batch *batch, int is_hit, int is_failure)
{
    pthread_mutex_lock(&batch->mutex);
    batch->hits += is_hit;
    batch->failures += is_failure;
    if (--batch->left == 0)
        pthread_cond_signal(&batch->is_over);
    pthread_mutex_unlock(&batch->mutex);
}

/* A callback does not block: it notes what came, or asks for the next thing. */
static void on_found(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    int is_hit = status == DEJA_OK && deja_answer_outcome(answer) == DEJA_HIT_EXACT;
    deja_answer_release(answer);
    count(ctx, is_hit, status != DEJA_OK);
}

static void on_put(void *ctx, enum deja_status status, uint64_t stored)
{
    count(ctx, 0, status != DEJA_OK || stored != 1);
}

static void wait_for_all(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    while (batch->left > 0)
        pthread_cond_wait(&batch->is_over, &batch->mutex);
    pthread_mutex_unlock(&batch->mutex);
}

int main(void)
{
    struct batch batch = {.mutex = PTHREAD_MUTEX_INITIALIZER, .is_over = PTHREAD_COND_INITIALIZER};
    struct deja_error error;
    char text[64];

    if (deja_open(NULL, &batch.deja, &error) != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message);
        return 1;
    }
    batch.left = QUESTIONS;
    for (int i = 0; i < QUESTIONS; i++) {
        struct deja_entry entry;
        deja_entry_init(&entry);
        snprintf(text, sizeof text, "question %d", i);
        entry.text = deja_slice_text(text); /* copied before the call returns */
        entry.body = deja_slice_text("an answer");
        if (deja_put_async(batch.deja, &entry, &batch, on_put) != DEJA_OK)
            count(&batch, 0, 1);
    }
    wait_for_all(&batch);

    batch.left = QUESTIONS;
    for (int i = 0; i < QUESTIONS; i++) {
        struct deja_query query;
        deja_query_init(&query);
        snprintf(text, sizeof text, "question %d", i);
        query.text = deja_slice_text(text);
        query.is_exact_only = true;
        if (deja_lookup_async(batch.deja, &query, &batch, on_found) != DEJA_OK)
            count(&batch, 0, 1);
    }
    wait_for_all(&batch);

    printf("%d asked, %d hits, %d failures\n", QUESTIONS, batch.hits, batch.failures);
    deja_close(batch.deja);
    return batch.hits == QUESTIONS ? 0 : 1;
}
