/* security/keys.c - see keys.h. Trust: credentials are untrusted.
 *
 * (1) A change is durable before it is seen in memory. (2) Members of the table are never freed or
 * moved while the read lock is held; check copies what it tells. (3) One writer at a time, who
 * reads the document again before it changes it: what another node made of it a moment ago is not
 * undone by what this one remembers. (4) Every well-formed credential costs one HMAC and two
 * comparisons, whether its id is known or not, and is looked up in the scores before the outcome
 * is.
 */
#include "security/keys.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/num.h"
#include "proto/json.h"
#include "security/lockout.h"

#define SECRET_BYTES 32u
#define SCORES 65536u
#define HALF_LIFE_MS 60000
#define PAIR_LIMIT 10.0
#define ADDRESS_LIMIT 50.0
#define ID_LIMIT 100.0
#define USED_STEP_MS 60000
#define DOCUMENT_BYTES_MAX 4096u

static const char prefix[] = "deja_";
#define PREFIX_LEN (sizeof prefix - 1)
static const char pepper_label[] = "deja api keys 1";

struct member {
    struct dj_key_record record;
    uint64_t round; /* of the reload, or of a change since, that told of it last */
    _Atomic int64_t used_ms;
};

struct dj_keys {
    pthread_rwlock_t lock;   /* members and certificates */
    pthread_mutex_t writing; /* one change at a time; taken before lock */
    struct dj_map *members;  /* by id; owned */
    struct dj_map *certificates;
    const struct dj_authority *authority;
    struct dj_hmac_key pepper;
    struct dj_lockout *lockout;
    size_t keys_max;
    uint64_t round; /* reloads so far */
    _Atomic int64_t pulled_ms;
    uint8_t hash_key[16];
};

static struct deja_slice id_of(const struct dj_key *key)
{
    return deja_slice(key->id, DJ_KEY_ID_BYTES);
}

static uint64_t hash_name(void *ctx, struct deja_slice name)
{
    return dj_siphash(ctx, name);
}

/* ---- the table; all under the write lock, or at the start ---- */

static void forget_certificate(struct dj_keys *keys, const struct member *member)
{
    struct deja_slice name = deja_slice_text(member->record.key.certificate);
    if (name.len && dj_map_find(keys->certificates, name) == member)
        dj_map_remove(keys->certificates, name);
}

static void drop(struct dj_keys *keys, struct deja_slice id)
{
    struct member *member = dj_map_remove(keys->members, id);
    if (!member)
        return;
    forget_certificate(keys, member);
    dj_wipe(member, sizeof *member);
    dj_free(member);
}

/* The record is the one of its id from now on. */
static enum deja_status place(struct dj_keys *keys, const struct dj_key_record *record)
{
    struct deja_slice certificate = deja_slice_text(record->key.certificate);
    struct member *member = dj_map_find(keys->members, id_of(&record->key));
    enum deja_status status = DEJA_OK;
    bool is_new = !member;
    if (is_new) {
        member = dj_alloc_zeroed(1, sizeof *member);
        status =
            member ? dj_map_put(keys->members, id_of(&record->key), member, NULL) : DEJA_ERR_NOMEM;
        if (status != DEJA_OK) {
            dj_free(member);
            return status;
        }
    }
    member->round = keys->round;
    if (!is_new && record->revision < member->record.revision)
        return DEJA_OK; /* asked for before this node changed it */
    if (!is_new)
        forget_certificate(keys, member);
    member->record = *record;
    /* Of two keys with one certificate the one that came first has it. */
    if (certificate.len && !dj_map_find(keys->certificates, certificate))
        status = dj_map_put(keys->certificates, certificate, member, NULL);
    if (status != DEJA_OK && is_new)
        drop(keys, id_of(&record->key));
    return status;
}

struct loading {
    struct dj_keys *keys;
    enum deja_status status;
};

/* A document that cannot be read is a key that is not accepted. */
static bool on_kept(void *ctx, struct deja_slice id, struct deja_slice value)
{
    struct loading *loading = ctx;
    struct dj_keys *keys = loading->keys;
    struct dj_key_record record;
    enum deja_status status = dj_key_document_read(value, &record);
    if (status == DEJA_OK && deja_slice_is_equal(id, id_of(&record.key))) {
        pthread_rwlock_wrlock(&keys->lock);
        status = place(keys, &record);
        pthread_rwlock_unlock(&keys->lock);
    }
    loading->status = status == DEJA_ERR_CORRUPT ? DEJA_OK : status;
    return loading->status == DEJA_OK;
}

