/* Addresses and URLs that an upstream named through an API may and may not have. */
#include "security/address_guard.h"

#include <arpa/inet.h>

#include "check.h"

static struct dj_address read_it(const char *text)
{
    struct dj_address address = {.is_v6 = strchr(text, ':') != NULL};
    assert_int_equal(inet_pton(address.is_v6 ? AF_INET6 : AF_INET, text, address.bytes), 1);
    return address;
}

static void each_address_has_its_kind(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum dj_address_kind kind;
    } rows[] = {
        {"0.0.0.0", DJ_ADDRESS_UNSPECIFIED},
        {"0.255.255.255", DJ_ADDRESS_UNSPECIFIED},
        {"1.0.0.0", DJ_ADDRESS_PUBLIC},
        {"8.8.8.8", DJ_ADDRESS_PUBLIC},
        {"9.255.255.255", DJ_ADDRESS_PUBLIC},
        {"10.0.0.0", DJ_ADDRESS_PRIVATE},
        {"10.255.255.255", DJ_ADDRESS_PRIVATE},
        {"11.0.0.0", DJ_ADDRESS_PUBLIC},
        {"100.63.255.255", DJ_ADDRESS_PUBLIC},
        {"100.64.0.0", DJ_ADDRESS_SHARED},
        {"100.100.100.200", DJ_ADDRESS_METADATA},
        {"100.127.255.255", DJ_ADDRESS_SHARED},
        {"100.128.0.0", DJ_ADDRESS_PUBLIC},
        {"126.255.255.255", DJ_ADDRESS_PUBLIC},
        {"127.0.0.1", DJ_ADDRESS_LOOPBACK},
        {"127.255.255.254", DJ_ADDRESS_LOOPBACK},
        {"128.0.0.0", DJ_ADDRESS_PUBLIC},
        {"168.63.129.16", DJ_ADDRESS_METADATA},
        {"168.63.129.17", DJ_ADDRESS_PUBLIC},
        {"169.253.255.255", DJ_ADDRESS_PUBLIC},
        {"169.254.0.1", DJ_ADDRESS_LINK_LOCAL},
        {"169.254.169.254", DJ_ADDRESS_METADATA},
        {"169.254.170.2", DJ_ADDRESS_LINK_LOCAL},
        {"169.255.0.0", DJ_ADDRESS_PUBLIC},
        {"172.15.255.255", DJ_ADDRESS_PUBLIC},
        {"172.16.0.0", DJ_ADDRESS_PRIVATE},
        {"172.31.255.255", DJ_ADDRESS_PRIVATE},
        {"172.32.0.0", DJ_ADDRESS_PUBLIC},
        {"192.0.0.1", DJ_ADDRESS_RESERVED},
        {"192.0.0.192", DJ_ADDRESS_METADATA},
        {"192.0.1.0", DJ_ADDRESS_PUBLIC},
        {"192.0.2.1", DJ_ADDRESS_DOCUMENTATION},
        {"192.88.99.1", DJ_ADDRESS_TRANSLATED},
        {"192.167.255.255", DJ_ADDRESS_PUBLIC},
        {"192.168.0.1", DJ_ADDRESS_PRIVATE},
        {"192.169.0.0", DJ_ADDRESS_PUBLIC},
        {"198.17.255.255", DJ_ADDRESS_PUBLIC},
        {"198.18.0.0", DJ_ADDRESS_RESERVED},
        {"198.19.255.255", DJ_ADDRESS_RESERVED},
        {"198.20.0.0", DJ_ADDRESS_PUBLIC},
        {"198.51.100.7", DJ_ADDRESS_DOCUMENTATION},
        {"203.0.113.7", DJ_ADDRESS_DOCUMENTATION},
        {"223.255.255.255", DJ_ADDRESS_PUBLIC},
        {"224.0.0.1", DJ_ADDRESS_MULTICAST},
        {"239.255.255.255", DJ_ADDRESS_MULTICAST},
        {"240.0.0.1", DJ_ADDRESS_RESERVED},
        {"255.255.255.254", DJ_ADDRESS_RESERVED},
        {"255.255.255.255", DJ_ADDRESS_BROADCAST},
        {"::", DJ_ADDRESS_UNSPECIFIED},
        {"::1", DJ_ADDRESS_LOOPBACK},
        {"::2", DJ_ADDRESS_TRANSLATED},
        {"::127.0.0.1", DJ_ADDRESS_TRANSLATED},
        {"::ffff:8.8.8.8", DJ_ADDRESS_TRANSLATED},
        {"::ffff:127.0.0.1", DJ_ADDRESS_TRANSLATED},
        {"::ffff:0:127.0.0.1", DJ_ADDRESS_TRANSLATED},
        {"64:ff9b::a00:1", DJ_ADDRESS_TRANSLATED},
        {"64:ff9b::808:808", DJ_ADDRESS_TRANSLATED},
        {"64:ff9b:1::1", DJ_ADDRESS_TRANSLATED},
        {"100::1", DJ_ADDRESS_RESERVED},
        {"2001::1", DJ_ADDRESS_TRANSLATED},
        {"2001:20::1", DJ_ADDRESS_RESERVED},
        {"2001:1ff:ffff::1", DJ_ADDRESS_RESERVED},
        {"2001:200::1", DJ_ADDRESS_PUBLIC},
        {"2001:db8::1", DJ_ADDRESS_DOCUMENTATION},
        {"2002:7f00:1::", DJ_ADDRESS_TRANSLATED},
        {"2003::1", DJ_ADDRESS_PUBLIC},
        {"2606:4700:4700::1111", DJ_ADDRESS_PUBLIC},
        {"2606:4700::5efe:7f00:1", DJ_ADDRESS_TRANSLATED},
        {"2606:4700::200:5efe:a00:1", DJ_ADDRESS_TRANSLATED},
        {"3ffe::1", DJ_ADDRESS_RESERVED},
        {"3fff::1", DJ_ADDRESS_DOCUMENTATION},
        {"3fff:1000::1", DJ_ADDRESS_PUBLIC},
        {"4000::1", DJ_ADDRESS_RESERVED},
        {"5f00::1", DJ_ADDRESS_RESERVED},
        {"fbff::1", DJ_ADDRESS_RESERVED},
        {"fc00::1", DJ_ADDRESS_PRIVATE},
        {"fd00:ec2::254", DJ_ADDRESS_METADATA},
        {"fd12:3456::1", DJ_ADDRESS_PRIVATE},
        {"fe80::1", DJ_ADDRESS_LINK_LOCAL},
        {"febf::1", DJ_ADDRESS_LINK_LOCAL},
        {"fec0::1", DJ_ADDRESS_PRIVATE},
        {"ff02::1", DJ_ADDRESS_MULTICAST},
        {"1fff::1", DJ_ADDRESS_RESERVED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_address address = read_it(rows[i].text);
        if (dj_address_kind(&address) != rows[i].kind)
            fail_msg("%s is %s", rows[i].text, dj_address_kind_text(dj_address_kind(&address)));
        assert_int_equal(dj_address_is_allowed(NULL, &address, 443),
                         rows[i].kind == DJ_ADDRESS_PUBLIC);
    }
}

