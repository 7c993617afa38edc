#!/usr/bin/env python3
"""clang's static analyzer over every file of src/, as BUILD compiles it: analyze.py BUILD [PART...]

PART: only files whose path has it. Prints what it finds; exit code 1 if there was something that is
not in EXPECTED. Minutes, so it is a word of its own (./dev lint --deep) and no part of ./dev test.
"""
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKERS = ["core", "unix", "deadcode", "nullability", "security.FloatLoopCounter", "security.insecureAPI.UncheckedReturn",
            "security.insecureAPI.getpw", "security.insecureAPI.gets", "security.insecureAPI.mkstemp",
            "security.insecureAPI.mktemp", "security.insecureAPI.rand", "security.insecureAPI.vfork",
            "alpha.unix.cstring.OutOfBounds", "alpha.unix.cstring.NotNullTerminated", "alpha.unix.cstring.BufferOverlap",
            "alpha.core.PointerSub", "alpha.unix.PthreadLock"]
# Options of gcc that clang does not know, and what only makes it compile.
DROPPED = re.compile(r"-f(no-)?(var-tracking|lto|diagnostics).*|-W.*|-M[DQFM]?|-O\d|-g|-Werror")
WARNING = re.compile(r"^(?P<file>[^:\s]+):(?P<line>\d+):\d+: warning: (?P<text>.*) \[(?P<checker>[\w.]+)\]$")
# (file, checker, part of the text): why it is not a fault.
ON_OK = "set wherever the call before it returned DEJA_OK"
EXPECTED = [
    ("src/base/alloc.c", "alpha.unix.cstring.OutOfBounds", "overflows", "the copy has text.len + 1 bytes"),
    ("src/embed/transformer_load.c", "core.NullDereference", "null pointer", "callers give room for count floats"),
    ("src/lib/calls.c", "core.StackAddressEscape", "'waiter'", "the template is copied, and not read after its call"),
    ("src/net/outbound_call.c", "core.NonNullParamChecker", "2nd parameter", "a method that was accepted is not empty"),
    ("src/proxy/telemetry.c", "core.CallAndMessage", "uninitialized", "a family is asked with as many labels as it has"),
    ("src/proxy/telemetry.c", "core.NullDereference", "'values'", "a family without labels looks at none"),
    ("src/store/lmdb_apply.c", "core.NonNullParamChecker", "1st parameter", ON_OK),
    ("src/store/lmdb_apply.c", "core.CallAndMessage", "uninitialized", ON_OK),
    ("src/store/postgres_schema.c", "core.NullDereference", "'applied_ms'", ON_OK),
    ("src/store/redis_talk.c", "deadcode.DeadStores", "'len'", "gcc wants snprintf's result looked at"),
]


def command_of(one):
    words = shlex.split(one["command"])
    words = words[1:] if Path(words[0]).name == "ccache" else words
    kept, skip = [], False
    for word in words[1:]:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MQ", "-c"):
            skip = word != "-c"
        elif not DROPPED.fullmatch(word):
            kept.append(word)
    checks = [part for name in CHECKERS for part in ("-Xclang", f"-analyzer-checker={name}")]
    return ["clang", "--analyze", "-Xclang", "-analyzer-output=text", *checks, *kept]


def analyze(one):
    done = subprocess.run(command_of(one), cwd=one["directory"], capture_output=True, text=True, check=False)
    found = [match for match in map(WARNING.match, done.stderr.splitlines()) if match]
    broken = done.stderr if done.returncode and not found else ""
    return found, broken


def is_expected(match, file):
    return any(file == path and match["checker"] == checker and part in match["text"]
               for path, checker, part, _ in EXPECTED)


def main(build, *parts):
    commands = {}
    for one in json.loads((Path(build) / "compile_commands.json").read_text()):
        file = (Path(one["directory"]) / one["file"]).resolve()
        if file.is_relative_to(ROOT / "src") and (not parts or any(part in str(file) for part in parts)):
            commands[file] = one
    seen, broken = set(), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found, fault in pool.map(analyze, commands.values()):
            broken += [fault] if fault else []
            for match in found:
                file = str((Path(build) / match["file"]).resolve().relative_to(ROOT))
                if not is_expected(match, file):
                    seen.add(f"{file}:{match['line']}: {match['text']} [{match['checker']}]")
    print("\n".join(sorted(seen) + broken[:3]))
    print(f"analyzer: {len(commands)} files, {len(seen)} findings" + (f", {len(broken)} not read" if broken else ""))
    return 1 if seen or broken else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
