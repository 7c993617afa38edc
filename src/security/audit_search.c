/* security/audit_search.c - see audit_search.h. */
#include "security/audit_search.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "proto/json.h"
#include "security/audit_internal.h"

bool dj_audit_is_time(struct deja_slice text)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    if (text.len < 4 || text.len >= sizeof form)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool is_digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (form[i] == 'd' ? !is_digit : text.data[i] != form[i])
            return false;
    }
    return true;
}

static bool is_of(struct deja_slice operation, struct deja_slice wanted)
{
    return deja_slice_is_equal(operation, wanted) ||
           (operation.len > wanted.len && operation.data[wanted.len] == '.' &&
            memcmp(operation.data, wanted.data, wanted.len) == 0);
}

static bool matches(const struct dj_audit_query *query, const struct dj_json *event)
{
    struct deja_slice time = dj_json_string(dj_json_get(event, "time"));
    size_t from_len = strlen(query->from);
    size_t to_len = strlen(query->to);
    if (from_len && (time.len < from_len || memcmp(time.data, query->from, from_len) < 0))
        return false;
    if (to_len && (time.len < to_len || memcmp(time.data, query->to, to_len) > 0))
        return false;
    if (query->tenant[0] &&
        !dj_slice_is(dj_json_string(dj_json_get(event, "tenant_id")), query->tenant))
        return false;
    if (query->type.len &&
        !deja_slice_is_equal(dj_json_string(dj_json_get(event, "event_type")), query->type))
        return false;
    if (query->result.len &&
        !deja_slice_is_equal(dj_json_string(dj_json_get(event, "result")), query->result))
        return false;
    return !query->operation.len ||
           is_of(dj_json_string(dj_json_get(event, "operation")), query->operation);
}

bool dj_audit_is_match(const struct dj_audit_query *query, const struct dj_audit_line *line,
                       struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    if (line->is_skipped || (query->before_seq && line->seq >= query->before_seq) ||
        dj_json_parse(text, &doc, NULL) != DEJA_OK)
        return false;
    bool is_match = matches(query, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return is_match;
}

enum deja_status dj_audit_map(const char *path, struct deja_slice *out_text)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? DEJA_ERR_NOT_FOUND : DEJA_ERR_IO;
    enum deja_status status =
        fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? DEJA_OK : DEJA_ERR_IO;
    void *bytes = NULL;
    if (status == DEJA_OK && info.st_size > 0)
        bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        *out_text = deja_slice(bytes, bytes ? (size_t)info.st_size : 0);
    return status;
}

void dj_audit_unmap(struct deja_slice text)
{
    if (text.data)
        munmap((void *)(uintptr_t)text.data, text.len);
}

struct search {
    const struct dj_audit_query *query;
    bool is_newest_first;
    void *ctx;
    dj_audit_each_fn *each;
};

/* False: the caller has enough. What has no end yet is no line. */
static bool search_text(const struct search *search, struct deja_slice text)
{
    while (text.len && text.data[text.len - 1] != '\n')
        text.len--;
    while (text.len) {
        size_t start = 0;
        size_t end = text.len - 1; /* of the line, without its line feed */
        if (search->is_newest_first) {
            for (start = end; start > 0 && text.data[start - 1] != '\n';)
                start--;
        } else {
            end = (size_t)((const char *)memchr(text.data, '\n', text.len) - text.data);
        }
        struct deja_slice line_text = deja_slice(text.data + start, end - start);
        struct dj_audit_line line;
        if (dj_audit_line_read(line_text, &line) == DEJA_OK &&
            !search->each(search->ctx, &line, line_text,
                          dj_audit_is_match(search->query, &line, line_text)))
            return false;
        text = search->is_newest_first ? deja_slice(text.data, start)
                                       : deja_slice(text.data + end + 1, text.len - end - 1);
    }
    return true;
}

enum deja_status dj_audit_search(const char *directory, const struct dj_audit_query *query,
                                 bool is_newest_first, void *ctx, dj_audit_each_fn *each)
{
    const struct search search = {query, is_newest_first, ctx, each};
    uint32_t *numbers = NULL;
    size_t count = 0;
    bool wants_more = true;
    enum deja_status status = dj_audit_files(directory, &numbers, &count);
    for (size_t i = 0; status == DEJA_OK && wants_more && i < count; i++) {
        char path[DJ_AUDIT_PATH_MAX + 32];
        struct deja_slice text = {0};
        uint32_t number = numbers[is_newest_first ? count - 1 - i : i];
        status = dj_audit_file_path(directory, number, path, sizeof path)
                     ? dj_audit_map(path, &text)
                     : DEJA_ERR_CONFIG;
        if (status == DEJA_ERR_NOT_FOUND) { /* removed since: it was old */
            status = DEJA_OK;
            continue;
        }
        if (status == DEJA_OK)
            wants_more = search_text(&search, text);
        dj_audit_unmap(text);
    }
    dj_free(numbers);
    return status;
}
