"""What the network does to a dependency, at the start, under load, and at shutdown: no wrong answer, no
wait beyond the deadline, hits go on, and it is used again soon after it is back.

A cell is a fault at a moment, with a daemon and a chaos proxy of its own; cells of a moment run side
by side. Every answer names its question, so a wrong one is seen. The table is printed at the end."""
import concurrent.futures
import signal
import threading
import time

import httpx
import pytest
from chaos import FAULTS, Chaos
from conftest import ask, content_of, make_http
from daemon import poll
from fake_upstream import FakeUpstream

# Shortened, so that a cell takes seconds; the order of things is that of the defaults.
CONFIG = """
semantic:
  enabled: false
server:
  loops: 1
  drain_timeout: 2s
upstream:
  connect_timeout: 500ms
  first_byte_timeout: 600ms
  idle_timeout: 600ms
  total_timeout: 1s
circuit_breaker:
  timeout: 200ms
  max_timeout: 200ms
retry:
  initial_interval: 10ms
  max_elapsed: 1s
"""
DEADLINE_S = 20.0  # of a wait that ought to take one second: machines are slow, hangs are forever
GOOD = {200}
SICK = {502, 503, 504}
TABLE = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    print("\n\ndependency | moment    | fault   | answers                  | recovered after")
    for (moment, fault), (counts, seconds) in sorted(TABLE.items()):
        told = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items(), key=str))
        print(f"upstream   | {moment:9} | {fault:7} | {told:24} | {seconds}")


class Cell:
    """Asks and checks; every answer is counted, none may be another question's."""

    def __init__(self, daemon, chaos, name):
        self.daemon, self.chaos, self.name = daemon, chaos, name
        self.counts = {}
        self.lock = threading.Lock()

    def ask(self, client, text):
        begun = time.monotonic()
        try:
            answer = ask(client, text)
            status = answer.status_code
        except httpx.RemoteProtocolError:  # cut off after the answer had begun
            answer, status = None, "cut"
        assert time.monotonic() - begun < DEADLINE_S, f"{self.name}: waited too long"
        if status == 200:
            assert text in content_of(answer), f"{self.name}: another question's answer"
        else:
            assert status in SICK | {"cut"}, f"{self.name}: {status} {answer.text}"
        with self.lock:
            self.counts[status] = self.counts.get(status, 0) + 1
        return status

    def recover(self, client):
        """From the moment the fault ends: how long until an answer comes through."""
        self.chaos.set("none")
        begun = time.monotonic()
        number = iter(range(1 << 30))
        poll(lambda: self.ask(client, f"{self.name} back {next(number)}") == 200, f"{self.name}: recovery")
        return f"{time.monotonic() - begun:.2f} s"


@pytest.fixture(scope="module")
def real():
    server = FakeUpstream().start()
    yield server
    server.stop()


@pytest.fixture
def cells(spawn, real, word):
    """A cell for each fault, ready to be asked; all are checked at once by `run`."""
    made = {}
    for fault in FAULTS:
        chaos = Chaos(int(real.url.rpartition(":")[2]), delay_s=0.05)
        daemon = spawn(upstream_url=f"http://127.0.0.1:{chaos.port}", config=CONFIG, start=False)
        made[fault] = Cell(daemon, chaos, f"{word}-{fault}")
    yield made
    for cell in made.values():
        cell.chaos.close()


def run(cells, moment, check):
    with concurrent.futures.ThreadPoolExecutor(len(cells)) as pool:
        futures = {fault: pool.submit(check, cell, fault) for fault, cell in cells.items()}
        for fault, future in futures.items():
            TABLE[(moment, fault)] = (cells[fault].counts, future.result() or "-")


def test_upstream_that_is_sick_at_the_start(cells):
    def check(cell, fault):
        cell.chaos.set(fault)
        cell.daemon.start()
        with make_http(cell.daemon) as client:
            assert client.get("/readyz").status_code == 200
            for number in range(4):
                cell.ask(client, f"{cell.name} {number}")
            return cell.recover(client)

    run(cells, "start", check)


def test_upstream_that_falls_sick_under_load(cells):
    def check(cell, fault):
        cell.daemon.start()
        with make_http(cell.daemon) as client:
            for number in range(5):
                assert cell.ask(client, f"{cell.name} kept {number}") == 200
            stop = threading.Event()
            hits = []

            def load(worker):
                with make_http(cell.daemon) as own:
                    number = 0
                    while not stop.is_set():
                        cell.ask(own, f"{cell.name} load {worker} {number}")
                        # What is kept is served, whatever the upstream does.
                        hits.append(cell.ask(own, f"{cell.name} kept {number % 5}"))
                        number += 1

            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                workers = [pool.submit(load, worker) for worker in range(3)]
                poll(lambda: len(hits) >= 10, "load")
                cell.chaos.set(fault)
                seen = len(hits)
                poll(lambda: len(hits) >= seen + 12, "load while it is sick")
                stop.set()
                for worker in workers:
                    worker.result()
            assert set(hits) == GOOD, f"{cell.name}: hits must go on"
            return cell.recover(client)

    run(cells, "load", check)


def test_upstream_that_is_sick_at_shutdown(cells):
    def check(cell, fault):
        cell.daemon.start()
        with make_http(cell.daemon) as client:
            assert cell.ask(client, f"{cell.name} before") == 200
            cell.chaos.set(fault)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                def late(number):
                    try:
                        cell.ask(client, f"{cell.name} late {number}")
                    except httpx.TransportError:
                        pass  # the listener is closed by then

                asked = [pool.submit(late, number) for number in range(4)]
                cell.daemon.signal(signal.SIGTERM)
                code = cell.daemon.wait()
                for future in asked:
                    future.result()
        assert code == 0, cell.daemon.log_text()[-2000:]

    run(cells, "shutdown", check)