/* Those that the reload did not tell of. */
static void drop_old(struct dj_keys *keys)
{
    size_t cursor = 0;
    struct deja_slice id;
    void *value = NULL;
    pthread_rwlock_wrlock(&keys->lock);
    while (dj_map_next(keys->members, &cursor, &id, &value)) {
        struct member *member = value;
        if (member->round == keys->round)
            continue;
        char name[DJ_KEY_ID_BYTES + 1];
        memcpy(name, member->record.key.id, sizeof name);
        drop(keys, deja_slice(name, DJ_KEY_ID_BYTES));
        cursor = 0; /* the map has changed */
    }
    pthread_rwlock_unlock(&keys->lock);
}

enum deja_status dj_keys_reload(struct dj_keys *keys)
{
    const struct dj_authority *authority = keys->authority;
    struct loading loading = {.keys = keys};
    if (!authority)
        return DEJA_OK;
    pthread_mutex_lock(&keys->writing);
    pthread_rwlock_wrlock(&keys->lock);
    keys->round++;
    pthread_rwlock_unlock(&keys->lock);
    enum deja_status status = authority->walk(authority->ctx, DJ_KEYS_TABLE, &loading, on_kept);
    if (status == DEJA_ERR_NOT_FOUND) /* nobody kept one yet */
        status = DEJA_OK;
    if (status == DEJA_OK)
        status = loading.status;
    if (status == DEJA_OK)
        drop_old(keys);
    pthread_mutex_unlock(&keys->writing);
    return status;
}

enum deja_status dj_keys_create(const struct dj_authority *authority,
                                const uint8_t secret[DJ_SHA256_BYTES], size_t keys_max,
                                struct dj_keys **out_keys)
{
    struct dj_secret pepper;
    struct dj_keys *keys = dj_alloc_zeroed(1, sizeof *keys);
    if (!keys)
        return DEJA_ERR_NOMEM;
    keys->authority = authority;
    keys->keys_max = keys_max;
    pthread_rwlock_init(&keys->lock, NULL);
    pthread_mutex_init(&keys->writing, NULL);
    dj_random_bytes(keys->hash_key, sizeof keys->hash_key);
    dj_hkdf(secret, deja_slice(pepper_label, sizeof pepper_label), pepper.bytes);
    dj_hmac_key_init(&keys->pepper, pepper.bytes);
    dj_secret_fini(&pepper);
    enum deja_status status = dj_map_create(keys_max, hash_name, keys->hash_key, &keys->members);
    if (status == DEJA_OK)
        status = dj_map_create(keys_max, hash_name, keys->hash_key, &keys->certificates);
    if (status == DEJA_OK)
        status = dj_lockout_create(SCORES, HALF_LIFE_MS, &keys->lockout);
    if (status != DEJA_OK) {
        dj_keys_destroy(keys);
        return status;
    }
    *out_keys = keys;
    return DEJA_OK;
}

void dj_keys_destroy(struct dj_keys *keys)
{
    size_t cursor = 0;
    struct deja_slice id;
    void *member = NULL;
    if (!keys)
        return;
    while (keys->members && dj_map_next(keys->members, &cursor, &id, &member)) {
        dj_wipe(member, sizeof(struct member));
        dj_free(member);
    }
    dj_map_destroy(keys->members);
    dj_map_destroy(keys->certificates);
    dj_lockout_destroy(keys->lockout);
    dj_hmac_key_fini(&keys->pepper);
    pthread_mutex_destroy(&keys->writing);
    pthread_rwlock_destroy(&keys->lock);
    dj_free(keys);
}

/* ---- the text of a key ---- */

struct presented {
    struct deja_slice id;
    uint8_t secret[SECRET_BYTES];
};

bool dj_key_is_claimed(struct deja_slice credential)
{
    return credential.len >= PREFIX_LEN && memcmp(credential.data, prefix, PREFIX_LEN) == 0;
}

static bool parse(struct deja_slice text, struct presented *out)
{
    uint8_t id[DJ_KEY_ID_BYTES / 2];
    if (text.len != DJ_KEY_TEXT_BYTES - 1 || !dj_key_is_claimed(text) ||
        text.data[PREFIX_LEN + DJ_KEY_ID_BYTES] != '_')
        return false;
    out->id = deja_slice(text.data + PREFIX_LEN, DJ_KEY_ID_BYTES);
    const char *secret = out->id.data + DJ_KEY_ID_BYTES + 1;
    return dj_hex_decode(out->id, id, sizeof id) == DEJA_OK &&
           dj_hex_decode(deja_slice(secret, 2 * SECRET_BYTES), out->secret, SECRET_BYTES) ==
               DEJA_OK;
}

