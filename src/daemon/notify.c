/* daemon/notify.c - see notify.h. */
#include "daemon/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/num.h"
#include "loop/loop.h"

#define SOCKETS_MAX 64u

void dj_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, len);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&address, address_len) < 0) {
        /* nobody listens */
    }
    close(fd);
}

void dj_notify_reloading(void)
{
    char state[64];
    if (snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
                 (unsigned long long)dj_clock_monotonic_us()) > 0)
        dj_notify(state);
}

static bool read_number(const char *name, uint64_t *out_number)
{
    const char *text = getenv(name);
    return text && dj_num_parse_u64(deja_slice_text(text), out_number) == DEJA_OK;
}

/* A variable for another process was inherited by accident. */
static bool is_us(const char *name)
{
    uint64_t pid = 0;
    return read_number(name, &pid) && pid == (uint64_t)getpid();
}

uint64_t dj_notify_watchdog_us(void)
{
    uint64_t us = 0;
    bool is_asked = getenv("NOTIFY_SOCKET") && read_number("WATCHDOG_USEC", &us) &&
                    (!getenv("WATCHDOG_PID") || is_us("WATCHDOG_PID"));
    return is_asked ? us : 0;
}

uint32_t dj_notify_sockets(void)
{
    uint64_t count = 0;
    bool is_given = is_us("LISTEN_PID") && read_number("LISTEN_FDS", &count);
    return is_given && count <= SOCKETS_MAX ? (uint32_t)count : 0;
}
