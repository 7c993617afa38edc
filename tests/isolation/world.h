/* world.h - many owners who ask and know the same: what each may see, and nothing else.
 *
 *   owner = tenant × namespace × user of it: each has stored the same questions, each its own
 * answer twin  = owner whose ids, exact keys and scopes are, to the byte, those of every other
 * twin: only the tenant tells them apart
 *
 * An answer's body names its owner and question, so who may read it is seen at a glance. All that
 * is chosen comes from one seed.
 */
#ifndef DJ_TEST_ISOLATION_WORLD_H
#define DJ_TEST_ISOLATION_WORLD_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cache/key.h"
#include "loop/loop.h"
#include "security/user.h"
#include "store/value.h"

enum {
    TENANTS = 4,
    NAMESPACES = 3,
    USERS = 3,
    OWNERS = TENANTS * NAMESPACES * USERS,
    TWINS = TENANTS,
    EVERYBODY = OWNERS + TWINS,
    QUESTIONS = 64,
    STALE_QUESTION = QUESTIONS, /* one more: its answer's time is over */
    STORED = QUESTIONS + 1,
    TEXT_BYTES = 128,
};

struct stored {
    struct dj_fingerprint asked;    /* as it was stored */
    struct dj_fingerprint spaced;   /* the same with more blanks: normalised, not exact */
    struct dj_fingerprint reworded; /* the same meaning */
    char body[64];                  /* JSON text that begins with the owner */
};

struct owner {
    uint32_t tenant, name_space, user;
    bool is_twin;
    uint8_t id[DJ_ID_BYTES];           /* of the tenant */
    char space[32];                    /* the namespace */
    uint8_t user_key[DJ_SHA256_BYTES]; /* of its fingerprints: the tenant's, narrowed to the user */
    char user_tag[DJ_USER_TAG_BYTES];  /* "": no user */
    char mark[24];                     /* how each of its bodies begins */
    struct stored stored[STORED];
};

struct world {
    uint64_t state; /* of the generator */
    struct dj_arena arena;
    uint8_t tenant_id[TENANTS][DJ_ID_BYTES];
    uint8_t tenant_key[TENANTS][DJ_SHA256_BYTES];
    struct owner *owners; /* EVERYBODY of them */
};

static inline uint64_t draw(struct world *world)
{
    uint64_t z = world->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t draw_below(struct world *world, uint32_t bound)
{
    return (uint32_t)(draw(world) % bound);
}

static inline void draw_bytes(struct world *world, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)draw(world);
}

enum form { FORM_ASKED, FORM_SPACED, FORM_REWORDED };

/* The same for everybody. */
static inline void question_text(uint32_t question, enum form form, char text[TEXT_BYTES])
{
    static const char *const doing[] = {"reset", "change", "delete", "export", "share"};
    static const char *const what[] = {"password",  "invoice", "calendar", "photograph", "mailbox",
                                       "signature", "voucher", "backup",   "document",   "playlist",
                                       "keyboard",  "printer", "telephone"};
    const char *verb = doing[question % 5];
    const char *noun = what[question / 5 % 13];
    if (form == FORM_REWORDED)
        snprintf(text, TEXT_BYTES, "how do I %s the %s on the website", verb, noun);
    else
        snprintf(text, TEXT_BYTES, "How do I %s%s the %s on the website?",
                 form == FORM_SPACED ? "  " : "", verb, noun);
}

static inline void fingerprint_text(struct world *world, const struct owner *owner,
                                    uint32_t question, enum form form,
                                    struct dj_fingerprint *out_fingerprint)
{
    char text[TEXT_BYTES];
    struct dj_key_prefix prefix = {.family = "api", .name_space = deja_slice_text(owner->space)};
    memcpy(prefix.tenant, owner->id, sizeof prefix.tenant);
    memcpy(prefix.fingerprint_key, owner->user_key, sizeof prefix.fingerprint_key);
    question_text(question, form, text);
    enum deja_status status =
        dj_key_query(&prefix, deja_slice_text(text), &world->arena, out_fingerprint);
    assert(status == DEJA_OK);
    dj_key_scope(&prefix, out_fingerprint);
    if (!owner->is_twin)
        return;
    bool is_reworded = form == FORM_REWORDED;
    memset(out_fingerprint->key.id, (int)question + (is_reworded ? 100 : 1), DJ_ID_BYTES);
    memset(out_fingerprint->exact, (int)question + (int)form * 70 + 1, DJ_SHA256_BYTES);
    memset(out_fingerprint->scope, 7, DJ_ID_BYTES);
}

