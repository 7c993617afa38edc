#ifndef DJ_POLICY_REUSE_H
#define DJ_POLICY_REUSE_H
#include <deja/base.h>
struct dj_reuse_candidate { float similarity; uint32_t guards_refused; bool is_usable; };
struct dj_reuse_decision { bool is_served; uint32_t index; const char *reason; };
void dj_reuse_decide(const struct dj_reuse_candidate *c, uint32_t count, double threshold, struct dj_reuse_decision *out);
double dj_reuse_shipped_threshold(const char *embedder_kind);
#endif
