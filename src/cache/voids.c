/* cache/voids.c - see voids.h. A raise is a tombstone of its counter: what began up to its version
 * is refused, and the table forgets as that one does. What was kept is a ring. */
#include "cache/voids.h"

#include <pthread.h>

#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "cache/tombstones.h"
#include "crypto/digest.h"

#define SELECTION "\x01selected"

struct dj_voids {
    pthread_mutex_t lock;
    struct dj_tombstones *raises;
    uint64_t floor;
    struct dj_kept *kept; /* a ring of DJ_KEPT_MAX */
    uint64_t kept_first;  /* numbers since the start; the place is the rest */
    uint64_t kept_end;
    uint64_t pull_began; /* the first number after */
    bool is_kept_lost;
};

enum deja_status dj_voids_create(uint64_t start, struct dj_voids **out_voids)
{
    struct dj_voids *voids = dj_alloc_zeroed(1, sizeof *voids);
    if (!voids)
        return DEJA_ERR_NOMEM;
    voids->floor = start;
    voids->kept = dj_alloc_zeroed(DJ_KEPT_MAX, sizeof *voids->kept);
    if (!voids->kept || dj_tombstones_create(&voids->raises) != DEJA_OK ||
        pthread_mutex_init(&voids->lock, NULL) != 0) {
        dj_tombstones_destroy(voids->raises);
        dj_free(voids->kept);
        dj_free(voids);
        return DEJA_ERR_NOMEM;
    }
    *out_voids = voids;
    return DEJA_OK;
}

void dj_voids_destroy(struct dj_voids *voids)
{
    if (!voids)
        return;
    pthread_mutex_destroy(&voids->lock);
    dj_tombstones_destroy(voids->raises);
    dj_free(voids->kept);
    dj_free(voids);
}

struct deja_slice dj_voids_selection(void)
{
    return deja_slice(SELECTION, sizeof SELECTION - 1);
}

bool dj_voids_is_selection(struct deja_slice tag)
{
    return deja_slice_is_equal(tag, dj_voids_selection());
}

/* Of a counter. Two of one tenant that share it refuse for each other. */
static struct dj_store_key key_of(const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag)
{
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_store_key key;
    dj_sha256(tag, digest);
    memcpy(key.tenant, tenant, sizeof key.tenant);
    memcpy(key.id, digest, sizeof key.id);
    return key;
}

void dj_voids_note(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                   uint64_t version)
{
    struct dj_store_key key = key_of(tenant, tag);
    pthread_mutex_lock(&voids->lock);
    dj_tombstones_add(voids->raises, &key, version);
    pthread_mutex_unlock(&voids->lock);
}

void dj_voids_note_all(struct dj_voids *voids, uint64_t version)
{
    pthread_mutex_lock(&voids->lock);
    if (version > voids->floor)
        voids->floor = version;
    pthread_mutex_unlock(&voids->lock);
}

/* Under the lock. */
static bool is_raised(const struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES],
                      struct deja_slice tag, uint64_t as_of)
{
    struct dj_store_key key = key_of(tenant, tag);
    return dj_tombstones_refuse(voids->raises, &key, as_of);
}

bool dj_voids_refuse_selected(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES],
                              uint64_t as_of)
{
    pthread_mutex_lock(&voids->lock);
    bool is_refused =
        as_of <= voids->floor || is_raised(voids, tenant, dj_voids_selection(), as_of);
    pthread_mutex_unlock(&voids->lock);
    return is_refused;
}

bool dj_voids_refuse(struct dj_voids *voids, const struct dj_entry *entry, uint64_t as_of)
{
    char bytes[DJ_NAMESPACE_TAG_BYTES];
    const uint8_t *tenant = entry->tenant;
    pthread_mutex_lock(&voids->lock);
    bool is_refused =
        as_of <= voids->floor || is_raised(voids, tenant, deja_slice("", 0), as_of) ||
        is_raised(voids, tenant, dj_engine_namespace_tag(entry->name_space, bytes), as_of) ||
        is_raised(voids, tenant, dj_voids_selection(), as_of);
    for (size_t i = 0; i < entry->tag_count && !is_refused; i++)
        is_refused = is_raised(voids, tenant, entry->tags[i].name, as_of);
    pthread_mutex_unlock(&voids->lock);
    return is_refused;
}

/* ---- among programs ---- */

void dj_voids_keep(struct dj_voids *voids, const struct dj_kept *kept)
{
    pthread_mutex_lock(&voids->lock);
    voids->kept[voids->kept_end++ % DJ_KEPT_MAX] = *kept;
    if (voids->kept_end - voids->kept_first > DJ_KEPT_MAX) {
        voids->kept_first++;
        voids->is_kept_lost = true;
    }
    pthread_mutex_unlock(&voids->lock);
}

void dj_voids_begin_pull(struct dj_voids *voids)
{
    pthread_mutex_lock(&voids->lock);
    voids->pull_began = voids->kept_end;
    pthread_mutex_unlock(&voids->lock);
}

void dj_voids_end_pull(struct dj_voids *voids)
{
    pthread_mutex_lock(&voids->lock);
    bool is_lost_since = voids->kept_first > voids->pull_began;
    if (!is_lost_since)
        voids->kept_first = voids->pull_began;
    voids->is_kept_lost = is_lost_since;
    pthread_mutex_unlock(&voids->lock);
}

bool dj_voids_next(struct dj_voids *voids, const uint8_t tenant[DJ_ID_BYTES], uint64_t *cursor,
                   struct dj_kept *out_kept)
{
    bool is_found = false;
    pthread_mutex_lock(&voids->lock);
    uint64_t at = *cursor > voids->kept_first ? *cursor : voids->kept_first;
    while (at < voids->kept_end && !is_found) {
        const struct dj_kept *kept = &voids->kept[at++ % DJ_KEPT_MAX];
        is_found = memcmp(kept->key.tenant, tenant, DJ_ID_BYTES) == 0;
        if (is_found)
            *out_kept = *kept;
    }
    *cursor = at;
    pthread_mutex_unlock(&voids->lock);
    return is_found;
}

bool dj_voids_is_kept_lost(struct dj_voids *voids)
{
    pthread_mutex_lock(&voids->lock);
    bool is_lost = voids->is_kept_lost;
    pthread_mutex_unlock(&voids->lock);
    return is_lost;
}
