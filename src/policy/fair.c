/* policy/fair.c - see fair.h.
 *
 * (1) A line is on `lines` exactly while somebody waits in it; else it is free.
 * (2) A ticket is on its line's list exactly while it is WAITING.
 * (3) running <= running_max, waiting <= waiting_max (I7).
 */
#include "policy/fair.h"

#include <assert.h>

#include "base/alloc.h"

#define STRIDE (UINT64_C(1) << 32) /* a turn of weight 1 */

struct dj_fair_line {
    struct dj_list node;
    struct dj_list tickets; /* longest waiting first */
    uint8_t tenant[DJ_FAIR_TENANT_BYTES];
    uint32_t weight;
    uint32_t count;
    uint64_t pass; /* how far it has come */
    struct dj_standing standing;
};

struct dj_fair {
    struct dj_fair_options options;
    uint32_t running;
    uint32_t waiting;
    uint64_t pass; /* of the line that went last */
    struct dj_list lines;
    struct dj_list free;
    struct dj_fair_line memory[DJ_FAIR_LINES_MAX];
};

enum deja_status dj_fair_create(const struct dj_fair_options *options, struct dj_fair **out_fair)
{
    assert(options->running_max > 0);
    struct dj_fair *fair = dj_alloc_zeroed(1, sizeof *fair);
    if (!fair)
        return DEJA_ERR_NOMEM;
    fair->options = *options;
    dj_list_init(&fair->lines);
    dj_list_init(&fair->free);
    for (size_t i = 0; i < DJ_FAIR_LINES_MAX; i++)
        dj_list_push_back(&fair->free, &fair->memory[i].node);
    *out_fair = fair;
    return DEJA_OK;
}

void dj_fair_destroy(struct dj_fair *fair)
{
    assert(!fair || !fair->waiting);
    dj_free(fair);
}

static struct dj_fair_line *line_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct dj_fair_line, node);
}

static struct dj_fair_ticket *ticket_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct dj_fair_ticket, node);
}

/* NULL: none is free. Few wait at a time, so it is looked for one by one. */
static struct dj_fair_line *find_line(struct dj_fair *fair,
                                      const uint8_t tenant[DJ_FAIR_TENANT_BYTES])
{
    for (struct dj_list *node = fair->lines.next; node != &fair->lines; node = node->next)
        if (memcmp(line_of(node)->tenant, tenant, DJ_FAIR_TENANT_BYTES) == 0)
            return line_of(node);
    if (dj_list_is_empty(&fair->free))
        return NULL;
    struct dj_fair_line *line = line_of(fair->free.next);
    dj_list_remove(&line->node);
    dj_list_push_back(&fair->lines, &line->node);
    dj_list_init(&line->tickets);
    memcpy(line->tenant, tenant, sizeof line->tenant);
    line->count = 0;
    line->pass = fair->pass;
    dj_standing_empty(&line->standing);
    return line;
}

static void take_out(struct dj_fair *fair, struct dj_fair_ticket *ticket, enum dj_fair_state state)
{
    struct dj_fair_line *line = ticket->line;
    dj_list_remove(&ticket->node);
    ticket->state = state;
    ticket->line = NULL;
    fair->waiting--;
    if (--line->count)
        return;
    dj_list_remove(&line->node);
    dj_list_push_back(&fair->free, &line->node);
}

/* The longest line for its weight. */
static struct dj_fair_line *longest(struct dj_fair *fair)
{
    struct dj_fair_line *found = NULL;
    for (struct dj_list *node = fair->lines.next; node != &fair->lines; node = node->next) {
        struct dj_fair_line *line = line_of(node);
        if (!found || (uint64_t)line->count * found->weight > (uint64_t)found->count * line->weight)
            found = line;
    }
    return found;
}

bool dj_fair_has_room(const struct dj_fair *fair)
{
    return !fair->waiting && fair->running < fair->options.running_max;
}

