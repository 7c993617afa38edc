/* tools/bench_compare.c - see bench_compare.h. */
#include "tools/bench_compare.h"

#include <math.h>
#include <stdio.h>

#define SUCCESS_FALL_MAX 0.005 /* half a percent point: chance, not a change */

bool dj_bench_is_same_machine(const struct dj_bench_machine *a, const struct dj_bench_machine *b)
{
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->system, b->system) == 0 && a->cores == b->cores;
}

/* Why the figures of two results of one name say nothing beside each other; NULL: they do. */
static const char *why_incomparable(const struct dj_bench_result *before,
                                    const struct dj_bench_result *after, bool is_same_machine)
{
    if (strcmp(before->unit, after->unit) != 0)
        return "other unit";
    if (before->is_higher_better != after->is_higher_better)
        return "other direction";
    if (before->entries != after->entries)
        return "other number of entries";
    if (before->clients != after->clients)
        return "other number of clients";
    if (strcmp(before->embedder, after->embedder) != 0)
        return "other embedder";
    if (!is_same_machine && dj_bench_result_is_time(before))
        return "other machine";
    return NULL;
}

static struct dj_bench_change not_compared(const char *why)
{
    return (struct dj_bench_change){.verdict = DJ_BENCH_NOT_COMPARED, .change = NAN, .why = why};
}

static bool is_known(const struct dj_bench_spread *spread)
{
    return isfinite(spread->median) && isfinite(spread->low) && isfinite(spread->high);
}

/* A run of one round has no spread but its one value. */
static bool are_apart(const struct dj_bench_spread *a, const struct dj_bench_spread *b)
{
    return a->high < b->low || b->high < a->low;
}

struct dj_bench_change dj_bench_judge(const struct dj_bench_result *before,
                                      const struct dj_bench_result *after, double limit,
                                      bool is_same_machine)
{
    if (!before)
        return not_compared("only in the new run");
    if (!after)
        return not_compared("missing in the new run");
    const char *why = why_incomparable(before, after, is_same_machine);
    if (why)
        return not_compared(why);
    double successes_before = before->figures.success_rate;
    double successes_after = after->figures.success_rate;
    if (successes_before > 0 && !(successes_after >= successes_before - SUCCESS_FALL_MAX))
        return (struct dj_bench_change){DJ_BENCH_WORSE, NAN, "fewer succeeded"};
    const struct dj_bench_spread *old = &before->figures.medians;
    const struct dj_bench_spread *new = &after->figures.medians;
    if (!is_known(old) || !is_known(new))
        return not_compared("no figure");
    if (old->median == new->median)
        return (struct dj_bench_change){DJ_BENCH_SAME, 0, NULL};
    if (old->median == 0)
        return not_compared("was zero");
    double change = (new->median - old->median) / fabs(old->median);
    struct dj_bench_change result = {DJ_BENCH_SAME, change, NULL};
    if (fabs(change) <= limit)
        return result;
    if (!are_apart(old, new))
        result.verdict = DJ_BENCH_SCATTER;
    else
        result.verdict =
            (change > 0) == before->is_higher_better ? DJ_BENCH_BETTER : DJ_BENCH_WORSE;
    return result;
}

/* ---- the table ---- */

static const char *verdict_text(enum dj_bench_verdict verdict)
{
    switch (verdict) {
    case DJ_BENCH_SAME:
        return "same";
    case DJ_BENCH_SCATTER:
        return "within the spread";
    case DJ_BENCH_BETTER:
        return "better";
    case DJ_BENCH_WORSE:
        return "WORSE";
    case DJ_BENCH_NOT_COMPARED:
        break;
    }
    return "not compared";
}

static const char *verdict_word(enum dj_bench_verdict verdict)
{
    switch (verdict) {
    case DJ_BENCH_SAME:
        return "same";
    case DJ_BENCH_SCATTER:
        return "within_spread";
    case DJ_BENCH_BETTER:
        return "better";
    case DJ_BENCH_WORSE:
        return "worse";
    case DJ_BENCH_NOT_COMPARED:
        break;
    }
    return "not_compared";
}

static double median_of(const struct dj_bench_result *result)
{
    return result ? result->figures.medians.median : NAN;
}

static void write_text(const struct dj_bench_result *before, const struct dj_bench_result *after,
                       const struct dj_bench_change *change, struct dj_buf *out)
{
    const struct dj_bench_result *named = before ? before : after;
    char old[DJ_BENCH_FIGURE_BYTES];
    char new[DJ_BENCH_FIGURE_BYTES];
    char percent[24] = "-";
    dj_bench_write_figure(named->unit, median_of(before), old);
    dj_bench_write_figure(after ? after->unit : named->unit, median_of(after), new);
    if (isfinite(change->change))
        snprintf(percent, sizeof percent, "%+.1f %%", 100 * change->change);
    dj_buf_append_format(out, "%-26s %12s %12s %10s  %s%s%s\n", named->name, old, new, percent,
                         verdict_text(change->verdict), change->why ? ": " : "",
                         change->why ? change->why : "");
}

