/* No file breaks the reader of GPTCache's databases: SQLite's own parser is behind it, and what it
 * hands over becomes JSON or is refused. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/json.h"
#include "tools/import_source.h"

#define ROWS_MAX 1000u

static void read_rows(struct dj_import_source *source)
{
    for (unsigned i = 0; i < ROWS_MAX; i++) {
        struct dj_buf json = {0};
        struct dj_json_doc *doc = NULL;
        struct deja_error error;
        uint64_t number;
        enum deja_status status = source->next(source->ctx, &json, &number, &error);
        if (status == DEJA_OK)
            FUZZ_CHECK(dj_json_parse(dj_buf_slice(&json), &doc, &error) == DEJA_OK);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&json);
        if (status != DEJA_OK && status != DEJA_ERR_INVALID)
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_import_source source;
    struct deja_error error;
    char path[64];
    char name[] = "/dev/shm/gptcache-XXXXXX";
    int fd = mkstemp(name);
    FUZZ_CHECK(fd >= 0);
    unlink(name);
    FUZZ_CHECK(write(fd, data, len) == (ssize_t)len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (dj_import_gptcache_open(path, &source, &error) == DEJA_OK) {
        read_rows(&source);
        source.close(source.ctx);
    }
    close(fd);
    return 0;
}
