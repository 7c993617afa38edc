/* store/lmdb_scrub.c - what was removed from an environment does not stay readable in its file.
 *
 * LMDB never overwrites: a changed page is written elsewhere and the old one, with what it held, is
 * only noted as free; and in a page that is used, the room between its slots and its data keeps
 * what was there before. mdb_env_copy with MDB_CP_COMPACT leaves out the first, keeps the second,
 * and cannot be put in place of an environment that is open. So both are wiped where they are:
 *
 *   gate closed ── environment closed and opened ── free pages ──> holes (or zeros) in the file
 *                                                   pages in use: [lower, upper) ──> zeros,
 *                                                   what follows a long value ──> zeros
 *
 * (1) Nobody writes meanwhile; what the snapshot of another process' reader may still look at is
 *     left, and told as DEJA_ERR_BUSY: pages freed after the oldest reader began.
 * (2) The last transaction is on the disk before, so no older one is ever gone back to.
 * (3) LMDB does not look at free pages or at the room in the middle of a page, so neither do its
 *     readers. The layout is that of LMDB 0.9; another version's pages in use are left alone.
 *
 * (4) A page that LMDB has written stays in its memory, to be filled again, and is written with
 * what was in it before wherever the new content leaves room: hence the closing.
 *
 * Holds up readers and writers for about half a second per GiB; PAGES_MAX bounds it.
 */
#define _GNU_SOURCE /* fallocate */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "store/lmdb_internal.h"

#define FIRST_PAGE 2u                     /* after the two that describe the file */
#define PAGES_MAX ((size_t)1 << 18)       /* pages in use are looked into up to here: 1 GiB */
#define PAGE_BYTES_MAX ((size_t)64 << 10) /* of LMDB */

/* Head of a page as LMDB 0.9 writes it. */
struct page_head {
    uint64_t number;
    uint16_t pad;
    uint16_t flags;
    uint16_t lower; /* a run's first page: with upper, how many pages it has */
    uint16_t upper;
};
/* Of an entry in a leaf; the key follows, then the value or where it is. */
struct node_head {
    uint16_t low; /* of the value's length */
    uint16_t high;
    uint16_t flags;
    uint16_t key_len;
};
#define NODE_LONG 0x01u /* the number of the first page of a run stands for the value */
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u

struct scrub {
    MDB_env *env;
    int fd;
    size_t page_bytes;
    size_t page_count;
    size_t oldest_reader; /* SIZE_MAX: nobody reads */
    bool is_list_odd;     /* readers that cannot be understood */
    bool has_left;        /* (1) */
    uint8_t *is_free;     /* a bit per page */
};

static bool is_free(const struct scrub *scrub, size_t page)
{
    return scrub->is_free[page / 8] >> page % 8 & 1;
}

/* "   pid thread txnid\n", txnid "-" for one that does not read now; a line of names before them,
 * or
 * "(no active readers)". */
static int on_reader(const char *text, void *ctx)
{
    struct scrub *scrub = ctx;
    struct deja_slice line = deja_slice_text(text);
    while (line.len && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == ' '))
        line.len--;
    size_t start = line.len;
    while (start > 0 && line.data[start - 1] != ' ')
        start--;
    struct deja_slice last = deja_slice(line.data + start, line.len - start);
    uint64_t number = 0;
    if (last.len == 0 || last.data[0] == '-' || text[0] == '(' || dj_slice_is(last, "txnid"))
        return 0;
    if (dj_num_parse_u64(last, &number) != DEJA_OK)
        scrub->is_list_odd = true;
    else if (number < scrub->oldest_reader)
        scrub->oldest_reader = number;
    return 0;
}

/* The free pages of each transaction: a count and so many numbers. */
static enum deja_status read_free(struct scrub *scrub, MDB_txn *reader)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    int code = mdb_cursor_open(reader, 0, &cursor);
    if (code == MDB_SUCCESS)
        code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; code == MDB_SUCCESS; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        size_t freed_by = 0;
        size_t count = 0;
        if (key.mv_size != sizeof freed_by || value.mv_size < sizeof count)
            continue;
        memcpy(&freed_by, key.mv_data, sizeof freed_by);
        memcpy(&count, value.mv_data, sizeof count);
        if (count > value.mv_size / sizeof count - 1)
            continue;
        /* Still used in a snapshot: neither free to be wiped nor a page in use of ours. */
        bool is_seen = freed_by > scrub->oldest_reader;
        scrub->has_left = scrub->has_left || (is_seen && count > 0);
        for (size_t i = 1; i <= count && !is_seen; i++) {
            size_t page = 0;
            memcpy(&page, (const char *)value.mv_data + i * sizeof page, sizeof page);
            if (page >= FIRST_PAGE && page < scrub->page_count)
                scrub->is_free[page / 8] = (uint8_t)(scrub->is_free[page / 8] | 1u << page % 8);
        }
    }
    if (cursor)
        mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? DEJA_OK : dj_lmdb_status(code);
}

