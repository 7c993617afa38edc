#!/usr/bin/env python3
"""Adds up what the stages of ./dev test left and prints "N passed, N failed" last.

Input: a file of lines NAME|RESULT_FILE|EXIT_CODE|SECONDS. A result file is meson's testlog.json
(one JSON object a line; cmocka's own totals are in each test's output), a pytest junit file, or
missing: then the stage counts as one test by its exit code.
"""
import json
import re
import sys
import xml.etree.ElementTree
from pathlib import Path

PASSED = re.compile(r"\[  PASSED  \] (\d+) test")
FAILED = re.compile(r"\[  FAILED  \] (\d+) test")
SKIPPED = re.compile(r"\[  SKIPPED \] (\d+) test")


def cmocka_counts(test):
    """One meson test: the cmocka cases in it, or one case where it prints none."""
    text = (test.get("stdout") or "") + (test.get("stderr") or "")
    passed = sum(map(int, PASSED.findall(text)))
    failed = sum(map(int, FAILED.findall(text)))
    skipped = sum(map(int, SKIPPED.findall(text)))
    result = test["result"]
    if result == "SKIP":
        return 0, 0, 1
    if result in ("OK", "EXPECTEDFAIL"):
        return passed or (0 if skipped else 1), failed, skipped
    return passed, failed or 1, skipped


def meson_counts(path):
    passed = failed = skipped = 0
    names = []
    for line in path.read_text().splitlines():
        if not line.strip():
            continue
        test = json.loads(line)
        counts = cmocka_counts(test)
        passed, failed, skipped = (a + b for a, b in zip((passed, failed, skipped), counts))
        if counts[1]:
            names.append(test["name"].split(" / ")[-1])
    return passed, failed, skipped, names


def junit_counts(path):
    passed = failed = skipped = 0
    names = []
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
            names.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped, names


def stage_counts(file, code):
    path = Path(file)
    if not path.exists():
        return (1, 0, 0, []) if code == 0 else (0, 1, 0, [])
    passed, failed, skipped, names = (
        junit_counts(path) if path.suffix == ".xml" else meson_counts(path)
    )
    # pytest exits 5 when it had nothing to run; anything else that failed must count.
    if code not in (0, 5) and failed == 0:
        failed += 1
        names.append(f"exit code {code}")
    return passed, failed, skipped, names


def main():
    total = [0, 0, 0]
    print()
    for line in Path(sys.argv[1]).read_text().splitlines():
        name, file, code, seconds = line.split("|")
        counts = stage_counts(file, int(code))
        for index in range(3):
            total[index] += counts[index]
        skipped = f", {counts[2]} skipped" if counts[2] else ""
        print(f"{name}: {counts[0]} passed, {counts[1]} failed{skipped} ({seconds} s)")
        for failure in counts[3]:
            print(f"  failed: {failure}")
    if total[2]:
        print(f"skipped in all: {total[2]}")
    print(f"{total[0]} passed, {total[1]} failed")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
