#!/usr/bin/env python3
"""What can run out of memory is tested to survive it: in the rooms up to `net`, every function of a
header that returns a status is called by a test named "..._survive(s)_each_failed_allocation" (or
by a helper that test calls), unless it is listed below as one that allocates nothing.

Prints one line per function without such a test and exits 1 when there is one.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEVEL_MAX = 4
TEST = re.compile(r"\w+_survives?_each_failed_allocation$")

# Functions that return a status and ask for no memory, and why that is so.
NOTHING = {
    "dj_num_parse_u64": "arithmetic",
    "dj_num_parse_i64": "arithmetic",
    "dj_num_parse_double": "a copy of 64 bytes on the stack",
    "dj_num_parse_duration": "arithmetic",
    "dj_num_parse_size": "arithmetic",
    "dj_date_parse": "arithmetic",
    "dj_cron_read": "into the caller's bits; words of an error are kept in it",
    "dj_archive_header_read": "into the caller's header",
    "dj_archive_block_read": "into the caller's block",
    "dj_archive_end_read": "into the caller's end",
    "dj_archive_document_read": "borrows from the bytes",
    "dj_archive_entry_read": "borrows from the bytes",
    "dj_hex_decode": "into the caller's bytes",
    "dj_args_parse": "borrows from argv",
    "dj_command_parse": "borrows from argv",
    "dj_tenant_parse": "into the caller's bytes",
    "dj_question_check": "looks at the text",
    "dj_sign": "OpenSSL's memory, which the tests cannot refuse",
    "dj_sign_public": "OpenSSL's memory, which the tests cannot refuse",
    "dj_audit_line_read": "takes the caller's line apart",
    "dj_audit_map": "a mapping of the kernel's",
    "dj_audit_read_public": "32 bytes onto the stack",
    "dj_secret_load": "a file of 32 bytes onto the stack",
    "dj_secret_keep": "32 bytes of the caller's into a file",
    "dj_zip_open": "looks into the caller's archive",
    "dj_zip_next": "looks into the caller's archive",
    "dj_frame_decode": "borrows from the bytes",
    "dj_registry_find": "copies a record out",
    "dj_pool_submit": "the job is the caller's",
    "dj_listener_check_free": "a socket that is closed again",
    "dj_listener_bind": "a socket of the kernel's",
    "dj_listener_bind_unix": "a socket of the kernel's",
    "dj_tls_certificate_life": "OpenSSL's memory, which the tests cannot refuse",
    "dj_address_guard_add": "into the caller's fixed table",
    "dj_address_check_url": "looks at the text",
    "dj_secret_load_named": "a file of 32 bytes onto the stack",
    "dj_outbound_check_url": "looks at the text",
}

STATUS = re.compile(r"^(?:DEJA_API )?(?:DEJA_NODISCARD )?enum deja_status\s+(dj_\w+)\s*\(", re.M)
FUNCTION = re.compile(r"^(?:static )?(?:inline )?[\w \*]+?\b(\w+)\([^;{}]*\)\s*\n\{\n(.*?)^\}", re.M | re.S)
CALL = re.compile(r"\b(\w+)\b")


def rooms():
    for line in (ROOT / "src/LAYERS").read_text().splitlines():
        words = line.split()
        if words and words[0].isdigit() and int(words[0]) <= LEVEL_MAX:
            yield words[1]


def fallible():
    """Name -> header, of what the lower rooms offer."""
    found = {}
    for room in rooms():
        for header in sorted((ROOT / "src" / room).glob("*.h")):
            if not header.name.endswith("_internal.h"):
                for name in STATUS.findall(header.read_text()):
                    found[name] = header.relative_to(ROOT)
    return found


def covered():
    """Every word in the tests in question and in the helpers of the same file they reach."""
    words = set()
    for path in sorted((ROOT / "tests/unit").glob("*/test_*.c")):
        text = path.read_text()
        bodies = dict(FUNCTION.findall(text))
        waiting = [name for name in bodies if TEST.match(name)]
        seen = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            inside = set(CALL.findall(bodies[name]))
            words |= inside
            waiting += [word for word in inside if word in bodies]
    return words


def main():
    names = fallible()
    tested = covered()
    faults = [
        f"{names[name]}: {name} has no test ..._survives_each_failed_allocation"
        for name in names
        if name not in tested and name not in NOTHING
    ]
    faults += [f"tools/check_allocations.py: {name} is no such function" for name in NOTHING if name not in names]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"check_allocations: {len(names)} functions, {len(names) - len(NOTHING)} with a test")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
