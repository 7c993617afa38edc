/* tools/lock.c - see lock.h. */
#include "tools/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/num.h"

#define PATH_BYTES 4096u

/* The kernel's list, because to try the lock would make a daemon that starts right now give up.
 * "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; 0: nobody. */
static uint64_t holder_of(uint64_t inode)
{
    char line[256], wanted[32];
    uint64_t pid = 0;
    FILE *locks = fopen("/proc/locks", "re");
    snprintf(wanted, sizeof wanted, ":%" PRIu64 " ", inode);
    while (locks && !pid && fgets(line, sizeof line, locks)) {
        const char *place = strstr(line, wanted);
        if (!place || !strstr(line, " FLOCK "))
            continue;
        while (place > line && place[-1] != ' ')
            place--;
        const char *end = place - 1;
        const char *from = end;
        while (from > line && from[-1] != ' ')
            from--;
        if (end <= from ||
            dj_num_parse_u64(deja_slice(from, (size_t)(end - from)), &pid) != DEJA_OK)
            pid = 0;
    }
    if (locks)
        fclose(locks);
    return pid;
}

bool dj_tool_lock_look(const char *data_dir, uint64_t *out_pid)
{
    char path[PATH_BYTES];
    struct stat info;
    int len = snprintf(path, sizeof path, "%s/lock", data_dir);
    if (len < 0 || (size_t)len >= sizeof path || stat(path, &info) != 0)
        return false;
    *out_pid = holder_of((uint64_t)info.st_ino);
    return true;
}
