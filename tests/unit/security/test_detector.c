/* tests/unit/security/test_detector.c - what is found, what is not, and what stops it.
 *
 * Keys are made here from their forms ({36} is 36 letters and digits), so that no text of this file
 * looks like anybody's.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "security/detector.h"

/* {n} letters and digits, {nh} lower hex digits, {nH} capitals and digits, {nd} digits. */
static void write_form(const char *form, struct dj_buf *out)
{
    static const char *const alphabets[] = {
        "q7Zk2Wm9XbR4tLp8VcN3sYd6HgJ5fTwA1eUiOoKzBnMxCvDrFyGhPlQaSj0E", "0a7c3e9f1b5d8264",
        "Q7ZK2WM9XBR4TLP8VCN3SYD6HGJ5F", "7204913586"};
    dj_buf_clear(out);
    for (const char *at = form; *at; at++) {
        char *end = NULL;
        unsigned long count = *at == '{' ? strtoul(at + 1, &end, 10) : 0;
        if (!count) {
            dj_buf_append_byte(out, *at);
            continue;
        }
        const char *kind = strchr("hHd", *end);
        const char *alphabet = alphabets[*end != '}' && kind ? 1 + (kind - "hHd") : 0];
        size_t len = strlen(alphabet);
        for (unsigned long i = 0; i < count; i++)
            dj_buf_append_byte(out, alphabet[(i * 7 + i / len) % len]);
        at = *end == '}' ? end : end + 1;
    }
    assert_int_equal(out->status, DEJA_OK);
}

static int make_detector(void **state)
{
    struct dj_detector *detector = NULL;
    assert_int_equal(dj_detector_create(NULL, 0, &detector, NULL), DEJA_OK);
    *state = detector;
    return 0;
}

static int end_detector(void **state)
{
    dj_detector_destroy(*state);
    return 0;
}

struct found {
    const char *rule;
    const char *before;
    const char *value; /* a form */
    const char *behind;
};

