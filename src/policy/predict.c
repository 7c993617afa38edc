/* policy/predict.c - see predict.h.
 *
 * (1) Bit i of weeks[s] is the hour `week - i` weeks, slot s: shifting is how weeks pass.
 * (2) An hour counts as known if it is not before the first access, not after now, and within the
 *     weeks that are remembered; a rate is asked-for hours through known hours, both weighted by
 *     DJ_PREDICT_DECAY to the power of the weeks that have passed.
 */
#include "policy/predict.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"

#define HOUR_MS INT64_C(3600000)
#define MONDAY_HOURS 72 /* 1970-01-01 was a Thursday */
#define FEATURES (4u + DJ_PREDICT_USERS + DJ_PREDICT_REQUESTS)
#define TYPE_WEIGHT 0.7 /* of a type in a distance, beside 1 of the clock's circle */
#define TAU 6.283185307179586

/* Known hours that a fallback is worth. Small: a habit of two weeks is to be believed. */
#define SLOT_PRIOR 1.0
#define HOUR_PRIOR 2.0
#define CLUSTER_PRIOR 4.0
#define ANY_PRIOR 24.0
#define ANY_RATE (1.0 / DJ_PREDICT_HOURS)

static_assert(FEATURES <= DJ_CLUSTER_DIM_MAX, "every feature has a coordinate");
static_assert(DJ_PREDICT_WEEKS == 8, "a week is a bit of a byte");

const char *dj_predict_request_text(enum dj_predict_request request)
{
    static const char *const texts[DJ_PREDICT_REQUESTS] = {
        [DJ_PREDICT_ANSWER] = "answer",
        [DJ_PREDICT_TEMPLATE] = "template",
        [DJ_PREDICT_DOCUMENT] = "document",
        [DJ_PREDICT_OTHER] = "other",
    };
    return texts[request < DJ_PREDICT_REQUESTS ? request : DJ_PREDICT_OTHER];
}

/* ---- hours ---- */

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

int64_t dj_predict_hour_of(int64_t at_ms)
{
    return floor_div(at_ms, HOUR_MS);
}

int64_t dj_predict_week_of(int64_t hour)
{
    return floor_div(hour + MONDAY_HOURS, DJ_PREDICT_HOURS);
}

uint32_t dj_predict_slot_of(int64_t hour)
{
    return (uint32_t)(hour + MONDAY_HOURS - dj_predict_week_of(hour) * DJ_PREDICT_HOURS);
}

/* ---- habits ---- */

static void move_on(struct dj_habit *habit, int64_t week)
{
    int64_t passed = week - habit->week;
    if (passed <= 0)
        return;
    for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++) {
        unsigned bits = passed >= DJ_PREDICT_WEEKS ? 0u : (unsigned)habit->weeks[s] << passed;
        habit->weeks[s] = (uint8_t)(bits & 0xffu);
    }
    habit->week = week;
}

void dj_habit_note(struct dj_habit *habit, int64_t at_ms, enum dj_predict_user user,
                   enum dj_predict_request request)
{
    int64_t hour = dj_predict_hour_of(at_ms);
    int64_t week = dj_predict_week_of(hour);
    if (!habit->has_begun) {
        *habit = (struct dj_habit){
            .first_hour = hour, .last_hour = hour, .week = week, .has_begun = true};
    }
    move_on(habit, week);
    int64_t ago = habit->week - week;
    if (ago < DJ_PREDICT_WEEKS)
        habit->weeks[dj_predict_slot_of(hour)] |= (uint8_t)(1u << (unsigned)ago);
    if (hour < habit->first_hour)
        habit->first_hour = hour;
    if (hour < habit->last_hour)
        return;
    habit->last_hour = hour;
    habit->user = (uint8_t)(user < DJ_PREDICT_USERS ? user : DJ_PREDICT_USER_LOCAL);
    habit->request = (uint8_t)(request < DJ_PREDICT_REQUESTS ? request : DJ_PREDICT_OTHER);
}