void dj_fair_enter(struct dj_fair *fair, struct dj_fair_ticket *ticket,
                   const uint8_t tenant[DJ_FAIR_TENANT_BYTES], uint32_t weight, uint64_t now_us,
                   struct dj_fair_ticket **out_refused)
{
    *out_refused = NULL;
    if (dj_fair_has_room(fair)) {
        fair->running++;
        ticket->state = DJ_FAIR_RUNNING;
        return;
    }
    ticket->state = DJ_FAIR_REFUSED;
    struct dj_fair_line *line = fair->options.waiting_max ? find_line(fair, tenant) : NULL;
    if (!line)
        return;
    ticket->state = DJ_FAIR_WAITING;
    ticket->line = line;
    ticket->since_us = now_us;
    dj_list_push_back(&line->tickets, &ticket->node);
    line->weight = !weight ? 1 : weight < DJ_FAIR_WEIGHT_MAX ? weight : DJ_FAIR_WEIGHT_MAX;
    line->count++;
    if (++fair->waiting <= fair->options.waiting_max)
        return;
    struct dj_fair_ticket *oldest = ticket_of(longest(fair)->tickets.next);
    take_out(fair, oldest, DJ_FAIR_REFUSED);
    if (oldest != ticket) /* with room for one, who came last is the oldest of the longest line */
        *out_refused = oldest;
}

/* Who has waited too long in an overloaded line; NULL: nobody. */
static struct dj_fair_ticket *overdue(struct dj_fair *fair, uint64_t now_us)
{
    for (struct dj_list *node = fair->lines.next; node != &fair->lines; node = node->next) {
        struct dj_fair_line *line = line_of(node);
        struct dj_fair_ticket *oldest = ticket_of(line->tickets.next);
        uint64_t waited_us = now_us > oldest->since_us ? now_us - oldest->since_us : 0;
        if (dj_standing_note(&line->standing, &fair->options.standing, waited_us, now_us) &&
            waited_us > fair->options.standing.target_us)
            return oldest;
    }
    return NULL;
}

static struct dj_fair_ticket *next(struct dj_fair *fair)
{
    struct dj_fair_line *first = NULL;
    for (struct dj_list *node = fair->lines.next; node != &fair->lines; node = node->next)
        if (!first || line_of(node)->pass < first->pass)
            first = line_of(node);
    if (!first)
        return NULL;
    fair->pass = first->pass;
    first->pass += STRIDE / first->weight;
    return ticket_of(first->standing.is_over ? first->tickets.prev : first->tickets.next);
}

struct dj_fair_ticket *dj_fair_turn(struct dj_fair *fair, uint64_t now_us)
{
    if (!fair->waiting)
        return NULL;
    struct dj_fair_ticket *ticket = overdue(fair, now_us);
    if (ticket) {
        take_out(fair, ticket, DJ_FAIR_REFUSED);
        return ticket;
    }
    if (fair->running == fair->options.running_max)
        return NULL;
    ticket = next(fair);
    take_out(fair, ticket, DJ_FAIR_RUNNING);
    fair->running++;
    return ticket;
}

struct dj_fair_ticket *dj_fair_give_up(struct dj_fair *fair)
{
    if (dj_list_is_empty(&fair->lines))
        return NULL;
    struct dj_fair_ticket *ticket = ticket_of(line_of(fair->lines.next)->tickets.next);
    take_out(fair, ticket, DJ_FAIR_REFUSED);
    return ticket;
}

void dj_fair_leave(struct dj_fair *fair, struct dj_fair_ticket *ticket)
{
    if (ticket->state != DJ_FAIR_RUNNING)
        return;
    ticket->state = DJ_FAIR_OUT;
    fair->running--;
}

uint32_t dj_fair_waiting(const struct dj_fair *fair)
{
    return fair->waiting;
}

uint32_t dj_fair_running(const struct dj_fair *fair)
{
    return fair->running;
}
