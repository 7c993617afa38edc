"""PostgreSQL with pgvector for a test: unpacked under build/tools, on a free port, in a folder of its
own, without a socket in the file system. It refuses to run as root, so then it runs as nobody."""
import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from daemon import TOOLS, free_port, poll

DEBIAN = TOOLS / "debian"
NOBODY = 65534
PASSWORD = "correct horse"


def binaries():
    """The folder of the newest server that was unpacked."""
    found = sorted(DEBIAN.glob("usr/lib/postgresql/*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    assert found, "no PostgreSQL under build/tools: ./dev test unpacks it"
    return found[-1].parent


def environment():
    libraries = [DEBIAN / "usr/lib" / f"{os.uname().machine}-linux-gnu", DEBIAN / "usr/lib"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LD_"))}
    return {**kept, "LD_LIBRARY_PATH": ":".join(map(str, libraries)), "LC_ALL": "C", "TZ": "GMT"}


def unprivileged():
    """How to start a process that must not be root's."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


class Postgres:
    def __init__(self, settings=None):
        self.folder = Path(tempfile.mkdtemp(prefix="deja-pg-"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.settings = dict(settings or {})
        self.process = None
        self.log = self.folder / "log"
        self.bin = binaries()
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)

    def url(self, user="deja", password=PASSWORD, database="deja", **more):
        query = "&".join(f"{k}={v}" for k, v in more.items())
        secret = f":{password.replace(' ', '%20')}" if password is not None else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    def run_as_server(self, *command):
        return subprocess.run([str(word) for word in command], env=environment(), cwd=self.folder,
                              check=True, capture_output=True, text=True, timeout=120, **unprivileged())

    def run(self, name, *words):
        return self.run_as_server(self.bin / name, *words)

    def make_data(self):
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            os.chown(secret, NOBODY, NOBODY)
        self.run("initdb", "-D", self.data, "-U", "deja", "--pwfile", secret, "-A", "scram-sha-256",
                 "-E", "UTF8", "--locale=C", "--no-sync")

    def init(self):
        self.run_as_server("cp", "-a", template(), self.data)
        return self

    def start(self):
        if not self.data.exists():
            self.init()
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                    "fsync": "off", "max_connections": 60, "shared_buffers": "64MB", "log_timezone": "GMT",
                    "timezone": "GMT", "maintenance_work_mem": "256MB", "jit": "off", **self.settings}
        flags = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data), *flags], env=environment(),
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **unprivileged())
        poll(self._answers, "PostgreSQL to answer")
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log.read_text()
        ready = subprocess.run([str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"],
                               env=environment(), check=False)
        return ready.returncode == 0

    def psql(self, sql, database="deja"):
        """The rows as lists of texts."""
        done = subprocess.run(
            [str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1",
             "-d", self.url(database=database), "-f", "-"], input=sql, env=environment(), text=True,
            capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def create_database(self, name):
        self.psql(f'CREATE DATABASE "{name}"', database="postgres")
        return self.url(database=name)

    def kill(self):
        """As a power cut of the server: no goodbye."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)

    def pause(self):
        """Every process of it stands still; its connections stay open."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        for pid in self.children():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.children():
            os.kill(pid, signal.SIGCONT)
        os.killpg(self.process.pid, signal.SIGCONT)

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def template():
    """A data folder made once: initdb takes seconds, a copy of what it made a tenth of one."""
    made = Postgres()
    atexit.register(made.remove)
    made.make_data()
    return made.data
