/* cli/commands.c - the client commands as tables: to add one, add a row here and its function.
 *
 * The texts of --help, of the completions and of the man pages are these.
 */
#include "cli/cli.h"
#include "cli/cli_internal.h"

#define AT(member) offsetof(struct dj_session, member)
#define ROWS(table)                              \
    {                                            \
        (table), sizeof(table) / sizeof *(table) \
    }

/* clang-format off: tables are read by their columns */
static const struct dj_command_option common[] = {
    {"--server", DJ_COMMAND_TEXT, "URL",
     "The daemon; else $DEJA_SERVER, else http://127.0.0.1:7070", AT(flag_server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "The credential that names the tenant; else $DEJA_KEY",
     AT(flag_key)},
    {"--token", DJ_COMMAND_TEXT, "TOKEN", "The admin token printed at start; else $DEJA_TOKEN",
     AT(token)},
    {"--tenant", DJ_COMMAND_TEXT, "TENANT",
     "Act for that tenant, by its name or id; needs the admin token", AT(tenant)},
    {"--user", DJ_COMMAND_TEXT, "USER",
     "As that user of the tenant: what is the user's, and no more", AT(user)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print the server's answer as it came", AT(wants_json)},
    {"--plain", DJ_COMMAND_SWITCH, NULL, "No colours, nothing meant for a terminal", AT(is_plain)},
    {"--no-color", DJ_COMMAND_SWITCH, NULL, "No colours; as do NO_COLOR and TERM=dumb",
     AT(has_no_color)},
};
static const struct dj_command_option put[] = {
    {"--ttl", DJ_COMMAND_TEXT, "DURATION", "How long it may be served: 30s, 5m, 1h, 2d", AT(ttl)},
    {"--tag", DJ_COMMAND_TEXTS, "TAG", "A name to invalidate it by; may be given again", AT(tags)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
};
static const struct dj_command_option get[] = {
    {"--threshold", DJ_COMMAND_TEXT, "0..1", "Similarity from which a rewording is a hit",
     AT(threshold)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
};
static const struct dj_command_option kv[] = {
    {"--ttl", DJ_COMMAND_TEXT, "DURATION",
     "set, mset, incr: how long it lives: 30s, 5m, 1h; 0: for ever; else as its kind, or 1h",
     AT(ttl)},
    {"--tag", DJ_COMMAND_TEXTS, "TAG",
     "set, mset, incr: a name to invalidate it by; may be given again", AT(tags)},
    {"--depends-on", DJ_COMMAND_TEXTS, "NAME",
     "likewise: what it was made from, for a cascade; may be given again", AT(depends)},
    {"--if-absent", DJ_COMMAND_SWITCH, NULL, "set, mset: only where nothing is; else exit 1",
     AT(is_if_absent)},
    {"--kind", DJ_COMMAND_TEXT, "KIND", "set: of a key whose name does not tell; see deja kinds",
     AT(kind)},
    {"--version", DJ_COMMAND_TEXT, "NAME",
     "set: what this value is called, the one before is kept; get: the one that is called so",
     AT(version)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
    {"--limit", DJ_COMMAND_TEXT, "N", "keys: so many; else all", AT(limit)},
    {"--reason", DJ_COMMAND_TEXT, "TEXT", "del, clear: why, for the records", AT(reason)},
    {"--dry-run", DJ_COMMAND_SWITCH, NULL, "clear: only count what would go", AT(is_dry_run)},
    {"--yes", DJ_COMMAND_SWITCH, NULL, "clear: do not ask", AT(is_agreed)},
};
static const struct dj_command_option del[] = {
    {"--query", DJ_COMMAND_TEXT, "PROMPT", "The entry that was stored under this very prompt",
     AT(query)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
    {"--reason", DJ_COMMAND_TEXT, "TEXT", "Why, for the records", AT(reason)},
};
static const struct dj_command_option explain[] = {
    {"--request", DJ_COMMAND_TEXT, "FILE",
     "The body of a request to a model instead of a prompt; - is stdin", AT(request)},
    {"--api", DJ_COMMAND_TEXT, "NAME",
     "Whose body: chat, completions, messages, responses; else what it looks like", AT(api)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
};
static const struct dj_command_option selectors[] = {
    {"--id", DJ_COMMAND_TEXT, "ID", "One entry, by its id", AT(key)},
    {"--query", DJ_COMMAND_TEXT, "PROMPT", "The entry stored under this very prompt", AT(query)},
    {"--tag", DJ_COMMAND_TEXT, "TAG", "Every entry that carries the tag", AT(tag)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME",
     "Every entry of the namespace; with --query: its place", AT(name_space)},
    {"--older-than", DJ_COMMAND_TEXT, "DURATION", "Every entry older than 30s, 5m, 1h, 2d",
     AT(older_than)},
    {"--pattern", DJ_COMMAND_TEXT, "GLOB",
     "Plain keys whose name fits, and entries with a tag that does: * ? [a-z]", AT(pattern)},
    {"--event", DJ_COMMAND_TEXT, "NAME", "What an event makes void: template:updated, ...",
     AT(event)},
    {"--field", DJ_COMMAND_TEXTS, "NAME=VALUE",
     "What the event carries: template_id=42; may be given again", AT(fields)},
    {"--depends-on", DJ_COMMAND_TEXT, "NAME", "What was made from that, and from that in turn",
     AT(cascade)},
    {"--cascade", DJ_COMMAND_SWITCH, NULL, "What depends on what goes, goes too", AT(is_cascade)},
    {"--all", DJ_COMMAND_SWITCH, NULL, "Everything of the tenant", AT(is_all)},
};
static const struct dj_command_option later[] = {
    {"--at", DJ_COMMAND_TEXT, "TIME", "Then, not now: 2026-02-03T04:05:06Z", AT(at)},
    {"--after", DJ_COMMAND_TEXT, "DURATION", "In so long: 30s, 5m, 1h, 2d", AT(after)},
    {"--cron", DJ_COMMAND_TEXT, "LINE", "Again and again: \"0 */6 * * *\", @daily; UTC", AT(cron)},
};
static const struct dj_command_option flush_scope[] = {
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Only this namespace of the tenant", AT(name_space)},
};
static const struct dj_command_option destructive[] = {
    {"--reason", DJ_COMMAND_TEXT, "TEXT", "Why, for the records", AT(reason)},
    {"--dry-run", DJ_COMMAND_SWITCH, NULL, "Only count what would go", AT(is_dry_run)},
    {"--yes", DJ_COMMAND_SWITCH, NULL, "Do not ask", AT(is_agreed)},
};
static const struct dj_command_option stats[] = {
    {"--period", DJ_COMMAND_TEXT, "TIME", "Savings of the last TIME, up to 30d; 24h", AT(period)},
};
static const struct dj_command_option top[] = {
    {"--limit", DJ_COMMAND_TEXT, "N", "So many, 1 to 100; 10", AT(limit)},
    {"--order", DJ_COMMAND_TEXT, "ORDER",
     "hits: most first; idle: longest not served; score: worth least", AT(order)},
};
static const struct dj_command_option warm[] = {
    {"--source", DJ_COMMAND_TEXTS, "SOURCE",
     "top, expiring, keys, file or predict; may be given again", AT(sources)},
    {"--predict", DJ_COMMAND_SWITCH, NULL, "What the next hour will bring; as --source predict",
     AT(is_predict)},
    {"--keys", DJ_COMMAND_TEXTS, "PATTERN",
     "Prompts and keys of lower tiers to bring into memory; may be given again", AT(patterns)},
    {"--model", DJ_COMMAND_TEXT, "MODEL", "Of prompts that name none", AT(model)},
    {"--limit", DJ_COMMAND_TEXT, "N", "Of what was asked most; 100", AT(limit)},
    {"--budget-requests", DJ_COMMAND_TEXT, "N", "Requests upstream at most, 1 to 10000",
     AT(budget_requests)},
    {"--budget-usd", DJ_COMMAND_TEXT, "USD", "Dollars at most", AT(budget_usd)},
    {"--dry-run", DJ_COMMAND_SWITCH, NULL, "Only show what would be warmed, and why",
     AT(is_dry_run)},
};
static const struct dj_command_option evict[] = {
    {"--bytes", DJ_COMMAND_TEXT, "SIZE", "So much of each tier: 512kb, 10mb; else a tenth",
     AT(bytes)},
};
static const struct dj_command_option token[] = {
    {"--token", DJ_COMMAND_TEXT, "TOKEN", "The admin token printed at start; else $DEJA_TOKEN",
     AT(token)},
};
static const struct dj_command_option everybody[] = {
    {"--all", DJ_COMMAND_SWITCH, NULL, "Of all tenants; needs the admin token", AT(is_all)},
};
static const struct dj_command_option encryption[] = {
    {"--tenant", DJ_COMMAND_TEXT, "TENANT", "rotate: the keys of that tenant only, by id or name",
     AT(tenant)},
    {"--lost-master", DJ_COMMAND_SWITCH, NULL,
     "rotate: give up what keys of another master key sealed", AT(has_lost_master)},
};
static const struct dj_command_option tenant[] = {
    {"--id", DJ_COMMAND_TEXT, "ID", "add: its id; link: the tenant that was made of the credential",
     AT(id)},
    {"--name", DJ_COMMAND_TEXT, "NAME", "set: another name; link: what the link is called",
     AT(name)},
    {"--inherits", DJ_COMMAND_TEXT, "TENANT",
     "add, set: whose values hold for what is not said; none: the deployment's", AT(inherits)},
    {"--file", DJ_COMMAND_TEXT, "FILE", "add, set: JSON of what it may and wants; - is stdin",
     AT(file)},
    {"--replace", DJ_COMMAND_SWITCH, NULL, "set: forget what was said before", AT(is_replacement)},
    {"--credential", DJ_COMMAND_TEXT, "FILE",
     "link: the file that holds the upstream credential; without it stdin is read", AT(credential)},
    {"--limit", DJ_COMMAND_TEXT, "N", "list: so many, 1 to 1000; 100", AT(limit)},
    {"--yes", DJ_COMMAND_SWITCH, NULL, "delete: do not ask", AT(is_agreed)},
};
static const struct dj_command_option key[] = {
    {"--role", DJ_COMMAND_TEXTS, "ROLE",
     "create: read, write, admin or audit; may be given again; read and write", AT(roles)},
    {"--expires", DJ_COMMAND_TEXT, "DURATION", "create: how long it is right: 90d; else for ever",
     AT(expires)},
    {"--rate", DJ_COMMAND_TEXT, "N", "create: requests a second it may make; else as its tenant",
     AT(rate)},
    {"--burst", DJ_COMMAND_TEXT, "N", "create: so many of them at once", AT(burst)},
    {"--certificate", DJ_COMMAND_TEXT, "SHA256",
     "create: the client certificate that stands for the key", AT(certificate)},
    {"--overlap", DJ_COMMAND_TEXT, "DURATION",
     "rotate: how long the secret before is right, too: 24h; 0: at once", AT(overlap)},
    {"--data", DJ_COMMAND_SWITCH, NULL,
     "rotate: the keys that what is kept is sealed with, as deja encryption rotate", AT(is_data)},
    {"--lost-master", DJ_COMMAND_SWITCH, NULL,
     "rotate --data: give up what keys of another master key sealed", AT(has_lost_master)},
    {"--credential", DJ_COMMAND_TEXT, "FILE",
     "upstream set: the file that holds it; without it stdin is read", AT(credential)},
    {"--scheme", DJ_COMMAND_TEXT, "SCHEME",
     "upstream set: bearer, x-api-key, api-key or x-goog-api-key; bearer", AT(scheme)},
    {"--limit", DJ_COMMAND_TEXT, "N", "list: so many, 1 to 1000; 100", AT(limit)},
};
static const struct dj_command_option patterns[] = {
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Within this namespace of the tenant", AT(name_space)},
};
static const struct dj_command_option key_name[] = {
    {"--id", DJ_COMMAND_TEXT, "ID", "The field that has no other value", AT(id)},
    {"--file", DJ_COMMAND_TEXT, "FILE", "The text that is hashed; - is stdin", AT(file)},
    {"--sql", DJ_COMMAND_TEXT, "STATEMENT", "The statement that is hashed", AT(query)},
    {"--namespace", DJ_COMMAND_TEXT, "NAME", "Stands before the key, with v1", AT(name_space)},
};
static const struct dj_command_option tail[] = {
    {"--limit", DJ_COMMAND_TEXT, "N", "So many of the last first, 0 to 1000; 10", AT(limit)},
    {"--once", DJ_COMMAND_SWITCH, NULL, "Print those and end", AT(is_once)},
    {"--invalidations", DJ_COMMAND_SWITCH, NULL,
     "What is made void, as it is: when, kind, name, source, reason, how many", AT(is_void)},
};
/* clang-format on */

const struct dj_cli_command dj_cli_table[] = {
    {{.name = "put",
      .summary = "remember an answer",
      .synopsis = "PROMPT RESPONSE [--ttl DURATION] [--tag TAG]... [--namespace NAME]",
      .examples = "deja put \"capital of France\" \"Paris\" --ttl 1h --tag geo\n"
                  "curl -s https://example.com/faq | deja put \"the faq\" -\tRESPONSE - is stdin",
      .description = "Prints the entry's id. The same prompt again replaces the answer.",
      .options = {ROWS(put), ROWS(common)}},
     dj_cli_put},
    {{.name = "get",
      .summary = "ask the cache; exit 3 on a miss",
      .synopsis = "PROMPT [--threshold 0..1] [--namespace NAME]",
      .examples = "deja get \"France's capital?\" || call_llm\texit 3: not known\n"
                  "deja get \"France's capital?\" --json\tsimilarity, age and where from",
      .description = "Finds an answer stored under the same prompt, or under one that means the "
                     "same.",
      .options = {ROWS(get), ROWS(common)}},
     dj_cli_get},
    {{.name = "del",
      .summary = "forget an entry",
      .synopsis = "ID\n--query PROMPT [--namespace NAME]",
      .examples = "deja del 6f1c09a2d0a94a6c8a3f5b7d9e1c2f30\n"
                  "deja del --query \"capital of France\"\tnever a neighbour of it",
      .description = "It is gone from every tier when the command returns.",
      .options = {ROWS(del), ROWS(common)}},
     dj_cli_del},
    {{.name = "kv",
      .summary = "plain keys: any bytes under a name",
      .synopsis = "get KEY | set KEY VALUE | del KEY... | exists KEY... | ttl KEY\n"
                  "mget KEY... | mset KEY VALUE [KEY VALUE]... | incr KEY [BY]\n"
                  "keys [PATTERN] | clear [PATTERN] [--dry-run] [--yes] | stats",
      .examples = "deja kv set session:7 '{\"seen\": 1}' --ttl 30m\n"
                  "deja kv get session:7 || echo gone\texit 3: not there\n"
                  "tar c . | deja kv set backup -\tVALUE - is stdin\n"
                  "deja kv set job:7 mine --if-absent --ttl 1m || echo taken\n"
                  "deja kv keys 'session:*'\n"
                  "deja kv clear 'session:*' --dry-run",
      .description = "get writes the bytes as they are; mget a line for each key that is there, a "
                     "tab behind its name. A key that is not there ends get, ttl, exists, mget and "
                     "del with 3; of several keys: none of them. A word that "
                     "begins with - stands behind --, but for numbers.\n"
                     "clear removes what the pattern names, without one every key. On a terminal "
                     "it counts first and asks; elsewhere every key needs --yes.",
      .options = {ROWS(kv), ROWS(common)},
      .first_words = "get|set|del|exists|ttl|mget|mset|incr|keys|clear|stats"},
     dj_cli_kv},
    {{.name = "explain",
      .summary = "why a prompt is a hit or a miss",
      .synopsis = "PROMPT [--namespace NAME]\n--request FILE [--api NAME] [--namespace NAME]",
      .examples = "deja explain \"France's capital?\"\n"
                  "deja explain --request body.json\ta whole request to a model",
      .description = "Shows the nearest entries, their similarity, the threshold, and which guard "
                     "refused which.",
      .options = {ROWS(explain), ROWS(common)}},
     dj_cli_explain},
    {{.name = "feedback",
      .summary = "say that an answer was wrong or right",
      .synopsis = "ID wrong|right",
      .examples = "deja feedback 6f1c09a2d0a94a6c8a3f5b7d9e1c2f30 wrong\twithdrawn at once",
      .description = "The id is the header X-Cache-Id of an answer, or what put, get --json and "
                     "tail print. A wrong answer is withdrawn from every tier at once.",
      .options = {ROWS(common)}},
     dj_cli_feedback},
    {{.name = "invalidate",
      .summary = "remove entries by tag, age, namespace",
      .synopsis = "--id ID | --query PROMPT | --tag TAG\n"
                  "--namespace NAME | --older-than DURATION | --pattern GLOB\n"
                  "--event NAME [--field NAME=VALUE]... | --depends-on NAME | --all",
      .examples = "deja invalidate --tag geo --dry-run\thow many would go\n"
                  "deja invalidate --older-than 7d --reason \"new prices\"\n"
                  "deja invalidate --pattern 'user:42:*' --cascade\n"
                  "deja invalidate --event template:updated --field template_id=42\n"
                  "deja invalidate --tag prices --cron @daily\tsee deja schedule list\n"
                  "deja invalidate --all --yes",
      .description = "Prints how many entries were removed. On a terminal it counts first and "
                     "asks; elsewhere --all needs --yes. An answer that is being computed "
                     "meanwhile is not kept.",
      .options = {ROWS(selectors), ROWS(later), ROWS(destructive), ROWS(common)}},
     dj_cli_invalidate},
    {{.name = "schedule",
      .summary = "invalidations that are kept for later",
      .synopsis = "list | remove ID",
      .examples = "deja schedule list\n"
                  "deja schedule remove 6f1c09a2d0a94a6c8a3f5b7d9e1c2f30",
      .description = "deja invalidate with --at, --after or --cron makes them.",
      .options = {ROWS(common)}},
     dj_cli_schedule},
    {{.name = "flush",
      .summary = "remove everything in the scope",
      .synopsis = "[--namespace NAME]",
      .examples = "deja flush --dry-run\nDEJA_KEY=sk-team-a deja flush --yes\tone tenant only",
      .description = "The same as deja invalidate --all, for the tenant or for one of its "
                     "namespaces.",
      .options = {ROWS(flush_scope), ROWS(destructive), ROWS(common)}},
     dj_cli_flush},
    {{.name = "stats",
      .summary = "figures of a running daemon",
      .synopsis = "[--period TIME]",
      .examples = "deja stats\ndeja stats --period 7d\tsavings of a week, by kind\n"
                  "deja stats --json | jq .saved.cost_usd",
      .description = "Requests, hits, what they saved, and what the tiers hold, for the tenant. "
                     "Savings by kind are kept in memory since the daemon's start.",
      .options = {ROWS(stats), ROWS(common)}},
     dj_cli_stats},
    {{.name = "top",
      .summary = "the entries that are asked for most",
      .synopsis = "[--limit N]",
      .examples = "deja top\ndeja top --limit 50 --json",
      .options = {ROWS(top), ROWS(common)}},
     dj_cli_top},
    {{.name = "warm",
      .summary = "make answers before they are asked for",
      .synopsis = "[FILE] [--source SOURCE]... [--keys PATTERN]... [--predict] [--dry-run]\n"
                  "status\ncancel",
      .examples =
          "deja warm faq.jsonl --model gpt-4o-mini --budget-usd 2\ta prompt or request a line\n"
          "deja warm --source top --source expiring --dry-run\n"
          "deja warm --predict --dry-run\twhat the next hour will bring, and why\n"
          "deja warm --keys \"template:*\"\tfrom lower tiers into memory",
      .description = "Asks the upstream as the tenant, within the budget, never beside users who "
                     "wait, and follows the run until it has ended; cancel ends it. FILE has JSON "
                     "lines: a prompt in quotes, or a whole request; - is stdin. With the "
                     "upstream's own key as --key the run goes upstream with that key; otherwise "
                     "with the one that is held for the tenant, or warmup.credential. Exit code 1: "
                     "it stopped before its end.",
      .options = {ROWS(warm), ROWS(common)},
      .first_words = "status|cancel"},
     dj_cli_warm},
    {{.name = "evict",
      .summary = "make room",
      .synopsis = "[--bytes SIZE] [--tenant ID | --all]",
      .examples = "deja evict --bytes 10mb\twhat is worth least goes first\n"
                  "DEJA_TOKEN=... deja evict --all --bytes 1gb",
      .description = "Takes entries out of the tiers that evict, the memory tier first of all, "
                     "until each has given that much. What a tier below keeps is still found.",
      .options = {ROWS(evict), ROWS(everybody), ROWS(common)}},
     dj_cli_evict},
    {{.name = "index",
      .summary = "look after the vector indexes",
      .synopsis = "stats\noptimise",
      .examples = "deja index stats\n"
                  "deja index optimise\twithout what expired, in no more memory than needed",
      .description = "optimise shows how far it is and ends when it is done; look-ups go on "
                     "meanwhile.",
      .options = {ROWS(everybody), ROWS(common)},
      .first_words = "stats|optimise"},
     dj_cli_index},
    {{.name = "encryption",
      .summary = "what is sealed outside memory, and new keys for it",
      .synopsis = "status\nrotate [--tenant TENANT] [--lost-master]",
      .examples =
          "deja encryption status\n"
          "deja encryption rotate\ta new key for each tenant; ends when the old ones are gone",
      .description = "For the admin token. rotate seals what is kept anew and then destroys the "
                     "old keys; look-ups go on meanwhile.",
      .options = {ROWS(encryption), ROWS(token), ROWS(common)},
      .first_words = "status|rotate"},
     dj_cli_encryption},
    {{.name = "kinds",
      .summary = "kinds of plain keys: how long each is kept where",
      .synopsis = "",
      .examples = "deja kinds\ndeja kinds --json | jq '.kinds[] | {name, events, tags}'",
      .description = "The shipped kinds and the operator's own, with the tenant's figures. A key "
                     "belongs to the kind whose pattern it begins with.",
      .options = {ROWS(common)}},
     dj_cli_kinds},
    {{.name = "patterns",
      .summary = "plain keys by pattern: how many, how large",
      .synopsis = "[--namespace NAME]",
      .examples = "deja patterns\ndeja patterns --json | jq .shared",
      .description = "Sizes are estimated from 100 keys of each pattern, drawn at random.",
      .options = {ROWS(patterns), ROWS(common)}},
     dj_cli_patterns},
    {{.name = "key-name",
      .summary = "the name of a plain key, made of its parts",
      .synopsis = "KIND [FIELD=VALUE]... [--id ID] [--file FILE] [--sql STATEMENT] "
                  "[--namespace NAME]",
      .examples = "deja key-name template_score --id 42\n"
                  "deja key-name embedding model=small --file text.txt\n"
                  "deja key-name query_result --sql \"SELECT * FROM users\"",
      .description = "Made as the daemon and the library make it; nothing is stored. `deja kinds` "
                     "lists the kinds. API keys are deja key.",
      .options = {ROWS(key_name), ROWS(common)}},
     dj_cli_key_name},
    {{.name = "tail",
      .summary = "requests as they are answered",
      .synopsis = "[--limit N] [--once] [--invalidations]",
      .examples = "deja tail\thit or miss, similarity, time; until Ctrl-C\n"
                  "deja tail --json | grep hit_semantic\tone JSON object a line\n"
                  "deja tail --invalidations\twhat is made void, until Ctrl-C\n"
                  "deja tail --invalidations --once\twhat was\n"
                  "deja tail --once --limit 100",
      .description = "Shows the tenant's own requests, without their text.",
      .options = {ROWS(tail), ROWS(common)}},
     dj_cli_tail},
    {{.name = "tenant",
      .summary = "tenants: what each may, and whose credentials are its",
      .synopsis = "add NAME [--id ID] [--inherits TENANT] [--file FILE | KEY=VALUE...]\n"
                  "list [--limit N]\nshow TENANT\n"
                  "set TENANT [--name NAME] [--inherits TENANT] [--file FILE | KEY=VALUE...]\n"
                  "suspend TENANT\nresume TENANT\ndelete TENANT [--yes]\n"
                  "link TENANT [--credential FILE | --id ID] [--name NAME]\nunlink TENANT LINK",
      .examples = "deja tenant add acme limits.requests_per_s=50 ttl.response=1h\n"
                  "deja tenant set acme features.semantic=false audit=writes\n"
                  "deja tenant set acme prices='{\"gpt-4.1\": {\"input\": 2, \"output\": 8}}'\n"
                  "deja tenant link acme --name ci < key.txt\tthe credential is kept as an HMAC\n"
                  "deja tenant suspend acme\t403 until resume",
      .description = "For the admin token. A tenant is named by its name or its id; KEY are those "
                     "of docs/api.md, VALUE is JSON or text, null takes back what was "
                     "said. show prints what holds, with every default. Several credentials that "
                     "are linked to one tenant share its answers.",
      .options = {ROWS(tenant), ROWS(common)},
      .first_words = "add|list|show|set|suspend|resume|delete|link|unlink"},
     dj_cli_tenant},
    {{.name = "key",
      .summary = "API keys, and credentials held for the upstream",
      .synopsis = "create [NAME] --tenant TENANT [--role ROLE]... [--expires DURATION]\n"
                  "list [--tenant TENANT]\nshow ID\nrotate ID [--overlap DURATION]\nrevoke ID\n"
                  "rotate --data [--tenant TENANT] [--lost-master]\n"
                  "upstream set TENANT [--credential FILE] [--scheme SCHEME]\n"
                  "upstream show TENANT\nupstream remove TENANT",
      .examples = "deja key create ci --tenant acme > ci.key\tshown this once\n"
                  "deja key create ops --role admin --expires 90d\n"
                  "deja key rotate 7f3a09d2c4e1b856 --overlap 24h > new.key\n"
                  "deja key upstream set acme < openai.key\tclients then need only Deja's",
      .description = "For the admin token, or a key with the role admin. Clients show a key as "
                     "Authorization: Bearer, x-api-key or X-Deja-Key; it never goes upstream. What "
                     "is held for the upstream is sealed, and never shown again.",
      .options = {ROWS(key), ROWS(common)},
      .first_words = "create|list|show|rotate|revoke|upstream"},
     dj_cli_key},
};
const size_t dj_cli_count = sizeof dj_cli_table / sizeof *dj_cli_table;

const struct dj_command *dj_cli_command_at(size_t index)
{
    return index < dj_cli_count ? &dj_cli_table[index].about : NULL;
}