static const char *const fine[] = {
    "https://api.openai.com",
    "https://api.openai.com/",
    "https://api.openai.com/v1",
    "https://api.openai.com:443",
    "https://api.openai.com:8443/v1/",
    "https://api.openai.com:1",
    "https://api.openai.com:65535",
    "HTTPS://API.OPENAI.COM",
    "hTTps://Api.OpenAI.com/v1",
    "https://a.b",
    "https://a-b.example-c.com",
    "https://xn--bcher-kva.example.com",
    "https://1.example.com",
    "https://1and1.com",
    "https://127.0.0.1.example.com",
    "https://0x7f.example.com",
    "https://8.8.8.8",
    "https://8.8.8.8:8443/v1",
    "https://[2606:4700:4700::1111]",
    "https://[2606:4700:4700::1111]:8443/v1",
    "https://[2606:4700:4700:0:0:0:0:1111]/",
    "https://example.com/a/b/c%20d",
    "https://example.com/~user/;x=1,2",
    "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com",
};

static const char *const refused[] = {
    /* schemes */
    "",
    "h",
    "https",
    "https:",
    "https:/",
    "https:/api.openai.com",
    "http://api.openai.com",
    "http://8.8.8.8",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "gopher://api.openai.com",
    "dict://api.openai.com",
    "ldap://api.openai.com",
    "unix:/run/x",
    "//api.openai.com",
    "api.openai.com",
    " https://api.openai.com",
    "\thttps://api.openai.com",
    "httpss://a.example",
    "https//api.openai.com",
    "https:api.openai.com",
    "javascript:alert(1)",
    "data:text/plain,x",
    "https;//api.openai.com",
    "wss://api.openai.com",
    "https:\\\\api.openai.com",
    "jar:https://api.openai.com",
    "view-source:https://api.openai.com",
    "https+unix://a.example",
    /* no host, too many slashes */
    "https://",
    "https:///",
    "https:///api.openai.com",
    "https:////api.openai.com",
    "https://:443",
    "https://:443/v1",
    "https://?",
    "https://#",
    "https://.",
    "https://..",
    "https:///v1",
    "https://-",
    "https://_",
    /* user names */
    "https://user@api.openai.com",
    "https://user:pass@api.openai.com",
    "https://@api.openai.com",
    "https://api.openai.com@127.0.0.1",
    "https://api.openai.com@evil.example",
    "https://api.openai.com:443@evil.example",
    "https://127.0.0.1@api.openai.com",
    "https://user%40x@api.openai.com",
    "https://:@api.openai.com",
    "https://a@b@c.example",
    "https://api.openai.com:@evil.example",
    /* characters */
    "https://api.openai.com\\@evil.example",
    "https://api.openai.com\\.evil.example",
    "https://api.openai.com/\\..",
    "https://api openai.com",
    "https://api.openai.com/ x",
    "https://api.openai.com\r\nHost: x",
    "https://api.openai.com\n",
    "https://api.openai.com/\t",
    "https://api.openai.com/\x7f",
    "https://api.openai.com/\x01",
    "https://b\xc3\xbc"
    "cher.example",
    "https://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1",
    "https://127\xe3\x80\x82"
    "0.0.1",
    "https://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1",
    "https://a_b.example",
    "https://a*b.example",
    "https://a,b.example",
    "https://a!b.example",
    "https://$(x).example",
    "https://{a}.example",
    "https://a|b.example",
    "https://<a>.example",
    "https://\"a\".example",
    "https://a;b.example",
    "https://a=b.example",
    "https://a&b.example",
    "https://a'b.example",
    "https://%61pi.openai.com",
    "https://127.0.0.%31",
    "https://api.openai.com%2f@evil.example",
    "https://api.openai.com%00.evil.example",
    "https://%6c%6f%63%61%6c%68%6f%73%74",
    "https://[::1%25eth0]",
    "https://api.openai.com%23.evil.example",
    /* queries and fragments */
    "https://api.openai.com?x",
    "https://api.openai.com/?x=1",
    "https://api.openai.com#x",
    "https://api.openai.com/#@evil.example",
    "https://evil.example#.api.openai.com",
    "https://api.openai.com/v1?",
    "https://evil.example?.api.openai.com",
    /* ports */
    "https://api.openai.com:",
    "https://api.openai.com:/v1",
    "https://api.openai.com:0",
    "https://api.openai.com:65536",
    "https://api.openai.com:99999",
    "https://api.openai.com:0443",
    "https://api.openai.com:+443",
    "https://api.openai.com:-1",
    "https://api.openai.com:0x1bb",
    "https://api.openai.com:443x",
    "https://api.openai.com: 443",
    "https://api.openai.com:443:443",
    "https://api.openai.com:4294967739",
    "https://api.openai.com:https",
    "https://a:b.example",
    /* names */
    "https://localhost",
    "https://LOCALHOST:8080",
    "https://localhost.",
    "https://a.localhost",
    "https://metadata",
    "https://intranet",
    "https://db",
    "https://x.local",
    "https://x.internal",
    "https://metadata.google.internal",
    "https://x.localdomain",
    "https://x.lan",
    "https://x.home.arpa",
    "https://1.0.0.127.in-addr.arpa",
    "https://x.corp",
    "https://a..b",
    "https://.example.com",
    "https://example.com.",
    "https://example..com",
    "https://-a.example",
    "https://a-.example",
    "https://a.-b",
    "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com",
    "https://ip6-localhost",
    "https://localhost:443@a.example",
    /* numbers that some take for addresses */
    "https://2130706433",
    "https://0x7f000001",
    "https://0X7F.1",
    "https://017700000001",
    "https://0177.0.0.1",
    "https://0x7f.0.0.1",
    "https://127.1",
    "https://127.0.1",
    "https://0",
    "https://1",
    "https://00",
    "https://127.0.0.01",
    "https://127.0.0.001",
    "https://127.0.0.0x1",
    "https://0127.0.0.1",
    "https://256.1.1.1",
    "https://1.1.1.256",
    "https://1.2.3.4.5",
    "https://1.2.3",
    "https://8.8.8.8.",
    "https://3232235777",
    "https://0xa9fea9fe",
    "https://2852039166",
    "https://0251.0376.0251.0376",
    "https://1e1.1",
    "https://0x",
    "https://a.0x7f",
    "https://example.123",
    "https://08.8.8.8",
    "https://8.8.8.08",
    "https://8.8.08.8",
    "https://0.0.0.0x0",
    "https://4294967296",
    "https://0b1111111.1",
    /* addresses that are not public */
    "https://127.0.0.1",
    "https://127.0.0.1:8080/v1",
    "https://127.255.255.255",
    "https://0.0.0.0",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://172.31.255.255",
    "https://192.168.1.1",
    "https://169.254.169.254",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.1.1",
    "https://100.64.0.1",
    "https://100.100.100.200",
    "https://168.63.129.16",
    "https://192.0.0.192",
    "https://224.0.0.1",
    "https://239.1.1.1",
    "https://255.255.255.255",
    "https://240.0.0.1",
    "https://192.0.2.1",
    "https://198.51.100.1",
    "https://203.0.113.1",
    "https://198.18.0.1",
    "https://192.88.99.1",
    /* IPv6 */
    "https://[::1]",
    "https://[::1]:8080",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[::ffff:8.8.8.8]",
    "https://[0:0:0:0:0:ffff:7f00:1]",
    "https://[::127.0.0.1]",
    "https://[::ffff:0:127.0.0.1]",
    "https://[64:ff9b::7f00:1]",
    "https://[64:ff9b::8.8.8.8]",
    "https://[64:ff9b:1::1]",
    "https://[2002:7f00:1::]",
    "https://[2001::1]",
    "https://[2001:db8::1]",
    "https://[fe80::1]",
    "https://[fe80::1%eth0]",
    "https://[fc00::1]",
    "https://[fd00:ec2::254]",
    "https://[ff02::1]",
    "https://[fec0::1]",
    "https://[100::1]",
    "https://[2606:4700::5efe:7f00:1]",
    "https://[0000::1]",
    "https://[0:0:0:0:0:0:0:1]",
    "https://::1",
    "https://::1:443",
    "https://[::1",
    "https://::1]",
    "https://[]",
    "https://[",
    "https://]",
    "https://[::1]x",
    "https://[::1]@a.example",
    "https://[127.0.0.1]",
    "https://[8.8.8.8]",
    "https://[api.openai.com]",
    "https://[::g]",
    "https://[2606:4700::1].example.com",
    "https://[2606:4700::1]:",
    "https://[2606:4700::1]:0",
    "https://2606:4700::1",
    "https://[v1.x]",
    "https://[[::1]]",
    "https://[2606:4700::1]443",
    "https://[:::1]",
    "https://[1:2:3:4:5:6:7:8:9]",
    "https://[12345::1]",
    "https://[2606:4700::1 ]",
};