static const struct found keys[] = {
    {"anthropic-key", "key is ", "sk-ant-api03-{93}AA", "."},
    {"openai-key", "OPENAI_KEY=", "sk-{48}", "\n"},
    {"openai-key", "use (", "sk-proj-{74}T3BlbkFJ{74}", ")"},
    {"google-key", "?key=", "AIza{35}", "&x=1"},
    {"huggingface-token", "", "hf_{34}", ""},
    {"groq-key", "", "gsk_{52}", ""},
    {"replicate-token", "", "r8_{37}", ""},
    {"perplexity-key", "", "pplx-{48}", ""},
    {"xai-key", "", "xai-{80}", ""},
    {"nvidia-key", "", "nvapi-{64}", ""},
    {"langsmith-key", "", "lsv2_pt_{32h}_{10h}", ""},
    {"pinecone-key", "", "pcsk_{60}", ""},
    {"tavily-key", "", "tvly-{32}", ""},
    {"databricks-token", "", "dapi{32h}", ""},
    {"aws-key", "id ", "AKIA{16H}", " region"},
    {"aws-key", "", "ASIA{16H}, {40}", ""},
    {"google-oauth", "", "ya29.{60}", ""},
    {"google-oauth", "", "GOCSPX-{28}", ""},
    {"azure-client-secret", " ", "a1B8Q~{33}", " "},
    {"azure-sas", "https://a.example/?sv=2022&sig=", "{43}%3D", "&se=x"},
    {"digitalocean-token", "", "dop_v1_{64h}", ""},
    {"alibaba-key", "", "LTAI{20}", ""},
    {"fly-token", "", "fo1_{43}", ""},
    {"heroku-key", "", "HRKU-{60}", ""},
    {"github-token", "https://", "ghp_{36}", "@github.com/x"},
    {"github-token", "", "github_pat_{22}_{59}", ""},
    {"gitlab-token", "", "glpat-{20}", ""},
    {"npm-token", "with ", "npm_{36}", ""},
    {"pypi-token", "", "pypi-AgEIcHlwaS5vcmc{100}", ""},
    {"rubygems-key", "", "rubygems_{48h}", ""},
    {"docker-token", "", "dckr_pat_{27}", ""},
    {"atlassian-token", "", "ATATT3xFfGF0{150}", ""},
    {"bitbucket-token", "", "ATBB{32}", ""},
    {"linear-key", "", "lin_api_{40}", ""},
    {"notion-token", "", "ntn_{46}", ""},
    {"figma-token", "", "figd_{40}", ""},
    {"postman-key", "", "PMAK-{24h}-{34h}", ""},
    {"slack-token", "", "xoxb-{12d}-{12d}-{24}", ""},
    {"slack-token", "", "xapp-1-A{10H}-{13d}-{64h}", ""},
    {"slack-webhook", "https://hooks.slack.com/", "services/T{8H}/B{8H}/{24}", " "},
    {"discord-webhook", "https://discord.com/api/webhooks/{18d}/", "{68}", ""},
    {"telegram-token", "/", "{9d}:AA{33}", "/getMe"},
    {"twilio-key", "", "SK{32h}", ""},
    {"sendgrid-key", "", "SG.{22}.{43}", ""},
    {"mailgun-key", "", "key-{32h}", ""},
    {"mailchimp-key", "", "{32h}-us19", ""},
    {"brevo-key", "", "xkeysib-{64h}-{16}", ""},
    {"stripe-key", "", "sk_live_{24}", ""},
    {"stripe-key", "", "rk_test_{99}", ""},
    {"stripe-webhook-secret", "", "whsec_{32}", ""},
    {"square-token", "", "sq0atp-{22}", ""},
    {"shopify-token", "", "shpat_{32h}", ""},
    {"newrelic-key", "", "NRAK-{27H}", ""},
    {"grafana-token", "", "glsa_{32}_{8h}", ""},
    {"sentry-token", "", "sntrys_{80}", ""},
    {"vault-token", "", "hvs.{24}", ""},
    {"terraform-token", "", "{14}.atlasv1.{64}", ""},
    {"doppler-token", "", "dp.pt.{43}", ""},
    {"pulumi-token", "", "pul-{40h}", ""},
    {"planetscale-token", "", "pscale_tkn_{43}", ""},
    {"supabase-key", "", "sbp_{40h}", ""},
    {"age-key", "", "AGE-SECRET-KEY-1{58H}", ""},
    {"jwt", "cookie ", "eyJ{30}.eyJ{80}.{43}", ";"},
    {"jwt", "", "eyJ{30}.eyJ{80}.", " unsigned"},
    {"private-key", "x\n",
     "-----BEGIN RSA PRIVATE KEY-----\n{64}\n{64}\n-----END RSA PRIVATE KEY-----", "\nthen"},
    {"private-key", "",
     "-----BEGIN OPENSSH PRIVATE KEY-----\\n{70}\\n{70}==\\n-----END OPENSSH PRIVATE "
     "KEY-----",
     "\\n"},
    {"private-key", "",
     "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{64}\n=abcd\n-----END PGP "
     "PRIVATE KEY BLOCK-----",
     " "},
    {"private-key", "cut: ", "-----BEGIN PRIVATE KEY-----\n{64}\n{64}", ""},
    {"url-password", "postgres://app:", "{9}", "@db.example:5432/x"},
    {"url-password", "redis://:", "hunter2", "@localhost"},
    {"url-password", "mongodb+srv://me:", "p%40ss-word", "@c0.example/?x=1"},
    {"authorization", "Authorization: Basic ", "dXNlcjpwYXNz", "\r\n"},
    {"authorization", "\"authorization\": \"Token ", "{20h}", "\""},
    {"bearer-token", "curl -H 'X: Bearer ", "{40}", "'"},
    {"password", "password=", "hunter2", " "},
    {"password", "Password: ", "Tr0ub4dor", ""},
    {"password", "{\"db_password\": \"", "letmein", "\"}"},
    {"password", "pwd='", "s3cr3t!", "'"},
    {"password", "<password>", "hunter2", "</password>"},
    {"password", "PGPASSWORD=", "abc-def-ghi", " psql"},
    {"password", "{\\\"password\\\":\\\"", "open-sesame", "\\\"}"},
    {"password", "mysql --password ", "hunter22", " -u x"},
    {"password", "my password is ", "hunter2", "."},
    {"password", "Mein Passwort lautet ", "Sommer2023", "!"},
    {"password", "\xe5\xaf\x86\xe7\xa0\x81: ", "abc12345", " "},
    {"password", "\xe5\xaf\x86\xe7\xa0\x81\xe6\x98\xaf", "abc12345", " "},
    {"secret", "api_key=", "{16h}", "&x"},
    {"secret", "X-API-Key: ", "{32}", ""},
    {"secret", "aws_secret_access_key = ", "{40}", "\n"},
    {"secret", "\"client_secret\":\"", "{24}", "\""},
    {"secret", "AccountKey=", "{86}==", ";EndpointSuffix"},
    {"secret", "session_token: ", "{64}", ""},
    {"secret", "your API key is ", "{32h}", "."},
};

