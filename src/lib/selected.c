/* lib/selected.c - what is made void by a pattern, by what it was made from, by an event. Trust as
 * calls.c.
 */
#include "cache/depends.h"
#include "cache/invalidation.h"
#include "lib/lib_internal.h"
#include "policy/glob.h"

#define TIMEOUT_MS 10000u

static void end(struct dj_operation *operation, enum deja_status status, uint64_t count)
{
    dj_operation_done(operation, status, count);
    dj_operation_destroy(operation);
}

static void on_selected(void *ctx, enum deja_status status, uint64_t count,
                        const struct dj_cascade_result *cascade)
{
    struct dj_operation *operation = ctx;
    (void)cascade;
    if (status == DEJA_OK && !operation->is_dry_run) {
        atomic_fetch_add(&operation->deja->counters.removes, count);
        dj_event_removed(operation, deja_slice("", 0), count);
    }
    end(operation, dj_tier_status(status), status == DEJA_OK ? count : 0);
}

static void start(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const uint8_t *tenant = operation->fingerprint.key.tenant;
    if (!operation->is_dry_run)
        dj_computation_detach_tenant(deja, tenant);
    enum deja_status status =
        dj_invalidation_run(deja->engine, deja->loop, tenant, operation->invalidation,
                            operation->is_dry_run, operation, on_selected);
    if (status != DEJA_OK)
        end(operation, status == DEJA_ERR_BUSY ? DEJA_ERR_RATE_LIMITED : status, 0);
}

static enum deja_status copy_fields(struct dj_operation *operation,
                                    const struct deja_selection *given,
                                    struct dj_kind_field fields[DEJA_EVENT_FIELDS_MAX])
{
    enum deja_status status = DEJA_OK;
    if (given->field_count > DEJA_EVENT_FIELDS_MAX)
        return DEJA_ERR_LIMIT;
    for (size_t i = 0; i < given->field_count && status == DEJA_OK; i++) {
        if (given->fields[i].name.len == 0 || given->fields[i].value.len == 0)
            return DEJA_ERR_INVALID;
        status =
            dj_operation_copy(operation, given->fields[i].name, DJ_KIND_TEXT_MAX, &fields[i].name);
        if (status == DEJA_OK)
            status = dj_operation_copy(operation, given->fields[i].value, DEJA_TAG_BYTES_MAX,
                                       &fields[i].value);
    }
    return status;
}

static enum deja_status read_event(struct dj_operation *operation,
                                   const struct deja_selection *given,
                                   struct dj_invalidation *order)
{
    struct dj_kind_field fields[DEJA_EVENT_FIELDS_MAX];
    struct deja_slice name;
    enum deja_status status = copy_fields(operation, given, fields);
    if (status == DEJA_OK)
        status = dj_operation_copy(operation, given->event, DJ_KIND_TEXT_MAX, &name);
    if (status == DEJA_OK)
        status = dj_invalidation_set_event(order, operation->deja->kind_table, name, fields,
                                           given->field_count, &operation->arena);
    return status;
}

/* What is borrowed by the run lives in the arena. */
static enum deja_status read_selection(struct dj_operation *operation,
                                       const struct deja_selection *given)
{
    struct dj_invalidation *order = dj_arena_alloc(&operation->arena, sizeof *order);
    if (!order)
        return DEJA_ERR_NOMEM;
    *order = (struct dj_invalidation){.kind = "selection", .is_cascade = given->is_cascade};
    operation->invalidation = order;
    operation->is_dry_run = given->is_dry_run;
    memcpy(operation->fingerprint.key.tenant, dj_tenant_of(operation->deja, given->tenant),
           DEJA_TENANT_BYTES);
    if (given->tag.len)
        return dj_operation_copy(operation, given->tag, DEJA_TAG_BYTES_MAX, &order->selector.tag);
    if (given->pattern.len)
        return dj_operation_copy(operation, given->pattern, DJ_GLOB_PATTERN_BYTES_MAX,
                                 &order->selector.pattern);
    if (given->name.len)
        return dj_operation_copy(operation, given->name, DEJA_TAG_BYTES_MAX, &order->cascade_name);
    return read_event(operation, given, order);
}

enum deja_status deja_invalidate_selected_async(struct deja *deja,
                                                const struct deja_selection *selection, void *ctx,
                                                deja_done_fn *done)
{
    struct deja_selection given;
    struct dj_operation *operation = NULL;
    enum deja_status status = dj_read_struct(selection, selection->struct_bytes,
                                             sizeof(struct deja_selection), &given, sizeof given);
    if (status != DEJA_OK)
        return status;
    int ways = (given.tag.len > 0) + (given.pattern.len > 0) + (given.name.len > 0) +
               (given.event.len > 0);
    if (ways != 1 || (given.field_count && !given.event.len))
        return DEJA_ERR_INVALID;
    if (deja->is_store_foreign)
        return DEJA_ERR_FEATURE_DISABLED;
    status = dj_operation_create(deja, given.timeout_ms ? given.timeout_ms : TIMEOUT_MS, start,
                                 &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = ctx;
    operation->on_done = done;
    return dj_operation_finish(operation, read_selection(operation, &given));
}

/* ---- shorter ways to say it ---- */

static struct deja_selection selection_of(const uint8_t *tenant, uint32_t timeout_ms)
{
    struct deja_selection selection;
    deja_selection_init(&selection);
    if (tenant)
        memcpy(selection.tenant, tenant, sizeof selection.tenant);
    selection.timeout_ms = timeout_ms;
    return selection;
}

enum deja_status deja_invalidate_pattern_async(struct deja *deja, const uint8_t *tenant,
                                               struct deja_slice pattern, uint32_t timeout_ms,
                                               void *ctx, deja_done_fn *done)
{
    struct deja_selection selection = selection_of(tenant, timeout_ms);
    selection.pattern = pattern;
    return deja_invalidate_selected_async(deja, &selection, ctx, done);
}

enum deja_status deja_cascade_async(struct deja *deja, const uint8_t *tenant,
                                    struct deja_slice name, uint32_t timeout_ms, void *ctx,
                                    deja_done_fn *done)
{
    struct deja_selection selection = selection_of(tenant, timeout_ms);
    selection.name = name;
    return deja_invalidate_selected_async(deja, &selection, ctx, done);
}

/* ---- the blocking twins ---- */

enum deja_status deja_invalidate_selected(struct deja *deja, const struct deja_selection *selection,
                                          uint64_t *out_count)
{
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = deja_invalidate_selected_async(deja, selection, &waiter, dj_waiter_on_done);
    return dj_waiter_count(&waiter, status, out_count);
}

enum deja_status deja_invalidate_pattern(struct deja *deja, const uint8_t *tenant,
                                         struct deja_slice pattern, uint32_t timeout_ms,
                                         uint64_t *out_count)
{
    struct deja_selection selection = selection_of(tenant, timeout_ms);
    selection.pattern = pattern;
    return deja_invalidate_selected(deja, &selection, out_count);
}

enum deja_status deja_cascade(struct deja *deja, const uint8_t *tenant, struct deja_slice name,
                              uint32_t timeout_ms, uint64_t *out_count)
{
    struct deja_selection selection = selection_of(tenant, timeout_ms);
    selection.name = name;
    return deja_invalidate_selected(deja, &selection, out_count);
}
