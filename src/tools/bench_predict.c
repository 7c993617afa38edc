/* tools/bench_predict.c - see bench_predict.h. */
#include "tools/bench_predict.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "config/command.h"
#include "proto/json.h"
#include "tools/rhythm.h"

#define WEEK 168u
#define DAY 24u
#define USED_MIN 0.7 /* of what was warmed */

const struct dj_bench_predict_options dj_bench_predict_default = {
    .seed = 20260824,
    .weeks = 8,
    .learn = 4,
    .ttl_hours = 6,
    .threshold = DJ_PREDICT_THRESHOLD,
};

/* Of one key. */
struct item {
    struct dj_habit habit;
    int64_t live_until_ms;         /* with warming */
    int64_t live_without_until_ms; /* without */
    double cost_usd;
    bool is_warm;     /* warmed, and not used yet */
    bool is_expected; /* in the hour that runs */
    bool is_asked;    /* in the hour that runs */
};

struct run {
    const struct dj_bench_predict_options *options;
    struct dj_bench_predict_result *result;
    struct item *items;
    const struct dj_habit **habits;
    size_t item_count;
    size_t item_cap;
    struct dj_predict_model model;
    uint32_t one_offs;
    uint32_t warmed_today;
    bool is_judged;
    enum deja_status status;
};

static int64_t ttl_ms(const struct run *run)
{
    return (int64_t)run->options->ttl_hours * 3600000;
}

static struct item *item_of(struct run *run, uint32_t key)
{
    if (key >= run->item_cap) {
        size_t cap = (size_t)key * 2 + 1024;
        struct item *items = dj_realloc(run->items, cap * sizeof *items);
        if (!items) {
            run->status = DEJA_ERR_NOMEM;
            return NULL;
        }
        for (size_t i = run->item_cap; i < cap; i++)
            items[i] = (struct item){.is_warm = false};
        run->items = items;
        run->item_cap = cap;
    }
    if (key >= run->item_count)
        run->item_count = (size_t)key + 1;
    return &run->items[key];
}

/* ---- the hour comes ---- */

static void count_access(struct run *run, struct item *item, const struct dj_rhythm_access *access)
{
    struct dj_bench_predict_result *result = run->result;
    bool is_hit = access->at_ms < item->live_until_ms;
    bool is_hit_without = access->at_ms < item->live_without_until_ms;
    result->requests++;
    result->hits += is_hit;
    result->hits_without += is_hit_without;
    result->clients_usd += is_hit ? 0 : access->cost_usd;
    result->clients_without_usd += is_hit_without ? 0 : access->cost_usd;
    if (is_hit && item->is_warm) {
        result->used++;
        result->wasted_usd -= item->cost_usd;
    }
    if (is_hit)
        item->is_warm = false;
}

static void on_access(void *ctx, const struct dj_rhythm_access *access)
{
    struct run *run = ctx;
    struct item *item = item_of(run, access->key);
    if (!item)
        return;
    if (run->is_judged)
        count_access(run, item, access);
    if (access->at_ms >= item->live_until_ms) {
        item->live_until_ms = access->at_ms + ttl_ms(run);
        item->is_warm = false;
    }
    if (access->at_ms >= item->live_without_until_ms)
        item->live_without_until_ms = access->at_ms + ttl_ms(run);
    item->cost_usd = access->cost_usd;
    item->is_asked = true;
    dj_habit_note(&item->habit, access->at_ms, access->user, access->request);
}

/* ---- before it ---- */

static void train(struct run *run)
{
    const struct dj_habit **habits = dj_realloc(run->habits, run->item_count * sizeof *habits);
    if (!habits) {
        run->status = DEJA_ERR_NOMEM;
        return;
    }
    run->habits = habits;
    for (size_t i = 0; i < run->item_count; i++)
        habits[i] = &run->items[i].habit;
    run->status = dj_predict_train(habits, run->item_count, run->options->seed, &run->model);
}

static void warm(struct run *run, struct item *item, int64_t hour)
{
    int64_t begin_ms = hour * 3600000;
    uint32_t budget = run->options->budget_per_day;
    if (item->live_until_ms >= begin_ms + 3600000 || (budget && run->warmed_today >= budget))
        return;
    item->live_until_ms = begin_ms + ttl_ms(run);
    item->is_warm = true;
    run->warmed_today++;
    run->result->warmed++;
    run->result->cost_usd += item->cost_usd;
    run->result->wasted_usd += item->cost_usd; /* until it is used */
}

/* The hour before is not over: what it brought is not known yet. */
static void predict(struct run *run, int64_t hour)
{
    for (size_t i = 0; i < run->item_count; i++) {
        struct item *item = &run->items[i];
        struct dj_prediction prediction;
        if (!dj_habit_may_come(&item->habit, hour))
            continue;
        dj_predict_one(&run->model, &item->habit, hour - 1, hour, &prediction);
        item->is_expected = prediction.probability > run->options->threshold;
        if (item->is_expected)
            warm(run, item, hour);
    }
}

static void judge(struct run *run)
{
    for (size_t i = 0; i < run->item_count; i++) {
        struct item *item = &run->items[i];
        if (run->is_judged) {
            run->result->score.predicted += item->is_expected;
            run->result->score.used += item->is_expected && item->is_asked;
            run->result->score.asked += item->is_asked;
        }
        item->is_expected = item->is_asked = false;
    }
}

static bool is_sound(const struct dj_bench_predict_options *options)
{
    return options->weeks >= 2 && options->weeks <= 52 && options->learn < options->weeks &&
           options->ttl_hours && options->ttl_hours <= 10000 && options->threshold >= 0 &&
           options->threshold <= 1;
}

