/* tests/unit/api/test_openapi.c - the document and the router's table say the same. */
#include <stdio.h>
#include <strings.h>

#include "check.h"

#include "api/openapi.h"
#include "api/router.h"
#include "proto/json.h"

static const char *const methods[] = {"get", "put", "post", "delete", "patch"};

static struct dj_json_doc *open_document(void)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {{0}};
    enum deja_status status = dj_json_parse(dj_openapi_document(), &doc, &error);
    if (status != DEJA_OK)
        print_error("%s\n", error.message);
    assert_int_equal(status, DEJA_OK);
    return doc;
}

/* "/a/{id}" of the document and a star of the router's are the same segment. */
static bool is_same_path(const char *route, struct deja_slice documented)
{
    size_t at = 0;
    for (; *route; route++) {
        if (at >= documented.len)
            return false;
        if (*route == '*' && documented.data[at] == '{') {
            while (at < documented.len && documented.data[at] != '}')
                at++;
        } else if (*route != documented.data[at]) {
            return false;
        }
        at++;
    }
    return at == documented.len;
}

static bool is_documented(const struct dj_json *paths, const struct dj_api_route *route)
{
    for (struct dj_json_walk w = dj_json_walk(paths); dj_json_walk_next(&w);) {
        if (!is_same_path(route->path, w.key))
            continue;
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
            if ((*route->method == '*' || strcasecmp(route->method, methods[i]) == 0) &&
                dj_json_get(w.value, methods[i]))
                return true;
    }
    return false;
}

static bool is_routed(const char *method, struct deja_slice path)
{
    struct dj_api_route route;
    for (size_t i = 0; dj_api_route(i, &route); i++)
        if (is_same_path(route.path, path) &&
            (*route.method == '*' || strcasecmp(route.method, method) == 0))
            return true;
    return false;
}

static void every_route_is_documented(void **state)
{
    struct dj_json_doc *doc = open_document();
    const struct dj_json *paths = dj_json_get(dj_json_root(doc), "paths");
    struct dj_api_route route;
    size_t missing = 0;
    size_t count = 0;
    (void)state;
    for (; dj_api_route(count, &route); count++) {
        if (!is_documented(paths, &route)) {
            print_error("not in openapi.json: %s %s\n", route.method, route.path);
            missing++;
        }
    }
    dj_json_doc_destroy(doc);
    assert_int_equal(missing, 0);
    assert_true(count > 10);
}

static void every_documented_operation_is_routed(void **state)
{
    struct dj_json_doc *doc = open_document();
    const struct dj_json *paths = dj_json_get(dj_json_root(doc), "paths");
    size_t missing = 0;
    (void)state;
    for (struct dj_json_walk w = dj_json_walk(paths); dj_json_walk_next(&w);) {
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
            if (dj_json_get(w.value, methods[i]) && !is_routed(methods[i], w.key)) {
                print_error("nowhere served: %s %.*s\n", methods[i], (int)w.key.len, w.key.data);
                missing++;
            }
        }
    }
    dj_json_doc_destroy(doc);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_documented),
        cmocka_unit_test(every_documented_operation_is_routed),
    };
    return RUN_TESTS(tests);
}
