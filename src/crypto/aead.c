/* crypto/aead.c - see aead.h.
 *
 * A context per call: EVP allocates one and the key schedule is made in it anyway, as each call has
 * a key of its own. The slots of key memory are a mapping, so that madvise says of them and of
 * nothing else what the kernel must not do with them.
 */
#include "crypto/aead.h"

#include <assert.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/alloc.h"
#include "crypto/digest.h"

#define BYTES_MAX ((size_t)1 << 30) /* OpenSSL counts in int */

struct dj_aead {
    EVP_CIPHER *cipher;
};

enum deja_status dj_aead_create(struct dj_aead **out_aead)
{
    struct dj_aead *aead = dj_alloc(sizeof *aead);
    if (!aead)
        return DEJA_ERR_NOMEM;
    aead->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (!aead->cipher) {
        dj_free(aead);
        return DEJA_ERR_NOMEM;
    }
    *out_aead = aead;
    return DEJA_OK;
}

void dj_aead_destroy(struct dj_aead *aead)
{
    if (aead)
        EVP_CIPHER_free(aead->cipher);
    dj_free(aead);
}

static const unsigned char *bytes_of(struct deja_slice slice)
{
    return (const unsigned char *)slice.data;
}

/* Key, nonce and what is bound; NULL: no memory. */
static EVP_CIPHER_CTX *begin(const struct dj_aead *aead, const struct dj_aead_call *call,
                             int is_sealing)
{
    assert(call->bound_count <= DJ_AEAD_PARTS_MAX);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    bool is_ok = context && EVP_CipherInit_ex2(context, aead->cipher, call->key, call->nonce,
                                               is_sealing, NULL) == 1;
    for (size_t i = 0; is_ok && i < call->bound_count; i++) {
        int len = 0;
        if (call->bound[i].len)
            is_ok = EVP_CipherUpdate(context, NULL, &len, bytes_of(call->bound[i]),
                                     (int)call->bound[i].len) == 1;
    }
    if (is_ok)
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

enum deja_status dj_aead_seal(const struct dj_aead *aead, const struct dj_aead_call *call,
                              struct deja_slice plain, char *out)
{
    if (plain.len >= BYTES_MAX)
        return DEJA_ERR_LIMIT;
    EVP_CIPHER_CTX *context = begin(aead, call, 1);
    unsigned char *at = (unsigned char *)out;
    unsigned char none[16];
    int len = 0;
    int last = 0;
    bool is_ok = context &&
                 (!plain.len ||
                  EVP_EncryptUpdate(context, at, &len, bytes_of(plain), (int)plain.len) == 1) &&
                 EVP_EncryptFinal_ex(context, none, &last) == 1 &&
                 EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, (int)DJ_AEAD_TAG_BYTES,
                                     at + plain.len) == 1;
    assert(!is_ok || ((size_t)len == plain.len && last == 0)); /* a stream cipher keeps nothing */
    EVP_CIPHER_CTX_free(context);
    return is_ok ? DEJA_OK : DEJA_ERR_NOMEM;
}

enum deja_status dj_aead_open(const struct dj_aead *aead, const struct dj_aead_call *call,
                              struct deja_slice sealed, char *out)
{
    if (sealed.len < DJ_AEAD_TAG_BYTES)
        return DEJA_ERR_CORRUPT;
    size_t plain_len = sealed.len - DJ_AEAD_TAG_BYTES;
    if (plain_len >= BYTES_MAX)
        return DEJA_ERR_LIMIT;
    EVP_CIPHER_CTX *context = begin(aead, call, 0);
    if (!context)
        return DEJA_ERR_NOMEM;
    unsigned char tag[DJ_AEAD_TAG_BYTES];
    unsigned char none[16];
    int len = 0;
    int last = 0;
    memcpy(tag, sealed.data + plain_len, sizeof tag);
    bool is_ok = (!plain_len || EVP_DecryptUpdate(context, (unsigned char *)out, &len,
                                                  bytes_of(sealed), (int)plain_len) == 1) &&
                 EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, (int)sizeof tag, tag) == 1 &&
                 EVP_DecryptFinal_ex(context, none, &last) == 1;
    EVP_CIPHER_CTX_free(context);
    if (is_ok)
        return DEJA_OK;
    dj_wipe(out, plain_len); /* what was not authenticated is nobody's to read */
    return DEJA_ERR_CORRUPT;
}

/* ---- memory for keys ---- */

struct dj_key_memory {
    pthread_mutex_t mutex;
    char *slots;
    size_t bytes; /* of the mapping */
    size_t size;
    size_t count;
    uint32_t *free; /* indexes; under mutex, as is the next */
    size_t free_count;
    bool is_locked;
};

enum deja_status dj_key_memory_create(size_t size, size_t count, struct dj_key_memory **out_memory)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size = (size + 15) & ~(size_t)15;
    assert(size && count && count <= UINT32_MAX && size <= SIZE_MAX / 2 / count);
    struct dj_key_memory *memory = dj_alloc_zeroed(1, sizeof *memory);
    uint32_t *free_slots = dj_alloc_zeroed(count, sizeof *free_slots);
    size_t bytes = (size * count + page - 1) & ~(page - 1);
    void *slots = memory && free_slots ? mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                       : MAP_FAILED;
    if (slots == MAP_FAILED) {
        dj_free(memory);
        dj_free(free_slots);
        return DEJA_ERR_NOMEM;
    }
    *memory = (struct dj_key_memory){.slots = slots,
                                     .bytes = bytes,
                                     .size = size,
                                     .count = count,
                                     .free = free_slots,
                                     .free_count = count};
    int code = pthread_mutex_init(&memory->mutex, NULL);
    assert(code == 0);
    /* Kernels without one of these are not a reason to keep no keys at all. */
    if (madvise(slots, bytes, MADV_DONTDUMP) != 0 || madvise(slots, bytes, MADV_WIPEONFORK) != 0)
        memory->is_locked = false;
    memory->is_locked = mlock(slots, bytes) == 0;
    for (size_t i = 0; i < count; i++)
        free_slots[i] = (uint32_t)(count - 1 - i);
    *out_memory = memory;
    return DEJA_OK;
}

void dj_key_memory_destroy(struct dj_key_memory *memory)
{
    if (!memory)
        return;
    dj_wipe(memory->slots, memory->bytes);
    munmap(memory->slots, memory->bytes);
    pthread_mutex_destroy(&memory->mutex);
    dj_free(memory->free);
    dj_free(memory);
}

void *dj_key_memory_take(struct dj_key_memory *memory)
{
    void *slot = NULL;
    pthread_mutex_lock(&memory->mutex);
    if (memory->free_count)
        slot = memory->slots + memory->free[--memory->free_count] * memory->size;
    pthread_mutex_unlock(&memory->mutex);
    return slot;
}

void dj_key_memory_give(struct dj_key_memory *memory, void *slot)
{
    if (!slot)
        return;
    size_t offset = (size_t)((char *)slot - memory->slots);
    assert(offset % memory->size == 0 && offset / memory->size < memory->count);
    dj_wipe(slot, memory->size);
    pthread_mutex_lock(&memory->mutex);
    memory->free[memory->free_count++] = (uint32_t)(offset / memory->size);
    pthread_mutex_unlock(&memory->mutex);
}

bool dj_key_memory_is_locked(const struct dj_key_memory *memory)
{
    return memory->is_locked;
}
