/* policy/predict.h - what will be asked for in an hour to come, by what was asked for at such
 * hours.
 *
 *   accesses ─▶ habit of each key: in which hours of the last 8 weeks it was asked for
 *   habits   ─▶ model: 10 clusters (policy/cluster.h) of hour, day, user type and request type
 *   habit, model, an hour ─▶ the probability that the key is asked for in it
 *
 * The probability is a rate with three fallbacks, each smoothed towards the next:
 *
 *   this hour of this day of the week ◀─ this hour, any day ◀─ hours of the same cluster ◀─ any
 * hour
 *
 * Hour and day are circular: 23:00 is near 00:00 and Sunday near Monday, so they enter the clusters
 * as sine and cosine. Newer weeks count more (DJ_PREDICT_DECAY a week), so that a habit that ended
 * is forgotten within two or three weeks. Times are UTC; ms since 1970, hours since 1970.
 *
 * Pure: no clock, no content, no name of anything: a habit is times alone. Threads: any.
 */
#ifndef DJ_POLICY_PREDICT_H
#define DJ_POLICY_PREDICT_H

#include <deja/base.h>

#include "policy/cluster.h"

#define DJ_PREDICT_HOURS 168u /* of a week, from Monday 00:00 */
#define DJ_PREDICT_WEEKS 8u   /* that are remembered: one bit each */
#define DJ_PREDICT_CLUSTERS 10u
#define DJ_PREDICT_THRESHOLD 0.7 /* warmed above */
#define DJ_PREDICT_DECAY 0.85

/* Who asks, and for what. */
enum dj_predict_user {
    DJ_PREDICT_USER_LOCAL,      /* without a credential */
    DJ_PREDICT_USER_CREDENTIAL, /* of the upstream */
    DJ_PREDICT_USER_KEY,        /* of Deja's */
    DJ_PREDICT_USER_NAMED,      /* a user of the tenant */
    DJ_PREDICT_USERS
};
enum dj_predict_request {
    DJ_PREDICT_ANSWER,   /* of a model */
    DJ_PREDICT_TEMPLATE, /* the score of a template */
    DJ_PREDICT_DOCUMENT, /* the analysis of a document */
    DJ_PREDICT_OTHER,
    DJ_PREDICT_REQUESTS
};
const char *dj_predict_request_text(enum dj_predict_request request); /* "answer", … */

/* Of one key: plain data, zeroed: it was never asked for. */
struct dj_habit {
    int64_t first_hour; /* of the first access that is known */
    int64_t last_hour;
    int64_t week; /* of bit 0 */
    uint8_t user; /* enum dj_predict_user, of the last access, as is the next */
    uint8_t request;
    bool has_begun;
    uint8_t weeks[DJ_PREDICT_HOURS]; /* bit i: asked for in that hour of the week, i weeks ago */
};

int64_t dj_predict_hour_of(int64_t at_ms); /* whole hours since 1970 */
uint32_t dj_predict_slot_of(int64_t hour); /* 0 … 167: Monday 00:00 first */
int64_t dj_predict_week_of(int64_t hour);  /* whole weeks, from a Monday on */

/* An access. In any order; what is older than DJ_PREDICT_WEEKS is left out. */
void dj_habit_note(struct dj_habit *habit, int64_t at_ms, enum dj_predict_user user,
                   enum dj_predict_request request);
/* What another program, or a former life of this one, knows of the same key. Merging the same twice
 * changes nothing. */
void dj_habit_merge(struct dj_habit *habit, const struct dj_habit *other);
/* Was it asked for in that hour? */
bool dj_habit_has(const struct dj_habit *habit, int64_t hour);
/* Was it ever asked for at that hour of the day? Where not, it is not likely then: cheaper to ask
 * than dj_predict_one. */
bool dj_habit_may_come(const struct dj_habit *habit, int64_t hour);
/* Hours of the weeks that are remembered in which it was asked for. */
uint32_t dj_habit_count(const struct dj_habit *habit);

/* Plain data. */
struct dj_predict_model {
    struct dj_clusters clusters;
    uint8_t cluster_of[DJ_PREDICT_USERS][DJ_PREDICT_REQUESTS][DJ_PREDICT_HOURS];
};
/* Deterministic: from habits, in their order, and the seed. None of them has begun: a model of one
 * cluster. DEJA_ERR_NOMEM. */
enum deja_status dj_predict_train(const struct dj_habit *const *habits, size_t count, uint64_t seed,
                                  struct dj_predict_model *out_model) DEJA_NODISCARD;

/* What a probability was made of, for who asks why. */
struct dj_prediction {
    double probability;
    uint32_t seen;  /* of the weeks that are known, asked for in this hour of the week, */
    uint32_t weeks; /* of so many */
    double hour_rate;
    double cluster_rate;
    uint32_t cluster;
};
/* now_hour: the hour that runs; only what is before it is counted as known. hour: not before it. */
void dj_predict_one(const struct dj_predict_model *model, const struct dj_habit *habit,
                    int64_t now_hour, int64_t hour, struct dj_prediction *out_prediction);

/* How good predictions were, on time that they were not made from. */
struct dj_predict_score {
    uint64_t predicted; /* key and hour pairs above the threshold */
    uint64_t used;      /* of these: asked for in that hour */
    uint64_t asked;     /* key and hour pairs that were asked for */
};
double dj_predict_precision(const struct dj_predict_score *score); /* 0: nothing was predicted */
double dj_predict_recall(const struct dj_predict_score *score);    /* 0: nothing was asked for */

#endif
