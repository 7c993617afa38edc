"""With every tier away in turn and all of them together, answers go on: at least 99.9 % of all requests
are answered, and rightly, while Valkey, PostgreSQL and S3 come and go after a script, in every way they
can fail. Half a minute here; ./dev soak gives it three (DEJA_AVAILABILITY_S=180), and then it is 100,000
requests at least. The hour's script on a simulated clock is tests/unit/policy."""
import itertools
import os
import threading
import uuid
from collections import Counter

import pytest
from chaos import FAULTS
from conftest import check_sanitizer, in_parallel
from daemon import Daemon, poll
from test_chaos import CONFIG, SECRET, WAIT_S_MAX, Client, dependencies  # noqa: F401 (a fixture)

SECONDS = float(os.environ.get("DEJA_AVAILABILITY_S", "30"))
TURN_S = 2.0  # between two acts of the script
CLIENTS = 6
OLD = 40
WANTED = 0.999
REQUESTS_MIN = 100_000  # in three minutes; less in less


class Crowd:
    """Clients that ask what was asked before, the same in other words, and what is new."""

    def __init__(self, daemon, name):
        self.daemon, self.name = daemon, name
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.counts = Counter()
        self.firsts = []  # of what went wrong
        self.slowest_s = 0
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
        for number in itertools.count():
            if self.done.is_set():
                break
            old = f"{self.name} tenant {index} wants to know all about the old thing number {number % OLD}"
            text = old if number % 10 < 7 else f"please, {old}" if number % 10 < 9 else f"{self.name} {index} new {number}"
            self._look(client, text, old, *client.ask(text))
        client.close()

    def _look(self, client, text, old, status, body):
        content = body["choices"][0]["message"]["content"] if status == 200 else str(body)[:200]
        is_right = status == 200 and content.endswith((f" to: {text} \u2713", f" to: {old} \u2713", f" to: please, {old} \u2713"))
        with self.lock:
            self.counts["requests"] += 1
            self.counts["right" if is_right else "wrong" if status == 200 else f"HTTP {status}"] += 1
            self.counts[f"hits of {client.tier}" if client.hit == "true" else "misses"] += 1
            self.slowest_s = max(self.slowest_s, client.took_s)
            if not is_right and len(self.firsts) < 5:
                self.firsts.append((text, status, content))


def script(tiers):
    """One act after the other, for ever: whom what happens to; nothing between the rounds."""
    for number in itertools.count():
        fault = FAULTS[number % len(FAULTS)]
        for tier in tiers:
            yield {tier: fault}
        yield {tier: FAULTS[(number + i) % len(FAULTS)] for i, tier in enumerate(tiers)}
        yield {}


@pytest.mark.heavy
def test_answers_go_on_while_tiers_come_and_go(dependencies, tmp_path):  # noqa: F811
    found, model = dependencies
    tiers = [dependency for dependency in found if dependency.is_tier]
    env = {"DEJA_SECURITY__SECRET": SECRET}
    for made in in_parallel(len(tiers), lambda i: tiers[i].env()):
        env.update(made)
    # What memory has to hold here is what all ask again: it is large.
    config = CONFIG.replace("l1: {max_size: 8, default_ttl: 1s}", "l1: {max_size: 1000, default_ttl: 20s}").replace(
        "tenant: {max_entries: 8}", "tenant: {max_entries: 200}")
    daemon = Daemon(tmp_path / "deja", model.url, env=env, config=config, args=["--set", "log.level=error"]).start()
    acts = Counter()
    try:
        with Crowd(daemon, uuid.uuid4().hex[:8]) as crowd:
            left_s = SECONDS
            for act in script(tiers):
                if left_s <= 0:
                    break
                for tier in tiers:
                    (tier.proxy.fault(act[tier]) if tier in act else tier.proxy.heal())
                acts[" + ".join(f"{tier.name} {fault}" for tier, fault in act.items()) or "all well"] += 1
                crowd.done.wait(TURN_S)
                left_s -= TURN_S
            for tier in tiers:
                tier.proxy.heal()
            probe = Client(daemon.port, "sk-back")
            for tier in tiers:
                poll(lambda: tier.is_back(probe), f"{tier.name} to be used again", timeout=60)
        daemon.stop()
    finally:
        for tier in tiers:
            tier.proxy.heal()
        daemon.kill()
    check_sanitizer(daemon)
    counts = crowd.counts
    share = counts["right"] / counts["requests"]
    told = f"{share:.5%} of {counts['requests']} requests, slowest {crowd.slowest_s:.2f} s\n{dict(counts)}\n{dict(acts)}\n{crowd.firsts}"
    print("\n" + told)
    assert share >= WANTED, told
    assert counts["wrong"] == 0, told
    assert crowd.slowest_s <= WAIT_S_MAX, told
    assert counts["requests"] >= REQUESTS_MIN or SECONDS < 180, told
    assert counts["hits of memory"] > 0 and counts["misses"] > 0, told
