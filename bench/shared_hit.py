#!/usr/bin/env python3
"""What a hit from Valkey costs above a hit from memory, beside a bare GET of the same record.

One daemon fills Valkey, another one is asked each question twice: the first time the answer comes
from Valkey (and goes into memory behind it), the second time from memory; between them a client of
the bench's own GETs a record of that size over one connection. One question at a time, in turns, so
that what else the machine does hits all three. What counts is (Valkey - memory) / GET of a turn's
medians; it is printed with its spread.

    ./dev bench shared        or  python3 bench/shared_hit.py [--turns 11] [--questions 200]
"""
import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from common import make_daemon, spread, write_result

KEY = "sk-bench"


def request_of(number):
    body = json.dumps({"model": "long:75", "temperature": 0, "messages": [
        {"role": "system", "content": "You are a helpful assistant that answers briefly."},
        {"role": "user", "content": f"Question {number}: how do I reset the password of my account?"}]})
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()


class Connection:
    """One that is kept, read with as few calls as can be: no library's time is in the figures."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _exchange(self, request, whole_len):
        began = time.perf_counter_ns()
        self.socket.sendall(request)
        got = self.socket.recv(65536)
        while len(got) < whole_len(got):
            got += self.socket.recv(65536)
        return got, (time.perf_counter_ns() - began) / 1000

    def ask(self, request):
        """Headers in lower case, microseconds."""
        def whole_len(got):
            head, mark, _ = got.partition(b"\r\n\r\n")
            if not mark:
                return len(got) + 1
            return len(head) + 4 + int(head.lower().split(b"content-length:")[1].split()[0])
        got, took = self._exchange(request, whole_len)
        head = got.partition(b"\r\n\r\n")[0].decode().lower()
        if not head.startswith("http/1.1 200"):
            sys.exit(got.decode())
        return head, took

    def get(self, request):
        def whole_len(got):
            head, mark, _ = got.partition(b"\r\n")
            return len(head) + 4 + int(head[1:]) if mark else len(got) + 1
        return self._exchange(request, whole_len)


def wait_for_tier(daemon):
    """Nothing of a shared tier is believed before its generations have been pulled."""
    from daemon import OPENER, poll

    def check():
        with OPENER.open(daemon.url + "/health/detailed", timeout=10) as answer:
            details = json.load(answer)["components"]["redis"]["details"]
        return details.get("generations", {}).get("age_ms") is not None
    poll(check, "the shared tier to be believed")


def names_of_records(valkey, count):
    from daemon import poll

    def check():
        names = [name for name in valkey.call("KEYS", "*") if b":q:" in name]
        return names if len(names) >= count else None
    return poll(check, "Valkey to have all answers")


def expect(head, level):
    if f"detail={level}" not in head and f"x-cache-tier: {level}" not in head:
        sys.exit(f"not a hit from {level}:\n{head}")


def turn(asked, bare, requests, gets):
    """Medians in microseconds of one turn."""
    first, second, got = [], [], []
    for request, get in zip(requests, gets):
        head, took = asked.ask(request)
        expect(head, "redis")
        first.append(took)
        got.append(bare.get(get)[1])
        head, took = asked.ask(request)
        expect(head, "memory")
        second.append(took)
    medians = {"valkey_us": statistics.median(first), "memory_us": statistics.median(second),
               "get_us": statistics.median(got)}
    return {**medians, "ratio": (medians["valkey_us"] - medians["memory_us"]) / medians["get_us"]}


def main():
    from fake_upstream import FakeUpstream
    from valkey import Server, encode

    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--questions", type=int, default=200, help="in each turn")
    options = parser.parse_args()
    upstream = FakeUpstream().start()
    with tempfile.TemporaryDirectory(prefix="deja-bench-") as folder:
        valkey = Server(Path(folder) / "valkey").start()
        env = {"DEJA_L2__REDIS__URL": f"redis://127.0.0.1:{valkey.port}", "DEJA_SECURITY__SECRET": "5e" * 32,
               "DEJA_SERVER__LOOPS": "1"}
        filler, daemon = (make_daemon(upstream.url, env=env).start() for _ in range(2))
        for made in (filler, daemon):
            wait_for_tier(made)
        count = options.questions * (options.turns + 1)
        requests = [request_of(number) for number in range(count)]
        filling = Connection(filler.port)
        for request in requests:
            filling.ask(request)
        names = names_of_records(valkey, count)
        size = len(valkey.call("GET", names[0]))
        gets = [encode("GET", name) for name in names]
        asked, bare = Connection(daemon.port), Connection(valkey.port)
        turns = []
        for number in range(options.turns + 1):
            part = slice(number * options.questions, (number + 1) * options.questions)
            made = turn(asked, bare, requests[part], gets[part])
            if number == 0:
                continue  # the first warms up
            turns.append(made)
            print(f"  turn {number}: Valkey {made['valkey_us']:6.0f} us  memory {made['memory_us']:6.0f} us  "
                  f"bare GET {made['get_us']:6.0f} us  (Valkey - memory) / GET {made['ratio']:.2f}")
        for made in (filler, daemon):
            made.stop()
        valkey.stop()
    upstream.stop()
    ratio = spread([made["ratio"] for made in turns])
    print(f"a hit from Valkey above one from memory, record of {size} bytes: {ratio['median']:.2f} x a bare GET "
          f"(middle half {ratio['quartiles'][0]:.2f} to {ratio['quartiles'][1]:.2f}, "
          f"all {ratio['min']:.2f} to {ratio['max']:.2f})")
    write_result("shared_hit", {"record_bytes": size, "ratio": ratio, "turns": turns})


if __name__ == "__main__":
    main()
