"""Every dependency refused, hung, slowed, reset in mid-reply and answering garbage; at start, under load
and at shutdown. In each cell: no wrong answer, no wait beyond the deadline, and back in use after healing.

One daemon for each dependency and fault, several of them at once. Timers are shortened (CONFIG), so that
a cell takes a few seconds; ./dev soak gives each of them longer (DEJA_CHAOS_LOAD_S).
"""
import http.client
import json
import os
import threading
import time
import uuid
from dataclasses import dataclass, field

import pytest
from chaos import FAULTS, Chaos
from conftest import check_sanitizer, in_parallel
from daemon import Daemon, poll, run_cli
from fake_upstream import FakeUpstream
from postgres import Postgres
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from test_embedder_http import DIM, Endpoint
from valkey import Server

MOMENTS = ("start", "load", "shutdown")
LOAD_S = float(os.environ.get("DEJA_CHAOS_LOAD_S", "0.8"))  # under the fault, in each cell
CLIENTS = 3
PACE_S = 0.02  # between two questions of a client: what a tier misses, it has to catch up with
OLD = 24  # every second question is one of half as many, again and again
# What one request may take: a deadline of a tier (300 ms), twice, its soft timeouts, and the upstream's
# (600 ms to the first byte, 300 ms to connect) — and what a busy machine of two cores adds to that.
WAIT_S_MAX = 3.0
READY_S_MAX = 20.0  # a start with everything hung; sanitized, on a busy machine
STOP_S_MAX = 12.0  # drain 2 s, then what is under way is cut
RECOVERY_S_MAX = 10.0
SECRET = "c4" * 32

CONFIG = """
server: {drain_timeout: 2s}
upstream: {connect_timeout: 300ms, first_byte_timeout: 600ms, idle_timeout: 600ms, total_timeout: 1500ms}
l1: {max_size: 8, default_ttl: 1s}
tenant: {max_entries: 8}
circuit_breaker: {max_failures: 3, timeout: 300ms, max_timeout: 300ms}
retry: {max_attempts: 2, initial_interval: 20ms}
performance: {get_timeout: 300ms, set_timeout: 500ms, delete_timeout: 300ms, health_timeout: 500ms, recovery_probe: 200ms}
connection_pool: {dial_timeout: 300ms, read_timeout: 300ms, write_timeout: 300ms, max_per_core: 2}
"""


@dataclass
class Cell:
    dependency: str
    fault: str
    moment: str
    requests: int = 0
    hits: int = 0
    tier_hits: int = 0  # of these, from the tier in question
    refused: int = 0  # answered with an error that says so
    slowest_s: float = 0
    took_s: float = 0
    recovery_s: float = 0
    faults: list = field(default_factory=list)

    def expect(self, is_so, what):
        if not is_so and len(self.faults) < 5:
            self.faults.append(what)

    def row(self):
        return (f"{self.dependency:9} {self.fault:8} {self.moment:9} {self.requests:8} {self.hits:6} {self.tier_hits:6} {self.refused:8} "
                f"{self.slowest_s * 1000:11.0f} {self.recovery_s * 1000:12.0f} {self.took_s:6.1f}  "
                f"{'; '.join(self.faults) or 'ok'}")


HEAD = (f"{'':9} {'fault':8} {'at':9} {'requests':>8} {'hits':>6} {'of it':>6} {'refused':>8} {'slowest ms':>11} {'recovery ms':>12} "
        f"{'s':>6}")


# ---- dependencies ----

class Dependency:
    """A real server behind a proxy, and how a daemon is told about it."""

    may_refuse = False  # a fault of it is an error for who needs it now
    is_tier = False

    def __init__(self, chaos, name, port, has_checksums=True):
        self.name = name
        self.proxy = chaos.proxy(port, has_checksums=has_checksums)

    def env(self):
        return {}

    def config(self):
        return ""

    def is_back(self, client):
        """Is it used again? Puts something new, and sees that it got there."""
        answer = client.put(f"back {uuid.uuid4().hex}", "r", require="shared")
        return answer[0] == 201 and "tiers_missing" not in answer[1]