static inline void make_user(struct owner *owner)
{
    char name[16];
    uint8_t user[DJ_USER_BYTES];
    snprintf(name, sizeof name, "user %u", owner->user);
    dj_user_digest(owner->user_key, deja_slice_text(name), user);
    dj_user_narrow(owner->user_key, user);
    dj_user_tag(user, owner->user_tag);
}

static inline void make_owner(struct world *world, uint32_t number)
{
    struct owner *owner = &world->owners[number];
    owner->is_twin = number >= OWNERS;
    owner->tenant = number % TENANTS;
    owner->name_space = owner->is_twin ? 0 : number / TENANTS % NAMESPACES;
    owner->user = owner->is_twin ? 0 : number / TENANTS / NAMESPACES;
    memcpy(owner->id, world->tenant_id[owner->tenant], sizeof owner->id);
    /* The first namespace is the default one, the first user none. */
    memcpy(owner->user_key, world->tenant_key[owner->tenant], sizeof owner->user_key);
    if (owner->user)
        make_user(owner);
    if (owner->is_twin)
        snprintf(owner->space, sizeof owner->space, "twin");
    else if (owner->name_space)
        snprintf(owner->space, sizeof owner->space, "n%u", owner->name_space);
    snprintf(owner->mark, sizeof owner->mark, "\"%s t%u n%u u%u ", owner->is_twin ? "twin" : "own",
             owner->tenant, owner->name_space, owner->user);
    for (uint32_t i = 0; i < STORED; i++) {
        struct stored *stored = &owner->stored[i];
        fingerprint_text(world, owner, i, FORM_ASKED, &stored->asked);
        fingerprint_text(world, owner, i, FORM_SPACED, &stored->spaced);
        fingerprint_text(world, owner, i, FORM_REWORDED, &stored->reworded);
        snprintf(stored->body, sizeof stored->body, "%sq%u\"", owner->mark, i);
    }
}

static inline void world_make(struct world *world, uint64_t seed)
{
    *world = (struct world){.state = seed};
    dj_arena_init(&world->arena, 0);
    for (uint32_t i = 0; i < TENANTS; i++) {
        draw_bytes(world, world->tenant_id[i], DJ_ID_BYTES);
        /* The first two have the same key: then the tenant's id alone keeps their names apart. */
        draw_bytes(world, world->tenant_key[i], DJ_SHA256_BYTES);
        if (i == 1)
            memcpy(world->tenant_key[1], world->tenant_key[0], DJ_SHA256_BYTES);
    }
    world->owners = calloc(EVERYBODY, sizeof *world->owners);
    assert(world->owners);
    for (uint32_t i = 0; i < EVERYBODY; i++)
        make_owner(world, i);
}

static inline void world_end(struct world *world)
{
    free(world->owners);
    dj_arena_fini(&world->arena);
}

static inline const struct owner *draw_owner(struct world *world)
{
    return &world->owners[draw_below(world, EVERYBODY)];
}

/* Is that entry the owner's? */
static inline bool is_of(const struct owner *owner, const struct dj_entry *entry)
{
    size_t len = strlen(owner->mark);
    return entry->body.len > len && memcmp(entry->body.data, owner->mark, len) == 0;
}

/* Is it his answer to that question? */
static inline bool is_answer(const struct owner *owner, uint32_t question,
                             const struct dj_entry *entry)
{
    return deja_slice_is_equal(entry->body, deja_slice_text(owner->stored[question].body));
}

/* What he stores; slices point into owner and text. */
static inline struct dj_entry entry_of(const struct owner *owner, uint32_t question,
                                       char text[TEXT_BYTES])
{
    static const char *const spaces[NAMESPACES] = {"", "n1", "n2"};
    const struct stored *stored = &owner->stored[question];
    question_text(question, FORM_ASKED, text);
    struct dj_entry entry = {.kind = DJ_ENTRY_API,
                             .created_ms = dj_clock_now_ms() - 10000,
                             .query = deja_slice_text(text),
                             .body = deja_slice_text(stored->body),
                             .name_space = deja_slice_text(spaces[owner->name_space]),
                             .tag_count = 1};
    entry.tags[0].name = deja_slice_text("everybody's");
    if (owner->user)
        entry.tags[entry.tag_count++].name = deja_slice_text(owner->user_tag);
    memcpy(entry.tenant, owner->id, sizeof entry.tenant);
    memcpy(entry.id, stored->asked.key.id, sizeof entry.id);
    memcpy(entry.exact, stored->asked.exact, sizeof entry.exact);
    memcpy(entry.scope, stored->asked.scope, sizeof entry.scope);
    if (question == STALE_QUESTION) {
        entry.expires_ms = entry.created_ms + 1000;
        entry.stale_until_ms = entry.created_ms + 3600000;
    }
    return entry;
}

#endif
