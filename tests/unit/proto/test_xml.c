#include "proto/xml.h"

#include <stdio.h>

#include "check.h"

struct log {
    struct dj_buf text;
    size_t events_max; /* 0: all */
    size_t events;
};

/* "(a" for a beginning, "a:text)" for an end. */
static bool on_event(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                     struct deja_slice text)
{
    struct log *log = ctx;
    (void)depth;
    if (event == DJ_XML_BEGIN)
        dj_buf_append_byte(&log->text, '(');
    dj_buf_append_slice(&log->text, name);
    if (event == DJ_XML_END) {
        dj_buf_append_byte(&log->text, ':');
        dj_buf_append_slice(&log->text, text);
        dj_buf_append_byte(&log->text, ')');
    }
    return !log->events_max || ++log->events < log->events_max;
}

static enum deja_status read_text(const char *document, struct log *log)
{
    struct dj_buf scratch = {0};
    enum deja_status status = dj_xml_read(deja_slice_text(document), 64, &scratch, log, on_event);
    dj_buf_append_byte(&log->text, '\0');
    dj_buf_fini(&scratch);
    return status;
}

static void assert_reads(const char *document, const char *expected)
{
    struct log log = {.events = 0};
    assert_int_equal(read_text(document, &log), DEJA_OK);
    assert_string_equal(log.text.data, expected);
    dj_buf_fini(&log.text);
}

static void assert_refused(const char *document, enum deja_status expected)
{
    struct log log = {.events = 0};
    enum deja_status status = read_text(document, &log);
    if (status != expected)
        print_message("%s\n", document);
    assert_int_equal(status, expected);
    dj_buf_fini(&log.text);
}

static void elements_and_their_text_are_told_in_order(void **state)
{
    (void)state;
    assert_reads("<a/>", "(aa:)");
    assert_reads("<a></a>", "(aa:)");
    assert_reads("\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- x --><a>t</a>\n<!---->\n", "(aa:t)");
    assert_reads("<a>1<b>2</b>3<c/>4</a>", "(a(bb:2)(cc:)a:134)");
    assert_reads("<s3:a xmlns:s3=\"x>y\" z = 'q\"'>t</s3:a >", "(aa:t)");
    assert_reads("<a>\n <b>x</b>\n</a>", "(a(bb:x)a:\n \n)");
}

static void text_is_decoded(void **state)
{
    (void)state;
    assert_reads("<a>&lt;&amp;&gt;&quot;&apos;</a>", "(aa:<&>\"')");
    assert_reads("<a>&#65;&#x42;&#xe9;&#x20ac;&#x1f600;</a>",
                 "(aa:AB\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80)");
    assert_reads("<a>\x04&#4;&#x1f;</a>", "(aa:\x04\x04\x1f)"); /* a name of an object may be so */
    assert_reads("<a><![CDATA[<b>&amp;]]]]></a>", "(aa:<b>&amp;]])");
}

static void what_is_not_well_formed_is_refused(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "",
        " ",
        "a",
        "<a>",
        "</a>",
        "<a></b>",
        "<a><b></a></b>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "< a/>",
        "<a b/>",
        "<a b=c/>",
        "<a b=\"c/>",
        "<a b=\"1\"c=\"2\"/>",
        "<a b=\"<\"/>",
        "<a",
        "<a ",
        "<a/",
        "<a>&unknown;</a>",
        "<a>&lt</a>",
        "<a>&;</a>",
        "<a>&#0;</a>",
        "<a>&#x;</a>",
        "<a>&#;</a>",
        "<a>&#xd800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999;</a>",
        "<a>&#12a;</a>",
        "<a>&#x1</a>",
        "<a><!-- </a>",
        "<a><![CDATA[</a>",
        "<![CDATA[x]]><a/>",
        "<?xml",
        "<1a/>",
        "<a:/>",
        "<:a/>",
        "<a:b:c/>",
        "<a:1/>",
        "<a><?x</a>",
    };
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        assert_refused(documents[i], DEJA_ERR_INVALID);
}

static bool ignore(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                   struct deja_slice text)
{
    (void)ctx, (void)event, (void)depth, (void)name, (void)text;
    return true;
}

