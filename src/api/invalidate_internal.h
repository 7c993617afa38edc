/* api/invalidate_internal.h - an invalidation as a request says it, and how it is read. */
#ifndef DJ_API_INVALIDATE_INTERNAL_H
#define DJ_API_INVALIDATE_INTERNAL_H

#include "api/request.h"
#include "cache/invalidation.h"
#include "policy/kinds.h"

/* When it is to be run. All zero: now. */
struct dj_invalidate_when {
    int64_t at_ms;
    struct deja_slice cron; /* empty: once */
};

/* In the request's arena. */
struct dj_invalidate {
    struct dj_request *request;
    struct dj_invalidation order;
    struct deja_slice query; /* data NULL: none */
    struct deja_slice name_space;
    struct dj_invalidate_when when;
    bool is_all;
    bool is_dry_run;
};

/* Reads the body; complains to the request. */
void dj_invalidate_read(struct dj_request *request, struct dj_invalidate *invalidate);
/* The key of a query that was checked. */
enum deja_status dj_invalidate_find_key(struct dj_invalidate *invalidate) DEJA_NODISCARD;

/* schedule.c: keeps it for later instead of running it. */
void dj_invalidate_later(struct dj_invalidate *invalidate);

#endif
