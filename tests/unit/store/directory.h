/* directory.h - a directory of the test's own below /tmp. */
#ifndef DJ_TEST_STORE_DIRECTORY_H
#define DJ_TEST_STORE_DIRECTORY_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct directory {
    char path[64];
};

static inline void directory_create(struct directory *directory)
{
    snprintf(directory->path, sizeof directory->path, "/tmp/deja-store-XXXXXX");
    char *made = mkdtemp(directory->path);
    assert(made);
}

static inline void directory_remove(struct directory *directory)
{
    static const char *const names[] = {
        "lock", "meta/data.mdb", "meta/lock.mdb", "entries/data.mdb", "entries/lock.mdb",
        "meta", "entries",       "secret"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", directory->path, names[i]);
        if (unlink(path) != 0)
            rmdir(path);
    }
    rmdir(directory->path);
}

#endif