static void public_hosts_are_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        const char *reason = NULL;
        if (dj_address_check_url(NULL, deja_slice_text(fine[i]), &reason) != DEJA_OK)
            fail_msg("%s %s", fine[i], reason);
        assert_null(reason);
    }
}

static void everything_else_is_refused_with_a_reason(void **state)
{
    (void)state;
    assert_true(sizeof refused / sizeof *refused >= 150);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *reason = NULL;
        if (dj_address_check_url(NULL, deja_slice_text(refused[i]), &reason) != DEJA_ERR_INVALID)
            fail_msg("%s was taken", refused[i]);
        assert_true(reason && strlen(reason) > 10);
    }
}

static void address_in_a_url_is_refused_unless_it_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool is_refused;
        bool is_refused_still; /* with the exceptions below */
    } rows[] = {
        {"https://example.com/a", false, false},
        {"http://example.com/a", false, false}, /* a name: the connection is looked at */
        {"https://8.8.8.8/?a", false, false},
        {"http://8.8.8.8", true, true},
        {"HTTPS://127.0.0.1:8443#a", true, false},
        {"http://127.0.0.1:8443/a", true, false},
        {"https://127.0.0.1:8444", true, true},
        {"https://[fd00::5]/hook", true, false},
        {"https://[fd00::6]/hook", true, true},
        {"https://169.254.169.254?a", true, true},
        {"ftp://127.0.0.1", false, false}, /* somebody else tells that it is no URL */
        {"https://", false, false},
    };
    struct dj_address_guard guard = {.count = 0};
    assert_int_equal(dj_address_guard_add(&guard, deja_slice_text("127.0.0.1:8443")), DEJA_OK);
    assert_int_equal(dj_address_guard_add(&guard, deja_slice_text("fd00::5")), DEJA_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deja_slice url = deja_slice_text(rows[i].url);
        assert_int_equal(dj_address_is_url_refused(NULL, url), rows[i].is_refused);
        assert_int_equal(dj_address_is_url_refused(&guard, url), rows[i].is_refused_still);
    }
}

