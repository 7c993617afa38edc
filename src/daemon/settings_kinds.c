/* daemon/settings_kinds.c - see settings_kinds.h. */
#include "daemon/settings_kinds.h"

#include "base/alloc.h"

#define SECTION "kinds."
#define TTL "ttl."
#define TEXT_BYTES_MAX (1u << 20)

/* NULL: no memory. */
static const char *keep(struct dj_settings_kinds *said, const char *text)
{
    return dj_arena_copy(&said->arena, deja_slice(text, strlen(text) + 1)).data;
}

/* false, once and for all: as many as can be, or no memory. */
static bool has_room(struct dj_settings_kinds *said)
{
    if (said->is_full || said->status != DEJA_OK)
        return false;
    if (said->settings) {
        said->is_full = said->count == DJ_SETTINGS_KINDS_MAX;
        return !said->is_full;
    }
    dj_arena_init(&said->arena, TEXT_BYTES_MAX);
    said->settings = dj_alloc_zeroed(DJ_SETTINGS_KINDS_MAX, sizeof *said->settings);
    said->wheres = dj_alloc_zeroed(DJ_SETTINGS_KINDS_MAX, sizeof *said->wheres);
    said->keys = dj_alloc_zeroed(DJ_SETTINGS_KINDS_MAX, sizeof *said->keys);
    if (said->settings && said->wheres && said->keys)
        return true;
    said->status = DEJA_ERR_NOMEM;
    return false;
}

static void add(struct dj_settings_kinds *said, const struct dj_options_other *other,
                size_t prefix_len, const char *member)
{
    if (!has_room(said))
        return;
    const char *key = keep(said, other->key);
    const char *value = keep(said, other->value);
    const char *where = keep(said, other->where);
    if (!key || !value || !where) {
        said->status = DEJA_ERR_NOMEM;
        return;
    }
    const char *name = key + prefix_len;
    const char *dot = strchr(name, '.');
    size_t len = dot ? (size_t)(dot - name) : strlen(name);
    said->keys[said->count] = key;
    said->wheres[said->count] = where;
    said->settings[said->count++] =
        (struct dj_kind_setting){.kind = deja_slice(name, len),
                                 .member = deja_slice_text(member ? member
                                                           : dot  ? dot + 1
                                                                  : ""),
                                 .value = deja_slice_text(value),
                                 .is_list = other->is_list};
}

/* Without memory it is taken for one: the want of memory is told, not a key nobody knows. */
static bool is_shipped(struct dj_settings_kinds *said, const char *name)
{
    struct dj_kinds *kinds = NULL;
    enum deja_status status = dj_kinds_create(NULL, 0, NULL, NULL, &kinds);
    bool is_there = status != DEJA_OK || dj_kinds_find(kinds, deja_slice_text(name));
    if (status != DEJA_OK)
        said->status = status;
    dj_kinds_destroy(kinds);
    return is_there;
}

bool dj_settings_kinds_take(void *ctx, const struct dj_options_other *other)
{
    struct dj_settings_kinds *said = ctx;
    const size_t section = sizeof SECTION - 1;
    const size_t ttl = sizeof TTL - 1;
    if (strcmp(other->key, "kinds") == 0)
        return true; /* nothing in it */
    if (strncmp(other->key, SECTION, section) == 0)
        add(said, other, section, NULL);
    else if (strncmp(other->key, TTL, ttl) == 0 && is_shipped(said, other->key + ttl))
        add(said, other, ttl, "ttl");
    else
        return false;
    return true;
}

struct told {
    const struct dj_settings_kinds *said;
    struct dj_diagnostics *diagnostics;
};

static void on_fault(void *ctx, size_t index, const char *why)
{
    const struct told *told = ctx;
    dj_diagnostics_error(told->diagnostics, told->said->wheres[index], "%s %s",
                         told->said->keys[index], why);
}

enum deja_status dj_settings_kinds_make(const struct dj_settings_kinds *said,
                                        struct dj_diagnostics *diagnostics,
                                        struct dj_kinds **out_kinds)
{
    struct told told = {.said = said, .diagnostics = diagnostics};
    if (said->status != DEJA_OK)
        return said->status;
    if (said->is_full) {
        dj_diagnostics_error(diagnostics, NULL, "kinds: more than %u members are said",
                             DJ_SETTINGS_KINDS_MAX);
        return DEJA_ERR_CONFIG;
    }
    return dj_kinds_create(said->settings, said->count, &told, on_fault, out_kinds);
}

void dj_settings_kinds_fini(struct dj_settings_kinds *said)
{
    dj_arena_fini(&said->arena);
    dj_free(said->settings);
    dj_free(said->wheres);
    dj_free(said->keys);
    *said = (struct dj_settings_kinds){.count = 0};
}
