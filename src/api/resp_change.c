/* api/resp_change.c - writes on their way, and their replies in order.
 *
 *   SET a 1 ─┐                                        ┌─ done ─▶ +OK ┐
 *   SET b 2 ─┼─ begun as they come, on the homes of ──┼─ done ─▶ +OK ├─ one write to the client,
 *   INCR c  ─┘  their keys                            └─ done ─▶ :1  ┘  oldest first
 *   GET a   ─── begins when all of these have been replied (resp.c, 2)
 *
 * (1) client->writes is in the order of commands; a reply leaves when it and all before it are
 *     there.
 * (2) What a change function wrote is read on the client's loop only after done.
 *
 * So writes that come in one go are one group commit of the tiers below, not one each.
 */
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "proxy/gate.h"
#include "proxy/tenant_rules.h"

/* ---- life ---- */

void dj_resp_write_destroy(struct dj_resp_write *write)
{
    if (!write)
        return;
    if (write->pass.limiter)
        dj_gate_leave(&write->pass, write->reply.len);
    dj_resp_write_forget(write);
    dj_value_unref(write->before);
    dj_value_unref(write->after);
    dj_free(write->made);
    dj_buf_fini(&write->reply);
    struct dj_arena arena = write->arena;
    dj_arena_fini(&arena);
    dj_free(write);
}

static struct dj_resp_write *create(struct dj_resp_client *client)
{
    struct dj_resp_write *write = dj_alloc_zeroed(1, sizeof *write);
    if (!write)
        return NULL;
    write->client = client;
    write->command = client->last;
    write->is_muted = client->is_muted;
    write->asked_ms = dj_loop_now_ms(client->loop);
    dj_list_init(&write->node);
    return write;
}

static bool copy_part(struct dj_resp_write *write, struct dj_resp_part *part, struct deja_slice key,
                      struct deja_slice value)
{
    *part = (struct dj_resp_part){.write = write};
    part->key = dj_arena_copy(&write->arena, key);
    part->value = dj_arena_copy(&write->arena, value);
    write->bytes += key.len + value.len;
    return part->key.data && (part->value.data || value.len == 0);
}

struct dj_resp_write *dj_resp_write_create(struct dj_resp_client *client,
                                           const struct dj_resp_args *args, size_t first,
                                           size_t stride, size_t count, struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++)
        if (!dj_resp_check_key(args->items[first + i * stride], out))
            return NULL;
    struct dj_resp_write *write = create(client);
    bool is_copied = write != NULL;
    if (write)
        write->parts = dj_arena_alloc(&write->arena, count * sizeof *write->parts);
    is_copied = is_copied && write->parts;
    for (size_t i = 0; i < count && is_copied; i++) {
        size_t at = first + i * stride;
        is_copied = copy_part(write, &write->parts[i], args->items[at],
                              stride == 2 ? args->items[at + 1] : deja_slice(NULL, 0));
    }
    if (!is_copied) {
        dj_resp_write_destroy(write);
        dj_resp_put_failure(out, DEJA_ERR_NOMEM);
        return NULL;
    }
    write->part_count = write->parts_left = count;
    write->mode = DJ_PLAIN_LOOKING;
    write->pass = client->pass;
    client->pass = (struct dj_limit_pass){.limiter = NULL};
    return write;
}

/* ---- replies ---- */

static void flush(void *ctx)
{
    struct dj_resp_client *client = ctx;
    struct dj_buf replies = {0};
    uint32_t count = 0;
    client->is_flush_posted = false;
    while (!dj_list_is_empty(&client->writes)) {
        struct dj_resp_write *write = DJ_CONTAINER(client->writes.next, struct dj_resp_write, node);
        if (!write->is_done)
            break;
        if (!write->is_muted)
            dj_buf_append_slice(client->is_executing ? &client->results : &replies,
                                dj_buf_slice(&write->reply));
        dj_list_remove(&write->node);
        client->write_count--;
        client->write_bytes -= write->bytes;
        dj_resp_write_destroy(write);
        count++;
    }
    bool is_over = client->write_count == 0;
    bool has_next = client->is_executing || client->is_held_due;
    if (count > 0 && !client->is_executing) {
        /* Without memory for the replies the client cannot be told which these are. */
        if (replies.status != DEJA_OK)
            dj_resp_session_end(client->session);
        dj_resp_session_replied(client->session, dj_buf_slice(&replies), count);
    }
    dj_buf_fini(&replies);
    if (is_over && has_next) /* else client may be no more */
        dj_resp_writes_ended(client);
}

static void finish(struct dj_resp_write *write)
{
    struct dj_resp_client *client = write->client;
    write->is_done = true;
    if (write->has_verdict)
        dj_resp_write_count(write);
    if (write->status != DEJA_OK)
        dj_resp_put_failure(&write->reply, write->status);
    else if (write->fault)
        dj_resp_put_error(&write->reply, "%s", write->fault);
    else if (write->is_unstored)
        dj_resp_put_error(&write->reply, "ERR not stored: no tier took it");
    else
        write->written(write, &write->reply);
    if (write->reply.status != DEJA_OK && write->status == DEJA_OK) {
        dj_buf_fini(&write->reply);
        dj_resp_put_failure(&write->reply, DEJA_ERR_NOMEM);
    }
    if (write->command->audit)
        dj_resp_note_audit(client, write->command,
                           write->part_count == 1 ? write->parts[0].key : deja_slice(NULL, 0),
                           dj_buf_slice(&write->reply));
    if (client->is_flush_posted || client->writes.next != &write->node)
        return;
    /* By task: its neighbours are often done in the same turn. */
    client->is_flush_posted = true;
    client->flush = (struct dj_task){.run = flush, .ctx = client};
    dj_loop_post(client->loop, &client->flush);
}