static bool write_zeros(int fd, off_t at, size_t len)
{
    static const char zeros[4096];
    while (len) {
        size_t piece = len < sizeof zeros ? len : sizeof zeros;
        if (pwrite(fd, zeros, piece, at) != (ssize_t)piece)
            return false;
        at += (off_t)piece;
        len -= piece;
    }
    return true;
}

static enum deja_status wipe_free(const struct scrub *scrub)
{
    bool has_holes = true;
    for (size_t page = FIRST_PAGE; page < scrub->page_count;) {
        size_t end = page;
        while (end < scrub->page_count && is_free(scrub, end))
            end++;
        if (end == page) {
            page++;
            continue;
        }
        off_t at = (off_t)(page * scrub->page_bytes);
        size_t len = (end - page) * scrub->page_bytes;
        has_holes = has_holes && fallocate(scrub->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                           at, (off_t)len) == 0;
        if (!has_holes && !write_zeros(scrub->fd, at, len))
            return DEJA_ERR_IO;
        page = end;
    }
    return DEJA_OK;
}

static bool is_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

/* [from, to) of the file, unless it is zeros already; room: as long as a page. */
static enum deja_status wipe_range(const struct scrub *scrub, size_t from, size_t to, char *room)
{
    size_t len = to - from;
    if (len > scrub->page_bytes)
        return DEJA_OK; /* no tail of a page is as long as that: not what it seems */
    if (pread(scrub->fd, room, len, (off_t)from) != (ssize_t)len)
        return DEJA_ERR_IO;
    return is_zero(room, len) || write_zeros(scrub->fd, (off_t)from, len) ? DEJA_OK : DEJA_ERR_IO;
}

/* What follows a long value on the last page of its run. */
static enum deja_status wipe_tail(const struct scrub *scrub, const char *page, size_t at,
                                  char *room)
{
    struct node_head node;
    size_t first = 0;
    if (at + sizeof node > scrub->page_bytes)
        return DEJA_OK;
    memcpy(&node, page + at, sizeof node);
    at += sizeof node + node.key_len;
    if (!(node.flags & NODE_LONG) || at + sizeof first > scrub->page_bytes)
        return DEJA_OK;
    memcpy(&first, page + at, sizeof first);
    size_t len = node.low | (size_t)node.high << 16;
    size_t end = first * scrub->page_bytes + sizeof(struct page_head) + len;
    size_t last = (end + scrub->page_bytes - 1) / scrub->page_bytes;
    if (first < FIRST_PAGE || last > scrub->page_count || is_free(scrub, first))
        return DEJA_OK;
    return wipe_range(scrub, end, last * scrub->page_bytes, room);
}

/* The room in the middle of one page, and the tails of the long values it leads to. */
static enum deja_status wipe_page(const struct scrub *scrub, size_t page,
                                  const struct page_head *head, char *bytes)
{
    char *room = bytes + scrub->page_bytes;
    size_t start = page * scrub->page_bytes;
    if (pread(scrub->fd, bytes, scrub->page_bytes, (off_t)start) != (ssize_t)scrub->page_bytes)
        return DEJA_ERR_IO;
    enum deja_status status = wipe_range(scrub, start + head->lower, start + head->upper, room);
    for (size_t at = sizeof *head;
         status == DEJA_OK && (head->flags & PAGE_LEAF) && at + 2 <= head->lower; at += 2) {
        uint16_t node = 0;
        memcpy(&node, bytes + at, sizeof node);
        status = wipe_tail(scrub, bytes, node, room);
    }
    return status;
}

/* Every page that is not free is one in use, or the first of a run whose length it tells. Where a
 * page is not what it should be the walk ends: nothing is wiped by guessing. */
static enum deja_status wipe_rooms(const struct scrub *scrub)
{
    char *bytes = dj_alloc(2 * scrub->page_bytes);
    enum deja_status status = bytes ? DEJA_OK : DEJA_ERR_NOMEM;
    for (size_t page = FIRST_PAGE; page < scrub->page_count && status == DEJA_OK;) {
        struct page_head head;
        if (is_free(scrub, page)) {
            page++;
            continue;
        }
        if (pread(scrub->fd, &head, sizeof head, (off_t)(page * scrub->page_bytes)) !=
            (ssize_t)sizeof head)
            status = DEJA_ERR_IO;
        else if (head.number != page)
            break;
        else if (head.flags & PAGE_OVERFLOW) {
            size_t run = head.lower | (size_t)head.upper << 16;
            page += run ? run : 1;
        } else if ((head.flags & (PAGE_BRANCH | PAGE_LEAF)) && head.lower >= sizeof head &&
                   head.lower <= head.upper && head.upper <= scrub->page_bytes) {
            status = wipe_page(scrub, page, &head, bytes);
            page++;
        } else {
            break;
        }
    }
    dj_free(bytes);
    return status;
}