void dj_habit_merge(struct dj_habit *habit, const struct dj_habit *other)
{
    struct dj_habit aligned = *other;
    if (!other->has_begun)
        return;
    if (!habit->has_begun) {
        *habit = *other;
        return;
    }
    int64_t week = habit->week > other->week ? habit->week : other->week;
    move_on(habit, week);
    move_on(&aligned, week);
    for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++)
        habit->weeks[s] |= aligned.weeks[s];
    if (other->first_hour < habit->first_hour)
        habit->first_hour = other->first_hour;
    if (other->last_hour > habit->last_hour) {
        habit->last_hour = other->last_hour;
        habit->user = other->user;
        habit->request = other->request;
    }
}

bool dj_habit_has(const struct dj_habit *habit, int64_t hour)
{
    int64_t ago = habit->week - dj_predict_week_of(hour);
    unsigned bits = habit->weeks[dj_predict_slot_of(hour)];
    return habit->has_begun && ago >= 0 && ago < DJ_PREDICT_WEEKS && (bits >> ago & 1u) != 0;
}

bool dj_habit_may_come(const struct dj_habit *habit, int64_t hour)
{
    unsigned bits = 0;
    for (uint32_t s = dj_predict_slot_of(hour) % 24; s < DJ_PREDICT_HOURS; s += 24)
        bits |= habit->weeks[s];
    return bits != 0;
}

uint32_t dj_habit_count(const struct dj_habit *habit)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++)
        for (unsigned bits = habit->weeks[s]; bits; bits &= bits - 1)
            count++;
    return count;
}

/* ---- clusters ---- */

static void write_features(uint32_t slot, uint32_t user, uint32_t request, double out[FEATURES])
{
    double day_part = TAU * (slot % 24 + 0.5) / 24;
    double week_part = TAU * (slot + 0.5) / DJ_PREDICT_HOURS;
    memset(out, 0, FEATURES * sizeof *out);
    out[0] = sin(day_part);
    out[1] = cos(day_part);
    out[2] = sin(week_part);
    out[3] = cos(week_part);
    out[4 + user] = TYPE_WEIGHT;
    out[4 + DJ_PREDICT_USERS + request] = TYPE_WEIGHT;
}

/* A point for each slot and pair of types that was ever seen, as heavy as it was often. */
static size_t gather(const struct dj_habit *const *habits, size_t count, double *at,
                     double *weights)
{
    enum { COMBINATIONS = DJ_PREDICT_USERS * DJ_PREDICT_REQUESTS };
    static_assert(COMBINATIONS * DJ_PREDICT_HOURS <= DJ_CLUSTER_POINTS_MAX, "they fit");
    size_t points = 0;
    for (uint32_t types = 0; types < COMBINATIONS; types++) {
        uint32_t user = types / DJ_PREDICT_REQUESTS;
        uint32_t request = types % DJ_PREDICT_REQUESTS;
        for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++) {
            double weight = 0;
            for (size_t i = 0; i < count; i++)
                if (habits[i]->user == user && habits[i]->request == request)
                    for (unsigned bits = habits[i]->weeks[s]; bits; bits &= bits - 1)
                        weight++;
            if (!(weight > 0))
                continue;
            write_features(s, user, request, at + points * FEATURES);
            weights[points++] = weight;
        }
    }
    return points;
}

