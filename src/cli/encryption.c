/* cli/encryption.c - encryption: what is sealed and by which keys, and new keys. */
#include <stdio.h>
#include <time.h>

#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

#define PATH "/api/v1/encryption"
#define POLL_MS 250L

static int look(struct dj_session *session, bool is_quiet, struct dj_json_doc **out_doc)
{
    return dj_session_call(session, "GET", PATH, deja_slice_text(""), is_quiet, out_doc);
}

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static bool is_running(const struct dj_json *rotation)
{
    return dj_slice_is(dj_json_string(dj_json_get(rotation, "status")), "running");
}

static void write_rotation(FILE *file, const struct dj_json *rotation)
{
    fprintf(file, "rotation    %lld of %lld tenants, %lld records sealed anew",
            count_of(rotation, "tenants_done"), count_of(rotation, "tenants"),
            count_of(rotation, "records"));
    if (count_of(rotation, "tenants_failed"))
        fprintf(file, ", %lld tenants failed: they are tried again",
                count_of(rotation, "tenants_failed"));
    fputc('\n', file);
}

static void write_status(const struct dj_json *root)
{
    const struct dj_json *keys = dj_json_get(root, "keys");
    const struct dj_json *records = dj_json_get(root, "records");
    const struct dj_json *rotation = dj_json_get(root, "rotation");
    struct deja_slice trouble = dj_json_string(dj_json_get(root, "trouble"));
    struct deja_slice master = dj_json_string(dj_json_get(root, "master_key"));
    if (!dj_json_bool(dj_json_get(root, "enabled"), false)) {
        puts("encryption  off: what is kept outside memory lies there as it is");
        return;
    }
    printf("master key  %.*s\n", (int)master.len, master.data);
    printf("keys        %lld active, %lld old, %lld destroyed\n", count_of(keys, "active"),
           count_of(keys, "old"), count_of(keys, "destroyed"));
    if (count_of(keys, "of_another_master_key"))
        printf("            %lld of another master key\n", count_of(keys, "of_another_master_key"));
    if (count_of(keys, "of_previous_master_key"))
        printf("            %lld of the previous master key: it is still needed\n",
               count_of(keys, "of_previous_master_key"));
    printf("records     %lld sealed, %lld opened, %lld refused, %lld unreadable\n",
           count_of(records, "sealed"), count_of(records, "opened"), count_of(records, "refused"),
           count_of(records, "unreadable"));
    if (dj_json_is(rotation, DJ_JSON_OBJECT))
        write_rotation(stdout, rotation);
    if (trouble.len)
        printf("trouble     %.*s\n", (int)trouble.len, trouble.data);
}

/* Shows how far it is until it has ended. */
static int follow(struct dj_session *session)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    for (;;) {
        struct dj_json_doc *doc = NULL;
        int code = look(session, true, &doc);
        const struct dj_json *rotation = dj_json_get(dj_json_root(doc), "rotation");
        bool is_over = code != DJ_EXIT_OK || !is_running(rotation);
        if (code == DJ_EXIT_OK && is_over && !session->wants_json)
            write_rotation(stdout, rotation);
        if (code == DJ_EXIT_OK && count_of(rotation, "tenants_failed") && is_over)
            code = DJ_EXIT_FAILED;
        dj_json_doc_destroy(doc);
        doc = NULL;
        if (is_over && session->wants_json && look(session, false, &doc) != DJ_EXIT_OK)
            code = DJ_EXIT_FAILED;
        dj_json_doc_destroy(doc);
        if (is_over)
            return code;
        nanosleep(&pause, NULL);
    }
}

int dj_cli_rotate_data_keys(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    char tenant[DJ_TENANT_NAME_ID_BYTES];
    int found = session->tenant ? dj_cli_find_tenant(session, session->tenant, tenant) : DJ_EXIT_OK;
    if (found != DJ_EXIT_OK)
        return found;
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "tenant", session->tenant ? tenant : NULL);
    if (session->has_lost_master)
        dj_json_member_bool(&w, "lost_master", true);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "POST", PATH "/rotate",
                                                        dj_buf_slice(&body), true, &doc);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code == DJ_EXIT_OK ? follow(session) : code;
}

int dj_cli_encryption(struct dj_session *session)
{
    const char *word = session->words.count ? session->words.items[0] : "";
    struct dj_json_doc *doc = NULL;
    dj_session_take_token(session);
    if (session->words.count == 1 && strcmp(word, "rotate") == 0)
        return dj_cli_rotate_data_keys(session);
    if (session->words.count != 1 || strcmp(word, "status") != 0)
        return dj_session_misused(session, "expects status or rotate");
    int code = look(session, false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_status(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}