static const struct found numbers[] = {
    {"card", "pay with ", "4111111111111111", "."},
    {"card", "card: ", "4111 1111 1111 1111", " exp"},
    {"card", "", "5555-5555-5555-4444", ""},
    {"card", "", "3782 822463 10005", ""},
    {"card", "", "371449635398431", ""},
    {"card", "", "6011.1111.1111.1117", ""},
    {"card", "", "3530111333300000", ""},
    {"card", "", "30569309025904", ""},
    {"card", "", "6200000000000005", ""},
    {"card", "", "2223003122003222", ""},
    {"card", "\xc3\xbc",
     "4000\xc2\xa0"
     "0566\xc2\xa0"
     "5566\xc2\xa0"
     "5556",
     "\xc3\xbc"},
    {"us-ssn", "is ", "536-22-1234", "."},
    {"us-ssn", "", "536 22 1234", ""},
    {"us-ssn", "SSN: ", "536221234", ""},
    {"us-ssn", "\"social_security_number\": ", "536221234", "}"},
    {"us-ssn", "", "912-70-1234", ""},
    {"iban", "to ", "DE89 3704 0044 0532 0130 00", " please"},
    {"iban", "", "GB29NWBK60161331926819", ""},
    {"iban", "", "FR14 2004 1010 0505 0001 3M02 606", " ODER"},
    {"iban", "", "NO93 8601 1117 947", ""},
    {"uk-nino", "no ", "AB123456C", ""},
    {"uk-nino", "", "AB 12 34 56 C", ""},
    {"fr-nir", "", "184127645108946", ""},
    {"fr-nir", "", "1 84 12 76 451 089 46", ""},
    {"es-dni", "", "12345678Z", ""},
    {"es-dni", "", "X1234567L", ""},
    {"br-cpf", "", "111.444.777-35", ""},
    {"it-codice-fiscale", "", "RSSMRA85T10A562S", ""},
    {"e-mail", "to ", "a.b+c@mail.example.com", "."},
    {"e-mail", "<", "x@example.org", ">"},
    {"phone", "call ", "+49 30 123456-78", "."},
    {"phone", "", "+14155552671", ""},
    {"phone", "", "(415) 555-2671", ""},
    {"phone", "", "415-555-2671", ""},
};