static void digest_of(const struct dj_keys *keys, struct deja_slice id,
                      const uint8_t secret[SECRET_BYTES], uint8_t out_digest[DJ_SHA256_BYTES])
{
    const struct deja_slice parts[] = {id, deja_slice(secret, SECRET_BYTES)};
    dj_hmac_ready(&keys->pepper, parts, 2, out_digest);
}

/* ---- checking ---- */

static enum dj_key_verdict judge(const struct dj_key *key, bool is_right, bool is_before,
                                 int64_t now_ms)
{
    if (!is_right && !is_before)
        return DJ_KEY_WRONG;
    if (key->revoked_ms)
        return DJ_KEY_REVOKED;
    if (key->expires_ms && now_ms >= key->expires_ms)
        return DJ_KEY_EXPIRED;
    if (!is_right && now_ms >= key->overlap_until_ms)
        return DJ_KEY_REPLACED;
    return DJ_KEY_GOOD;
}

static void note_use(struct member *member, int64_t now_ms)
{
    int64_t used_ms = atomic_load_explicit(&member->used_ms, memory_order_relaxed);
    if (now_ms - used_ms >= USED_STEP_MS)
        atomic_store_explicit(&member->used_ms, now_ms, memory_order_relaxed);
}

static struct dj_key key_of(struct member *member)
{
    struct dj_key key = member->record.key;
    key.used_ms = atomic_load_explicit(&member->used_ms, memory_order_relaxed);
    return key;
}

/* One HMAC, two comparisons, whatever is there. An id nobody has is compared with zeros, which no
 * digest is. */
static enum dj_key_verdict compare(struct dj_keys *keys, const struct presented *presented,
                                   int64_t now_ms, struct dj_key *out_key)
{
    static const struct dj_key_record nobody = {.key = {.id = ""}};
    uint8_t digest[DJ_SHA256_BYTES];
    digest_of(keys, presented->id, presented->secret, digest);
    pthread_rwlock_rdlock(&keys->lock);
    struct member *member = dj_map_find(keys->members, presented->id);
    const struct dj_key_record *record = member ? &member->record : &nobody;
    bool is_right = dj_is_equal_constant_time(digest, record->digest, sizeof digest);
    bool is_before = dj_is_equal_constant_time(digest, record->digest_before, sizeof digest);
    enum dj_key_verdict verdict =
        judge(&record->key, is_right && member, is_before && member, now_ms);
    if (verdict == DJ_KEY_GOOD) {
        note_use(member, now_ms);
        *out_key = key_of(member);
    }
    pthread_rwlock_unlock(&keys->lock);
    dj_wipe(digest, sizeof digest);
    return verdict;
}

