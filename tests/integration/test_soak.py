"""Everything at once for a while, on small bounds: afterwards the daemon is as large as before.

DEJA_SOAK_SECONDS says how long (`./dev soak`); without it a few seconds, so that the load itself stays
tried. DEJA_SOAK_REPORT names a file that gets one line of figures.
"""
import http.client
import os
import random
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from conftest import TIMEOUT_S, chat_body
from daemon import BINARY, poll, raw_request

SECONDS = float(os.environ.get("DEJA_SOAK_SECONDS", "6"))
REPORT = os.environ.get("DEJA_SOAK_REPORT")
THREADS = 8
TENANTS = 4
PROMPTS = 600  # more than memory holds, so that entries come and go
MODELS = ["plain", "plain", "plain", "long:200", "tools", "refusal", "vendor", "length"]
FAULTS = ["error-429", "error-500", "error-503", "cut", "midfail", "nodone", "notjson"]
GROWTH_BYTES = 32 << 20  # what arenas, pools and a sanitizer's bookkeeping may still take
CONFIG = """
l1: {max_size: 300, max_bytes: 4mb}
lmdb: {max_bytes: 64mb}
tenant: {max_entries: 200, max_derived: 40}
semantic: {embedder: lexical, max_vectors: 400}
server: {header_timeout: 1s, idle_timeout: 5s}
upstream: {max_connections: 32, first_byte_timeout: 20s, idle_timeout: 20s}
monitoring: {snapshot: 1s}
"""


class Worker(threading.Thread):
    """One stranger: does the things below at random until the time is up."""

    def __init__(self, daemon, number, end):
        super().__init__()
        self.daemon_under_test, self.end = daemon, end
        self.dice = random.Random(number)
        self.done, self.statuses = Counter(), Counter()
        self.fault = None
        self.client = None

    def run(self):
        doings = {self.chat: 30, self.stream: 20, self.leave_stream: 4, self.embed: 8, self.faulty: 4,
                  self.put: 12, self.look_up: 12, self.invalidate: 2, self.read: 6, self.stranger: 3,
                  self.garbage: 3, self.hang_up: 2}
        with httpx.Client(base_url=self.daemon_under_test.url, timeout=TIMEOUT_S, trust_env=False) as self.client:
            while time.monotonic() < self.end and not self.fault:
                doing = self.dice.choices(list(doings), list(doings.values()))[0]
                try:
                    doing()
                    self.done[doing.__name__] += 1
                except (AssertionError, httpx.HTTPError, OSError, http.client.HTTPException) as error:
                    self.fault = f"{doing.__name__}: {error!r}"

    def tenant(self):
        name = f"tenant-{self.dice.randrange(TENANTS)}"
        return name, {"Authorization": f"Bearer sk-soak-{name}"}

    def seen(self, answer, *wanted):
        self.statuses[answer.status_code] += 1
        assert answer.status_code in wanted, f"{answer.status_code} {answer.text[:300]}"

    def request(self, stream):
        name, headers = self.tenant()
        number = min(int(self.dice.expovariate(1 / 80)), PROMPTS)  # some are asked often
        body = chat_body(f"{name} asks question number {number}", self.dice.choice(MODELS), stream=stream)
        if self.dice.random() < 0.1:
            headers["X-Deja-Cache"] = self.dice.choice(["refresh", "bypass", "no-store", "read-only"])
        return name, headers, body

    def chat(self):
        name, headers, body = self.request(False)
        answer = self.client.post("/v1/chat/completions", json=body, headers=headers)
        self.seen(answer, 200)
        content = answer.json()["choices"][0]["message"]["content"]
        assert content is None or f"to: {name} asks" in content, f"{name} got {content[:200]}"

    def stream(self):
        _, headers, body = self.request(True)
        answer = self.client.post("/v1/chat/completions", json=body, headers=headers)
        self.seen(answer, 200)
        assert answer.text.rstrip().endswith("data: [DONE]"), answer.text[-200:]

    def leave_stream(self):
        _, headers, body = self.request(True)
        body["model"] = "long:2000"
        with self.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            for _ in answer.iter_raw(chunk_size=512):
                break

    def embed(self):
        _, headers = self.tenant()
        items = [f"item {self.dice.randrange(PROMPTS)}" for _ in range(self.dice.randrange(1, 8))]
        answer = self.client.post("/v1/embeddings", headers=headers, json={
            "model": "e", "input": items, "encoding_format": self.dice.choice(["float", "base64"])})
        self.seen(answer, 200)
        assert len(answer.json()["data"]) == len(items)

    def faulty(self):
        _, headers, body = self.request(self.dice.random() < 0.5)
        body["model"] = self.dice.choice(FAULTS)
        try:
            answer = self.client.post("/v1/chat/completions", json=body, headers=headers)
        except httpx.RemoteProtocolError:
            return  # an upstream that broke off is passed on as such
        self.seen(answer, 200, 429, 500, 502, 503)

    def put(self):
        name, headers = self.tenant()
        number = self.dice.randrange(PROMPTS)
        answer = self.client.put("/api/v1/entries", headers=headers, json={
            "query": f"entry {number} of {name}", "response": {"owner": name, "filler": "x" * self.dice.randrange(4000)},
            "ttl": self.dice.choice([1, 5, 3600]), "tags": [f"tag-{number % 7}"], "metadata": {"n": number}})
        self.seen(answer, 201)
        if self.dice.random() < 0.2:
            gone = self.client.delete(f"/api/v1/entries/{answer.json()['id']}", headers=headers)
            self.seen(gone, 200, 404)

    def look_up(self):
        name, headers = self.tenant()
        queries = [{"query": f"entry {self.dice.randrange(PROMPTS)} of {name}"} for _ in range(10)]
        answer = self.client.post("/api/v1/lookup", headers=headers, json={"queries": queries})
        self.seen(answer, 200)
        for found in answer.json()["results"]:
            assert not found["hit"] or found["response"]["owner"] == name

    def invalidate(self):
        _, headers = self.tenant()
        selector = {"tag": f"tag-{self.dice.randrange(7)}"} if self.dice.random() < 0.8 else {"all": True}
        self.seen(self.client.post("/api/v1/invalidate", headers=headers, json=selector), 200)

    def read(self):
        path = self.dice.choice(["/metrics", "/healthz", "/health/detailed", "/api/v1/stats", "/v1/models", "/none",
                                 "/api/v1/explain?query=entry+1"])
        self.seen(self.client.get(path, headers=self.tenant()[1]), 200, 207, 404)

    def stranger(self):
        """A credential nobody has seen before or will see again: tenants come and go too."""
        headers = {"Authorization": f"Bearer sk-{self.dice.getrandbits(60):x}"}
        self.seen(self.client.post("/v1/chat/completions", json=chat_body("hello"), headers=headers), 200)

    def garbage(self):
        self.daemon_under_test.raw(self.dice.choice([
            self.dice.randbytes(300), b"GET / HTTP/1.1\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
            raw_request("POST", "/v1/chat/completions", [("Content-Type", "application/json")], b"{\"a\":" * 100),
        ]), timeout=TIMEOUT_S, half_close=True)

    def hang_up(self):
        """Half a request, then nothing more."""
        with socket.create_connection(("127.0.0.1", self.daemon_under_test.port), TIMEOUT_S) as peer:
            peer.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")


