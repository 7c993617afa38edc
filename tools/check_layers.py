#!/usr/bin/env python3
"""Reads src/LAYERS and every #include under src/ and include/: who may include whom.

  * a room includes itself and the rooms its line names; a line names lower levels only;
  * a third-party header is included only in the rooms its line calls home;
  * "x_internal.h" stays in its room;
  * include/deja/ includes only the C library and itself;
  * a "quoted" include names a file that exists, with its room.

Prints one line per crossing and exits 1 when there is one.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# The C library and POSIX; compiler headers that name an architecture have homes in LAYERS.
SYSTEM = set(
    """arpa/inet.h assert.h cpuid.h ctype.h dirent.h endian.h errno.h fcntl.h fenv.h float.h
    fnmatch.h getopt.h glob.h grp.h inttypes.h langinfo.h limits.h linux/limits.h locale.h malloc.h math.h
    netdb.h netinet/in.h netinet/tcp.h poll.h pthread.h pwd.h sched.h semaphore.h setjmp.h signal.h
    spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
    stdnoreturn.h string.h strings.h sys/auxv.h sys/eventfd.h sys/file.h sys/ioctl.h sys/mman.h
    sys/prctl.h sys/random.h sys/resource.h sys/select.h sys/socket.h sys/stat.h sys/statvfs.h
    sys/syscall.h sys/sysinfo.h sys/time.h sys/types.h sys/uio.h sys/un.h sys/utsname.h sys/vfs.h sys/wait.h syslog.h
    termios.h time.h unistd.h utime.h wchar.h wctype.h""".split()
)


def read_layers(path):
    rooms = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        left, _, outside = line.partition("|")
        head, _, below = left.partition(":")
        level, name = head.split()
        rooms[name] = {
            "level": int(level),
            "below": below.split(),
            "outside": outside.split(),
            "line": number,
        }
    return rooms


def check_table(rooms):
    for name, room in rooms.items():
        for other in room["below"]:
            if other not in rooms:
                yield f"src/LAYERS:{room['line']}: {name} names {other}, which has no line"
            elif rooms[other]["level"] >= room["level"]:
                yield f"src/LAYERS:{room['line']}: {name} names {other}, which is not below it"


def is_home(header, outside):
    return any(header == home or (home.endswith("/") and header.startswith(home)) for home in outside)


def check_outside(header, room, rooms):
    if is_home(header, rooms[room]["outside"]):
        return None
    homes = [name for name, other in rooms.items() if is_home(header, other["outside"])]
    if homes:
        return f"{room} includes <{header}>, whose home is {' or '.join(homes)}"
    if header in SYSTEM:
        return None
    return f"{room} includes <{header}>, which has no home in src/LAYERS"


def check_inside(header, room, rooms, src):
    other, _, rest = header.partition("/")
    if not rest or other not in rooms:
        return f'{room} includes "{header}", which does not name a room'
    if not (src / header).exists():
        return f'{room} includes "{header}", which does not exist'
    if header.endswith("_internal.h") and other != room:
        return f'{room} includes "{header}", which stays in {other}'
    if other != room and other not in rooms[room]["below"]:
        return f'{room} includes "{header}", but src/LAYERS does not let it'
    return None


def includes(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1), found.group(2)


def check_sources(root, rooms):
    src = root / "src"
    for path in sorted(src.glob("*/**/*.[ch]")):
        room = path.relative_to(src).parts[0]
        where = path.relative_to(root)
        if room not in rooms:
            yield f"{where}: {room} has no line in src/LAYERS"
            continue
        for number, mark, header in includes(path):
            if mark == "<" and header.startswith("deja/"):
                found = None if (root / "include" / header).exists() else f"no such header <{header}>"
            elif mark == "<":
                found = check_outside(header, room, rooms)
            else:
                found = check_inside(header, room, rooms, src)
            if found:
                yield f"{where}:{number}: {found}"


def check_public(root):
    for path in sorted((root / "include").glob("**/*.h")):
        for number, mark, header in includes(path):
            own = header.startswith("deja/") and (root / "include" / header).exists()
            if mark == '"' or not (own or header in SYSTEM):
                yield f"{path.relative_to(root)}:{number}: a public header includes {header}"


def main():
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    rooms = read_layers(root / "src" / "LAYERS")
    found = [*check_table(rooms), *check_sources(root, rooms), *check_public(root)]
    for line in found:
        print(line)
    if not found:
        print(f"layers: {len(rooms)} rooms, no crossing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
