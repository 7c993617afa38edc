/* security/detector_rules.c - the rules of the detector.
 *
 * (1) A pattern is matched only where one of its words was met, anchored there: no rule searches.
 * (2) Every repetition has a bound and does not give back what it took where that can be said, so
 *     that the work of one attempt is bounded by its bounds.
 * (3) Left and right of a key stands nothing that could be a part of it: "task-" has no "sk-".
 *
 * The forms of keys are those their makers have published; lengths are lower bounds where a maker
 * has changed them before.
 */
#include "security/detector_internal.h"

#define LEFT "(?<![A-Za-z0-9])"
#define LEFT_ID "(?<![A-Za-z0-9_-])"
#define LEFT_NUMBER "(?<![A-Za-z0-9_])(?<!\\d\\.)"
#define RIGHT "(?![A-Za-z0-9])"
#define RIGHT_NUMBER "(?![A-Za-z0-9_])(?![.-]\\d)"
#define QUOTE "(?:\\\\{0,2}[\"'`])?"
/* Between a name and its value. */
#define IS "\\s{0,4}(?:(?:=>|:=|->|={1,3}|:|\xef\xbc\x9a)\\s{0,4}|>(?=\\S))"
#define SPOKEN                                                                    \
    "(?:\\s{1,4}(?:is|was|are|ist|war|lautet|est|es|\xc3\xa9)\\s{0,2}:?\\s{1,4}|" \
    "\\s?(?:\xe6\x98\xaf|\xe3\x81\xaf)\\s?)"
/* In quotes up to the closing one, else up to what ends a value in code, URLs and sentences. */
#define VALUE                                                                            \
    "(?|\\\\{0,2}\"((?:[^\"\\\\\\r\\n]|\\\\[^\"\\r\\n]){1,400}+)|'([^'\\r\\n]{1,400}+)|" \
    "`([^`\\r\\n]{1,400}+)|([^\\s\"'`<>(){}\\[\\],;&|\\\\#]{1,400}+))"
#define NAME_END "(?:[_-]?(?:value|plain|string|text|key|id|hash))?\\d{0,3}" QUOTE
#define PASSWORDS                                                                    \
    "password|passwd|passwort|kennwort|passphrase|pwd|mot de passe|contrase\xc3\xb1" \
    "a|senha|"                                                                       \
    "\xe5\xaf\x86\xe7\xa0\x81|\xe5\xaf\x86\xe7\xa2\xbc|"                             \
    "\xd0\xbf\xd0\xb0\xd1\x80\xd0\xbe\xd0\xbb\xd1\x8c|"                              \
    "\xd0\x9f\xd0\xb0\xd1\x80\xd0\xbe\xd0\xbb\xd1\x8c|"                              \
    "\xe3\x83\x91\xe3\x82\xb9\xe3\x83\xaf\xe3\x83\xbc\xe3\x83\x89|"                  \
    "\xeb\xb9\x84\xeb\xb0\x80\xeb\xb2\x88\xed\x98\xb8"
#define SECRETS                                                                                \
    "secret|token|api_key|api-key|apikey|api key|access_key|access-key|accesskey|access key|"  \
    "private_key|private-key|privatekey|account_key|accountkey|account-key|auth_key|authkey|"  \
    "auth-key|encryption_key|encryption-key|encryptionkey|signing_key|signing-key|master_key|" \
    "master-key|shared_key|sharedkey|license_key|credential|credentials|session_id|sessionid"
#define NAMES                                                                              \
    "api_key|api-key|apikey|password|passwd|pwd|secret|token|private_key|private-key|ssn|" \
    "social_security_number|social-security-number|credit_card|credit-card|card_number|"   \
    "card-number"

/* A key of a maker: begins with one of its words. */
#define KEY(rule, begins, form)                                                                 \
    {                                                                                           \
        .name = rule, .class = DJ_SENSITIVE_SECRET, .words = begins, .pattern = LEFT form RIGHT \
    }
#define RANDOM_KEY(rule, begins, form)                                        \
    {                                                                         \
        .name = rule, .class = DJ_SENSITIVE_SECRET, .words = begins,          \
        .pattern = LEFT_ID form "(?![A-Za-z0-9_-])", .check = dj_check_random \
    }