class Redis(Dependency):
    is_tier = True

    def env(self):
        return {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{self.proxy.port}",
                "DEJA_L2__REDIS__PREFIX": f"c{uuid.uuid4().hex[:12]}"}


class Database(Dependency):
    is_tier = True

    def __init__(self, chaos, name, server):
        super().__init__(chaos, name, server.port)
        self.server = server

    def env(self):
        name = f"c{uuid.uuid4().hex[:12]}"
        url = self.server.create_database(name)
        migrated = run_cli("migrate", "up", env={"DEJA_L3__POSTGRES__URL": url})
        assert migrated.returncode == 0, migrated.stderr
        return {"DEJA_L3__POSTGRES__URL": url.replace(f":{self.server.port}/", f":{self.proxy.port}/"),
                "DEJA_L3__POSTGRES__CONNECT_TIMEOUT": "300ms", "DEJA_L3__POSTGRES__TIMEOUT": "500ms"}


class Bucket(Dependency):
    is_tier = True

    def env(self):
        return {"DEJA_LMDB__ENABLED": "false", "DEJA_L3__S3__ENABLED": "true", "DEJA_L3__S3__BUCKET": BUCKET, "DEJA_L3__S3__WRITE": "through",
                "DEJA_L3__S3__ENDPOINT": f"http://127.0.0.1:{self.proxy.port}",
                "DEJA_L3__S3__PREFIX": f"c{uuid.uuid4().hex[:12]}/", "DEJA_L3__S3__ACCESS_KEY_ID": ACCESS_KEY,
                "DEJA_L3__S3__SECRET_ACCESS_KEY": SECRET_KEY, "DEJA_L3__S3__TIMEOUT": "300ms",
                "DEJA_L3__S3__CONNECT_TIMEOUT": "300ms"}


class Upstream(Dependency):
    may_refuse = True

    def is_back(self, client):
        return client.ask(f"back {uuid.uuid4().hex}")[0] == 200


class Embedder(Dependency):
    def config(self):
        return (f"semantic:\n  embedder: http\n  threshold: 0.9\n  http: {{url: 'http://127.0.0.1:{self.proxy.port}/v1', "
                f"model: tiny, timeout: 300ms, dimensions: {DIM}}}\n")

    def is_back(self, client):
        word = f"w{uuid.uuid4().hex}"
        client.put(f"please explain {word}", "r")
        status, body = client.lookup(f"do explain {word}")
        return status == 200 and body["hit"]


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory):
    chaos = Chaos()
    folder = tmp_path_factory.mktemp("chaos")
    valkey, postgres, s3 = Server(folder / "valkey"), Postgres(), S3Server(folder / "s3")
    in_parallel(3, lambda i: (valkey, postgres, s3)[i].start())
    model, endpoint = FakeUpstream().start(), Endpoint()
    endpoint.server.handle_error = lambda *_: None  # its clients are reset all the time
    yield [Upstream(chaos, "upstream", model.port, has_checksums=False), Redis(chaos, "redis", valkey.port),
           Database(chaos, "postgres", postgres), Bucket(chaos, "s3", s3.port),
           Embedder(chaos, "embedder", endpoint.port, has_checksums=False)], model
    chaos.stop()
    valkey.stop()
    s3.stop()
    postgres.remove()
    endpoint.stop()
    model.stop()


# ---- clients ----