def descriptors(daemon):
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def threads(daemon):
    return len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir()))


def watch(daemon, workers, began):
    """(seconds, RSS) about four times a second until all workers are done; a reload now and then."""
    samples, reloads = [], 0
    while alive := [worker for worker in workers if worker.is_alive()]:
        assert daemon.is_alive(), daemon.log_text()[-4000:]
        samples.append((time.monotonic() - began, daemon.rss_bytes()))
        if samples[-1][0] > 5 * (reloads + 1):
            daemon.signal(signal.SIGHUP)
            reloads += 1
        alive[0].join(0.25)
    return samples


def report(daemon, workers, samples, early, late):
    done, statuses = Counter(), Counter()
    for worker in workers:
        done += worker.done
        statuses += worker.statuses
    line = (f"{BINARY.parent.name}: {sum(done.values())} doings in {samples[-1][0]:.0f} s, RSS {early >> 20} -> "
            f"{late >> 20} MB, {descriptors(daemon)} descriptors, {threads(daemon)} threads, "
            f"statuses {dict(sorted(statuses.items()))}, {dict(sorted(done.items()))}")
    print(line)
    if REPORT:
        with open(REPORT, "a", encoding="utf-8") as out:
            out.write(line + "\n")
    return done


@pytest.mark.heavy
def test_strangers_of_all_kinds_leave_nothing_behind(spawn):
    daemon = spawn(config=CONFIG)
    idle = descriptors(daemon)
    began = time.monotonic()
    workers = [Worker(daemon, number, began + SECONDS) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    try:
        samples = watch(daemon, workers, began)
    finally:
        for worker in workers:
            worker.end = 0
            worker.join()
    assert not [worker.fault for worker in workers if worker.fault]
    # The first half fills every table; then nothing may grow any more.
    half = [rss for at, rss in samples if SECONDS / 2 <= at < SECONDS * 3 / 4]
    late = [rss for at, rss in samples if at >= SECONDS * 3 / 4]
    early, late = int(statistics.median(half)), int(statistics.median(late))
    # All clients are gone: what is left is idle, and kept connections to the upstream (at most 32).
    poll(lambda: descriptors(daemon) <= idle + 32 + 2, "descriptors to be given back", timeout=TIMEOUT_S)
    done = report(daemon, workers, samples, early, late)
    assert late <= early * 1.1 + GROWTH_BYTES, f"grew from {early >> 20} to {late >> 20} MB"
    assert all(done.values()) and len(done) >= 10
