"""A real Deja for a test: on a free loopback port, with a data directory of its own."""
import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("DEJA_BIN", ROOT / "build" / "release" / "deja"))
TOOLS = Path(os.environ.get("DEJA_TOOLS", ROOT / "build" / "tools"))
MODEL = "all-minilm-l6-v2"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# A sanitized daemon is slow to start; this bounds a hang, it is no promise.
PATIENCE_S = 60.0


# Below the range that the system gives to connections, so that nobody is given one by chance between
# the moment it was found free and the moment its server listens. None is told twice, and runs that go on
# beside each other have each their own: DEJA_TEST_SHARE=N/COUNT.
SHARE, SHARES = map(int, os.environ.get("DEJA_TEST_SHARE", "0/1").split("/"))
FIRST_OF_CONNECTIONS = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
PORTS = range(10240, max(20000, FIRST_OF_CONNECTIONS))[SHARE::SHARES]
ASKED = itertools.count(random.randrange(len(PORTS)))


def free_port():
    while True:
        port = PORTS[next(ASKED) % len(PORTS)]
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def clean_environment(extra=None):
    """The environment without any DEJA_ or alias setting of the developer's own shell."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(("DEJA_", "CACHE_", "REDIS_")) and not k.lower().endswith("_proxy")}
    kept.update(extra or {})
    return kept


def run_cli(*args, env=None, timeout=PATIENCE_S, stdin=None):
    """deja ARGS, to its end: a CompletedProcess with text output."""
    return subprocess.run([str(BINARY), *map(str, args)], env=clean_environment(env), input=stdin,
                          capture_output=True, text=True, timeout=timeout, check=False)


def poll(check, what, timeout=PATIENCE_S, every=0.02):
    """Calls check until it returns something true; fails the test after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"timed out: {what}")
        time.sleep(every)


class Daemon:
    def __init__(self, data, upstream=None, args=(), env=None, config=None, models=None):
        self.data = Path(data)
        self.data.mkdir(parents=True, exist_ok=True)
        if models is not None and not (self.data / "models").exists():
            (self.data / "models").symlink_to(models)
        self.upstream = upstream
        self.args = list(args)
        self.env = dict(env or {})
        self.config = None
        if config is not None:
            self.config = self.data / "deja.yaml"
            self.config.write_text(config)
        self.program = BINARY
        self.port = free_port()
        self.process = None
        self.log = self.data / "daemon.log"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def v1(self):
        return self.url + "/v1"

    def command(self):
        made = [str(self.program), "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        if self.upstream:
            made += ["--upstream", self.upstream]
        if self.config:
            made += ["--config", str(self.config)]
        return made + self.args

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), env=clean_environment(self.env),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_until_ready()
        return self

    def is_ready(self):
        try:
            return OPENER.open(self.url + "/readyz", timeout=5).status == 200
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False

    def wait_until_ready(self):
        def check():
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log_text()}")
            return self.is_ready()

        poll(check, "the daemon to be ready")

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE_S):
        return self.process.wait(timeout)

    def stop(self):
        """SIGTERM; the exit code must be 0."""
        if not self.is_alive():
            assert self.process is None or self.process.returncode == 0, \
                f"the daemon had ended with {self.process.returncode}:\n{self.log_text()[-4000:]}"
            return
        self.signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the daemon:\n{self.log_text()[-4000:]}") from None
        assert code == 0, f"the daemon ended with {code}:\n{self.log_text()[-4000:]}"

    def kill(self):
        if self.is_alive():
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def cli(self, *args, env=None, **kwargs):
        """A client command against this daemon."""
        return run_cli(*args, env={"DEJA_SERVER": self.url, **(env or {})}, **kwargs)

    def rss_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def raw(self, data, timeout=PATIENCE_S, half_close=False):
        """Sends bytes as they are and returns all bytes until the daemon closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as peer:
            try:
                peer.sendall(data)
                if half_close:
                    peer.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # answered and closed before it had read everything
            got = b""
            while True:
                try:
                    part = peer.recv(65536)
                except ConnectionResetError:
                    break
                if not part:
                    break
                got += part
            return got


def raw_request(method, target, headers=(), body=b"", host="127.0.0.1"):
    """The bytes of one request that asks for the connection to be closed."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def parse_response(raw):
    """(status, [(name, value)], body as it came) of the first response in raw."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1]) if lines[0].startswith("HTTP/") else 0
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    return status, headers, body


def events_of(text):
    """The data of each event of an SSE body."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        data = [line[5:].lstrip(" ") for line in block.split("\n") if line.startswith("data:")]
        if data:
            found.append("\n".join(data))
    return found


def chunks_of_stream(text):
    """The chunk objects of a chat stream; asserts that it ends with [DONE]."""
    events = events_of(text)
    assert events and events[-1] == "[DONE]", f"no [DONE] at the end: {events[-3:]}"
    return [json.loads(event) for event in events[:-1]]
