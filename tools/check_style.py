#!/usr/bin/env python3
"""The part of the style a machine can hold, for C files under include/, src/ and tests/.

Fails on: banned functions (the C library's number parsers only outside base/num.c and
tests), allocation outside base/alloc, "//" comments, tabs, spaces at the end, files over 1,000 lines. Warns on: lines
over 100 columns, .c over 600 lines, .h over 200, functions over 70 lines. A line may carry the
comment "lint: NAME, reason" to allow the banned function NAME.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANNED = """strcpy strncpy strcat sprintf vsprintf sscanf strtok gets atoi atol atoll strtol
strtoll strtoul strtoull alloca rand srand localtime gmtime system popen""".split()
ALLOCATORS = "malloc calloc realloc reallocarray free strdup strndup aligned_alloc".split()
BANNED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
ALLOCATOR_CALL = re.compile(r"(?<![\w.>])(" + "|".join(ALLOCATORS) + r")\s*\(")
ALLOWED = re.compile(r"lint: (\w+), \S")
COLUMNS, WALL, LONG_SOURCE, LONG_HEADER, LONG_FUNCTION = 100, 1000, 600, 200, 70


def strip_literals(text):
    """The same text with the insides of comments, strings and characters blanked; also yields
    whether a // comment was met. Line structure is kept."""
    out = []
    slashes = []
    index, size, line = 0, len(text), 1
    while index < size:
        char = text[index]
        pair = text[index : index + 2]
        if pair == "/*":
            end = text.find("*/", index + 2)
            end = size if end < 0 else end + 2
        elif pair == "//":
            slashes.append(line)
            end = text.find("\n", index)
            end = size if end < 0 else end
        elif char in "\"'":
            end = index + 1
            while end < size and text[end] != char and text[end] != "\n":
                end += 2 if text[end] == "\\" else 1
            end = min(end + 1, size)
        else:
            out.append(char)
            line += char == "\n"
            index += 1
            continue
        chunk = text[index:end]
        keep = char if char in "\"'" else " "
        out.append(keep + re.sub(r"[^\n]", " ", chunk[1:-1]) + (keep if len(chunk) > 1 else ""))
        line += chunk.count("\n")
        index = end
    return "".join(out), slashes


def long_functions(code):
    """(line, length) of bodies over the limit: a brace in column 0 opens one, as the format has it."""
    start = None
    for number, line in enumerate(code.splitlines(), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if not line.startswith("};") and number - start - 1 > LONG_FUNCTION:
                yield start, number - start - 1
            start = None


def check_calls(where, lines, code_lines, is_product):
    is_allocator = where.as_posix() in ("src/base/alloc.c", "src/base/alloc.h")
    is_number_parser = where.as_posix() == "src/base/num.c" or not is_product
    for number, line in enumerate(code_lines, 1):
        allowed = ALLOWED.findall(lines[number - 1])
        for name in BANNED_CALL.findall(line):
            if name not in allowed and not (is_number_parser and name.startswith("strto")):
                yield f"{where}:{number}: {name}() is banned"
        if is_product and not is_allocator:
            for name in ALLOCATOR_CALL.findall(line):
                if name not in allowed:
                    yield f"{where}:{number}: {name}() outside base/alloc"


def check_file(path, root):
    where = path.relative_to(root)
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    code, slashes = strip_literals(text)
    is_product = where.parts[0] in ("src", "include")
    failed = [f"{where}:{number}: // comment" for number in slashes]
    failed += check_calls(where, lines, code.splitlines(), is_product)
    warned = []
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            warned.append(f"{where}:{number}: {len(line)} columns")
        if "\t" in line:
            failed.append(f"{where}:{number}: tab")
        if line != line.rstrip():
            failed.append(f"{where}:{number}: space at the end")
    if len(lines) > WALL:
        failed.append(f"{where}: {len(lines)} lines, the wall is {WALL}")
    limit = LONG_HEADER if path.suffix == ".h" else LONG_SOURCE
    if len(lines) > limit and is_product:
        warned.append(f"{where}: {len(lines)} lines (wanted: {limit} at most)")
    if is_product:
        for number, length in long_functions(code):
            warned.append(f"{where}:{number}: function of {length} lines (wanted: {LONG_FUNCTION})")
    return failed, warned


def main():
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    failed, warned, count = [], [], 0
    for folder in ("include", "src", "tests"):
        for path in sorted((root / folder).glob("**/*.[ch]")):
            count += 1
            bad, long = check_file(path, root)
            failed += bad
            warned += long
    for line in warned:
        print(f"warning: {line}")
    for line in failed:
        print(line)
    if not failed:
        print(f"style: {count} files, clean ({len(warned)} warnings)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