enum deja_status dj_bench_predict(const struct dj_bench_predict_options *options,
                                  struct dj_bench_predict_result *out_result)
{
    struct dj_bench_predict_result result = {.warmed = 0};
    struct run *run = dj_alloc_zeroed(1, sizeof *run);
    if (!is_sound(options) || !run) {
        dj_free(run);
        return is_sound(options) ? DEJA_ERR_NOMEM : DEJA_ERR_INVALID;
    }
    run->options = options;
    run->result = &result;
    for (uint32_t h = 0; h < options->weeks * WEEK && run->status == DEJA_OK; h++) {
        run->is_judged = h >= options->learn * WEEK;
        if (h % DAY == 0)
            run->warmed_today = 0;
        if (run->is_judged && h % DAY == 0)
            train(run);
        if (run->is_judged && run->status == DEJA_OK)
            predict(run, DJ_RHYTHM_BEGIN_HOUR + h);
        dj_rhythm_hour(options->seed, h, &run->one_offs, run, on_access);
        judge(run);
    }
    result.clusters = run->model.clusters.count;
    for (size_t i = 0; i < run->item_count; i++)
        result.keys += run->items[i].habit.has_begun;
    enum deja_status status = run->status;
    if (status == DEJA_OK)
        *out_result = result;
    dj_free(run->habits);
    dj_free(run->items);
    dj_free(run);
    return status;
}

/* ---- for people ---- */

static double part(double of, double whole)
{
    return whole > 0 ? of / whole : 0;
}

static void write_json(const struct dj_bench_predict_result *result, struct dj_buf *out)
{
    const struct dj_bench_predict_options *options = &dj_bench_predict_default;
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "seed", options->seed);
    dj_json_member_u64(&w, "weeks", options->weeks);
    dj_json_member_u64(&w, "weeks_learned", options->learn);
    dj_json_member_u64(&w, "clusters", result->clusters);
    dj_json_member_u64(&w, "keys", result->keys);
    dj_json_member_double(&w, "threshold", options->threshold);
    dj_json_member_double(&w, "precision", dj_predict_precision(&result->score));
    dj_json_member_double(&w, "recall", dj_predict_recall(&result->score));
    dj_json_member_u64(&w, "warmed", result->warmed);
    dj_json_member_u64(&w, "used", result->used);
    dj_json_member_double(&w, "used_share", part((double)result->used, (double)result->warmed));
    dj_json_member_double(&w, "cost_usd", result->cost_usd);
    dj_json_member_double(&w, "wasted_usd", result->wasted_usd);
    dj_json_member_u64(&w, "requests", result->requests);
    dj_json_member_double(&w, "hit_rate", part((double)result->hits, (double)result->requests));
    dj_json_member_double(&w, "hit_rate_without",
                          part((double)result->hits_without, (double)result->requests));
    dj_json_member_double(&w, "clients_usd", result->clients_usd);
    dj_json_member_double(&w, "clients_without_usd", result->clients_without_usd);
    dj_json_end_object(&w);
    dj_buf_append_byte(out, '\n');
}

static void write_text(const struct dj_bench_predict_result *r, struct dj_buf *out)
{
    const struct dj_bench_predict_options *o = &dj_bench_predict_default;
    dj_buf_append_format(out,
                         "generated traffic of %u weeks, the first %u learned from; seed %llu\n",
                         o->weeks, o->learn, (unsigned long long)o->seed);
    dj_buf_append_format(out, "keys        %llu with a habit, %u clusters\n",
                         (unsigned long long)r->keys, r->clusters);
    dj_buf_append_format(out, "threshold   %.2f\n", o->threshold);
    dj_buf_append_format(
        out, "precision   %.1f %%   of %llu predicted hours, asked for in that hour\n",
        100 * dj_predict_precision(&r->score), (unsigned long long)r->score.predicted);
    dj_buf_append_format(out, "recall      %.1f %%   of %llu hours in which a key was asked for\n",
                         100 * dj_predict_recall(&r->score), (unsigned long long)r->score.asked);
    dj_buf_append_format(out, "warmed      %llu, used %.1f %% before they ended\n",
                         (unsigned long long)r->warmed,
                         100 * part((double)r->used, (double)r->warmed));
    dj_buf_append_format(out, "cost        $%.2f, of it $%.2f for what was not used\n", r->cost_usd,
                         r->wasted_usd);
    dj_buf_append_format(out, "hit rate    %.1f %% of %llu requests; without warming %.1f %%\n",
                         100 * part((double)r->hits, (double)r->requests),
                         (unsigned long long)r->requests,
                         100 * part((double)r->hits_without, (double)r->requests));
    dj_buf_append_format(out, "upstream    $%.2f with warming, $%.2f without\n",
                         r->clients_usd + r->cost_usd, r->clients_without_usd);
}

int dj_bench_predict_report(bool wants_json)
{
    struct dj_bench_predict_result result;
    struct dj_buf out = {0};
    enum deja_status status = dj_bench_predict(&dj_bench_predict_default, &result);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja bench predict: %s\n", deja_status_text(status));
        return DJ_EXIT_FAILED;
    }
    if (wants_json)
        write_json(&result, &out);
    else
        write_text(&result, &out);
    bool is_written = out.status == DEJA_OK && fwrite(out.data, 1, out.len, stdout) == out.len;
    dj_buf_fini(&out);
    bool is_good = part((double)result.used, (double)result.warmed) >= USED_MIN;
    return is_written && is_good ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}