static void write_json(const struct dj_bench_result *before, const struct dj_bench_result *after,
                       const struct dj_bench_change *change, struct dj_json_writer *w)
{
    const struct dj_bench_result *named = before ? before : after;
    dj_json_begin_object(w);
    dj_json_key(w, "name");
    dj_json_put_text(w, named->name);
    dj_json_key(w, "unit");
    dj_json_put_text(w, named->unit);
    dj_json_key(w, "old");
    dj_json_put_double(w, median_of(before));
    dj_json_key(w, "new");
    dj_json_put_double(w, median_of(after));
    dj_json_key(w, "change");
    dj_json_put_double(w, change->change);
    dj_json_key(w, "verdict");
    dj_json_put_text(w, verdict_word(change->verdict));
    dj_json_key(w, "why");
    if (change->why)
        dj_json_put_text(w, change->why);
    else
        dj_json_put_null(w);
    dj_json_end_object(w);
}

struct tally {
    const struct dj_bench_comparison *comparison;
    bool is_same_machine;
    bool wants_json;
    struct dj_buf *out;
    struct dj_json_writer json;
    size_t compared;
    size_t worse;
};

static void compare_one(struct tally *tally, const struct dj_bench_result *before,
                        const struct dj_bench_result *after)
{
    struct dj_bench_change change =
        dj_bench_judge(before, after, tally->comparison->limit, tally->is_same_machine);
    tally->compared += change.verdict != DJ_BENCH_NOT_COMPARED;
    tally->worse += change.verdict == DJ_BENCH_WORSE;
    if (tally->wants_json)
        write_json(before, after, &change, &tally->json);
    else
        write_text(before, after, &change, tally->out);
}

static void write_head(struct tally *tally)
{
    const struct dj_bench_comparison *comparison = tally->comparison;
    if (tally->wants_json) {
        dj_json_begin_object(&tally->json);
        dj_json_key(&tally->json, "limit");
        dj_json_put_double(&tally->json, comparison->limit);
        dj_json_key(&tally->json, "same_machine");
        dj_json_put_bool(&tally->json, tally->is_same_machine);
        dj_json_key(&tally->json, "changes");
        dj_json_begin_array(&tally->json);
        return;
    }
    if (!tally->is_same_machine)
        dj_buf_append_format(
            tally->out,
            "Two machines (%s, %u cores, %s; %s, %u cores, %s): times are not compared.\n",
            comparison->before->machine.cpu, comparison->before->machine.cores,
            comparison->before->machine.system, comparison->after->machine.cpu,
            comparison->after->machine.cores, comparison->after->machine.system);
    dj_buf_append_format(tally->out, "%-26s %12s %12s %10s\n", "", "old", "new", "change");
}

static void write_foot(struct tally *tally)
{
    if (tally->wants_json) {
        dj_json_end_array(&tally->json);
        dj_json_key(&tally->json, "compared");
        dj_json_put_u64(&tally->json, tally->compared);
        dj_json_key(&tally->json, "worse");
        dj_json_put_u64(&tally->json, tally->worse);
        dj_json_end_object(&tally->json);
        dj_buf_append_byte(tally->out, '\n');
        return;
    }
    dj_buf_append_format(tally->out,
                         "%zu compared, %zu worse by more than %.4g %% and outside the spread\n",
                         tally->compared, tally->worse, 100 * tally->comparison->limit);
}

size_t dj_bench_compare(const struct dj_bench_comparison *comparison, bool wants_json,
                        struct dj_buf *out, size_t *out_compared)
{
    const struct dj_bench_report *before = comparison->before;
    const struct dj_bench_report *after = comparison->after;
    struct tally tally = {
        .comparison = comparison,
        .is_same_machine = dj_bench_is_same_machine(&before->machine, &after->machine),
        .wants_json = wants_json,
        .out = out,
        .json = dj_json_writer(out),
    };
    write_head(&tally);
    for (size_t i = 0; i < before->count; i++)
        compare_one(&tally, &before->results[i],
                    dj_bench_report_find(after, before->results[i].name));
    for (size_t i = 0; i < after->count; i++)
        if (!dj_bench_report_find(before, after->results[i].name))
            compare_one(&tally, NULL, &after->results[i]);
    write_foot(&tally);
    *out_compared = tally.compared;
    return tally.worse;
}