const struct dj_rule dj_detector_rules[] = {
    /* models */
    RANDOM_KEY("anthropic-key", "sk-ant-", "sk-ant-[A-Za-z0-9_-]{20,250}+"),
    RANDOM_KEY("openai-key", "sk-", "sk-(?!ant-)[A-Za-z0-9_-]{20,250}+"),
    KEY("google-key", "aiza", "AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    KEY("huggingface-token", "hf_|api_org_", "(?:hf|api_org)_[A-Za-z0-9]{30,100}+"),
    KEY("groq-key", "gsk_", "gsk_[A-Za-z0-9]{40,100}+"),
    KEY("replicate-token", "r8_", "r8_[A-Za-z0-9]{37,60}+"),
    KEY("perplexity-key", "pplx-", "pplx-[A-Za-z0-9]{40,100}+"),
    KEY("xai-key", "xai-", "xai-[A-Za-z0-9]{60,150}+"),
    KEY("nvidia-key", "nvapi-", "nvapi-[A-Za-z0-9_-]{40,120}+"),
    KEY("langsmith-key", "lsv2_", "lsv2_(?:pt|sk)_[A-Za-z0-9]{32}_[A-Za-z0-9]{8,20}+"),
    KEY("pinecone-key", "pcsk_", "pcsk_[A-Za-z0-9_]{30,120}+"),
    KEY("tavily-key", "tvly-", "tvly-(?:dev-|prod-)?[A-Za-z0-9]{20,60}+"),
    KEY("databricks-token", "dapi", "dapi[0-9a-f]{32}(?:-\\d)?"),
    /* clouds */
    KEY("aws-key", "akia|asia|abia|acca",
        "A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?:[\\s,:;|/\"']{1,12}[A-Za-z0-9/+]{40}(?![/+=]))?"),
    KEY("google-oauth", "ya29.|gocspx-", "(?:ya29\\.|GOCSPX-)[A-Za-z0-9_-]{24,400}+"),
    {.name = "azure-client-secret",
     .class = DJ_SENSITIVE_SECRET,
     .words = "q~",
     .back = "azAZ09__~~..--",
     .back_max = 4,
     .pattern = "[A-Za-z0-9_~.-]{3}\\dQ~[A-Za-z0-9_~.-]{31,34}+" RIGHT},
    {.name = "azure-sas",
     .class = DJ_SENSITIVE_SECRET,
     .words = "&sig=|?sig=",
     .start = DJ_START_AFTER,
     .pattern = "([A-Za-z0-9%+/_-]{40,100}+(?:%3[Dd]|=)?)"},
    KEY("digitalocean-token", "dop_v1_|doo_v1_|dor_v1_", "do[por]_v1_[0-9a-f]{64}"),
    KEY("alibaba-key", "ltai", "LTAI[A-Za-z0-9]{17,21}+"),
    KEY("fly-token", "fo1_|fm1_|fm2_", "f(?:o1|m1|m2)_[A-Za-z0-9+/=_-]{40,400}+"),
    KEY("heroku-key", "hrku-", "HRKU-[A-Za-z0-9_-]{36,80}+"),
    /* code */
    KEY("github-token", "ghp_|gho_|ghu_|ghs_|ghr_", "gh[pousr]_[A-Za-z0-9]{36,255}+"),
    KEY("github-token", "github_pat_", "github_pat_[A-Za-z0-9_]{22,255}+"),
    KEY("gitlab-token",
        "glpat-|glptt-|gldt-|glrt-|glcbt-|glft-|glsoat-|glagent-|glimt-|gloas-|glffct-",
        "gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|imt|oas|ffct)-[A-Za-z0-9_-]{20,255}+"),
    KEY("npm-token", "npm_", "npm_[A-Za-z0-9]{36}"),
    KEY("pypi-token", "pypi-", "pypi-[A-Za-z0-9_-]{50,400}+"),
    KEY("rubygems-key", "rubygems_", "rubygems_[0-9a-f]{48}"),
    KEY("docker-token", "dckr_pat_|dckr_oat_", "dckr_[po]at_[A-Za-z0-9_-]{20,60}+"),
    KEY("atlassian-token", "atatt3|atctt3", "AT[AC]TT3[A-Za-z0-9_=-]{50,400}+"),
    KEY("bitbucket-token", "atbb", "ATBB[A-Za-z0-9]{24,60}+"),
    KEY("linear-key", "lin_api_|lin_oauth_", "lin_(?:api|oauth)_[A-Za-z0-9]{32,80}+"),
    KEY("notion-token", "ntn_", "ntn_[A-Za-z0-9]{40,60}+"),
    KEY("figma-token", "figd_", "figd_[A-Za-z0-9_-]{36,60}+"),
    KEY("postman-key", "pmak-", "PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    /* messages */
    KEY("slack-token", "xoxa-|xoxb-|xoxe-|xoxe.|xoxo-|xoxp-|xoxr-|xoxs-|xoxc-|xoxd-",
        "xox[abceopdrs][.-][A-Za-z0-9%.-]{10,400}+"),
    KEY("slack-token", "xapp-", "xapp-\\d-[A-Za-z0-9-]{20,200}+"),
    {.name = "slack-webhook",
     .class = DJ_SENSITIVE_SECRET,
     .words = "hooks.slack.com/",
     .start = DJ_START_AFTER,
     .pattern = "((?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,200}+)"},
    {.name = "discord-webhook",
     .class = DJ_SENSITIVE_SECRET,
     .words = "/api/webhooks/",
     .start = DJ_START_AFTER,
     .pattern = "\\d{10,25}/([A-Za-z0-9_-]{60,90}+)"},
    {.name = "telegram-token",
     .class = DJ_SENSITIVE_SECRET,
     .words = ":aa",
     .back = "09",
     .back_max = 10,
     .pattern = LEFT "\\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"},
    KEY("twilio-key", "sk0|sk1|sk2|sk3|sk4|sk5|sk6|sk7|sk8|sk9|ska|skb|skc|skd|ske|skf",
        "SK[0-9a-f]{32}"),
    KEY("sendgrid-key", "sg.", "SG\\.[A-Za-z0-9_-]{16,32}+\\.[A-Za-z0-9_-]{32,64}+"),
    KEY("mailgun-key", "key-", "key-[0-9a-f]{32}"),
    {.name = "mailchimp-key",
     .class = DJ_SENSITIVE_SECRET,
     .words = "-us1|-us2|-us3|-us4|-us5|-us6|-us7|-us8|-us9",
     .back = "09af",
     .back_max = 32,
     .pattern = LEFT "[0-9a-f]{32}-us\\d{1,2}" RIGHT},
    KEY("brevo-key", "xkeysib-", "xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    /* money and shops */
    KEY("stripe-key", "sk_live_|sk_test_|rk_live_|rk_test_",
        "[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}+"),
    KEY("stripe-webhook-secret", "whsec_", "whsec_[A-Za-z0-9+/=]{24,80}+"),
    KEY("square-token", "sq0atp-|sq0csp-", "sq0(?:atp|csp)-[A-Za-z0-9_-]{22,60}+"),
    KEY("shopify-token", "shpat_|shpca_|shppa_|shpss_", "shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),
    /* operations */
    KEY("newrelic-key", "nrak-|nrjs-", "NR(?:AK|JS)-[A-Za-z0-9]{19,40}+"),
    KEY("grafana-token", "glc_|glsa_",
        "gl(?:c_[A-Za-z0-9+/]{32,400}+|sa_[A-Za-z0-9]{32}_[0-9a-f]{8})"),
    KEY("sentry-token", "sntrys_|sntryu_", "sntry[su]_[A-Za-z0-9+/=_]{40,400}+"),
    KEY("vault-token", "hvs.|hvb.|hvr.", "hv[sbr]\\.[A-Za-z0-9_-]{24,300}+"),
    {.name = "terraform-token",
     .class = DJ_SENSITIVE_SECRET,
     .words = ".atlasv1.",
     .back = "azAZ09",
     .back_max = 14,
     .pattern = "[A-Za-z0-9]{14}\\.atlasv1\\.[A-Za-z0-9_=-]{60,80}+"},
    KEY("doppler-token", "dp.pt.|dp.st.|dp.sa.|dp.ct.",
        "dp\\.(?:pt|st|sa|ct)\\.[A-Za-z0-9._-]{40,80}+"),
    KEY("pulumi-token", "pul-", "pul-[0-9a-f]{40}"),
    KEY("planetscale-token", "pscale_", "pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64}+"),
    KEY("supabase-key", "sbp_|sb_secret_", "sb(?:p_[0-9a-f]{40}|_secret_[A-Za-z0-9_-]{20,60}+)"),
    KEY("age-key", "age-secret-key-1", "AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    /* any maker */
    {.name = "jwt",
     .class = DJ_SENSITIVE_SECRET,
     .words = "eyj",
     .pattern = LEFT_ID "eyJ[A-Za-z0-9_-]{8,4000}+\\.eyJ[A-Za-z0-9_-]{8,8000}+"
                        "\\.[A-Za-z0-9_-]{0,2000}+"},
    {.name = "private-key",
     .class = DJ_SENSITIVE_SECRET,
     .words = "-----begin ",
     .pattern = "-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
                "(?:(?:[^-]++|-(?!----END )){0,500}+-----END [A-Z0-9 ]{0,48}+-----|"
                "[A-Za-z0-9+/=:\\s\\\\]{0,8000}+)"},
    {.name = "private-key",
     .class = DJ_SENSITIVE_SECRET,
     .words = "putty-user-key-file-",
     .pattern = "PuTTY-User-Key-File-\\d:[^\\x00]{0,6000}+"},
    {.name = "url-password",
     .class = DJ_SENSITIVE_SECRET,
     .words = "://",
     .start = DJ_START_AFTER,
     .pattern = "[^\\s/:@\"'<>`]{0,100}+:([^\\s/@\"'<>`]{1,200}+)@[\\w\\[%{-]",
     .check = dj_check_url_password},
    {.name = "authorization",
     .class = DJ_SENSITIVE_SECRET,
     .words = "authorization",
     .start = DJ_START_AFTER,
     .pattern = QUOTE "\\s{0,4}[:=]\\s{0,4}" QUOTE
                      "(?:[A-Za-z][A-Za-z0-9-]{1,19}\\s{1,4})?([^\\s\"'`,;\\\\]{6,4000}+)",
     .check = dj_check_credential},
    {.name = "bearer-token",
     .class = DJ_SENSITIVE_SECRET,
     .words = "bearer ",
     .start = DJ_START_AFTER,
     .pattern = "\\s{0,3}([A-Za-z0-9._~+/=-]{16,4000}+)",
     .check = dj_check_random},
    {.name = "password",
     .class = DJ_SENSITIVE_SECRET,
     .words = PASSWORDS,
     .start = DJ_START_AFTER,
     .pattern = NAME_END IS VALUE,
     .check = dj_check_password},
    {.name = "password",
     .class = DJ_SENSITIVE_SECRET,
     .words = PASSWORDS,
     .start = DJ_START_AFTER,
     .pattern = SPOKEN VALUE,
     .check = dj_check_spoken_password},
    {.name = "password",
     .class = DJ_SENSITIVE_SECRET,
     .words = "--password |--passwd |--token |--secret |--api-key ",
     .start = DJ_START_AFTER,
     .pattern = "\\s{0,3}(?!-)" VALUE,
     .check = dj_check_password},
    {.name = "secret",
     .class = DJ_SENSITIVE_SECRET,
     .words = SECRETS,
     .start = DJ_START_AFTER,
     .pattern = NAME_END "(?:" IS "|" SPOKEN ")" VALUE,
     .check = dj_check_secret},
    /* a name and anything */
    {.name = "sensitive-name",
     .class = DJ_SENSITIVE_SECRET,
     .is_named = true,
     .words = NAMES,
     .start = DJ_START_AFTER,
     .pattern = "[\\w.-]{0,64}+" QUOTE IS VALUE,
     .check = dj_check_named},
    {.name = "sensitive-name",
     .class = DJ_SENSITIVE_SECRET,
     .is_named = true,
     .words = "authorization|cookie",
     .start = DJ_START_AFTER,
     .pattern = QUOTE "\\s{0,4}[:=]\\s{0,4}" QUOTE "([^\\r\\n\"'`]{1,4000}+)",
     .check = dj_check_named},
    /* cards */
    {.name = "card",
     .class = DJ_SENSITIVE_CARD,
     .start = DJ_START_DIGITS,
     .digits_min = 13,
     .digits_max = 19,
     .pattern = LEFT_NUMBER "\\d{13,19}+" RIGHT_NUMBER,
     .check = dj_check_card},
    {.name = "card",
     .class = DJ_SENSITIVE_CARD,
     .start = DJ_START_DIGITS,
     .digits_min = 4,
     .digits_max = 4,
     .is_whole = true,
     .pattern = LEFT_NUMBER "\\d{4}([ .-]|\\xc2\\xa0)(?:\\d{4}\\1\\d{4}\\1\\d{4}(?:\\1\\d{3})?|"
                            "\\d{6}\\1\\d{4,5})" RIGHT_NUMBER,
     .check = dj_check_card},
    /* persons */
    {.name = "us-ssn",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 3,
     .digits_max = 3,
     .is_whole = true,
     .pattern = LEFT_NUMBER "(?<!\\d-)\\d{3}([ -])\\d\\d\\1\\d{4}" RIGHT_NUMBER,
     .check = dj_check_ssn},
    {.name = "us-ssn",
     .class = DJ_SENSITIVE_IDENTITY,
     .words = "ssn|social security|social_security",
     .start = DJ_START_AFTER,
     .pattern = "(?:[ _-]?(?:number|num|no\\.?|#))?[\\s\"'`:=#\\\\]{0,8}+(?:is\\s{1,3})?"
                "(\\d{3}[ -]?\\d\\d[ -]?\\d{4})(?!\\d)",
     .check = dj_check_ssn},
    {.name = "iban",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 2,
     .digits_max = 30,
     .back = "AZ",
     .back_max = 2,
     .pattern = LEFT "[A-Z]{2}\\d\\d(?:[ -]?[A-Z0-9]{1,4}){3,9}",
     .check = dj_check_iban},
    {.name = "uk-nino",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 2,
     .digits_max = 6,
     .back = "AZ  ",
     .back_max = 3,
     .pattern = " ?" LEFT "([A-Z]{2} ?\\d\\d ?\\d\\d ?\\d\\d ?[A-D])" RIGHT,
     .check = dj_check_nino},
    {.name = "fr-nir",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 15,
     .digits_max = 15,
     .pattern = LEFT_NUMBER "[12]\\d{14}" RIGHT_NUMBER,
     .check = dj_check_nir},
    {.name = "fr-nir",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 1,
     .digits_max = 1,
     .pattern = LEFT_NUMBER "[12] \\d\\d \\d\\d \\d\\d \\d{3} \\d{3} \\d\\d" RIGHT_NUMBER,
     .check = dj_check_nir},
    {.name = "es-dni",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 7,
     .digits_max = 8,
     .back = "XZ",
     .back_max = 1,
     .pattern = LEFT_NUMBER "(?:\\d|[XYZ]-?)\\d{7}-?[A-Z]" RIGHT,
     .check = dj_check_dni},
    {.name = "br-cpf",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 3,
     .digits_max = 3,
     .pattern = LEFT_NUMBER "\\d{3}\\.\\d{3}\\.\\d{3}-\\d\\d" RIGHT_NUMBER,
     .check = dj_check_cpf},
    {.name = "it-codice-fiscale",
     .class = DJ_SENSITIVE_IDENTITY,
     .start = DJ_START_DIGITS,
     .digits_min = 2,
     .digits_max = 2,
     .back = "AZ",
     .back_max = 6,
     .pattern = LEFT "[A-Z]{6}\\d\\d[A-EHLMPRST]\\d\\d[A-Z]\\d{3}[A-Z]" RIGHT,
     .check = dj_check_codice},
    /* addresses */
    {.name = "e-mail",
     .class = DJ_SENSITIVE_CONTACT,
     .words = "@",
     .back = "azAZ09..__%%++--",
     .back_max = 64,
     .pattern =
         "[\\w.%+-]{1,64}+@(?!\\dx\\.)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.){1,8}"
         "[A-Za-z]{2,24}(?![A-Za-z0-9])"},
    {.name = "phone",
     .class = DJ_SENSITIVE_CONTACT,
     .words = "+",
     .pattern = "(?<![\\w+])\\+[1-9]\\d{0,2}(?:[ .-]?\\(?\\d{1,5}\\)?){2,6}(?![\\w+])",
     .check = dj_check_phone},
    {.name = "phone",
     .class = DJ_SENSITIVE_CONTACT,
     .start = DJ_START_DIGITS,
     .digits_min = 3,
     .digits_max = 3,
     .back = "((",
     .back_max = 1,
     .pattern = LEFT_NUMBER
     "(?<!\\d-)(?:\\([2-9]\\d\\d\\) ?|[2-9]\\d\\d[ .-])[2-9]\\d\\d[ .-]\\d{4}" RIGHT_NUMBER,
     .check = dj_check_phone},
};
const size_t dj_detector_rule_count = sizeof dj_detector_rules / sizeof *dj_detector_rules;

const char *dj_detector_rule_name(size_t index)
{
    return index < dj_detector_rule_count ? dj_detector_rules[index].name : NULL;
}
