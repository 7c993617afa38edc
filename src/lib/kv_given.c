/* lib/kv_given.c - what the caller gave of a plain key, read and copied. Trust as calls.c. */
#include <stdio.h>

#include "lib/kv_internal.h"
#include "security/user.h"

static enum deja_status read_key(struct dj_operation *operation, const struct deja_kv *given,
                                 bool is_key)
{
    struct dj_kv_call *kv = operation->kv;
    struct dj_entry *entry = &operation->entry;
    if (given->name_space.len > DEJA_NAME_SPACE_BYTES_MAX)
        return DEJA_ERR_INVALID;
    if (is_key && (given->key.len == 0 || given->key.len > DEJA_KEY_BYTES_MAX ||
                   dj_plain_is_previous(given->key)))
        return DEJA_ERR_INVALID;
    enum deja_status status =
        dj_operation_copy(operation, given->key, DEJA_KEY_BYTES_MAX, &kv->key);
    if (status == DEJA_OK)
        status = dj_operation_copy(operation, given->name_space, DEJA_NAME_SPACE_BYTES_MAX,
                                   &entry->name_space);
    if (status != DEJA_OK)
        return status;
    uint8_t names[DJ_SHA256_BYTES];
    const uint8_t *tenant = dj_tenant_of(operation->deja, given->tenant);
    dj_name_key(operation->deja, tenant, names);
    dj_plain_space_init(&kv->space, tenant, names, entry->name_space, deja_slice("", 0));
    dj_wipe(names, sizeof names);
    memcpy(operation->fingerprint.key.tenant, tenant, DEJA_TENANT_BYTES);
    return DEJA_OK;
}

/* The kind that was named: its tag, and its life where none is said. */
static enum deja_status read_kind(struct dj_operation *operation, const struct deja_kv *given,
                                  struct deja_slice *out_tag)
{
    char tag[DJ_KIND_NAME_MAX + 8];
    const struct dj_kind *kind = dj_kinds_find(operation->deja->kind_table, given->kind);
    if (!kind)
        return DEJA_ERR_INVALID;
    if (operation->ttl_ms == 0)
        operation->ttl_ms = kind->ttl_ms;
    snprintf(tag, sizeof tag, "kind:%.*s", (int)kind->name.len, kind->name.data);
    return dj_operation_copy(operation, deja_slice_text(tag), sizeof tag, out_tag);
}

/* Tags, and what else becomes one. */
static enum deja_status read_tags(struct dj_operation *operation, const struct deja_kv *given)
{
    struct dj_plain_op *op = &operation->kv->op;
    size_t count = given->tag_count + (given->kind.len > 0);
    if (given->tag_count > DEJA_TAGS_MAX || count > DEJA_TAGS_MAX ||
        given->depends_on_count > DEJA_TAGS_MAX)
        return DEJA_ERR_LIMIT;
    if (count + given->depends_on_count == 0)
        return DEJA_OK;
    struct deja_slice *tags = dj_arena_alloc(&operation->arena, (count + given->depends_on_count) *
                                                                    sizeof(struct deja_slice));
    enum deja_status status = tags ? DEJA_OK : DEJA_ERR_NOMEM;
    for (size_t i = 0; i < given->tag_count && status == DEJA_OK; i++)
        status = given->tags[i].len == 0 || dj_tag_is_internal(given->tags[i])
                     ? DEJA_ERR_INVALID
                     : dj_operation_copy(operation, given->tags[i], DEJA_TAG_BYTES_MAX, &tags[i]);
    if (status == DEJA_OK && given->kind.len)
        status = read_kind(operation, given, &tags[given->tag_count]);
    if (status == DEJA_OK)
        status = dj_operation_copy_depends(operation, given->depends_on, given->depends_on_count,
                                           count, tags + count);
    if (status != DEJA_OK)
        return status;
    op->tags = tags;
    op->tag_count = count + given->depends_on_count;
    return DEJA_OK;
}

/* The name of its version, and what metadata says of it. */
static enum deja_status read_version(struct dj_operation *operation, const struct deja_kv *given)
{
    struct dj_kv_call *call = operation->kv;
    struct dj_buf metadata;
    if (!given->version_name.len)
        return DEJA_OK;
    if (!dj_plain_version_is_name(given->version_name))
        return DEJA_ERR_INVALID;
    dj_buf_init(&metadata, DJ_METADATA_BYTES_MAX + DEJA_VERSION_BYTES_MAX * 8);
    enum deja_status status =
        dj_operation_copy(operation, given->version_name, DEJA_VERSION_BYTES_MAX, &call->version);
    if (status == DEJA_OK)
        status = dj_plain_version_write(call->op.metadata, call->version, &metadata);
    if (status == DEJA_OK)
        status =
            dj_operation_copy(operation, dj_buf_slice(&metadata), metadata.len, &call->op.metadata);
    dj_buf_fini(&metadata);
    return status;
}

static enum deja_status read_value(struct dj_operation *operation, const struct deja_kv *given)
{
    struct dj_plain_op *op = &operation->kv->op;
    enum deja_status status =
        dj_operation_copy(operation, given->body, DEJA_BODY_BYTES_MAX, &op->body);
    if (status == DEJA_OK)
        status =
            dj_operation_copy(operation, given->metadata, DJ_METADATA_BYTES_MAX, &op->metadata);
    if (status == DEJA_OK)
        status = read_tags(operation, given);
    if (status == DEJA_OK)
        status = read_version(operation, given);
    return status;
}

static enum deja_status read_condition(struct dj_plain_op *op, const struct deja_kv *given)
{
    static const enum dj_plain_if conditions[] = {
        [DEJA_IF_ANY] = DJ_PLAIN_IF_ANY,
        [DEJA_IF_ABSENT] = DJ_PLAIN_IF_ABSENT,
        [DEJA_IF_PRESENT] = DJ_PLAIN_IF_PRESENT,
        [DEJA_IF_VERSION] = DJ_PLAIN_IF_VERSION,
    };
    if ((unsigned)given->condition > DEJA_IF_VERSION)
        return DEJA_ERR_INVALID;
    op->condition = conditions[given->condition];
    op->version = given->version;
    op->is_end_kept = given->is_ttl_kept;
    return DEJA_OK;
}

enum deja_status dj_kv_begin(struct deja *deja, const struct deja_kv *kv, uint32_t timeout_ms,
                             dj_operation_fn *start, bool is_key,
                             struct dj_operation **out_operation)
{
    struct deja_kv given;
    struct dj_operation *operation = NULL;
    enum deja_status status = dj_read_struct(
        kv, kv->struct_bytes, offsetof(struct deja_kv, on_event), &given, sizeof given);
    if (status == DEJA_OK)
        status = dj_operation_create(deja, given.timeout_ms ? given.timeout_ms : timeout_ms, start,
                                     &operation);
    if (status != DEJA_OK)
        return status;
    struct dj_kv_call *call = dj_arena_alloc(&operation->arena, sizeof *call);
    if (call) {
        *call = (struct dj_kv_call){.count = 0};
        operation->kv = call;
        operation->on_event = given.on_event;
        operation->event_ctx = given.event_ctx;
        operation->ttl_ms = given.ttl_ms;
    }
    status = call ? read_key(operation, &given, is_key) : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = read_value(operation, &given);
    if (status == DEJA_OK)
        status = read_condition(&call->op, &given);
    if (status != DEJA_OK) {
        dj_operation_destroy(operation);
        return status;
    }
    *out_operation = operation;
    return DEJA_OK;
}