/* Under the writer's lock. */
static enum deja_status scrub_locked(struct scrub *scrub)
{
    MDB_stat stat;
    MDB_envinfo info;
    MDB_txn *reader = NULL;
    int major = 0;
    int minor = 0;
    mdb_version(&major, &minor, NULL);
    int code = mdb_env_stat(scrub->env, &stat);
    if (code == MDB_SUCCESS)
        code = mdb_env_info(scrub->env, &info);
    if (code == MDB_SUCCESS)
        code = mdb_env_get_fd(scrub->env, &scrub->fd);
    if (code == MDB_SUCCESS && mdb_reader_list(scrub->env, on_reader, scrub) < 0)
        code = EIO;
    if (code == MDB_SUCCESS)
        code = mdb_txn_begin(scrub->env, NULL, MDB_RDONLY, &reader);
    if (code != MDB_SUCCESS)
        return dj_lmdb_status(code);
    scrub->page_bytes = stat.ms_psize;
    scrub->page_count = info.me_last_pgno + 1;
    scrub->is_free = dj_alloc_zeroed(scrub->page_count / 8 + 1, 1);
    enum deja_status status = !scrub->is_free                      ? DEJA_ERR_NOMEM
                              : scrub->page_bytes > PAGE_BYTES_MAX ? DEJA_ERR_UNSUPPORTED
                              : scrub->is_list_odd                 ? DEJA_ERR_BUSY
                                                                   : read_free(scrub, reader);
    mdb_txn_abort(reader);
    if (status == DEJA_OK)
        status = wipe_free(scrub);
    bool is_known = major == 0 && minor == 9 && scrub->page_count <= PAGES_MAX;
    /* A page that a snapshot still has is no page in use: what it holds is nobody's to touch. */
    if (status == DEJA_OK && is_known && !scrub->has_left)
        status = wipe_rooms(scrub);
    if (status == DEJA_OK && fdatasync(scrub->fd) != 0)
        status = DEJA_ERR_IO;
    dj_free(scrub->is_free);
    return status == DEJA_OK && scrub->has_left ? DEJA_ERR_BUSY : status;
}

static enum deja_status scrub_env(MDB_env *env)
{
    struct scrub scrub = {.env = env, .oldest_reader = SIZE_MAX};
    MDB_txn *writer = NULL;
    int code = mdb_txn_begin(env, NULL, 0, &writer);
    if (code == MDB_SUCCESS)
        code = mdb_env_sync(env, 1);
    enum deja_status status = code == MDB_SUCCESS ? scrub_locked(&scrub) : dj_lmdb_status(code);
    if (writer)
        mdb_txn_abort(writer);
    return status;
}

/* Without readers and writers; what LMDB keeps of pages in memory, and would write into the room of
 * others, is given up with the environment. */
enum deja_status dj_lmdb_scrub(struct dj_store *store)
{
    struct dj_lmdb *lmdb = (struct dj_lmdb *)store;
    pthread_rwlock_wrlock(&lmdb->gate);
    enum deja_status status =
        lmdb->entries && mdb_env_sync(lmdb->entries, 1) != MDB_SUCCESS ? DEJA_ERR_IO : DEJA_OK;
    if (status == DEJA_OK) {
        dj_lmdb_env_close_entries(lmdb);
        status = dj_lmdb_env_open_entries(lmdb);
    }
    if (status == DEJA_OK)
        status = scrub_env(lmdb->entries);
    pthread_rwlock_unlock(&lmdb->gate);
    return status;
}

enum deja_status dj_lmdb_meta_scrub(struct dj_lmdb_meta *meta)
{
    pthread_rwlock_wrlock(&meta->gate);
    if (meta->env)
        mdb_env_close(meta->env);
    meta->env = NULL;
    enum deja_status status = dj_lmdb_env_open_meta(meta);
    if (status == DEJA_OK) {
        status = scrub_env(meta->env);
    } else if (meta->env) {
        mdb_env_close(meta->env);
        meta->env = NULL;
    }
    pthread_rwlock_unlock(&meta->gate);
    return status;
}
