"""GET /api/v1/tail and deja tail: requests as they are answered, one's own only, never their text."""
import contextlib
import json
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import ask, make_http
from daemon import BINARY, clean_environment, poll

TAIL = "/api/v1/tail"


def tail(client, **params):
    answer = client.get(TAIL, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def collect(client, after, count):
    """So many requests since that place, however many answers it takes."""
    found = []
    while len(found) < count:
        page = tail(client, after=after, wait="30s")
        assert page["requests"], f"only {found}"
        assert page["lost"] == 0
        found += page["requests"]
        after = page["next"]
    return found, after


def test_traffic_shows_up_in_order_with_results_and_ids(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        place = tail(client, last=0)["next"]
        ask(client, word)
        hit = ask(client, word)
        client.post("/v1/chat/completions", json={"model": "error-500", "messages": [{"role": "user", "content": word}]})
        made = client.put("/api/v1/entries", json={"query": word, "response": "x"}).json()
        client.post("/api/v1/lookup", json={"query": word})
        client.post("/api/v1/lookup", json={"query": f"{word} never heard of"})
        client.post("/v1/embeddings", json={"model": "emb", "input": word})
        client.get("/v1/models")
        found, place = collect(client, place, 7)
        assert [(r["api"], r["result"]) for r in found] == [
            ("chat", "miss"), ("chat", "hit_exact"), ("chat", "error"), ("api", "hit_exact"), ("api", "miss"),
            ("embeddings", "miss"), ("passthrough", "bypass")]
        assert found[1]["id"] == hit.headers["X-Cache-Id"]
        assert found[3]["id"] == made["id"]
        assert [r["id"] is None for r in found] == [True, False, True, False, True, True, True]
        assert (found[1]["level"], found[1]["similarity"]) == ("memory", 1)
        assert all(r["duration_ms"] >= 0 and len(r["time"]) == 24 for r in found)
        assert tail(client, after=place)["requests"] == []
        assert tail(client, last=2)["requests"] == found[-2:]


def test_other_caches_clients_are_named(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        place = tail(client, last=0)["next"]
        client.post("/gptcache/put", json={"prompt": word, "answer": "x"})
        client.post("/gptcache/get", json={"prompt": word})
        client.post(f"/v1/caches/{word}/entries/search", json={"prompt": word})
        found, _ = collect(client, place, 2)
        assert [(r["api"], r["result"]) for r in found] == [("gptcache", "hit_exact"), ("langcache", "miss")]
        assert found[0]["id"]


def test_another_tenant_sees_nothing(daemon, word):
    with make_http(daemon, f"sk-{word}") as client, make_http(daemon, f"sk-other-{word}") as other:
        mine, others = tail(client, last=0)["next"], tail(other, last=0)["next"]
        ask(client, word)
        collect(client, mine, 1)
        assert tail(other, after=others)["requests"] == []
        assert tail(other, last=1000)["requests"] == []
        # A place says nothing about how busy others are, and is of no use to them.
        assert tail(other, after=mine)["requests"] == []


def test_nothing_of_the_text_is_told(daemon, word):
    canary = f"canary{word}"
    with make_http(daemon, f"sk-{canary}") as client:
        place = tail(client, last=0)["next"]
        for _ in range(2):
            client.post("/v1/chat/completions", json={"model": canary, "user": canary, "messages": [
                {"role": "user", "content": canary}]}, headers={"X-Deja-Namespace": canary, "X-Deja-Tags": canary})
        client.get(f"/v1/{canary}")
        collect(client, place, 3)
        assert canary not in client.get(TAIL).text


def waiting(client, got, **params):
    worker = threading.Thread(target=lambda: got.append(client.get(TAIL, params=params)))
    worker.start()
    return worker


def waits(daemon):
    """How many requests are under way, this one included."""
    with make_http(daemon, "sk-nobody") as client:
        for line in client.get("/metrics").text.splitlines():
            if line.startswith("semantic_cache_inflight "):
                return float(line.split()[-1])
    raise AssertionError("no gauge of requests in flight")


def test_a_wait_ends_with_traffic(spawn, word):
    daemon, got = spawn(), []
    with make_http(daemon, f"sk-{word}") as client, make_http(daemon, f"sk-{word}") as watcher:
        place = tail(client, last=0)["next"]
        worker = waiting(watcher, got, after=place, wait="30s")
        poll(lambda: waits(daemon) > 1, "the watcher to wait")
        with make_http(daemon, f"sk-other-{word}") as other:
            ask(other, word)  # somebody else's wakes nobody
        ask(client, word)
        worker.join(60)
    assert [r["result"] for r in got[0].json()["requests"]] == ["miss"]


def test_a_wait_ends_with_its_time(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        start = time.monotonic()
        page = tail(client, last=0, wait="300ms")
        assert time.monotonic() - start >= 0.3
        assert (page["requests"], page["lost"]) == ([], 0)


def test_a_wait_ends_at_the_drain(spawn, word):
    daemon, got = spawn(), []
    with make_http(daemon, f"sk-{word}") as watcher:
        worker = waiting(watcher, got, last=0, wait="30s")
        poll(lambda: waits(daemon) > 1, "the watcher to wait")
        daemon.signal(signal.SIGTERM)
        worker.join(60)
        assert daemon.wait() == 0
    assert got[0].json()["requests"] == []


def test_32_of_a_tenant_may_wait_and_who_leaves_gives_its_place_back(spawn, word):
    daemon = spawn()
    with make_http(daemon) as client, make_http(daemon, f"sk-{word}") as other, contextlib.ExitStack() as leavers:
        for _ in range(32):
            leaver = leavers.enter_context(socket.create_connection(("127.0.0.1", daemon.port), 60))
            leaver.sendall(f"GET {TAIL}?last=0&wait=30s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        poll(lambda: waits(daemon) == 33, "all of them to wait", timeout=25)
        refused = client.get(TAIL, params={"last": 0, "wait": "30s"})
        assert refused.status_code == 429 and "overloaded" in refused.text
        assert client.get(TAIL, params={"last": 0}).status_code == 200
        assert tail(other, last=0, wait="1ms")["requests"] == []  # another tenant's may
        leavers.close()
        poll(lambda: waits(daemon) == 1, "all of them to be gone, not only to have waited enough", timeout=20)
        assert tail(client, last=0, wait="1ms")["requests"] == []


@pytest.mark.parametrize("params", [{"last": 1001}, {"wait": "31s"}, {"after": "x"}, {"last": 1, "after": 1}])
def test_wrong_parameters_are_refused(daemon, word, params):
    with make_http(daemon, f"sk-{word}") as client:
        assert client.get(TAIL, params=params).status_code == 400


def test_the_command_prints_what_comes_and_ends_with_ctrl_c(daemon, word):
    command = [str(BINARY), "tail", "--json", "--limit", "1", "--server", daemon.url, "--key", f"sk-{word}"]
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        poll(lambda: tail(client)["requests"], "the request to be told")
        # Whoever runs the tests in the background has them ignore Ctrl-C, and a child inherits that.
        process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        try:
            lines = [json.loads(process.stdout.readline())]
            ask(client, word)
            lines.append(json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert [line["result"] for line in lines] == ["miss", "hit_exact"]
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert not errors


def test_the_command_once_is_readable(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        poll(lambda: tail(client)["requests"], "the request to be told")
    done = daemon.cli("tail", "--once", env={"DEJA_KEY": f"sk-{word}"})
    assert done.returncode == 0, done.stderr
    assert "miss" in done.stdout and "chat" in done.stdout
    assert "tail" in daemon.cli("--help").stdout