bool dj_resp_write_note(struct dj_resp_client *client, struct deja_slice reply)
{
    struct dj_resp_write *write = create(client);
    if (!write)
        return false;
    dj_buf_append_slice(&write->reply, reply);
    write->is_done = true;
    dj_list_push_back(&client->writes, &write->node);
    client->write_count++;
    return true;
}

/* ---- the write itself ---- */

static enum dj_plain_verdict on_change(void *ctx, const struct dj_entry *now, int64_t now_ms,
                                       struct dj_plain_new *out_new)
{
    struct dj_resp_part *part = ctx;
    return part->write->change(part, now, now_ms, out_new);
}

static struct dj_value *replace(struct dj_value *old, struct dj_value *value)
{
    dj_value_unref(old);
    return value ? dj_value_ref(value) : NULL;
}

static void on_changed(void *ctx, enum deja_status status, const struct dj_plain_outcome *outcome)
{
    struct dj_resp_part *part = ctx;
    struct dj_resp_write *write = part->write;
    if (status != DEJA_OK && write->status == DEJA_OK)
        write->status = status;
    write->removed += outcome->verdict == DJ_PLAIN_REMOVE && outcome->was_there;
    write->was_removed = outcome->verdict == DJ_PLAIN_REMOVE;
    write->was_put = outcome->verdict == DJ_PLAIN_PUT;
    /* One that was outrun has been written all the same, and then somebody wrote after it. */
    write->is_unstored |=
        outcome->verdict == DJ_PLAIN_PUT && !outcome->is_stored && outcome->missed;
    write->before = replace(write->before, outcome->before);
    write->after = replace(write->after, outcome->after);
    if (--write->parts_left == 0)
        finish(write);
}

static enum dj_plain_verdict remove_key(struct dj_resp_part *part, const struct dj_entry *now,
                                        int64_t now_ms, struct dj_plain_new *out_new)
{
    (void)part;
    (void)now;
    (void)now_ms;
    (void)out_new;
    return DJ_PLAIN_REMOVE;
}

void dj_resp_write_list(struct dj_resp_write *write)
{
    struct dj_resp_client *client = write->client;
    dj_list_push_back(&client->writes, &write->node);
    client->write_count++;
    client->write_bytes += write->bytes;
}

void dj_resp_write_end(struct dj_resp_write *write)
{
    finish(write);
}

void dj_resp_write_begin(struct dj_resp_write *write, const struct dj_plain_space *space)
{
    struct dj_resp_client *client = write->client;
    write->parts_left++; /* what cannot be begun ends in here, and not the write */
    for (size_t i = 0; i < write->part_count; i++) {
        const struct dj_plain_change change = {
            .mode = write->mode, .change = on_change, .done = on_changed, .ctx = &write->parts[i]};
        enum deja_status status =
            dj_plain_change(client->api->plain, client->loop, space, write->parts[i].key, &change);
        if (status == DEJA_OK)
            continue;
        if (write->status == DEJA_OK)
            write->status = status;
        write->parts_left--;
    }
    if (--write->parts_left == 0)
        finish(write);
}

enum dj_resp_flow dj_resp_write_start(struct dj_resp_write *write)
{
    dj_resp_write_list(write);
    dj_resp_write_begin(write, &write->client->space);
    return DJ_RESP_BEHIND;
}

void dj_resp_copy_entry(struct dj_resp_write *write, const struct dj_entry *now,
                        struct dj_plain_new *out_new)
{
    *out_new = (struct dj_plain_new){.body = now->body,
                                     .metadata = now->metadata,
                                     .expires_ms = now->expires_ms,
                                     .tags = write->tags};
    for (size_t i = 0; i < now->tag_count && out_new->tag_count < DJ_PLAIN_TAGS_MAX; i++)
        if (!dj_tag_is_internal(now->tags[i].name))
            write->tags[out_new->tag_count++] = now->tags[i].name;
}

/* ---- DEL ---- */

static void put_removed(struct dj_resp_write *write, struct dj_buf *out)
{
    dj_resp_put_integer(out, (int64_t)write->removed);
}

enum dj_resp_flow dj_resp_del(struct dj_resp_client *client, const struct dj_resp_args *args,
                              struct dj_buf *out)
{
    struct dj_resp_write *write = dj_resp_write_create(client, args, 1, 1, args->count - 1, out);
    if (!write)
        return DJ_RESP_ANSWERED;
    write->mode = DJ_PLAIN_BLIND;
    write->change = remove_key;
    write->written = put_removed;
    return dj_resp_write_start(write);
}
