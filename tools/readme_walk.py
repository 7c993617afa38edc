#!/usr/bin/env python3
"""Follows README.md to the letter: runs its commands in order, in one shell, as a reader would.

    readme_walk.py [--skip COMMAND]... [FILE]

* ```sh      every line is run; a comment "# exits with N" says so when that is not 0.
             "./dev run" stays in the foreground, so it is given a terminal of its own until the end,
             where Ctrl-C has to end it with exit code 0.
* ```python  the block is run as a program, by the Python that has the packages of the tests
* ```text    what the block before it printed: line for line, "…" stands for anything
* others     are for reading
* sections of ELSEWHERE are left to the test that runs them with the servers they need

There is no account behind the walk: an upstream of the tests answers instead of the one that is the
default, by the environment only, so that every command stays as it is written.
"""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
READY_S = 1800  # the first "./dev run" installs, builds and fetches the model
ELSEWHERE = {"## Share it": "tests/integration/test_share_docs.py"}
PYTHON = ROOT / "build" / "tools" / "venv" / "bin" / "python3"

sys.path.insert(0, str(ROOT / "tests" / "support"))


def blocks_of(text):
    """(language, first line number, lines) of each fenced block."""
    found, current, is_left_out = [], None, False
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"```(\w*)\s*$", line)
        if current is None and line.startswith("## "):
            is_left_out = line in ELSEWHERE
        if fence and current is None:
            current = (fence[1], number + 1, [])
        elif fence:
            if not is_left_out:
                found.append(current)
            current = None
        elif current is not None:
            current[2].append(line)
    return found


def commands_of(lines):
    """Lines joined where they end with a backslash; comments and empty lines left out."""
    pending = ""
    for line in lines:
        if line.endswith("\\"):
            pending += line + "\n"
            continue
        whole = pending + line
        pending = ""
        if whole.strip() and not whole.lstrip().startswith("#"):
            yield whole


class Shell:
    """One bash for the whole walk, so that "export" and "cd" last."""

    def __init__(self, environment):
        self.process = subprocess.Popen(["bash", "--noprofile", "--norc"], cwd=ROOT, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, command):
        mark = f"walk-{time.monotonic_ns()}"
        self.process.stdin.write(f"{command}\necho \"{mark} $?\"\n")
        self.process.stdin.flush()
        output = []
        for line in self.process.stdout:
            if mark in line:
                before, _, code = line.rpartition(mark)
                return "".join(output) + before, int(code)
            output.append(line)
        raise SystemExit(f"readme: the shell ended in: {command}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Foreground:
    """./dev run in a terminal of its own."""

    def __init__(self, command, environment, log):
        self.log = log
        self.process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=ROOT, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT,
                                        start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        end = time.monotonic() + READY_S
        while "== ready" not in log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"readme: {command} was not ready:\n{log.read_text(errors='replace')}")
            time.sleep(0.2)

    def end(self):
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=60)
        if code != 0:
            sys.exit(f"readme: Ctrl-C ended ./dev run with {code}:\n{self.log.read_text(errors='replace')}")


def is_as_written(wanted, output):
    """wanted: the lines of a text block; each "…" stands for anything within its line."""
    def pattern(line):
        return r".*".join(re.escape(part) for part in line.rstrip().split("…"))

    return re.search(r"(?m)^" + r"\s*\n".join(pattern(line) for line in wanted) + r"\s*$", output) is not None


class Walk:
    def __init__(self, name, skipped):
        self.name = name
        self.skipped = skipped
        self.output = ""
        self.count = 0
        self.foreground = None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="readme"))

    def say(self, number, text):
        print(f"{self.name}:{number}: {text}", flush=True)

    def run(self, shell, environment, number, command):
        if command.split("#")[0].strip() in self.skipped:
            self.say(number, f"(left out: {command})")
            return
        self.say(number, command)
        self.count += 1
        if command.startswith("./dev run"):
            self.foreground = Foreground(command.split("#")[0], environment, self.folder / "run.log")
            return
        wanted = re.search(r"# exits with (\d+)", command)
        output, code = shell.run(command)
        print(output, end="", flush=True)
        self.output += output
        if code != (int(wanted[1]) if wanted else 0):
            sys.exit(f"readme: {self.name}:{number}: exit code {code}")

    def python(self, shell, number, lines):
        program = self.folder / f"line{number}.py"
        program.write_text("\n".join(lines) + "\n")
        self.say(number, "(python)")
        self.count += 1
        self.output, code = shell.run(f"{PYTHON} {program}")
        print(self.output, end="", flush=True)
        if code != 0:
            sys.exit(f"readme: {self.name}:{number}: exit code {code}")

    def block(self, shell, environment, language, number, lines):
        if language == "sh":
            self.output = ""
            for command in commands_of(lines):
                self.run(shell, environment, number, command)
        elif language == "python":
            self.python(shell, number, lines)
        elif language == "text" and not is_as_written(lines, self.output):
            sys.exit(f"readme: {self.name}:{number}: printed otherwise than written there")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip", action="append", default=[], metavar="COMMAND")
    parser.add_argument("file", nargs="?", default="README.md")
    options = parser.parse_args()

    from fake_upstream import FakeUpstream
    upstream = FakeUpstream().start()
    # A key that nobody used before is a tenant without entries.
    environment = {**os.environ, "DEJA_UPSTREAM__URL": upstream.url, "OPENAI_API_KEY": f"sk-walk-{time.time_ns()}"}
    walk = Walk(options.file, options.skip)
    shell = Shell(environment)
    try:
        for language, number, lines in blocks_of((ROOT / options.file).read_text()):
            walk.block(shell, environment, language, number, lines)
        if walk.foreground:
            walk.foreground.end()
            walk.foreground = None
        shell.close()
    finally:
        if walk.foreground:
            os.killpg(walk.foreground.process.pid, signal.SIGINT)
            walk.foreground.process.wait()
        if shell.process.poll() is None:
            shell.process.kill()
        upstream.stop()
    print(f"readme: {walk.count} commands of {options.file} did what it says")


if __name__ == "__main__":
    main()
