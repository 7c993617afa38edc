#include "cli/cli.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "net/client.h"
#include "cli/output.h"

static const char *const no_environment[] = {NULL};

#define RUN(...)                                                        \
    dj_cli_run((int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), \
               (char *[]){__VA_ARGS__, NULL}, no_environment)

/* A port on which nobody listens: bound, then given back. */
static uint16_t closed_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void wrong_use_is_exit_2(void **state)
{
    (void)state;
    assert_int_equal(RUN("put", "only a prompt"), 2);
    assert_int_equal(RUN("put", "p", "r", "--ttl", "soon"), 2);
    assert_int_equal(RUN("put", "p", "r", "--ttl", "0"), 2);
    assert_int_equal(RUN("get"), 2);
    assert_int_equal(RUN("get", "p", "--threshold", "2"), 2);
    assert_int_equal(RUN("get", "p", "--treshold", "0.9"), 2);
    assert_int_equal(RUN("del"), 2);
    assert_int_equal(RUN("del", "id", "--query", "q"), 2);
    assert_int_equal(RUN("explain"), 2);
    assert_int_equal(RUN("stats", "what"), 2);
    assert_int_equal(RUN("get", "p", "--server", "ftp://x"), 2);
}

static void nobody_listening_is_exit_69(void **state)
{
    (void)state;
    char server[64];
    snprintf(server, sizeof server, "http://127.0.0.1:%u/", closed_port());
    assert_int_equal(RUN("get", "p", "--server", server), 69);
    assert_int_equal(RUN("put", "p", "r", "--server", server, "--json"), 69);
    assert_int_equal(RUN("stats", "--server", server), 69);
}

static void missing_request_file_is_exit_1(void **state)
{
    (void)state;
    assert_int_equal(RUN("explain", "--request", "/nonexistent/body.json"), 1);
}

static void call_survives_each_failed_allocation(void **state)
{
    (void)state;
    char server[64];
    bool has_failed = true;
    snprintf(server, sizeof server, "http://127.0.0.1:%u", closed_port());
    for (size_t n = 1; has_failed; n++) {
        struct dj_client client = {.server = server, .key = "k"};
        struct dj_client_answer answer;
        failing_malloc_arm(n);
        enum deja_status status = dj_client_call(&client, "GET", "/", deja_slice_text(""), &answer);
        has_failed = failing_malloc_disarm();
        assert_int_not_equal(status, DEJA_OK);
        dj_client_answer_fini(&answer);
    }
}

static void flat_output_names_every_leaf(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    const char *json = "{\"l1\":{\"hits\":12,\"on\":true},\"list\":[\"a\",null],\"none\":{}}";
    char text[1024];
    assert_int_equal(dj_json_parse(deja_slice_text(json), &doc, NULL), DEJA_OK);
    FILE *file = tmpfile();
    assert_non_null(file);
    dj_output_flat(file, dj_json_root(doc));
    rewind(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    assert_non_null(strstr(text, "l1.hits                              12\n"));
    assert_non_null(strstr(text, "l1.on                                yes\n"));
    assert_non_null(strstr(text, "list.0                               a\n"));
    assert_non_null(strstr(text, "none                                 (empty)\n"));
    fclose(file);
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_use_is_exit_2),
        cmocka_unit_test(nobody_listening_is_exit_69),
        cmocka_unit_test(missing_request_file_is_exit_1),
        cmocka_unit_test(call_survives_each_failed_allocation),
        cmocka_unit_test(flat_output_names_every_leaf),
    };
    return RUN_TESTS(tests);
}