static void check_found(const struct dj_detector *detector, const struct found *found)
{
    struct dj_findings findings = {0};
    struct dj_buf before = {0};
    struct dj_buf value = {0};
    struct dj_buf text = {0};
    write_form(found->before, &before);
    write_form(found->value, &value);
    dj_buf_append_slice(&text, dj_buf_slice(&before));
    dj_buf_append_slice(&text, dj_buf_slice(&value));
    dj_buf_append_text(&text, found->behind);
    assert_int_equal(dj_detector_scan(detector, DJ_SENSITIVE_ALL, dj_buf_slice(&text), &findings),
                     DEJA_OK);
    bool is_there = value.len == 0;
    for (size_t i = 0; i < findings.count; i++)
        is_there |= strcmp(findings.spans[i].rule, found->rule) == 0 &&
                    findings.spans[i].offset == before.len && findings.spans[i].len == value.len;
    if (!is_there) {
        fprintf(stderr, "not found by %s: %.*s\n", found->rule, (int)text.len, text.data);
        for (size_t i = 0; i < findings.count; i++)
            fprintf(stderr, "  %s at %zu, %zu bytes\n", findings.spans[i].rule,
                    findings.spans[i].offset, findings.spans[i].len);
    }
    assert_true(is_there);
    assert_false(findings.is_limited);
    dj_findings_fini(&findings);
    dj_buf_fini(&before);
    dj_buf_fini(&value);
    dj_buf_fini(&text);
}

static void each_rule_finds_its_own(void **state)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        check_found(*state, &keys[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check_found(*state, &numbers[i]);
}

static bool is_tested(const char *rule)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].rule, rule) == 0)
            return true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(numbers[i].rule, rule) == 0)
            return true;
    return strcmp(rule, "sensitive-name") == 0;
}

static void every_rule_is_tested(void **state)
{
    (void)state;
    for (size_t i = 0; dj_detector_rule_name(i); i++)
        if (!is_tested(dj_detector_rule_name(i)))
            fail_msg("no text for %s", dj_detector_rule_name(i));
}

/* Ordinary texts, and what is nearly a secret. Forms. */
static const char *const harmless[] = {
    "What is the capital of France?",
    "How do I reset my password? The password is required and was wrong.",
    "Explain how a token bucket works; each token is one request.",
    "max_tokens=4096, prompt_tokens: 128, total_tokens: 1024, tokenizer = \"bert-base-uncased\"",
    "{\"usage\":{\"prompt_tokens\":1234567,\"completion_tokens\":42}}",
    "password = getpass.getpass()",
    "const token = process.env.API_TOKEN;",
    "password: string; secret: Option<String>",
    "token = os.environ[\"TOKEN_2\"]",
    "self.password = password; if (password == other_password) return;",
    "DB_PASSWORD=${DB_PASSWORD_2}",
    "password: \"{{ vault_password_1 }}\"",
    "api_key=\"YOUR_API_KEY_123\"",
    "api_key: <your-key-1234567890>",
    "password=********",
    "sk-learn and sk-circle-fade-dot-large-animation",
    "task-0123456789abcdef0123 and risk-management-2024-report-final",
    "git checkout 3f2a9c1d7b5e8f4a6c0d2e9b8a7f6c5d4e3f2a1b",
    "550e8400-e29b-41d4-a716-446655440000",
    "order 4111111111111112 was shipped",
    "order number 1234567890123456",
    "4111 1111 1111 1112",
    "created at 1700000000000, 1700000000000000",
    "2024-01-31T12:34:56.789Z to 2024-12-31",
    "tel. 555-0199, fax 12-34-5678",
    "000-12-3456 666-12-3456 536-00-1234 536-22-0000 078-05-1120",
    "1-536-22-1234-9 and 10.536-22-12345",
    "DE89 3704 0044 0532 0130 01",
    "XY89370400440532013000",
    "ISBN 978-3-16-148410-0",
    "AB123456E GB123456A",
    "12345678A X1234567A",
    "111.111.111-11 123.456.789-00",
    "RSSMRA85T10A562T",
    "https://example.com:8080/path@2x.png",
    "http://[::1]:7070/v1/chat/completions",
    "git@github.com",
    "ssh://git@localhost/x",
    "https://user:password@localhost/",
    "eyJhbGciOiJub25lIn0 alone is a header",
    "-----BEGIN CERTIFICATE-----\n{64}\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n{64}\n-----END PUBLIC KEY-----",
    "AKIA is the prefix of AWS keys; xAKIA{16H} is none",
    "ghp_short and npm_install and hf_hub_download",
    "SHA256:{43}",
    "data:image/png;base64,iVBORw0KGgo{80}",
    "for (size_t i = 0; i < 16; i++) sum += table[i] * 3735928559u;",
    "x = 0x4111111111111111 and 3.4111111111111111",
    "version 4.15.0-213-generic, 10.0.0.1:5432",
    "The secret of success is persistence. A secret: be kind.",
    "bearer of bad news, bearer authentication scheme",
    "Authorization: Bearer <token>",
    "The session_id column is an integer",
    "SSN is short for Social Security number; it has 9 digits",
    "@decorator and user@localhost and 5 @ 3",
    "i++ and a + 12 and C++ 17 2020",
    "Das Passwort ist falsch.",
};

