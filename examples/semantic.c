/* semantic.c - a question is answered by the answer to another wording of it.
 *
 *     cc semantic.c -o semantic $(pkg-config --cflags --libs deja)
 *     ./semantic              finds repeated wording: the embedder that needs no file
 *     ./semantic MODEL_DIR    finds meaning: the folder `deja model pull` leaves behind
 */
#include <stdio.h>

#include <deja/deja.h>

static int fail(const char *what, enum deja_status status)
{
    fprintf(stderr, "%s: %s\n", what, deja_status_text(status));
    return 1;
}

int main(int argc, char **argv)
{
    const char *stored =
        argc > 1 ? "How do I reset my password?" : "How do I reset my password on the website?";
    const char *asked = argc > 1 ? "I forgot my password, how can I reset it?"
                                 : "how can I reset my password on this website";
    struct deja_options options;
    struct deja_error error;
    struct deja *deja;
    struct deja_entry entry;
    struct deja_query query;
    struct deja_answer *answer;
    enum deja_status status;

    deja_options_init(&options);
    if (argc > 1)
        options.model_dir = argv[1];
    status = deja_open(&options, &deja, &error);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja_open: %s\n", error.message);
        return 1;
    }

    deja_entry_init(&entry);
    entry.text = deja_slice_text(stored);
    entry.body = deja_slice_text("Settings, then Security, then Reset password.");
    status = deja_put(deja, &entry, NULL);
    if (status != DEJA_OK)
        return fail("deja_put", status);

    deja_query_init(&query);
    query.text = deja_slice_text(asked);
    query.threshold = 0.7;
    status = deja_lookup(deja, &query, &answer);
    if (status != DEJA_OK)
        return fail("deja_lookup", status);

    struct deja_slice body = deja_answer_body(answer);
    int is_hit = deja_answer_outcome(answer) == DEJA_HIT_SEMANTIC;
    printf("stored:     %s\nasked:      %s\n", stored, asked);
    printf("similarity: %.3f (%s)\n", deja_answer_similarity(answer), deja_embedder_id(deja));
    if (is_hit)
        printf("answer:     %.*s\n", (int)body.len, body.data);
    else
        printf("a miss:     %s\n", deja_answer_reason(answer));
    deja_answer_release(answer);
    deja_close(deja);
    return is_hit ? 0 : 1;
}