enum deja_status dj_predict_train(const struct dj_habit *const *habits, size_t count, uint64_t seed,
                                  struct dj_predict_model *out_model)
{
    const size_t max = (size_t)DJ_PREDICT_USERS * DJ_PREDICT_REQUESTS * DJ_PREDICT_HOURS;
    struct dj_predict_model *model = dj_alloc_zeroed(1, sizeof *model);
    double *at = dj_alloc_zeroed(max * FEATURES, sizeof *at);
    double *weights = dj_alloc_zeroed(max, sizeof *weights);
    enum deja_status status = model && at && weights ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status != DEJA_OK)
        goto done;
    const struct dj_cluster_points points = {
        .at = at, .weights = weights, .count = gather(habits, count, at, weights), .dim = FEATURES};
    model->clusters = (struct dj_clusters){.count = 1, .dim = FEATURES};
    if (points.count)
        status = dj_clusters_fit(&points, DJ_PREDICT_CLUSTERS, seed, &model->clusters);
    if (status != DEJA_OK)
        goto done;
    for (uint32_t user = 0; user < DJ_PREDICT_USERS; user++)
        for (uint32_t request = 0; request < DJ_PREDICT_REQUESTS; request++)
            for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++) {
                double point[FEATURES];
                write_features(s, user, request, point);
                model->cluster_of[user][request][s] =
                    (uint8_t)dj_clusters_nearest(&model->clusters, point, NULL);
            }
    *out_model = *model;
done:
    dj_free(weights);
    dj_free(at);
    dj_free(model);
    return status;
}

/* ---- probabilities ---- */

struct rate {
    double asked; /* weighted */
    double known;
};

/* What is known of one hour of the week (2). */
static void add_slot(struct rate *rate, const struct dj_habit *habit, int64_t now_hour,
                     uint32_t slot, uint32_t *seen, uint32_t *weeks)
{
    int64_t this_week = dj_predict_week_of(now_hour);
    double weight = 1;
    for (int64_t ago = 0; ago < DJ_PREDICT_WEEKS; ago++, weight *= DJ_PREDICT_DECAY) {
        int64_t hour = (this_week - ago) * DJ_PREDICT_HOURS + slot - MONDAY_HOURS;
        if (hour >= now_hour)
            continue;
        if (hour < habit->first_hour)
            break;
        bool was_asked = dj_habit_has(habit, hour);
        rate->known += weight;
        rate->asked += was_asked ? weight : 0;
        if (seen)
            *seen += was_asked ? 1u : 0u;
        if (weeks)
            *weeks += 1;
    }
}

static double smoothed(const struct rate *rate, double prior, double prior_known)
{
    return (rate->asked + prior * prior_known) / (rate->known + prior_known);
}

void dj_predict_one(const struct dj_predict_model *model, const struct dj_habit *habit,
                    int64_t now_hour, int64_t hour, struct dj_prediction *out_prediction)
{
    uint32_t slot = dj_predict_slot_of(hour);
    const uint8_t *clusters = model->cluster_of[habit->user][habit->request];
    struct rate any = {0};
    struct rate same_cluster = {0};
    struct rate same_hour = {0};
    struct rate same_slot = {0};
    *out_prediction = (struct dj_prediction){.cluster = clusters[slot]};
    if (!habit->has_begun)
        return;
    for (uint32_t s = 0; s < DJ_PREDICT_HOURS; s++) {
        struct rate one = {0};
        add_slot(&one, habit, now_hour, s, NULL, NULL);
        any.asked += one.asked;
        any.known += one.known;
        if (clusters[s] == clusters[slot]) {
            same_cluster.asked += one.asked;
            same_cluster.known += one.known;
        }
        if (s % 24 == slot % 24) {
            same_hour.asked += one.asked;
            same_hour.known += one.known;
        }
    }
    add_slot(&same_slot, habit, now_hour, slot, &out_prediction->seen, &out_prediction->weeks);
    double any_rate = smoothed(&any, ANY_RATE, ANY_PRIOR);
    out_prediction->cluster_rate = smoothed(&same_cluster, any_rate, CLUSTER_PRIOR);
    out_prediction->hour_rate = smoothed(&same_hour, out_prediction->cluster_rate, HOUR_PRIOR);
    out_prediction->probability = smoothed(&same_slot, out_prediction->hour_rate, SLOT_PRIOR);
}

double dj_predict_precision(const struct dj_predict_score *score)
{
    return score->predicted ? (double)score->used / (double)score->predicted : 0;
}

double dj_predict_recall(const struct dj_predict_score *score)
{
    return score->asked ? (double)score->used / (double)score->asked : 0;
}