static void what_is_long_is_refused(void **state)
{
    (void)state;
    char url[DJ_ADDRESS_URL_BYTES_MAX + 2];
    const char *reason = NULL;
    memset(url, 'a', sizeof url);
    memcpy(url, "https://a.example/", 18);
    assert_int_equal(dj_address_check_url(NULL, deja_slice(url, DJ_ADDRESS_URL_BYTES_MAX), &reason),
                     DEJA_OK);
    assert_int_equal(
        dj_address_check_url(NULL, deja_slice(url, DJ_ADDRESS_URL_BYTES_MAX + 1), &reason),
        DEJA_ERR_INVALID);
    for (size_t i = 8; i < 8 + 256; i++) /* labels of 50 and a dot */
        url[i] = (i - 7) % 51 ? 'a' : '.';
    assert_int_equal(dj_address_check_url(NULL, deja_slice(url, 8 + 253), &reason), DEJA_OK);
    assert_int_equal(dj_address_check_url(NULL, deja_slice(url, 8 + 254), &reason),
                     DEJA_ERR_INVALID);
    assert_non_null(strstr(reason, "253"));
    assert_int_equal(
        dj_address_check_url(NULL, deja_slice("https://a.example\0.evil", 23), &reason),
        DEJA_ERR_INVALID);
}