class Client:
    """A tenant's client: calls give (status, body); a connection that is gone is (0, None)."""

    def __init__(self, port, key):
        self.port = port
        self.key = key
        self.connection = None
        self.took_s = 0

    def call(self, method, path, body):
        began = time.monotonic()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                    {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"})
            answer = self.connection.getresponse()
            self.hit, self.tier = answer.getheader("X-Cache-Hit"), answer.getheader("X-Cache-Tier")
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, None
        finally:
            self.took_s = time.monotonic() - began

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def ask(self, text):
        return self.call("POST", "/v1/chat/completions",
                         {"model": "plain", "messages": [{"role": "user", "content": text}]})

    def put(self, query, response, **more):
        return self.call("PUT", "/api/v1/entries", {"query": query, "response": response, **more})

    def lookup(self, query):
        return self.call("POST", "/api/v1/lookup", {"query": query, "threshold": 0.9})


class Load:
    """Clients that ask old and new questions until they are told to stop, and look at each answer."""

    def __init__(self, daemon, dependency, cell, name):
        self.daemon, self.dependency, self.cell, self.name = daemon, dependency, cell, name
        self.lock = threading.Lock()
        self.ending = threading.Event()  # the daemon is being stopped: calls may fail
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join(120)

    def _run(self, index):
        client = Client(self.daemon.port, f"sk-{self.name}-{index}")
        number = 0
        while not self.done.wait(PACE_S):
            number += 1
            is_old = number % 2 == 0
            text = f"{self.name} tenant {index} asks {'old' if is_old else self.cell.moment}{number % OLD if is_old else number}"
            began_before_end = not self.ending.is_set()
            status, body = client.ask(text)
            with self.lock:
                self._look(text, status, body, client, began_before_end)
            if status == 0 and self.ending.is_set():
                break
        client.close()

    def wait_for_use(self):
        """Until what is old is found, and found in the tier: some of it has left memory."""
        cell = self.cell
        if self.dependency.is_tier:
            before = cell.tier_hits
            poll(lambda: cell.tier_hits > before, "a hit of the tier", timeout=30)
        else:
            before = cell.hits
            poll(lambda: cell.hits > before, "a hit", timeout=30)

    def _look(self, text, status, body, client, is_serving):
        cell = self.cell
        cell.requests += 1
        cell.slowest_s = max(cell.slowest_s, client.took_s)
        cell.expect(client.took_s <= WAIT_S_MAX, f"{client.took_s:.1f} s for an answer")
        if status == 200:
            content = body["choices"][0]["message"]["content"]
            cell.hits += client.hit == "true"
            cell.tier_hits += client.tier == cell.dependency
            cell.expect(content.endswith(f" to: {text} \u2713"), f"{text!r} was answered with {content!r}")
            cell.expect(client.hit in ("true", "false"), "no X-Cache-Hit")
        elif status == 0:
            cell.expect(self.ending.is_set(), "a connection was broken")
        else:
            cell.refused += 1
            cell.expect(self.dependency.may_refuse or self.ending.is_set(), f"HTTP {status}: {str(body)[:150]}")
            cell.expect(status in (502, 503, 504) or self.ending.is_set(), f"HTTP {status}")


# ---- cells ----

def wait_until_back(dependency, load, cell):
    began = time.monotonic()
    client = Client(load.daemon.port, f"sk-{load.name}-back")
    try:
        poll(lambda: dependency.is_back(client), "the dependency to be used again", timeout=30)
        load.wait_for_use()
    except AssertionError as error:
        cell.expect(False, str(error))
    cell.recovery_s = time.monotonic() - began
    cell.expect(cell.recovery_s <= RECOVERY_S_MAX, f"back after {cell.recovery_s:.1f} s")


def check_removals(cell, client, words, is_faulty):
    """What was removed while a tier was away is not served, then or later."""
    for word in words:
        if is_faulty:
            status, _ = client.call("POST", "/api/v1/invalidate", {"query": f"gone {word}"})
            cell.expect(status in (200, 503), f"a removal was answered with {status}")
        status, body = client.lookup(f"gone {word}")
        cell.expect(status == 200 and not body["hit"], f"what was removed came back: {status} {body}")


def cell_at_start(daemon, dependency, fault, cell, name):
    dependency.proxy.fault(fault)
    began = time.monotonic()
    daemon.start()
    cell.expect(time.monotonic() - began <= READY_S_MAX, f"ready after {time.monotonic() - began:.1f} s")
    with Load(daemon, dependency, cell, name) as load:
        load.done.wait(LOAD_S)
        dependency.proxy.heal()
        wait_until_back(dependency, load, cell)


def cell_under_load(daemon, dependency, fault, cell, name):
    client = Client(daemon.port, f"sk-{name}-0")
    words = [uuid.uuid4().hex for _ in range(4)]
    for word in words:
        client.put(f"gone {word}", "never seen again")
    with Load(daemon, dependency, cell, name) as load:
        load.wait_for_use()
        dependency.proxy.fault(fault)
        hits = cell.hits
        check_removals(cell, client, words, is_faulty=True)
        load.done.wait(LOAD_S)
        cell.expect(cell.hits > hits or dependency.is_tier, "no hit while it was away")  # memory is tiny here
        dependency.proxy.heal()
        wait_until_back(dependency, load, cell)
        check_removals(cell, client, words, is_faulty=False)


def cell_at_shutdown(daemon, dependency, fault, cell, name):
    with Load(daemon, dependency, cell, name) as load:
        load.wait_for_use()
        dependency.proxy.fault(fault)
        load.ending.set()
        began = time.monotonic()
        daemon.signal(15)
        code = daemon.wait(60)
        cell.recovery_s = time.monotonic() - began
        cell.expect(cell.recovery_s <= STOP_S_MAX, f"stopped after {cell.recovery_s:.1f} s")
        cell.expect(code == 0, f"ended with {code}")
    dependency.proxy.heal()


RUN = {"start": cell_at_start, "load": cell_under_load, "shutdown": cell_at_shutdown}


def run_cells(folder, dependency, fault, model):
    """One daemon's life: started, loaded and stopped with the fault."""
    name = f"{dependency.name}-{fault}-{uuid.uuid4().hex[:6]}"
    is_upstream = dependency.name == "upstream"
    daemon = Daemon(folder / name, f"http://127.0.0.1:{dependency.proxy.port}" if is_upstream else model.url,
                    env={"DEJA_SECURITY__SECRET": SECRET, **dependency.env()}, config=CONFIG + dependency.config(),
                    args=["--set", "log.level=warn"])
    cells = []
    try:
        for moment in MOMENTS:
            cell = Cell(dependency.name, fault, moment)
            cells.append(cell)
            began = time.monotonic()
            RUN[moment](daemon, dependency, fault, cell, name)
            cell.took_s = time.monotonic() - began
            print(cell.row(), flush=True)
    except Exception as error:  # pylint: disable=broad-except  # the table shall be whole
        cells[-1].faults.append(f"{type(error).__name__}: {error}"[:500])
    finally:
        dependency.proxy.heal()
        daemon.kill()
    check_sanitizer(daemon)
    return cells


def run_dependency(folder, dependency, model):
    return [cell for fault in FAULTS for cell in run_cells(folder, dependency, fault, model)]


def test_no_dependency_in_no_state_brings_a_wrong_answer_or_a_long_wait(dependencies, tmp_path):
    found, model = dependencies
    chosen = os.environ.get("DEJA_CHAOS_ONLY")
    found = [dependency for dependency in found if not chosen or dependency.name in chosen.split(",")]
    table = in_parallel(len(found), lambda i: run_dependency(tmp_path, found[i], model))
    cells = [cell for row in table for cell in row]
    text = "\n".join([HEAD, *(cell.row() for cell in cells)])
    print("\n" + text)
    if os.environ.get("DEJA_CHAOS_REPORT"):
        with open(os.environ["DEJA_CHAOS_REPORT"], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    assert len(cells) == len(found) * len(FAULTS) * len(MOMENTS), text
    assert all(cell.requests for cell in cells), text
    assert not [cell for cell in cells if cell.faults], text
