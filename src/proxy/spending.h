/* proxy/spending.h - what a call upstream has cost its tenant: at the tenant's own price of the
 * model, else at that of prices.file, else at the shipped one (policy/prices.h).
 *
 * Threads: any.
 */
#ifndef DJ_PROXY_SPENDING_H
#define DJ_PROXY_SPENDING_H

#include <deja/base.h>

#include "policy/prices.h"
#include "proxy/context.h"

struct dj_spending {
    double cost_usd;
    bool is_guess; /* nobody knows the model: the price of a token is a guess */
};
/* kind: what was bought, "embedding" guesses otherwise than the rest. rules: NULL: no prices of
 * its own. */
void dj_spending_work_out(const struct dj_proxy_context *context, const struct dj_rules *rules,
                          const char *kind, struct deja_slice model,
                          const struct dj_price_usage *usage, struct dj_spending *out_spending);

#endif
