/* tools/rhythm.c - see rhythm.h, which tells every assumption. */
#include <assert.h>
#include "tools/rhythm.h"

#include <math.h>

#define HOUR_MS INT64_C(3600000)
#define WEEK 168u
#define REPORTS 60u
#define DIGESTS 25u
#define REVIEWS 40u
#define TEMPLATES 30u
#define QUESTIONS 400u
#define REPORT_CHANCE 0.93
#define LATE_CHANCE 0.1
#define DIGEST_CHANCE 0.95
#define REVIEW_CHANCE 0.9
#define TEMPLATE_CHANCE 0.85
#define QUESTION_CHANCE_MAX 0.6
#define WEEKEND_PART 0.1
#define ONE_OFFS_AT_WORK 12u
#define ONE_OFFS_ELSE 1u
#define NEW_FROM_WEEK 3u
#define MOVED_FROM_WEEK 4u
#define GONE_FROM_WEEK 5u
#define MOVED_HOURS 3u
#define ANSWER_USD 0.012
#define DOCUMENT_USD 0.045
#define TEMPLATE_USD 0.002

static_assert(REPORTS + DIGESTS + REVIEWS + TEMPLATES + QUESTIONS == DJ_RHYTHM_KEYS,
              "one-offs are numbered behind them");

struct hour {
    uint64_t seed;
    uint32_t index;
    uint32_t of_week;
    void *ctx;
    dj_rhythm_access_fn *access;
};

/* In [0, 1), of three numbers: SplitMix64's finish over each. */
static double chance(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t z = seed * UINT64_C(0x9e3779b97f4a7c15) + a;
    for (unsigned i = 0; i < 3; i++) {
        z += i == 1 ? b * UINT64_C(0xd1342543de82ef95) : UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
    }
    return (double)(z >> 11) / 9007199254740992.0;
}

static void ask(const struct hour *hour, uint32_t key, enum dj_predict_user user,
                enum dj_predict_request request, double cost_usd)
{
    double part = chance(hour->seed, key + 0x10000000u, hour->index);
    const struct dj_rhythm_access access = {
        .key = key,
        .at_ms = (DJ_RHYTHM_BEGIN_HOUR + hour->index) * HOUR_MS + (int64_t)(part * HOUR_MS),
        .user = user,
        .request = request,
        .cost_usd = cost_usd,
    };
    hour->access(hour->ctx, &access);
}

static bool is_workday(uint32_t of_week)
{
    return of_week / 24 < 5;
}

static bool is_work(uint32_t of_week)
{
    return is_workday(of_week) && of_week % 24 >= 8 && of_week % 24 < 18;
}

/* The hour of the week that belongs to the key, in the week of this hour; false: it does not come
 * then. */
static bool place_of(const struct hour *hour, uint32_t key, uint32_t *out_of_day, uint32_t *out_day)
{
    uint32_t week = hour->index / WEEK;
    uint32_t fate = (uint32_t)(chance(hour->seed, key, 1) * 10);
    if ((fate == 0 && week < NEW_FROM_WEEK) || (fate == 1 && week >= GONE_FROM_WEEK))
        return false;
    *out_of_day = (uint32_t)(chance(hour->seed, key, 2) * 24);
    *out_day = (uint32_t)(chance(hour->seed, key, 3) * 7);
    if (fate == 2 && week >= MOVED_FROM_WEEK)
        *out_of_day = (*out_of_day + MOVED_HOURS) % 24;
    return true;
}

static void ask_at_fixed_hours(const struct hour *hour)
{
    uint32_t of_day = hour->of_week % 24;
    uint32_t day = hour->of_week / 24;
    for (uint32_t key = 0; key < REPORTS + DIGESTS + REVIEWS; key++) {
        uint32_t at = 0;
        uint32_t on = 0;
        if (!place_of(hour, key, &at, &on))
            continue;
        double drawn = chance(hour->seed, key + 0x20000000u, hour->index / 24);
        bool is_late = chance(hour->seed, key + 0x30000000u, hour->index / 24) < LATE_CHANCE;
        if (key < REPORTS) {
            if (is_workday(hour->of_week) && drawn < REPORT_CHANCE && at + is_late == of_day)
                ask(hour, key, DJ_PREDICT_USER_KEY, DJ_PREDICT_ANSWER, ANSWER_USD);
        } else if (key < REPORTS + DIGESTS) {
            if (drawn < DIGEST_CHANCE && at == of_day)
                ask(hour, key, DJ_PREDICT_USER_KEY, DJ_PREDICT_ANSWER, ANSWER_USD);
        } else if (drawn < REVIEW_CHANCE && at == of_day && on == day) {
            ask(hour, key, DJ_PREDICT_USER_KEY, DJ_PREDICT_DOCUMENT, DOCUMENT_USD);
        }
    }
}

/* Of people's day: 1 where most is asked. */
static double activity(uint32_t of_week)
{
    double of_day = of_week % 24 + 0.5;
    double morning = exp(-(of_day - 11) * (of_day - 11) / 5);
    double afternoon = 0.5 * exp(-(of_day - 15) * (of_day - 15) / 5);
    double part = morning + afternoon < 1 ? morning + afternoon : 1;
    return part * (is_workday(of_week) ? 1 : WEEKEND_PART);
}

static void ask_by_chance(const struct hour *hour, uint32_t *one_offs)
{
    const uint32_t templates = REPORTS + DIGESTS + REVIEWS;
    const uint32_t questions = templates + TEMPLATES;
    for (uint32_t key = templates; key < questions && is_work(hour->of_week); key++)
        if (chance(hour->seed, key, 1000 + hour->index) < TEMPLATE_CHANCE)
            ask(hour, key, DJ_PREDICT_USER_CREDENTIAL, DJ_PREDICT_TEMPLATE, TEMPLATE_USD);
    for (uint32_t i = 0; i < QUESTIONS; i++) {
        double popularity = QUESTION_CHANCE_MAX / pow(i + 1.0, 0.8);
        if (chance(hour->seed, questions + i, 1000 + hour->index) <
            popularity * activity(hour->of_week))
            ask(hour, questions + i, DJ_PREDICT_USER_CREDENTIAL, DJ_PREDICT_ANSWER, ANSWER_USD);
    }
    uint32_t count = is_work(hour->of_week) ? ONE_OFFS_AT_WORK : ONE_OFFS_ELSE;
    for (uint32_t i = 0; i < count; i++)
        ask(hour, DJ_RHYTHM_KEYS + (*one_offs)++, DJ_PREDICT_USER_CREDENTIAL, DJ_PREDICT_ANSWER,
            ANSWER_USD);
}

void dj_rhythm_hour(uint64_t seed, uint32_t hour, uint32_t *one_offs, void *ctx,
                    dj_rhythm_access_fn *access)
{
    const struct hour now = {
        .seed = seed, .index = hour, .of_week = hour % WEEK, .ctx = ctx, .access = access};
    ask_at_fixed_hours(&now);
    ask_by_chance(&now, one_offs);
}