static void ordinary_text_has_nothing(void **state)
{
    struct dj_findings findings = {0};
    struct dj_buf text = {0};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        write_form(harmless[i], &text);
        unsigned classes = DJ_SENSITIVE_ALL & ~DJ_SENSITIVE_BIT(DJ_SENSITIVE_CONTACT);
        if (strchr(harmless[i], '@') && !strstr(harmless[i], "github"))
            classes = DJ_SENSITIVE_ALL;
        assert_int_equal(dj_detector_scan(*state, classes, dj_buf_slice(&text), &findings),
                         DEJA_OK);
        if (findings.count)
            fail_msg("%s found %.*s in: %s", findings.spans[0].rule, (int)findings.spans[0].len,
                     text.data + findings.spans[0].offset, harmless[i]);
    }
    dj_findings_fini(&findings);
    dj_buf_fini(&text);
}

static void only_classes_that_are_asked_for_are_looked_for(void **state)
{
    struct dj_findings findings = {0};
    const struct deja_slice text =
        deja_slice_text("password=4111-1111-1111-1111 for a@example.com, SSN 536-22-1234");
    for (unsigned class = 0; class < DJ_SENSITIVE_CLASS_COUNT; class ++) {
        findings.classes = 0;
        assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_BIT(class), text, &findings),
                         DEJA_OK);
        assert_int_equal(findings.count, 1);
        assert_int_equal(findings.classes, DJ_SENSITIVE_BIT(class));
        assert_int_equal(findings.spans[0].class, class);
    }
    assert_int_equal(dj_detector_scan(*state, 0, text, &findings), DEJA_OK);
    assert_int_equal(findings.count, 0);
    dj_findings_fini(&findings);
}

/* A secret inside another class's is told too: its policy may be stricter. */
static void classes_are_found_within_each_other(void **state)
{
    struct dj_findings findings = {0};
    assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_ALL,
                                      deja_slice_text("password=4111-1111-1111-1111"), &findings),
                     DEJA_OK);
    assert_int_equal(findings.classes,
                     DJ_SENSITIVE_BIT(DJ_SENSITIVE_SECRET) | DJ_SENSITIVE_BIT(DJ_SENSITIVE_CARD));
    dj_findings_fini(&findings);
}

static void any_bytes_are_taken(void **state)
{
    struct dj_findings findings = {0};
    char text[600];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 37 % 256);
    memcpy(text + 300, "\0password=\"hunter2\"\xff", 20);
    assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_BIT(DJ_SENSITIVE_SECRET),
                                      deja_slice(text, sizeof text), &findings),
                     DEJA_OK);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.spans[0].offset, 311);
    assert_int_equal(findings.spans[0].len, 7);
    dj_findings_fini(&findings);
}

static void long_text_is_looked_at_to_its_end(void **state)
{
    struct dj_findings findings = {0};
    struct dj_buf text = {0};
    while (text.len < 1u << 20)
        dj_buf_append_text(&text, "It was a dark and stormy night; the token ring was asleep. ");
    dj_buf_append_text(&text, "password=hunter2");
    assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_ALL, dj_buf_slice(&text), &findings),
                     DEJA_OK);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.spans[0].offset, text.len - 7);
    assert_false(findings.is_limited);
    dj_findings_fini(&findings);
    dj_buf_fini(&text);
}