static void exceptions_are_for_what_they_name(void **state)
{
    (void)state;
    static const char *const names[] = {"127.0.0.1:11434", "10.1.0.0/16",   "192.168.7.7",
                                        "[fd00::5]:8080",  "[fd01::]/64",   "fd02::9",
                                        "[fd03::1]",       "fd04:1234::/30"};
    static const struct {
        const char *url;
        bool is_fine;
    } rows[] = {
        {"http://127.0.0.1:11434", true},   {"https://127.0.0.1:11434/v1", true},
        {"http://127.0.0.1:11435", false},  {"http://127.0.0.1", false},
        {"https://127.0.0.2:11434", false}, {"http://10.1.255.255:1", true},
        {"http://10.2.0.0", false},         {"https://192.168.7.7", true},
        {"https://192.168.7.8", false},     {"http://[fd00::5]:8080", true},
        {"http://[fd00::5]", false},        {"https://[fd01::1:2]", true},
        {"https://[fd01:0:0:1::1]", false}, {"https://[fd02::9]:9", true},
        {"https://[fd03::1]", true},        {"https://[fd04:1237::1]", true},
        {"https://[fd04:1238::1]", false},  {"http://api.openai.com", false},
        {"http://8.8.8.8", false},          {"https://[::ffff:192.168.7.7]", false},
    };
    struct dj_address_guard guard = {.count = 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(dj_address_guard_add(&guard, deja_slice_text(names[i])), DEJA_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *reason = NULL;
        bool is_fine =
            dj_address_check_url(&guard, deja_slice_text(rows[i].url), &reason) == DEJA_OK;
        if (is_fine != rows[i].is_fine)
            fail_msg("%s %s", rows[i].url, reason ? reason : "was taken");
    }
    struct dj_address address = read_it("127.0.0.1");
    assert_true(dj_address_is_allowed(&guard, &address, 11434));
    assert_false(dj_address_is_allowed(&guard, &address, 80));
    address = read_it("10.1.2.3");
    assert_true(dj_address_is_allowed(&guard, &address, 80));
}

static void exceptions_that_cannot_be_read_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "localhost",
        "10.0.0",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/8/8",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:x",
        "10.0.0.1/8:80",
        "[fd00::1",
        "[fd00::1]80",
        "fd00::/129",
        "[fd00::1]:",
        "[fd00::1]:0",
        "[10.0.0.1]",
        "10.0.0.1:65536",
        "*",
        "0x7f.1",
        "010.0.0.1",
        "10.0.0.0/08",
        "fe80::1%eth0",
        "[fd00::1]:80/64",
        "/8",
    };
    struct dj_address_guard guard = {.count = 0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (dj_address_guard_add(&guard, deja_slice_text(wrong[i])) != DEJA_ERR_INVALID)
            fail_msg("%s was taken", wrong[i]);
    assert_int_equal(guard.count, 0);
    for (size_t i = 0; i < DJ_ADDRESS_EXCEPTIONS_MAX; i++)
        assert_int_equal(dj_address_guard_add(&guard, deja_slice_text("10.0.0.1")), DEJA_OK);
    assert_int_equal(dj_address_guard_add(&guard, deja_slice_text("10.0.0.1")), DEJA_ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_kind),
        cmocka_unit_test(public_hosts_are_taken),
        cmocka_unit_test(everything_else_is_refused_with_a_reason),
        cmocka_unit_test(what_is_long_is_refused),
        cmocka_unit_test(address_in_a_url_is_refused_unless_it_is_named),
        cmocka_unit_test(exceptions_are_for_what_they_name),
        cmocka_unit_test(exceptions_that_cannot_be_read_are_refused),
    };
    return RUN_TESTS(tests);
}
