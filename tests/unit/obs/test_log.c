#include "base/buf.h"
#include "check.h"
#include "obs/log.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static int64_t fixed_now(void)
{
    return 1709164800123;
}

struct pipe_log {
    int fds[2];
    struct dj_log *log;
};

static struct pipe_log open_log(enum dj_log_format format, enum dj_log_level level)
{
    struct pipe_log it;
    assert_int_equal(pipe(it.fds), 0);
    assert_int_equal(fcntl(it.fds[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(dj_log_create(it.fds[1], format, level, fixed_now, &it.log), DEJA_OK);
    return it;
}

static void close_log(struct pipe_log *it)
{
    dj_log_destroy(it->log);
    close(it->fds[0]);
    close(it->fds[1]);
}

static void assert_read(struct pipe_log *it, const char *expected)
{
    char text[DJ_LOG_LINE_BYTES_MAX + 1] = "";
    ssize_t len = read(it->fds[0], text, sizeof text - 1);
    text[len < 0 ? 0 : len] = '\0';
    assert_string_equal(text, expected);
}

static void json_line_has_its_fields_in_order(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_AUTO, DJ_LOG_INFO); /* a pipe is no terminal */
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("api", "chat"),    DJ_LOG_SLICE("id", deja_slice("abc", 2)),
        DJ_LOG_I64("dur_ms", -5),      DJ_LOG_DOUBLE("similarity", 0.9375),
        DJ_LOG_DOUBLE("nothing", NAN), DJ_LOG_BOOL("hit", true),
        DJ_LOG_TEXT("none", NULL),     {.name = NULL},
    };
    dj_log_write(it.log, DJ_LOG_INFO, "served", fields);
    assert_read(&it, "{\"ts\":\"2024-02-29T00:00:00.123Z\",\"level\":\"info\",\"msg\":\"served\","
                     "\"api\":\"chat\",\"id\":\"ab\",\"dur_ms\":-5,\"similarity\":0.9375,"
                     "\"nothing\":null,\"hit\":true,\"none\":null}\n");
    dj_log_write(it.log, DJ_LOG_WARN, "bare", NULL);
    assert_read(&it, "{\"ts\":\"2024-02-29T00:00:00.123Z\",\"level\":\"warn\",\"msg\":\"bare\"}\n");
    close_log(&it);
}

static void hostile_text_stays_on_its_line(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_JSON, DJ_LOG_INFO);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("a", "x\"\\\n\x1b[2J\x7f\xff\xc3\xa9\xc2\x9b"), {.name = NULL}};
    dj_log_write(it.log, DJ_LOG_INFO, "m\n", fields);
    assert_read(&it, "{\"ts\":\"2024-02-29T00:00:00.123Z\",\"level\":\"info\",\"msg\":\"m\\n\","
                     "\"a\":\"x\\\"\\\\\\n\\u001b[2J\\u007f\\ufffd\xc3\xa9\\u009b\"}\n");
    close_log(&it);
    it = open_log(DJ_LOG_PRETTY, DJ_LOG_INFO);
    const struct dj_log_field pretty[] = {
        DJ_LOG_TEXT("a", "word"),    DJ_LOG_TEXT("b", "two words"),
        DJ_LOG_TEXT("c", "\x1b[2J"), DJ_LOG_TEXT("d", ""),
        DJ_LOG_I64("n", 1),          {.name = NULL}};
    dj_log_write(it.log, DJ_LOG_ERROR, "failed", pretty);
    assert_read(&it, "00:00:00.123 ERROR failed a=word b=\"two words\" c=\"\\u001b[2J\" d=\"\" "
                     "n=1\n");
    close_log(&it);
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_PRETTY, DJ_LOG_WARN);
    dj_log_write(it.log, DJ_LOG_INFO, "no", NULL);
    assert_read(&it, "");
    dj_log_set_level(it.log, DJ_LOG_DEBUG);
    dj_log_write(it.log, DJ_LOG_DEBUG, "yes", NULL);
    assert_read(&it, "00:00:00.123 DEBUG yes\n");
    dj_log_write(NULL, DJ_LOG_ERROR, "nowhere", NULL);
    close_log(&it);
}

