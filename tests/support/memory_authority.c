/* support/memory_authority.c - see memory_authority.h. */
#include "memory_authority.h"

#include <assert.h>
#include <string.h>

static int find(const struct memory_authority *memory, const char *table, struct deja_slice key)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (strcmp(memory->rows[i].table, table) == 0 && memory->rows[i].key_len == key.len &&
            memcmp(memory->rows[i].key, key.data, key.len) == 0)
            return (int)i;
    return -1;
}

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct memory_authority *memory = ctx;
    memory->calls++;
    int at = find(memory, table, key);
    if (memory->trouble != DEJA_OK)
        return memory->trouble;
    if (at < 0 || !memory->rows[at].is_there)
        return DEJA_ERR_NOT_FOUND;
    found(found_ctx, deja_slice(memory->rows[at].value, memory->rows[at].value_len));
    return DEJA_OK;
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    struct memory_authority *memory = ctx;
    memory->calls++;
    int at = find(memory, table, key);
    if (memory->trouble != DEJA_OK)
        return memory->trouble;
    if (is_new && at >= 0 && memory->rows[at].is_there)
        return DEJA_ERR_BUSY;
    if (at < 0) {
        assert(memory->count < MEMORY_AUTHORITY_ROWS && strlen(table) < 24);
        at = (int)memory->count++;
        strncat(memory->rows[at].table, table, sizeof memory->rows[at].table - 1);
        memcpy(memory->rows[at].key, key.data, key.len);
        memory->rows[at].key_len = key.len;
    }
    assert(value.len <= sizeof memory->rows[at].value);
    memcpy(memory->rows[at].value, value.data, value.len);
    memory->rows[at].value_len = value.len;
    memory->rows[at].is_there = true;
    memory->rows[at].sequence = ++memory->sequence;
    return DEJA_OK;
}

static enum deja_status drop(void *ctx, const char *table, struct deja_slice key)
{
    struct memory_authority *memory = ctx;
    memory->calls++;
    int at = find(memory, table, key);
    if (memory->trouble != DEJA_OK)
        return memory->trouble;
    if (at < 0 || !memory->rows[at].is_there)
        return DEJA_ERR_NOT_FOUND;
    memory->rows[at].is_there = false;
    memory->rows[at].sequence = ++memory->sequence;
    return DEJA_OK;
}

static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    struct memory_authority *memory = ctx;
    memory->calls++;
    if (memory->trouble != DEJA_OK)
        return memory->trouble;
    for (unsigned i = 0; i < memory->count; i++)
        if (memory->rows[i].is_there && strcmp(memory->rows[i].table, table) == 0 &&
            !each(each_ctx, deja_slice(memory->rows[i].key, memory->rows[i].key_len),
                  deja_slice(memory->rows[i].value, memory->rows[i].value_len)))
            break;
    return DEJA_OK;
}

static enum deja_status pull(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence)
{
    struct memory_authority *memory = ctx;
    memory->calls++;
    if (memory->trouble != DEJA_OK)
        return memory->trouble;
    for (unsigned i = 0; i < memory->count; i++)
        if (memory->rows[i].sequence > since)
            change(change_ctx, memory->rows[i].table,
                   deja_slice(memory->rows[i].key, memory->rows[i].key_len),
                   memory->rows[i].is_there
                       ? deja_slice(memory->rows[i].value, memory->rows[i].value_len)
                       : deja_slice(NULL, 0));
    *out_sequence = memory->sequence;
    return DEJA_OK;
}

void memory_authority_init(struct memory_authority *memory)
{
    *memory = (struct memory_authority){.authority = {.ctx = memory,
                                                      .name = "memory",
                                                      .get = get,
                                                      .put = put,
                                                      .remove = drop,
                                                      .walk = walk,
                                                      .pull = pull}};
}
