/* tools/doctor.c - the command, and its findings told. See doctor.h. */
#include "tools/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "config/terminal.h"
#include "proto/json.h"
#include "text/utf8.h"
#include "tools/doctor_internal.h"

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--server", DJ_COMMAND_TEXT, "URL",
     "The daemon; else $DEJA_SERVER, else the first of server.listen",
     offsetof(struct dj_doctor_flags, server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "The credential for the daemon; else $DEJA_KEY",
     offsetof(struct dj_doctor_flags, key)},
    {"--offline", DJ_COMMAND_SWITCH, NULL, "Do not ask the upstream",
     offsetof(struct dj_doctor_flags, is_offline)},
    {"--smoke", DJ_COMMAND_TEXT, "URL",
     "Only a round trip: put, get, reworded get, delete, against the daemon at URL",
     offsetof(struct dj_doctor_flags, smoke)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct dj_doctor_flags, wants_json)},
    {"--plain", DJ_COMMAND_SWITCH, NULL, "No colours", offsetof(struct dj_doctor_flags, is_plain)},
    {"--no-color", DJ_COMMAND_SWITCH, NULL, "No colours; as do NO_COLOR and TERM=dumb",
     offsetof(struct dj_doctor_flags, has_no_color)},
};
/* clang-format on */

const struct dj_command dj_doctor_command = {
    .name = "doctor",
    .summary = "what is wrong here, and what to do about it",
    .synopsis = "[--offline] [--server URL]\n--smoke URL",
    .examples = "deja doctor\tconfiguration, data, model, daemon, upstream\n"
                "deja doctor --offline --json\n"
                "deja doctor --smoke http://127.0.0.1:7070\tafter an update: does it work?",
    .description = "Each line is ok, warn, fail or skip, with what to do. It changes nothing; "
                   "--smoke writes one entry in a namespace of its own and deletes it. Exit 0: "
                   "nothing failed.",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

static const char *const level_names[] = {
    [DJ_FINDING_OK] = "ok",
    [DJ_FINDING_WARN] = "warn",
    [DJ_FINDING_FAIL] = "fail",
    [DJ_FINDING_SKIP] = "skip",
};

/* Strangers' words go into JSON too, and a cut may have split a character. */
static void make_valid(char *text)
{
    if (dj_utf8_is_valid(deja_slice_text(text)))
        return;
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            *text = '?';
}

void dj_findings_add(struct dj_findings *findings, enum dj_finding_level level, const char *name,
                     const char *format, ...)
{
    va_list args;
    findings->count += findings->count < DJ_FINDINGS_MAX;
    struct dj_finding *finding = &findings->items[findings->count - 1];
    *finding = (struct dj_finding){.level = level};
    snprintf(finding->name, sizeof finding->name, "%s", name);
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    make_valid(finding->text);
    findings->has_failed = findings->has_failed || level == DJ_FINDING_FAIL;
}

void dj_findings_advise(struct dj_findings *findings, const char *format, ...)
{
    va_list args;
    struct dj_finding *finding = &findings->items[findings->count - 1];
    va_start(args, format);
    vsnprintf(finding->advice, sizeof finding->advice, format, args);
    va_end(args);
    make_valid(finding->advice);
}

static void tell(const struct dj_findings *findings, bool has_color)
{
    static const enum dj_color colors[] = {[DJ_FINDING_OK] = DJ_COLOR_GREEN,
                                           [DJ_FINDING_WARN] = DJ_COLOR_YELLOW,
                                           [DJ_FINDING_FAIL] = DJ_COLOR_RED,
                                           [DJ_FINDING_SKIP] = DJ_COLOR_DIM};
    size_t counts[] = {0, 0, 0, 0};
    for (size_t i = 0; i < findings->count; i++) {
        const struct dj_finding *finding = &findings->items[i];
        counts[finding->level]++;
        printf("%s%-4s%s  %-16s ", dj_terminal_color(has_color, colors[finding->level]),
               level_names[finding->level], dj_terminal_color(has_color, DJ_COLOR_NONE),
               finding->name);
        dj_terminal_write(stdout, deja_slice_text(finding->text));
        putchar('\n');
        if (!finding->advice[0])
            continue;
        fputs("      -> ", stdout);
        dj_terminal_write(stdout, deja_slice_text(finding->advice));
        putchar('\n');
    }
    printf("%zu ok, %zu to look at, %zu failed\n", counts[DJ_FINDING_OK], counts[DJ_FINDING_WARN],
           counts[DJ_FINDING_FAIL]);
}

static void put_text(struct dj_json_writer *w, const char *name, const char *text)
{
    dj_json_member_text(w, name, *text ? text : NULL);
}

static void tell_json(const struct dj_findings *findings)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "ok", !findings->has_failed);
    put_text(&w, "version", DEJA_VERSION);
    dj_json_key(&w, "checks");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < findings->count; i++) {
        const struct dj_finding *finding = &findings->items[i];
        dj_json_begin_object(&w);
        put_text(&w, "name", finding->name);
        put_text(&w, "status", level_names[finding->level]);
        put_text(&w, "message", finding->text);
        put_text(&w, "advice", finding->advice);
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    if (text.status == DEJA_OK)
        printf("%.*s\n", (int)text.len, text.data);
    dj_buf_fini(&text);
}

int dj_doctor_run(const struct dj_doctor_facts *facts, const struct dj_doctor_flags *flags,
                  const char *const *environment)
{
    struct dj_findings findings = {.count = 0};
    if (flags->smoke) {
        dj_doctor_smoke(flags->smoke, facts->key, &findings);
    } else {
        bool is_held = false;
        dj_doctor_look_at_config(facts, &findings);
        if (facts->is_config_valid)
            is_held = dj_doctor_look_at_machine(facts, &findings);
        if (facts->is_config_valid) {
            dj_doctor_look_at_network(facts, &findings);
            dj_doctor_look_at_redis(facts, &findings);
            dj_doctor_look_at_postgres(facts, &findings);
        }
        dj_doctor_look_at_daemon(facts, is_held, &findings);
        if (flags->is_offline)
            dj_findings_add(&findings, DJ_FINDING_SKIP, "upstream", "not asked: --offline");
        else if (facts->is_config_valid)
            dj_doctor_look_at_upstream(facts, &findings);
        if (facts->is_config_valid && !flags->is_offline)
            dj_doctor_look_at_tiers(facts, &findings);
    }
    if (flags->wants_json)
        tell_json(&findings);
    else
        tell(&findings,
             dj_terminal_has_color(stdout, flags->is_plain || flags->has_no_color, environment));
    return fflush(stdout) != 0 || findings.has_failed ? DJ_EXIT_FAILED : DJ_EXIT_OK;
}
