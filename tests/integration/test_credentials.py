"""The credential goes with each request: no pooled connection to the upstream remembers one (S20), and
who may not see an entry cannot tell by its time that somebody else has it (S5)."""
import os
import random
import threading
import time
import uuid

import pytest
from conftest import check_sanitizer, in_parallel
from crowd import Crowd, Line, MarkingUpstream, credential_mark, request_of
from daemon import Daemon

REQUESTS = int(os.environ.get("DEJA_CREDENTIAL_REQUESTS", "4000"))
TIMED = int(os.environ.get("DEJA_TIMING_REQUESTS", "600"))
REPORT = os.environ.get("DEJA_ISOLATION_REPORT")
AUC_MAX = 0.52  # of 10,000 each, in ./dev soak; the figure of a short run is only printed


def told(line):
    print(line)
    if REPORT:
        with open(REPORT, "a", encoding="utf-8") as report:
            report.write(line + "\n")


class TwoFacedUpstream(MarkingUpstream):
    """Says in each answer with which credential it was asked, and now and then closes."""

    def make(self, seen):
        credential = (seen.values(b"authorization") or [b""])[0]
        body = b'{"seen":"%s","target":"%s"}' % (credential_mark(credential), seen.target)
        close = b"Connection: close\r\n" if hash(seen.target) % 50 == 0 else b""
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n" % (
            close, len(body)) + body

    async def _write(self, writer, answer):
        return await super()._write(writer, answer) and b"Connection: close" not in answer


def test_each_request_goes_upstream_with_its_own_credential(tmp_path):
    upstream = TwoFacedUpstream().start()
    daemon = Daemon(tmp_path / "deja", upstream.url).start()
    keys = [f"sk-{uuid.uuid4().hex}" for _ in range(2)]
    wrong, lock = [], threading.Lock()

    def work(number):
        owners = Crowd("x", credentials=1, name_spaces=("",)).owners
        choose = random.Random(number)
        line = Line(daemon.port)
        for step in range(REQUESTS // 8):
            owners[0].key = choose.choice([*keys, keys[number % 2]])
            line.send(request_of("GET", f"/v1/any/{number}/{step}", owners[0]))
            status, raw, body = line.read()
            expected = b'"seen":"%s","target":"/v1/any/%d/%d"' % (
                credential_mark(f"Bearer {owners[0].key}".encode()), number, step)
            if status != 200 or expected not in body:
                with lock:
                    wrong.append(raw)
        line.close()

    in_parallel(8, work)
    told(f"credentials upstream: {REQUESTS} requests of two keys, {len(wrong)} wrong")
    assert not wrong, wrong[:3]
    assert not upstream.faults
    daemon.stop()
    upstream.stop()
    check_sanitizer(daemon)


def area_under_curve(ones, others):
    """How often one of the first takes longer than one of the second; ties count half."""
    everything = sorted([(value, 1) for value in ones] + [(value, 0) for value in others])
    ranks, start = 0.0, 0
    while start < len(everything):
        end = start
        while end < len(everything) and everything[end][0] == everything[start][0]:
            end += 1
        ranks += (start + 1 + end) / 2 * sum(kind for _, kind in everything[start:end])
        start = end
    return (ranks - len(ones) * (len(ones) + 1) / 2) / (len(ones) * len(others))


@pytest.mark.heavy
def test_time_does_not_tell_what_another_tenant_has(tmp_path, models):
    """A spy asks for what a victim has stored and for what nobody has, one about as often as the other.
    Both are misses to him; nothing but their times could tell them apart."""
    upstream = MarkingUpstream().start()
    daemon = Daemon(tmp_path / "deja", upstream.url, models=models).start()
    crowd = Crowd(uuid.uuid4().hex[:6], credentials=1, name_spaces=("",))
    victim, spy = crowd.owners[0], crowd.outsiders[0]
    choose = random.Random(1)
    line = Line(daemon.port)

    def lookup(owner, text):
        line.send(request_of("POST", "/api/v1/lookup", owner, {"query": text}))
        return line.read()

    for number in range(0, 2 * TIMED, 2):
        line.send(request_of("PUT", "/api/v1/entries", victim, {"query": f"Where is thing {number:06d} kept?",
                                                                "response": crowd.make_mark(victim)}))
        assert line.read()[0] == 201
        if number % 4:
            lookup(victim, f"Where is thing {number:06d} kept?")
    # So that the spy's questions go as far as a search.
    line.send(request_of("PUT", "/api/v1/entries", spy, {"query": "Something of the spy's own", "response": "x"}))
    assert line.read()[0] == 201
    asked = [(number, number % 2 == 0) for number in range(2 * TIMED)]
    choose.shuffle(asked)
    times = {True: [], False: []}
    for number, is_stored in asked:
        text = f"Where is thing {number:06d} kept?"
        began = time.perf_counter_ns()
        status, raw, body = lookup(spy, text)
        times[is_stored].append(time.perf_counter_ns() - began)
        assert status == 200 and b'"hit":false' in body, body
        crowd.judge("timing", spy, raw)
    area = area_under_curve(times[True], times[False])
    area = max(area, 1 - area)
    told(f"timing across tenants: {TIMED} stored by another, {TIMED} by nobody: AUC {area:.3f}")
    assert not crowd.leaks
    assert TIMED < 10_000 or area <= AUC_MAX
    daemon.stop()
    upstream.stop()
    check_sanitizer(daemon)