/* An IPv6 client is its /64. */
static struct deja_slice place_of(const uint8_t address[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return deja_slice(address, memcmp(address, mapped, sizeof mapped) == 0 ? 16 : 8);
}

/* What is counted of one attempt: an id's bytes, an address', or both; the lengths differ. */
struct attempt {
    char pair[DJ_KEY_ID_BYTES + 16];
    char place[1 + 16]; /* with a byte in front: an address in full is as long as an id */
    struct deja_slice names[3];
};
enum { PAIR, ADDRESS, ID };
static const double limits[] = {[PAIR] = PAIR_LIMIT, [ADDRESS] = ADDRESS_LIMIT, [ID] = ID_LIMIT};

static void name_attempt(struct attempt *attempt, struct deja_slice id, const uint8_t address[16])
{
    struct deja_slice place = place_of(address);
    memcpy(attempt->pair, id.data, DJ_KEY_ID_BYTES);
    memcpy(attempt->pair + DJ_KEY_ID_BYTES, place.data, place.len);
    attempt->place[0] = '@';
    memcpy(attempt->place + 1, place.data, place.len);
    attempt->names[PAIR] = deja_slice(attempt->pair, DJ_KEY_ID_BYTES + place.len);
    attempt->names[ADDRESS] = deja_slice(attempt->place, 1 + place.len);
    attempt->names[ID] = deja_slice(attempt->pair, DJ_KEY_ID_BYTES);
}

static int64_t rest_of(struct dj_keys *keys, const struct attempt *attempt, int64_t now_ms)
{
    double scores[3];
    int64_t rest_ms = 0;
    for (size_t i = 0; i < 3; i++)
        scores[i] = dj_lockout_score(keys->lockout, attempt->names[i], now_ms);
    for (size_t i = 0; i < 3; i++) {
        int64_t one_ms = dj_lockout_rest_ms(keys->lockout, scores[i], limits[i]);
        if (i == PAIR || scores[PAIR] >= 0.5)
            rest_ms = one_ms > rest_ms ? one_ms : rest_ms;
    }
    return rest_ms;
}

static bool is_unsure(struct dj_keys *keys, int64_t now_ms)
{
    return keys->authority && keys->authority->pull &&
           now_ms - atomic_load_explicit(&keys->pulled_ms, memory_order_relaxed) > DJ_KEYS_LEASE_MS;
}

enum dj_key_verdict dj_keys_check(struct dj_keys *keys, struct deja_slice credential,
                                  const uint8_t address[16], int64_t now_ms, struct dj_key *out_key,
                                  int64_t *out_retry_ms)
{
    struct presented presented;
    struct attempt attempt;
    struct dj_key key;
    if (!parse(credential, &presented))
        return DJ_KEY_WRONG; /* tells only that it is no key at all */
    enum dj_key_verdict verdict = compare(keys, &presented, now_ms, &key);
    dj_wipe(presented.secret, sizeof presented.secret);
    name_attempt(&attempt, presented.id, address);
    int64_t rest_ms = rest_of(keys, &attempt, now_ms);
    if (verdict == DJ_KEY_WRONG)
        for (size_t i = 0; i < 3; i++)
            dj_lockout_fail(keys->lockout, attempt.names[i], limits[i], now_ms);
    if (rest_ms > 0) {
        *out_retry_ms = rest_ms;
        return DJ_KEY_LOCKED;
    }
    if (verdict == DJ_KEY_GOOD && is_unsure(keys, now_ms))
        return DJ_KEY_UNSURE;
    if (verdict == DJ_KEY_GOOD)
        *out_key = key;
    return verdict;
}

enum dj_key_verdict dj_keys_check_certificate(struct dj_keys *keys, struct deja_slice fingerprint,
                                              int64_t now_ms, struct dj_key *out_key)
{
    enum dj_key_verdict verdict = DJ_KEY_WRONG;
    pthread_rwlock_rdlock(&keys->lock);
    struct member *member = dj_map_find(keys->certificates, fingerprint);
    if (member)
        verdict = judge(&member->record.key, true, false, now_ms);
    if (verdict == DJ_KEY_GOOD && is_unsure(keys, now_ms))
        verdict = DJ_KEY_UNSURE;
    if (verdict == DJ_KEY_GOOD) {
        note_use(member, now_ms);
        *out_key = key_of(member);
    }
    pthread_rwlock_unlock(&keys->lock);
    return verdict;
}

/* ---- looking ---- */

size_t dj_keys_count(struct dj_keys *keys)
{
    pthread_rwlock_rdlock(&keys->lock);
    size_t count = dj_map_count(keys->members);
    pthread_rwlock_unlock(&keys->lock);
    return count;
}

enum deja_status dj_keys_get(struct dj_keys *keys, struct deja_slice id, struct dj_key *out_key)
{
    pthread_rwlock_rdlock(&keys->lock);
    struct member *member = dj_map_find(keys->members, id);
    if (member)
        *out_key = key_of(member);
    pthread_rwlock_unlock(&keys->lock);
    return member ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct dj_key *)a)->id, ((const struct dj_key *)b)->id, DJ_KEY_ID_BYTES);
}

static bool is_listed(const struct dj_key *key, const uint8_t *tenant, struct deja_slice after)
{
    if (tenant && (!key->has_tenant || memcmp(key->tenant, tenant, DJ_TENANT_BYTES) != 0))
        return false;
    return after.len != DJ_KEY_ID_BYTES || memcmp(key->id, after.data, DJ_KEY_ID_BYTES) > 0;
}

