/* policy/standing.c - see standing.h. */
#include "policy/standing.h"

bool dj_standing_note(struct dj_standing *standing, const struct dj_standing_options *options,
                      uint64_t delay_us, uint64_t now_us)
{
    bool is_above = delay_us > options->target_us;
    if (!standing->is_noted || is_above != standing->is_above) {
        /* It was above since the one that waited longest had waited for so long. */
        uint64_t over_us = is_above ? delay_us - options->target_us : 0;
        standing->is_noted = true;
        standing->is_above = is_above;
        standing->since_us = over_us < now_us ? now_us - over_us : 0;
    }
    if (now_us >= standing->since_us && now_us - standing->since_us >= options->interval_us)
        standing->is_over = is_above;
    return standing->is_over;
}

void dj_standing_empty(struct dj_standing *standing)
{
    *standing = (struct dj_standing){.is_over = false};
}