static void long_line_loses_fields_and_says_so(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_JSON, DJ_LOG_INFO);
    char text[3001];
    memset(text, 'x', 3000);
    text[3000] = '\0';
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("a", text),   DJ_LOG_TEXT("b", text),
                                          DJ_LOG_TEXT("c", text),   DJ_LOG_TEXT("d", text),
                                          DJ_LOG_I64("last", 1234), {.name = NULL}};
    dj_log_write(it.log, DJ_LOG_INFO, "long", fields);
    char line[DJ_LOG_LINE_BYTES_MAX + 1];
    ssize_t len = read(it.fds[0], line, sizeof line);
    assert_true(len > 3000 && len <= (ssize_t)DJ_LOG_LINE_BYTES_MAX);
    line[len] = '\0';
    assert_non_null(strstr(line, "xxx\xe2\x80\xa6\",\"last\":1234,\"truncated\":true}\n"));
    assert_null(strstr(line, "\"d\":"));
    close_log(&it);
}

static void full_pipe_drops_lines_and_counts_them(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_JSON, DJ_LOG_INFO);
    size_t count = 0;
    while (!dj_log_dropped(it.log) && count < 1000000) {
        dj_log_write(it.log, DJ_LOG_INFO, "again and again", NULL);
        count++;
    }
    assert_true(dj_log_dropped(it.log) == 1 && count > 1);
    dj_log_write(it.log, DJ_LOG_INFO, "again and again", NULL);
    assert_true(dj_log_dropped(it.log) == 2);
    struct dj_buf all = {0};
    for (ssize_t len = 1; len > 0;) {
        char *room = dj_buf_reserve(&all, 65536);
        assert_non_null(room);
        len = read(it.fds[0], room, 65536);
        all.len += len > 0 ? (size_t)len : 0;
    }
    assert_int_equal(all.data[all.len - 1], '\n'); /* whole lines only */
    dj_log_write(it.log, DJ_LOG_INFO, "room again", NULL);
    assert_true(dj_log_dropped(it.log) == 2);
    dj_buf_fini(&all);
    close_log(&it);
}

static void redact(void *ctx, const char *name, struct deja_slice text, struct dj_buf *out)
{
    (void)ctx;
    if (text.len > 3 || (name && strcmp(name, "pin") == 0))
        dj_buf_append_text(out, "***");
    else
        dj_buf_append_slice(out, text);
}

static void messages_and_values_pass_the_redactor(void **state)
{
    (void)state;
    struct pipe_log it = open_log(DJ_LOG_PRETTY, DJ_LOG_INFO);
    dj_log_set_redactor(it.log, NULL, redact);
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("a", "sk-secret"),
                                          DJ_LOG_TEXT("b", "ok"),
                                          DJ_LOG_SLICE("c", deja_slice("secret", 6)),
                                          DJ_LOG_I64("n", 123456),
                                          DJ_LOG_I64("pin", 123456),
                                          {.name = NULL}};
    dj_log_write(it.log, DJ_LOG_INFO, "m", fields);
    assert_read(&it, "00:00:00.123 INFO  m a=*** b=ok c=*** n=123456 pin=***\n");
    dj_log_write(it.log, DJ_LOG_INFO, "secret", NULL);
    assert_read(&it, "00:00:00.123 INFO  ***\n");
    close_log(&it);
}

static void log_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_log *log = NULL;
    failing_malloc_arm(1);
    assert_int_equal(dj_log_create(1, DJ_LOG_JSON, DJ_LOG_INFO, fixed_now, &log), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_null(log);
    dj_log_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_line_has_its_fields_in_order),
        cmocka_unit_test(hostile_text_stays_on_its_line),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(long_line_loses_fields_and_says_so),
        cmocka_unit_test(full_pipe_drops_lines_and_counts_them),
        cmocka_unit_test(messages_and_values_pass_the_redactor),
        cmocka_unit_test(log_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