enum deja_status dj_keys_list(struct dj_keys *keys, const uint8_t *tenant, struct deja_slice after,
                              size_t max, struct dj_key **out_keys, size_t *out_count)
{
    size_t cursor = 0;
    size_t count = 0;
    struct deja_slice id;
    void *member = NULL;
    pthread_rwlock_rdlock(&keys->lock);
    struct dj_key *found = dj_alloc((dj_map_count(keys->members) + 1) * sizeof *found);
    while (found && dj_map_next(keys->members, &cursor, &id, &member)) {
        found[count] = key_of(member);
        count += is_listed(&found[count], tenant, after);
    }
    pthread_rwlock_unlock(&keys->lock);
    if (!found)
        return DEJA_ERR_NOMEM;
    qsort(found, count, sizeof *found, by_id);
    *out_keys = found;
    *out_count = count < max ? count : max;
    return DEJA_OK;
}

/* ---- changing ---- */

/* Under `writing`: durable, then seen. */
static enum deja_status keep(struct dj_keys *keys, struct dj_key_record *record, bool is_new)
{
    const struct dj_authority *authority = keys->authority;
    struct dj_buf document;
    record->revision++;
    dj_buf_init(&document, DOCUMENT_BYTES_MAX);
    dj_key_document_write(record, &document);
    enum deja_status status = document.status;
    if (status == DEJA_OK && authority)
        status = authority->put(authority->ctx, DJ_KEYS_TABLE, id_of(&record->key),
                                dj_buf_slice(&document), is_new);
    dj_buf_fini(&document);
    if (status != DEJA_OK)
        return status;
    pthread_rwlock_wrlock(&keys->lock);
    status = place(keys, record);
    pthread_rwlock_unlock(&keys->lock);
    return status;
}

/* A new secret for the record, and the text to show. */
static void draw(const struct dj_keys *keys, struct dj_key_record *record,
                 char out_text[DJ_KEY_TEXT_BYTES])
{
    uint8_t secret[SECRET_BYTES];
    dj_random_bytes(secret, sizeof secret);
    digest_of(keys, id_of(&record->key), secret, record->digest);
    memcpy(out_text, prefix, PREFIX_LEN);
    memcpy(out_text + PREFIX_LEN, record->key.id, DJ_KEY_ID_BYTES);
    out_text[PREFIX_LEN + DJ_KEY_ID_BYTES] = '_';
    dj_hex_encode(secret, sizeof secret, out_text + PREFIX_LEN + DJ_KEY_ID_BYTES + 1);
    dj_wipe(secret, sizeof secret);
}

/* Room for it, and nobody else has its certificate. */
static enum deja_status admit(struct dj_keys *keys, const struct dj_key *wish)
{
    struct deja_slice certificate = deja_slice_text(wish->certificate);
    enum deja_status status = DEJA_OK;
    pthread_rwlock_rdlock(&keys->lock);
    if (dj_map_count(keys->members) >= keys->keys_max)
        status = DEJA_ERR_LIMIT;
    else if (certificate.len && dj_map_find(keys->certificates, certificate))
        status = DEJA_ERR_BUSY;
    pthread_rwlock_unlock(&keys->lock);
    return status;
}

enum deja_status dj_keys_make(struct dj_keys *keys, const struct dj_key *wish, int64_t now_ms,
                              char out_text[DJ_KEY_TEXT_BYTES], struct dj_key *out_key)
{
    struct dj_key_record record = {.key = *wish};
    uint8_t id[DJ_KEY_ID_BYTES / 2];
    char text[DJ_KEY_TEXT_BYTES];
    dj_random_bytes(id, sizeof id);
    dj_hex_encode(id, sizeof id, record.key.id);
    record.key.created_ms = now_ms;
    record.key.revoked_ms = 0;
    record.key.rotated_ms = 0;
    record.key.overlap_until_ms = 0;
    record.key.used_ms = 0;
    pthread_mutex_lock(&keys->writing);
    draw(keys, &record, text);
    enum deja_status status = admit(keys, wish);
    if (status == DEJA_OK)
        status = keep(keys, &record, true);
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK) {
        memcpy(out_text, text, sizeof text);
        *out_key = record.key;
    }
    dj_wipe(text, sizeof text);
    dj_wipe(&record, sizeof record);
    return status;
}

struct reading {
    struct dj_key_record *record;
    enum deja_status status;
};

static void on_document(void *ctx, struct deja_slice value)
{
    struct reading *reading = ctx;
    reading->status = dj_key_document_read(value, reading->record);
}

