/* api/resp_table.c - the commands that are served, and what COMMAND tells of them. */
#include "api/resp_internal.h"

/* Sorted by name. */
static const struct dj_resp_command commands[] = {
    {"append", dj_resp_append, 3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM,
     1, 1, 1, "kv.put", "2.0.0", "string", "Appends to the value of a key."},
    {"auth", dj_resp_auth, -2, DJ_RESP_ANYBODY | DJ_RESP_FAST | DJ_RESP_AT_ONCE, 0, 0, 0, NULL,
     "1.0.0", "connection", "Says who the client is: an API key."},
    {"client", dj_resp_client, -2, 0, 0, 0, 0, NULL, "2.4.0", "connection",
     "Tells and sets what belongs to the connection."},
    {"command", dj_resp_command, -1, 0, 0, 0, 0, NULL, "2.8.13", "server",
     "Tells of the commands."},
    {"config", dj_resp_config, -2, DJ_RESP_ADMINISTERS, 0, 0, 0, NULL, "2.0.0", "server",
     "Tells settings that clients ask for."},
    {"dbsize", dj_resp_dbsize, 1, DJ_RESP_READ, 0, 0, 0, NULL, "1.0.0", "server",
     "Counts the keys of the database."},
    {"decr", dj_resp_decr, 2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM, 1,
     1, 1, "kv.put", "1.0.0", "string", "Decrements the number at a key."},
    {"decrby", dj_resp_decrby, 3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM,
     1, 1, 1, "kv.put", "1.0.0", "string", "Takes a number from the one at a key."},
    {"del", dj_resp_del, -2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS, 1, -1, 1, "kv.remove", "1.0.0",
     "generic", "Removes keys."},
    {"discard", dj_resp_discard, 1, DJ_RESP_AT_ONCE | DJ_RESP_FAST, 0, 0, 0, NULL, "2.0.0",
     "transactions", "Forgets the commands since MULTI."},
    {"echo", dj_resp_echo, 2, DJ_RESP_FAST, 0, 0, 0, NULL, "1.0.0", "connection", "Says the same."},
    {"exec", dj_resp_exec, 1, DJ_RESP_AT_ONCE, 0, 0, 0, NULL, "1.2.0", "transactions",
     "Runs the commands since MULTI, in order."},
    {"exists", dj_resp_exists, -2, DJ_RESP_READ | DJ_RESP_FAST, 1, -1, 1, NULL, "1.0.0", "generic",
     "Counts those of the keys that are there."},
    {"expire", dj_resp_expire, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.put", "1.0.0", "generic", "Sets the life of a key in seconds."},
    {"expireat", dj_resp_expireat, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.put", "1.2.0", "generic", "Sets the end of a key, in seconds since 1970."},
    {"expiretime", dj_resp_expiretime, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "7.0.0",
     "generic", "Tells the end of a key in seconds since 1970."},
    {"flushall", dj_resp_flushall, -1, DJ_RESP_WRITE, 0, 0, 0, "kv.clear", "1.0.0", "server",
     "Removes the keys of all databases."},
    {"flushdb", dj_resp_flushdb, -1, DJ_RESP_WRITE, 0, 0, 0, "kv.clear", "1.0.0", "server",
     "Removes the keys of the database."},
    {"get", dj_resp_get, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, "kv.get", "1.0.0", "string",
     "Gives the value of a key."},
    {"getdel", dj_resp_getdel, 2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.remove", "6.2.0", "string", "Gives the value of a key and removes it."},
    {"getex", dj_resp_getex, -2, DJ_RESP_WRITE | DJ_RESP_FAST, 1, 1, 1, "kv.put", "6.2.0", "string",
     "Gives the value of a key and sets its end."},
    {"getrange", dj_resp_getrange, 4, DJ_RESP_READ, 1, 1, 1, "kv.get", "2.4.0", "string",
     "Gives a part of the value of a key."},
    {"getset", dj_resp_getset, 3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM,
     1, 1, 1, "kv.put", "1.0.0", "string", "Sets a key and gives the value before."},
    {"hello", dj_resp_hello, -1, DJ_RESP_ANYBODY | DJ_RESP_FAST | DJ_RESP_NO_MULTI, 0, 0, 0, NULL,
     "6.0.0", "connection", "Chooses the protocol, and says who the client is."},
    {"incr", dj_resp_incr, 2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM, 1,
     1, 1, "kv.put", "1.0.0", "string", "Increments the number at a key."},
    {"incrby", dj_resp_incrby, 3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM,
     1, 1, 1, "kv.put", "1.0.0", "string", "Adds a number to the one at a key."},
    {"incrbyfloat", dj_resp_incrbyfloat, 3,
     DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM, 1, 1, 1, "kv.put", "2.6.0",
     "string", "Adds a number with a point to the one at a key."},
    {"info", dj_resp_info, -1, 0, 0, 0, 0, NULL, "1.0.0", "server", "Tells of the server."},
    {"keys", dj_resp_keys, 2, DJ_RESP_READ, 0, 0, 0, "kv.list", "1.0.0", "generic",
     "Tells the keys that fit a pattern."},
    {"memory", dj_resp_memory, -2, DJ_RESP_READ, 0, 0, 0, NULL, "4.0.0", "server",
     "Tells the memory a key takes: MEMORY USAGE."},
    {"mget", dj_resp_mget, -2, DJ_RESP_READ | DJ_RESP_FAST, 1, -1, 1, "kv.get", "1.0.0", "string",
     "Gives the values of keys."},
    {"mset", dj_resp_mset, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_DENYOOM, 1, -1, 2,
     "kv.put", "1.0.1", "string", "Sets keys."},
    {"msetnx", dj_resp_msetnx, -3, DJ_RESP_WRITE | DJ_RESP_DENYOOM, 1, -1, 2, "kv.put", "1.0.1",
     "string", "Sets keys if none of them is there."},
    {"multi", dj_resp_multi, 1, DJ_RESP_AT_ONCE | DJ_RESP_FAST, 0, 0, 0, NULL, "1.2.0",
     "transactions", "Begins commands that EXEC runs."},
    {"object", dj_resp_object, -2, DJ_RESP_READ, 2, 2, 1, NULL, "2.2.3", "generic",
     "Tells how a value would be kept: OBJECT ENCODING."},
    {"persist", dj_resp_persist, 2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.put", "2.2.0", "generic", "Takes the end of a key away."},
    {"pexpire", dj_resp_pexpire, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.put", "2.6.0", "generic", "Sets the life of a key in milliseconds."},
    {"pexpireat", dj_resp_pexpireat, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, 1, 1,
     "kv.put", "2.6.0", "generic", "Sets the end of a key, in milliseconds since 1970."},
    {"pexpiretime", dj_resp_pexpiretime, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "7.0.0",
     "generic", "Tells the end of a key in milliseconds since 1970."},
    {"ping", dj_resp_ping, -1, DJ_RESP_FAST | DJ_RESP_ON_PUSH, 0, 0, 0, NULL, "1.0.0", "connection",
     "Says PONG."},
    {"psetex", dj_resp_psetex, 4, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_DENYOOM, 1, 1, 1,
     "kv.put", "2.6.0", "string", "Sets a key with a life in milliseconds."},
    {"psubscribe", dj_resp_psubscribe, -2,
     DJ_RESP_READ | DJ_RESP_PUBSUB | DJ_RESP_ON_PUSH | DJ_RESP_NO_MULTI, 0, 0, 0, NULL, "2.0.0",
     "pubsub", "Listens to channels that fit patterns."},
    {"pttl", dj_resp_pttl, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "2.6.0", "generic",
     "Tells the life of a key that is left, in milliseconds."},
    {"publish", dj_resp_publish, 3, DJ_RESP_WRITE | DJ_RESP_PUBSUB, 0, 0, 0, "cache.invalidate",
     "2.0.0", "pubsub", "Sends a message to the channel cache:invalidate."},
    {"pubsub", dj_resp_pubsub, -2, DJ_RESP_READ | DJ_RESP_PUBSUB, 0, 0, 0, NULL, "2.8.0", "pubsub",
     "Tells of channels."},
    {"punsubscribe", dj_resp_punsubscribe, -1, DJ_RESP_PUBSUB | DJ_RESP_ON_PUSH | DJ_RESP_NO_MULTI,
     0, 0, 0, NULL, "2.0.0", "pubsub", "Listens to patterns no more."},
    {"quit", dj_resp_quit, -1, DJ_RESP_ANYBODY | DJ_RESP_FAST | DJ_RESP_AT_ONCE | DJ_RESP_ON_PUSH,
     0, 0, 0, NULL, "1.0.0", "connection", "Ends the connection."},
    {"randomkey", dj_resp_randomkey, 1, DJ_RESP_READ, 0, 0, 0, NULL, "1.0.0", "generic",
     "Tells one of the keys."},
    {"reset", dj_resp_reset, 1, DJ_RESP_ANYBODY | DJ_RESP_FAST | DJ_RESP_AT_ONCE | DJ_RESP_ON_PUSH,
     0, 0, 0, NULL, "6.2.0", "connection", "Makes the connection as new."},
    {"scan", dj_resp_scan, -2, DJ_RESP_READ, 0, 0, 0, "kv.list", "2.8.0", "generic",
     "Walks the keys piece by piece."},
    {"select", dj_resp_select_db, 2, DJ_RESP_FAST, 0, 0, 0, NULL, "1.0.0", "connection",
     "Chooses the database: a namespace."},
    {"set", dj_resp_set, -3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_DENYOOM, 1, 1, 1, "kv.put",
     "1.0.0", "string", "Sets a key."},
    {"setex", dj_resp_setex, 4, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_DENYOOM, 1, 1, 1,
     "kv.put", "2.0.0", "string", "Sets a key with a life in seconds."},
    {"setnx", dj_resp_setnx, 3, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST | DJ_RESP_DENYOOM,
     1, 1, 1, "kv.put", "1.0.0", "string", "Sets a key that is not there."},
    {"strlen", dj_resp_strlen, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "2.2.0", "string",
     "Tells the length of a value."},
    {"subscribe", dj_resp_subscribe, -2,
     DJ_RESP_READ | DJ_RESP_PUBSUB | DJ_RESP_ON_PUSH | DJ_RESP_NO_MULTI, 0, 0, 0, NULL, "2.0.0",
     "pubsub", "Listens to the channel cache:invalidate."},
    {"substr", dj_resp_getrange, 4, DJ_RESP_READ, 1, 1, 1, "kv.get", "1.0.0", "string",
     "Gives a part of the value of a key."},
    {"time", dj_resp_time, 1, DJ_RESP_FAST, 0, 0, 0, NULL, "2.6.0", "server",
     "Tells the time of the server."},
    {"touch", dj_resp_exists, -2, DJ_RESP_READ | DJ_RESP_FAST, 1, -1, 1, NULL, "3.2.1", "generic",
     "Counts those of the keys that are there."},
    {"ttl", dj_resp_ttl, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "1.0.0", "generic",
     "Tells the life of a key that is left, in seconds."},
    {"type", dj_resp_type, 2, DJ_RESP_READ | DJ_RESP_FAST, 1, 1, 1, NULL, "1.0.0", "generic",
     "Tells the type of a value: string."},
    {"unlink", dj_resp_del, -2, DJ_RESP_WRITE | DJ_RESP_OVERLAPS | DJ_RESP_FAST, 1, -1, 1,
     "kv.remove", "4.0.0", "generic", "Removes keys."},
    {"unsubscribe", dj_resp_unsubscribe, -1, DJ_RESP_PUBSUB | DJ_RESP_ON_PUSH | DJ_RESP_NO_MULTI, 0,
     0, 0, NULL, "2.0.0", "pubsub", "Listens to channels no more."},
    {"unwatch", dj_resp_unwatch, 1, DJ_RESP_AT_ONCE | DJ_RESP_FAST, 0, 0, 0, NULL, "2.2.0",
     "transactions", "Does nothing: nothing is watched."},
    {"wait", dj_resp_wait, 3, 0, 0, 0, 0, NULL, "3.0.0", "generic",
     "Tells of replicas: there are none."},
    {"watch", dj_resp_watch, -2, DJ_RESP_AT_ONCE | DJ_RESP_FAST, 1, -1, 1, NULL, "2.2.0",
     "transactions", "Is refused: transactions are only run in order."},
};
#define COMMANDS (sizeof commands / sizeof *commands)
enum { NAME_BYTES_MAX = 16 };

/* ---- finding ---- */

/* Lower case, terminated; false: longer than any. */
static bool lower(struct deja_slice name, char out_text[NAME_BYTES_MAX])
{
    if (name.len >= NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        out_text[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out_text[name.len] = '\0';
    return true;
}

const struct dj_resp_command *dj_resp_find_command(struct deja_slice name)
{
    char text[NAME_BYTES_MAX];
    size_t first = 0;
    size_t end = COMMANDS;
    if (!lower(name, text) || strlen(text) != name.len)
        return NULL;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        int order = strcmp(text, commands[middle].name);
        if (order == 0)
            return &commands[middle];
        if (order < 0)
            end = middle;
        else
            first = middle + 1;
    }
    return NULL;
}

const struct dj_resp_command *dj_resp_command_at(size_t index)
{
    return index < COMMANDS ? &commands[index] : NULL;
}

size_t dj_resp_command_index(const struct dj_resp_command *command)
{
    return (size_t)(command - commands);
}

const char *dj_resp_api_command(size_t index)
{
    return index < COMMANDS ? commands[index].name : NULL;
}

/* ---- telling ---- */

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] = {
    {DJ_RESP_WRITE, "write"},       {DJ_RESP_READ, "readonly"},     {DJ_RESP_DENYOOM, "denyoom"},
    {DJ_RESP_ADMINISTERS, "admin"}, {DJ_RESP_PUBSUB, "pubsub"},     {DJ_RESP_ANYBODY, "no_auth"},
    {DJ_RESP_FAST, "fast"},         {DJ_RESP_NO_MULTI, "no_multi"},
};
#define FLAG_NAMES (sizeof flag_names / sizeof *flag_names)

static void put_flags(const struct dj_resp_client *client, unsigned flags, struct dj_buf *out)
{
    size_t count = 0;
    for (size_t i = 0; i < FLAG_NAMES; i++)
        count += (flags & flag_names[i].flag) != 0;
    dj_resp_put_set(out, client->version, count);
    for (size_t i = 0; i < FLAG_NAMES; i++)
        if (flags & flag_names[i].flag)
            dj_resp_put_status(out, flag_names[i].name);
}

static void put_categories(const struct dj_resp_client *client,
                           const struct dj_resp_command *command, struct dj_buf *out)
{
    dj_resp_put_set(out, client->version, 2);
    dj_resp_put_status(out, command->flags & DJ_RESP_WRITE  ? "@write"
                            : command->flags & DJ_RESP_READ ? "@read"
                                                            : "@connection");
    dj_resp_put_status(out, command->flags & DJ_RESP_FAST ? "@fast" : "@slow");
}

static void put_range(const struct dj_resp_client *client, const struct dj_resp_command *command,
                      struct dj_buf *out)
{
    bool is_read = (command->flags & DJ_RESP_READ) != 0;
    int last = command->last_key < 0 ? command->last_key : command->last_key - command->first_key;
    dj_resp_put_map(out, client->version, 3);
    dj_resp_put_text(out, "flags");
    dj_resp_put_set(out, client->version, 2);
    dj_resp_put_status(out, is_read ? "RO" : "RW");
    dj_resp_put_status(out, is_read ? "access" : "update");
    dj_resp_put_text(out, "begin_search");
    dj_resp_put_map(out, client->version, 2);
    dj_resp_put_text(out, "type");
    dj_resp_put_text(out, "index");
    dj_resp_put_text(out, "spec");
    dj_resp_put_map(out, client->version, 1);
    dj_resp_put_text(out, "index");
    dj_resp_put_integer(out, command->first_key);
    dj_resp_put_text(out, "find_keys");
    dj_resp_put_map(out, client->version, 2);
    dj_resp_put_text(out, "type");
    dj_resp_put_text(out, "range");
    dj_resp_put_text(out, "spec");
    dj_resp_put_map(out, client->version, 3);
    dj_resp_put_text(out, "lastkey");
    dj_resp_put_integer(out, last);
    dj_resp_put_text(out, "keystep");
    dj_resp_put_integer(out, command->key_step);
    dj_resp_put_text(out, "limit");
    dj_resp_put_integer(out, 0);
}

static void put_info(const struct dj_resp_client *client, const struct dj_resp_command *command,
                     struct dj_buf *out)
{
    if (!command) {
        dj_resp_put_null_array(out, client->version);
        return;
    }
    dj_resp_put_array(out, 10);
    dj_resp_put_text(out, command->name);
    dj_resp_put_integer(out, command->arity);
    put_flags(client, command->flags, out);
    dj_resp_put_integer(out, command->first_key);
    dj_resp_put_integer(out, command->last_key);
    dj_resp_put_integer(out, command->key_step);
    put_categories(client, command, out);
    dj_resp_put_array(out, 0); /* tips */
    dj_resp_put_array(out, command->first_key ? 1 : 0);
    if (command->first_key)
        put_range(client, command, out);
    dj_resp_put_array(out, 0); /* subcommands */
}

static void put_docs(const struct dj_resp_client *client, const struct dj_resp_command *command,
                     struct dj_buf *out)
{
    dj_resp_put_text(out, command->name);
    dj_resp_put_map(out, client->version, 3);
    dj_resp_put_text(out, "summary");
    dj_resp_put_text(out, command->summary);
    dj_resp_put_text(out, "since");
    dj_resp_put_text(out, command->since);
    dj_resp_put_text(out, "group");
    dj_resp_put_text(out, command->group);
}

static void tell_docs(const struct dj_resp_client *client, const struct dj_resp_args *args,
                      struct dj_buf *out)
{
    size_t count = args->count == 2 ? COMMANDS : 0;
    for (size_t i = 2; i < args->count; i++)
        count += dj_resp_find_command(args->items[i]) != NULL;
    dj_resp_put_map(out, client->version, count);
    for (size_t i = 0; args->count == 2 && i < COMMANDS; i++)
        put_docs(client, &commands[i], out);
    for (size_t i = 2; i < args->count; i++) {
        const struct dj_resp_command *command = dj_resp_find_command(args->items[i]);
        if (command)
            put_docs(client, command, out);
    }
}

static void tell_info(const struct dj_resp_client *client, const struct dj_resp_args *args,
                      struct dj_buf *out)
{
    bool is_all = args->count <= 2;
    dj_resp_put_array(out, is_all ? COMMANDS : args->count - 2);
    for (size_t i = 0; is_all && i < COMMANDS; i++)
        put_info(client, &commands[i], out);
    for (size_t i = 2; i < args->count; i++)
        put_info(client, dj_resp_find_command(args->items[i]), out);
}

static void tell_keys(const struct dj_resp_args *args, struct dj_buf *out)
{
    const struct dj_resp_command *command =
        args->count > 2 ? dj_resp_find_command(args->items[2]) : NULL;
    int count = (int)args->count - 2;
    if (!command || !command->first_key ||
        (command->arity > 0 ? count != command->arity : count < -command->arity)) {
        dj_resp_put_error(out, "ERR Invalid command, number of arguments, or no key arguments");
        return;
    }
    int last = command->last_key < 0 ? count + command->last_key : command->last_key;
    dj_resp_put_array(out, (size_t)((last - command->first_key) / command->key_step + 1));
    for (int i = command->first_key; i <= last; i += command->key_step)
        dj_resp_put_bulk(out, args->items[2 + i]);
}

enum dj_resp_flow dj_resp_command(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    struct deja_slice word = args->count > 1 ? args->items[1] : deja_slice(NULL, 0);
    if (args->count == 1 || dj_resp_is(word, "info")) {
        tell_info(client, args, out);
    } else if (dj_resp_is(word, "docs")) {
        tell_docs(client, args, out);
    } else if (dj_resp_is(word, "count") && args->count == 2) {
        dj_resp_put_integer(out, (int64_t)COMMANDS);
    } else if (dj_resp_is(word, "list") && args->count == 2) {
        dj_resp_put_array(out, COMMANDS);
        for (size_t i = 0; i < COMMANDS; i++)
            dj_resp_put_text(out, commands[i].name);
    } else if (dj_resp_is(word, "getkeys")) {
        tell_keys(args, out);
    } else {
        dj_resp_put_error(out, "ERR COMMAND has COUNT, DOCS, GETKEYS, INFO and LIST here");
    }
    return DJ_RESP_ANSWERED;
}
