/* policy/fair.h - who goes next, where more want to go than can: so many at a time, the others in
 * one line for each tenant.
 *
 *   enter -> RUNNING -> leave                    (there is room, and nobody waits)
 *         -> WAITING -> turn -> RUNNING -> leave
 *                       turn -> REFUSED          (its line has a standing delay)
 *         -> REFUSED                             (no line is free)
 *
 * Lines have their turns by stride: each time a line goes, it moves on by 1 / weight, and the one
 * that is furthest behind goes next; one that was empty begins where the others are. So whatever a
 * tenant asks, of any stretch of time in which others wait it gets its share by weight and no more.
 *
 * Within a line the oldest goes first, until the line is overloaded (policy/standing.h): then the
 * newest, whose client is most likely still there, and who has waited longer than the target is
 * refused. Where waiting_max is reached, the longest line (by weight) gives up its oldest.
 *
 * Pure: no lock, no clock, no allocation but at its making. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_FAIR_H
#define DJ_POLICY_FAIR_H

#include <deja/base.h>

#include "base/list.h"
#include "policy/standing.h"

#define DJ_FAIR_LINES_MAX 1024u /* tenants that wait at the same time */
#define DJ_FAIR_WEIGHT_MAX 10000u
#define DJ_FAIR_TENANT_BYTES 16u

struct dj_fair;
struct dj_fair_line;

struct dj_fair_options {
    uint32_t running_max; /* at least 1 */
    uint32_t waiting_max;
    struct dj_standing_options standing;
};

enum dj_fair_state { DJ_FAIR_OUT, DJ_FAIR_WAITING, DJ_FAIR_RUNNING, DJ_FAIR_REFUSED };

/* The caller's memory, zeroed before enter; stays until it is refused or has left. */
struct dj_fair_ticket {
    enum dj_fair_state state;
    struct dj_list node;
    struct dj_fair_line *line;
    uint64_t since_us;
};

enum deja_status dj_fair_create(const struct dj_fair_options *options,
                                struct dj_fair **out_fair) DEJA_NODISCARD;
void dj_fair_destroy(struct dj_fair *fair); /* accepts NULL; nobody waits any more */

/* weight 0: 1. Sets ticket->state; *out_refused: who had to make room (REFUSED), or NULL. */
void dj_fair_enter(struct dj_fair *fair, struct dj_fair_ticket *ticket,
                   const uint8_t tenant[DJ_FAIR_TENANT_BYTES], uint32_t weight, uint64_t now_us,
                   struct dj_fair_ticket **out_refused);
/* Whoever enters now is let go at once. */
bool dj_fair_has_room(const struct dj_fair *fair);
/* Who is let go or refused now, one after another; NULL: nobody. Ask after each leave, and now and
 * then while somebody waits. */
struct dj_fair_ticket *dj_fair_turn(struct dj_fair *fair, uint64_t now_us);
/* Everybody who waits, one after another, REFUSED; NULL: nobody does. */
struct dj_fair_ticket *dj_fair_give_up(struct dj_fair *fair);
/* What was let go is done; of others: nothing. */
void dj_fair_leave(struct dj_fair *fair, struct dj_fair_ticket *ticket);

uint32_t dj_fair_waiting(const struct dj_fair *fair);
uint32_t dj_fair_running(const struct dj_fair *fair);

#endif
