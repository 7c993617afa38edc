"""README, "Share it": the commands, run as they stand there, against servers on other ports."""
import os
import re
import subprocess

import pytest
from daemon import BINARY, OPENER, ROOT, clean_environment, free_port, poll
from postgres import Postgres
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from valkey import Server

SECTION = re.search(r"^## Share it\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S).group(1)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", SECTION, re.M | re.S)


def block_with(word):
    found = [block for block in BLOCKS if word in block]
    assert len(found) == 1, word
    return found[0]


class Shell:
    """Lines one after another in one environment; a daemon stays, and is waited for."""

    def __init__(self, folder, replacements, models):
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "deja").symlink_to(BINARY)
        self.environment = clean_environment({"PATH": f"{folder}/bin:{os.environ['PATH']}",
                                              "XDG_DATA_HOME": str(folder / "home")})
        self.replacements = {**replacements, "/tmp/deja-": f"{folder}/deja-",
                             **{f"127.0.0.1:707{i}": f"127.0.0.1:{free_port()}" for i in (0, 1)}}
        self.daemons = []
        for data in (folder / "deja-1", folder / "deja-2", folder / "home" / "deja"):
            data.mkdir(parents=True)
            if models is not None:
                (data / "models").symlink_to(models)

    def run_line(self, line):
        for before, after in self.replacements.items():
            line = line.replace(before, after)
        if line.startswith("deja serve"):
            self.serve(line)
        elif line.startswith("export "):
            shown = subprocess.run(["bash", "-c", f"{line}\nenv -0"], env=self.environment, check=True,
                                   capture_output=True, text=True, timeout=60).stdout
            self.environment = dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)
        else:
            done = subprocess.run(["bash", "-c", line], env=self.environment, cwd=self.folder,
                                  capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, (line, done.stdout, done.stderr, self.logs())
            return done.stdout
        return ""

    def serve(self, line):
        address = re.search(r"--listen (\S+)", line).group(1)
        log = open(self.folder / f"log-{len(self.daemons)}", "wb")
        self.daemons.append(subprocess.Popen(["bash", "-c", f"exec {line}"], env=self.environment,
                                             cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

        def is_ready():
            assert self.daemons[-1].poll() is None, self.logs()
            try:
                return OPENER.open(f"http://{address}/readyz", timeout=5).status == 200
            except OSError:
                return False
        poll(is_ready, f"{line} to be ready")

    def logs(self):
        return "".join((self.folder / f"log-{i}").read_text() for i in range(len(self.daemons)))

    def stop(self):
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            assert daemon.wait(60) == 0, self.logs()


def run(block, folder, replacements, models=None):
    shell = Shell(folder, replacements, models)
    try:
        return [shell.run_line(line) for line in block.splitlines()]
    finally:
        shell.stop()


def test_two_daemons_share_valkey(tmp_path):
    server = Server(tmp_path / "valkey").start()
    try:
        said = run(block_with("REDIS_URL"), tmp_path, {"127.0.0.1:6379": f"127.0.0.1:{server.port}"})
    finally:
        server.stop()
    assert "Settings, Security, Reset." in said[-1]


def test_two_daemons_share_postgresql(tmp_path, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    server = Postgres().start()
    server.create_database("deja")
    try:
        said = run(block_with("POSTGRES"), tmp_path,
                   {"deja@127.0.0.1:5432/deja": server.url().split("//")[1]}, models)
    finally:
        server.remove()
    assert "Settings, Security, Reset." in said[-1]


def test_a_daemon_keeps_answers_in_s3(tmp_path):
    server = S3Server(tmp_path / "s3").start()
    try:
        run(block_with("AWS_"), tmp_path,
            {"http://127.0.0.1:9000": server.url, "=my-secret": f"='{SECRET_KEY}'", "=me ": f"={ACCESS_KEY} ",
             "bucket=answers": f"bucket={BUCKET}"})
        kept = [path for path in (server.data / BUCKET).rglob("*") if path.is_file()]
    finally:
        server.stop()
    assert kept