/* ---- limits ---- */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const struct dj_detector_pattern explosive[] = {
    {"nested", "(a+)+$", DJ_SENSITIVE_SECRET},
    {"overlapping", "(?:a|aa|aaa)*b", DJ_SENSITIVE_SECRET},
    {"recursive", "(\\((?:[^()]|(?1))*\\))+x", DJ_SENSITIVE_SECRET},
    {"lookahead", "(?=(a+))*a*b\\1", DJ_SENSITIVE_SECRET},
};

static void limits_stop_patterns_that_would_not_end(void **state)
{
    static const char *const texts[] = {"a", "(", "()", "aab"};
    (void)state;
    struct dj_buf text = {0};
    for (size_t i = 0; i < sizeof explosive / sizeof *explosive; i++) {
        struct dj_detector *detector = NULL;
        struct dj_findings findings = {0};
        assert_int_equal(dj_detector_create(&explosive[i], 1, &detector, NULL), DEJA_OK);
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            dj_buf_clear(&text);
            while (text.len < 3000)
                dj_buf_append_text(&text, texts[k]);
            dj_buf_append_byte(&text, '!');
            double started = seconds_now();
            assert_int_equal(
                dj_detector_scan(detector, DJ_SENSITIVE_ALL, dj_buf_slice(&text), &findings),
                DEJA_OK);
            print_message("          %s over %s…: %.2f ms%s\n", explosive[i].name, texts[k],
                          1000 * (seconds_now() - started),
                          findings.is_limited ? ", at a limit" : "");
        }
        if (i == 0)
            assert_true(findings.is_limited);
        dj_findings_fini(&findings);
        dj_detector_destroy(detector);
    }
    dj_buf_fini(&text);
}

/* Texts made so that each rule begins everywhere and ends nowhere. */
static void built_in_rules_reach_no_limit(void **state)
{
    static const char *const forms[] = {"sk-",
                                        "password=",
                                        "password=\"",
                                        "password ",
                                        "-----BEGIN PRIVATE KEY-----",
                                        "-----BEGIN PRIVATE KEY-----\n-",
                                        "eyJaaaaaaaaaaaa.",
                                        "eyJaaaaaaaa.eyJaaaaaaaa",
                                        "://a:",
                                        "://",
                                        "4111 ",
                                        "4111-1111-1111-",
                                        "1-",
                                        "DE89 ",
                                        "AA11",
                                        "a@a.",
                                        "a.",
                                        "+1 ",
                                        "(415) ",
                                        "xoxb-",
                                        "AKIA",
                                        "token:  ",
                                        "\\\"token\\\":\\\"",
                                        "authorization: a a a ",
                                        "ssn   ",
                                        ":AA0",
                                        "q~",
                                        "Bearer  a"};
    struct dj_findings findings = {0};
    struct dj_buf text = {0};
    double slowest = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        dj_buf_clear(&text);
        while (text.len < 16384)
            dj_buf_append_text(&text, forms[i]);
        double started = seconds_now();
        assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_ALL | DJ_SENSITIVE_NAMED,
                                          dj_buf_slice(&text), &findings),
                         DEJA_OK);
        double took = seconds_now() - started;
        if (took > 0.01)
            print_message("          16 KiB of %s: %.2f ms\n", forms[i], 1000 * took);
        slowest = took > slowest ? took : slowest;
        if (findings.is_limited)
            print_message("          at a limit: %s\n", forms[i]);
        assert_false(findings.is_limited);
    }
    print_message("          slowest of 16 KiB: %.2f ms\n", 1000 * slowest);
    dj_findings_fini(&findings);
    dj_buf_fini(&text);
}

static void spans_have_a_bound(void **state)
{
    struct dj_findings findings = {0};
    struct dj_buf text = {0};
    for (size_t i = 0; i < DJ_DETECTOR_SPANS_MAX + 10; i++)
        dj_buf_append_text(&text, "pwd=abc1 ");
    assert_int_equal(dj_detector_scan(*state, DJ_SENSITIVE_ALL, dj_buf_slice(&text), &findings),
                     DEJA_OK);
    assert_int_equal(findings.count, DJ_DETECTOR_SPANS_MAX);
    assert_true(findings.is_limited);
    dj_findings_fini(&findings);
    dj_buf_fini(&text);
}

