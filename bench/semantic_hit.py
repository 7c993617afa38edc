#!/usr/bin/env python3
"""A semantic hit over HTTP with the embedding inside: its time beside the encoder's own.

10,000 entries lie in one scope; each measured question is new (nothing is memoised), about 12 tokens
long, and says in other words what one entry says. The encoder's own time is `embed;dur` of the same
answer's Server-Timing.

    ./dev bench semantic     or  python3 bench/semantic_hit.py [--entries 10000] [--questions 1000]
"""
import argparse
import http.client
import itertools
import json
import random
import re
import statistics
import sys
import time

from common import make_daemon, pulled_models, write_result

VERBS = "rename delete share export print archive copy move lock encrypt".split()
KINDS = "old shared private monthly draft signed blue public hidden large".split()
THINGS = """invoice photo report calendar contract recipe playlist spreadsheet ticket passport""".split()
PLACES = "phone laptop office archive account garage library kitchen browser folder".split()


def sentences(count):
    """(stored, asked) pairs: about twelve WordPieces each."""
    made = []
    for verb, kind, thing, place in itertools.product(VERBS, KINDS, THINGS, PLACES):
        made.append((f"How do I {verb} the {kind} {thing} in my {place}?",
                     f"How can I {verb} the {kind} {thing} in my {place}?"))
    random.Random(1).shuffle(made)
    return made[:count]


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def call(self, method, path, body):
        text = json.dumps(body)
        began = time.perf_counter()
        self.connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        got = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status >= 300:
            sys.exit(f"{answer.status}: {got[:500]}")
        return json.loads(got), took, answer.headers.get("Server-Timing", "")


def fill(client, pairs):
    for start in range(0, len(pairs), 100):
        client.call("PUT", "/api/v1/entries", {"entries": [
            {"query": stored, "response": "x" * 500, "ttl": 86400, "namespace": "bench"}
            for stored, _ in pairs[start : start + 100]]})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=10000)
    parser.add_argument("--questions", type=int, default=1000)
    options = parser.parse_args()
    daemon = make_daemon(models=pulled_models()).start()
    client = Client(daemon.port)
    pairs = sentences(options.entries)
    began = time.perf_counter()
    fill(client, pairs)
    print(f"  {len(pairs)} entries put in {time.perf_counter() - began:.1f} s")

    # The vectors may be made after the answer: ask the last ones until they are found.
    for _ in range(600):
        if client.call("POST", "/api/v1/lookup", {"query": pairs[-1][1] + " ", "namespace": "bench"})[0]["hit"]:
            break
        time.sleep(0.1)
    total, encoder, hits = [], [], 0
    for _, asked in pairs[50 : 50 + options.questions]:
        answer, took, timing = client.call("POST", "/api/v1/lookup", {"query": asked, "namespace": "bench"})
        found = re.search(r"embed;dur=([\d.]+)", timing)
        if answer["hit"] and answer["kind"] == "semantic" and found:
            hits += 1
            total.append(took)
            encoder.append(float(found[1]))
    daemon.stop()
    if hits < options.questions // 2:
        sys.exit(f"only {hits} of {options.questions} were semantic hits: not a measurement of hits")
    ratio = statistics.median(total) / statistics.median(encoder)
    p99 = sorted(total)[int(len(total) * 0.99)]
    print(f"semantic hit with {options.entries} entries: median {statistics.median(total):.2f} ms (p99 {p99:.2f}), "
          f"the encoder's own {statistics.median(encoder):.2f} ms, ratio {ratio:.2f}; "
          f"{hits} of {options.questions} were hits")
    write_result("semantic_hit", {
        "entries": options.entries, "questions": options.questions, "hits": hits, "ratio": ratio,
        "median_ms": statistics.median(total), "p99_ms": p99, "encoder_median_ms": statistics.median(encoder)})


if __name__ == "__main__":
    main()