/* Under `writing`: as it is now, wherever it was changed last. */
static enum deja_status read_again(struct dj_keys *keys, struct deja_slice id,
                                   struct dj_key_record *out_record)
{
    const struct dj_authority *authority = keys->authority;
    struct reading reading = {.record = out_record, .status = DEJA_ERR_NOT_FOUND};
    if (id.len != DJ_KEY_ID_BYTES)
        return DEJA_ERR_NOT_FOUND;
    if (authority) {
        enum deja_status status =
            authority->get(authority->ctx, DJ_KEYS_TABLE, id, &reading, on_document);
        return status == DEJA_OK ? reading.status : status;
    }
    pthread_rwlock_rdlock(&keys->lock);
    const struct member *member = dj_map_find(keys->members, id);
    if (member)
        *out_record = member->record;
    pthread_rwlock_unlock(&keys->lock);
    return member ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

enum deja_status dj_keys_rotate(struct dj_keys *keys, struct deja_slice id, uint64_t overlap_ms,
                                int64_t now_ms, char out_text[DJ_KEY_TEXT_BYTES],
                                struct dj_key *out_key)
{
    struct dj_key_record record = {.key = {.id = ""}};
    char text[DJ_KEY_TEXT_BYTES];
    pthread_mutex_lock(&keys->writing);
    enum deja_status status = read_again(keys, id, &record);
    if (status == DEJA_OK && judge(&record.key, true, false, now_ms) != DJ_KEY_GOOD)
        status = DEJA_ERR_DENIED;
    if (status == DEJA_OK) {
        memcpy(record.digest_before, record.digest, sizeof record.digest);
        record.key.rotated_ms = now_ms;
        record.key.overlap_until_ms = now_ms + (int64_t)overlap_ms;
        draw(keys, &record, text);
        status = keep(keys, &record, false);
    }
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK) {
        memcpy(out_text, text, sizeof text);
        *out_key = record.key;
    }
    dj_wipe(text, sizeof text);
    dj_wipe(&record, sizeof record);
    return status;
}

enum deja_status dj_keys_revoke(struct dj_keys *keys, struct deja_slice id, int64_t now_ms,
                                struct dj_key *out_key)
{
    struct dj_key_record record = {.key = {.id = ""}};
    pthread_mutex_lock(&keys->writing);
    enum deja_status status = read_again(keys, id, &record);
    if (status == DEJA_OK && !record.key.revoked_ms) {
        record.key.revoked_ms = now_ms;
        status = keep(keys, &record, false);
    }
    pthread_mutex_unlock(&keys->writing);
    if (status == DEJA_OK)
        *out_key = record.key;
    dj_wipe(&record, sizeof record);
    return status;
}

static enum deja_status remove_one(struct dj_keys *keys, struct deja_slice id)
{
    const struct dj_authority *authority = keys->authority;
    enum deja_status status =
        authority ? authority->remove(authority->ctx, DJ_KEYS_TABLE, id) : DEJA_OK;
    if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
        return status;
    pthread_rwlock_wrlock(&keys->lock);
    drop(keys, id);
    pthread_rwlock_unlock(&keys->lock);
    return DEJA_OK;
}

enum deja_status dj_keys_remove_tenant(struct dj_keys *keys, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct dj_key *found = NULL;
    size_t count = 0;
    pthread_mutex_lock(&keys->writing);
    enum deja_status status =
        dj_keys_list(keys, tenant, deja_slice(NULL, 0), SIZE_MAX, &found, &count);
    for (size_t i = 0; i < count && status == DEJA_OK; i++)
        status = remove_one(keys, id_of(&found[i]));
    pthread_mutex_unlock(&keys->writing);
    dj_free(found);
    return status;
}

/* ---- other nodes ---- */

void dj_keys_on_change(void *ctx, const char *table, struct deja_slice key, struct deja_slice value)
{
    struct dj_keys *keys = ctx;
    struct dj_key_record record;
    if (strcmp(table, DJ_KEYS_TABLE) != 0)
        return;
    bool is_there = value.data && dj_key_document_read(value, &record) == DEJA_OK &&
                    deja_slice_is_equal(key, id_of(&record.key));
    pthread_rwlock_wrlock(&keys->lock);
    /* Without memory for it the key is not accepted, rather than accepted as it was. */
    if (!is_there || place(keys, &record) != DEJA_OK)
        drop(keys, key);
    pthread_rwlock_unlock(&keys->lock);
    dj_wipe(&record, sizeof record);
}

void dj_keys_on_pulled(struct dj_keys *keys, int64_t now_ms)
{
    atomic_store_explicit(&keys->pulled_ms, now_ms, memory_order_relaxed);
}
