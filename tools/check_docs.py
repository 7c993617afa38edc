#!/usr/bin/env python3
"""Every relative link and every #anchor in the repository's Markdown files leads somewhere."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def anchors(text):
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower()
            yield re.sub(r"[^\w\- ]", "", title).replace(" ", "-")


def check(path):
    text = path.read_text()
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        if not other.exists():
            yield f"{path.relative_to(ROOT)}: {target} leads nowhere"
        elif anchor and other.suffix == ".md" and anchor not in set(anchors(other.read_text())):
            yield f"{path.relative_to(ROOT)}: {target} has no such heading"


def main():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\n")
    files = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    found = [line for path in files for line in check(path)]
    for line in found:
        print(line)
    if not found:
        print(f"documents: {len(files)} files, every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