/* ---- the operator's own ---- */

static void own_patterns_are_found_by_group_and_across_windows(void **state)
{
    (void)state;
    static const struct dj_detector_pattern own[] = {
        {"staff-number", "STAFF-(\\d{6})", DJ_SENSITIVE_IDENTITY}};
    struct dj_detector *detector = NULL;
    struct dj_findings findings = {0};
    struct dj_buf text = {0};
    assert_int_equal(dj_detector_create(own, 1, &detector, NULL), DEJA_OK);
    for (size_t at = 65530; at < 65540; at++) {
        dj_buf_clear(&text);
        while (text.len < at)
            dj_buf_append_byte(&text, 'x');
        dj_buf_append_text(&text, "STAFF-204618 and so on");
        assert_int_equal(
            dj_detector_scan(detector, DJ_SENSITIVE_ALL, dj_buf_slice(&text), &findings), DEJA_OK);
        assert_int_equal(findings.count, 1);
        assert_string_equal(findings.spans[0].rule, "staff-number");
        assert_int_equal(findings.spans[0].offset, at + 6);
        assert_int_equal(findings.spans[0].len, 6);
    }
    dj_findings_fini(&findings);
    dj_buf_fini(&text);
    dj_detector_destroy(detector);
}

static void pattern_that_is_none_is_told_with_its_place(void **state)
{
    (void)state;
    static const struct dj_detector_pattern own[] = {{"broken", "a(b", DJ_SENSITIVE_SECRET}};
    struct dj_detector *detector = NULL;
    struct deja_error error = {""};
    assert_int_equal(dj_detector_create(own, 1, &detector, &error), DEJA_ERR_INVALID);
    assert_null(detector);
    assert_non_null(strstr(error.message, "broken"));
    assert_non_null(strstr(error.message, "at byte 3"));
}

/* ---- memory ---- */

static void detector_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const struct dj_detector_pattern own[] = {{"own", "x(y)", DJ_SENSITIVE_SECRET}};
    for (size_t n = 1;; n += 1 + n / 16) {
        struct dj_detector *detector = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_detector_create(own, 1, &detector, NULL);
        bool has_failed = failing_malloc_disarm();
        /* Without memory for machine code there is a detector all the same. */
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        assert_int_equal(detector == NULL, status != DEJA_OK);
        dj_detector_destroy(detector);
        if (!has_failed)
            break;
    }
}

static void scan_survives_each_failed_allocation(void **state)
{
    for (size_t n = 1;; n++) {
        struct dj_findings findings = {0};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_detector_scan(*state, DJ_SENSITIVE_ALL,
                             deja_slice_text("password=hunter2 and 4111111111111111"), &findings);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(findings.count, has_failed ? 0 : 2);
        dj_findings_fini(&findings);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_finds_its_own),
        cmocka_unit_test(every_rule_is_tested),
        cmocka_unit_test(ordinary_text_has_nothing),
        cmocka_unit_test(only_classes_that_are_asked_for_are_looked_for),
        cmocka_unit_test(classes_are_found_within_each_other),
        cmocka_unit_test(any_bytes_are_taken),
        cmocka_unit_test(long_text_is_looked_at_to_its_end),
        cmocka_unit_test(limits_stop_patterns_that_would_not_end),
        cmocka_unit_test(built_in_rules_reach_no_limit),
        cmocka_unit_test(spans_have_a_bound),
        cmocka_unit_test(own_patterns_are_found_by_group_and_across_windows),
        cmocka_unit_test(pattern_that_is_none_is_told_with_its_place),
        cmocka_unit_test(detector_survives_each_failed_allocation),
        cmocka_unit_test(scan_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_detector, end_detector);
}
