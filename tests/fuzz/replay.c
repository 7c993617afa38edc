/* fuzz/replay.c - runs every file of the folders given through one driver, whole and cut at every
 * length, without libFuzzer: what was found once stays fixed, in every build and under sanitizers.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define FILE_BYTES_MAX 65536u
#define CUT_BYTES_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void run(const uint8_t *bytes, size_t len)
{
    /* A block of just that length, so that sanitizers see a read past its end. */
    uint8_t *copy = dj_alloc(len);
    if (!copy)
        abort();
    memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
    dj_free(copy);
}

static int run_file(const char *folder, const char *name)
{
    static uint8_t bytes[FILE_BYTES_MAX];
    char path[4096];
    int path_len = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = path_len > 0 && (size_t)path_len < sizeof path ? fopen(path, "rb") : NULL;
    if (!file) {
        fprintf(stderr, "cannot open %s/%s\n", folder, name);
        return 1;
    }
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    run(bytes, len);
    for (size_t cut = 0; len <= CUT_BYTES_MAX && cut < len; cut++)
        run(bytes, cut);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = argc < 2;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            fprintf(stderr, "cannot open %s\n", argv[i]);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(folder));) {
            if (entry->d_name[0] == '.')
                continue;
            failed |= run_file(argv[i], entry->d_name);
            count++;
        }
        closedir(folder);
    }
    printf("%u inputs\n", count);
    return failed || !count;
}
