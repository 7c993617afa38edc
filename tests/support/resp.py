"""Clients of Redis against a real Deja: where it listens, and the command line tools of the servers
under build/tools."""
import os
import shutil
import subprocess

from daemon import TOOLS, Daemon, clean_environment, free_port


def config(port, extra="", more=""):
    return (f"resp:\n  listen: {port if ':' in str(port) else f'127.0.0.1:{port}'}\n{more}"
            f"semantic:\n  enabled: false\n{extra}")


class RespDaemon(Daemon):
    """Also listens for clients of Redis, on resp_port. more: lines of the section resp."""

    def __init__(self, data, extra="", more="", **kwargs):
        self.resp_port = free_port()
        super().__init__(data, config=config(self.resp_port, extra, more), **kwargs)

    @property
    def redis_url(self):
        return f"redis://127.0.0.1:{self.resp_port}"


def tool(name):
    """How redis-cli or redis-benchmark is called, as a list; None: it is not here."""
    root = TOOLS / "redis" / "root"
    made = root / "usr" / "bin" / name
    if not made.exists():
        found = shutil.which(name)
        return [found] if found else None
    libraries = ":".join(map(str, (root / "usr" / "lib").glob("*-linux-gnu*")))
    for loader in (root / "usr" / "lib").glob("*-linux-gnu*/ld-linux-*.so.*"):
        return [str(loader), "--library-path", libraries, str(made)]
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(made)]


def run_tool(name, *args, timeout=120, stdin=None):
    return subprocess.run([*tool(name), *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=timeout, check=False, env=clean_environment({"HOME": os.environ.get("HOME", "/")}))
