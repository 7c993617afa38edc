/* tools/lock.h - which process has a data directory. */
#ifndef DJ_TOOLS_LOCK_H
#define DJ_TOOLS_LOCK_H

#include <deja/base.h>

/* False: nobody ever had it. *out_pid: who has it; 0: nobody, or nobody that can be seen here. */
bool dj_tool_lock_look(const char *data_dir, uint64_t *out_pid);

#endif
