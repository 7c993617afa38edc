/* daemon/process.c - see process.h.
 *
 * Root with server.user becomes that user before it opens a file or starts a thread, so every file
 * is made by the user it is for, and nothing is done as root but reading the settings and binding
 * low ports. setuid leaves no capability behind.
 */
#include "daemon/process.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* The leak checker of a sanitized build is a tracer, and must stay one. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_TRACED true
#else
#define IS_TRACED false
#endif

/* Where that is not permitted (a seccomp filter) the service manager has its own means. */
static void hide_memory(void)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || IS_TRACED)
        return;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static enum deja_status become(const char *name, struct deja_error *error)
{
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (!user)
        return deja_error_set(error, DEJA_ERR_CONFIG, "server.user: there is no user \"%s\"", name);
    if (geteuid() == user->pw_uid && user->pw_uid != 0)
        return DEJA_OK;
    if (geteuid() != 0)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "server.user: only root can become %s; start as root, or leave it "
                              "out",
                              name);
    if (user->pw_uid == 0)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "server.user: %s has all of root's rights; name another user", name);
    if (initgroups(name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0 || setuid(0) == 0)
        return deja_error_set(error, DEJA_ERR_CONFIG, "server.user: cannot become %s: %s", name,
                              strerror(errno));
    return DEJA_OK;
}

enum deja_status dj_process_begin(const struct dj_settings_process *settings,
                                  struct deja_error *error)
{
    enum deja_status status = settings->user ? become(settings->user, error) : DEJA_OK;
    if (status != DEJA_OK)
        return status;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* fails on no Linux we run on */
    if (!settings->has_core_dumps)
        hide_memory(); /* after become: the system forgets it then */
    return DEJA_OK;
}
