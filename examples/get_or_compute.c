/* get_or_compute.c - many ask the same at once, one computes, all have the answer.
 *
 *     cc get_or_compute.c -o get_or_compute $(pkg-config --cflags --libs deja) -lpthread
 */
#include <pthread.h>
#include <stdio.h>

#include <deja/deja.h>

#define THREADS 8

struct asker {
    struct deja *deja;
    enum deja_status status;
    enum deja_outcome outcome;
    char body[64];
};

/* Stands for the expensive call: a model, a database, a page to fetch. */
static enum deja_status compute(void *ctx, struct deja_made *made)
{
    const char *question = ctx;
    deja_made_append(made, deja_slice_text("The answer to: "));
    deja_made_append(made, deja_slice_text(question));
    deja_made_set_ttl(made, 60 * 60 * 1000);
    return DEJA_OK;
}

static void *ask(void *ctx)
{
    static char question[] = "What is the tallest mountain?";
    struct asker *asker = ctx;
    struct deja_query query;
    struct deja_answer *answer;

    deja_query_init(&query);
    query.text = deja_slice_text(question);
    asker->status = deja_get_or_compute(asker->deja, &query, question, compute, &answer);
    if (asker->status != DEJA_OK)
        return NULL;
    asker->outcome = deja_answer_outcome(answer);
    struct deja_slice body = deja_answer_body(answer);
    snprintf(asker->body, sizeof asker->body, "%.*s", (int)body.len, body.data);
    deja_answer_release(answer);
    return NULL;
}

int main(void)
{
    struct asker askers[THREADS];
    pthread_t threads[THREADS];
    struct deja_error error;
    struct deja_stats stats;
    struct deja *deja;
    int failed = 0;

    if (deja_open(NULL, &deja, &error) != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message);
        return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        askers[i].deja = deja;
        if (pthread_create(&threads[i], NULL, ask, &askers[i]) != 0)
            return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failed += askers[i].status != DEJA_OK;
    }
    deja_stats_init(&stats);
    if (failed || deja_stats(deja, NULL, &stats) != DEJA_OK)
        return 1;
    printf("%s\n", askers[0].body);
    printf("%d asked, %llu computed\n", THREADS, (unsigned long long)stats.computations);
    deja_close(deja);
    return stats.computations == 1 ? 0 : 1;
}