static void zero_byte_is_refused_wherever_it_is(void **state)
{
    (void)state;
    static const char *const documents[] = {"<a>x?y</a>", "<a><![CDATA[?]]></a>", "<a?/>", "?<a/>",
                                            "<a/>?"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        char copy[64];
        size_t len = strlen(documents[i]);
        struct dj_buf scratch = {0};
        memcpy(copy, documents[i], len);
        *(char *)memchr(copy, '?', len) = '\0';
        assert_int_equal(dj_xml_read(deja_slice(copy, len), 64, &scratch, NULL, ignore),
                         DEJA_ERR_INVALID);
        dj_buf_fini(&scratch);
    }
}

static void document_types_and_with_them_entities_are_refused(void **state)
{
    (void)state;
    assert_refused("<!DOCTYPE a [<!ENTITY b \"cc\">]><a>&b;</a>", DEJA_ERR_INVALID);
    assert_refused("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", DEJA_ERR_INVALID);
}

static void depth_and_text_are_bounded(void **state)
{
    (void)state;
    char document[512] = "";
    size_t len = 0;
    for (int i = 0; i < DJ_XML_DEPTH_MAX; i++)
        len += (size_t)snprintf(document + len, sizeof document - len, "<a>");
    for (int i = 0; i < DJ_XML_DEPTH_MAX; i++)
        len += (size_t)snprintf(document + len, sizeof document - len, "</a>");
    struct log log = {.events = 0};
    assert_int_equal(read_text(document, &log), DEJA_OK);
    dj_buf_fini(&log.text);
    len = 0;
    for (int i = 0; i <= DJ_XML_DEPTH_MAX; i++)
        len += (size_t)snprintf(document + len, sizeof document - len, "<a>");
    assert_refused(document, DEJA_ERR_LIMIT);

    char *at = document;
    memcpy(at, "<a>", 3);
    memset(at + 3, 'x', 64);
    memcpy(at + 67, "</a>", 5);
    log = (struct log){.events = 0};
    assert_int_equal(read_text(document, &log), DEJA_OK);
    dj_buf_fini(&log.text);
    memcpy(at + 67, "x</a>", 6);
    assert_refused(document, DEJA_ERR_LIMIT);
    memcpy(at + 67, "&lt;</a>", 9);
    assert_refused(document, DEJA_ERR_LIMIT);
}

static void reader_stops_when_told_to(void **state)
{
    (void)state;
    struct log log = {.events_max = 2};
    assert_int_equal(read_text("<a><b/><c/></a>", &log), DEJA_ERR_CANCELLED);
    assert_string_equal(log.text.data, "(a(b");
    dj_buf_fini(&log.text);
}

static void escaped_text_is_read_back(void **state)
{
    (void)state;
    static const char text[] = "<&>\"'\t\n plain \xc3\xa9";
    struct dj_buf document = {0};
    struct dj_buf scratch = {0};
    struct log log = {.events = 0};
    dj_buf_append_text(&document, "<a>");
    dj_xml_append(&document, deja_slice_text(text));
    dj_buf_append_text(&document, "</a>");
    assert_int_equal(dj_xml_read(dj_buf_slice(&document), 64, &scratch, &log, on_event), DEJA_OK);
    assert_true(log.text.len == strlen(text) + 5);
    assert_memory_equal(log.text.data + 4, text, strlen(text));
    dj_buf_fini(&document);
    dj_buf_fini(&scratch);
    dj_buf_fini(&log.text);
}

static void read_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_buf scratch = {0};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_xml_read(deja_slice_text("<a>text&amp;<b>more</b></a>"), 64, &scratch, NULL, ignore);
        bool has_failed = failing_malloc_disarm();
        dj_buf_fini(&scratch);
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_and_their_text_are_told_in_order),
        cmocka_unit_test(text_is_decoded),
        cmocka_unit_test(what_is_not_well_formed_is_refused),
        cmocka_unit_test(zero_byte_is_refused_wherever_it_is),
        cmocka_unit_test(document_types_and_with_them_entities_are_refused),
        cmocka_unit_test(depth_and_text_are_bounded),
        cmocka_unit_test(reader_stops_when_told_to),
        cmocka_unit_test(escaped_text_is_read_back),
        cmocka_unit_test(read_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
