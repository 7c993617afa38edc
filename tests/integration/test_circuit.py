"""The upstream behind its breaker: refused, failing, broken off, back again; retries; the throttle."""
import re
import socket
import threading

import httpx
import pytest
from conftest import ask, chat_body, content_of, make_http
from daemon import free_port, poll
from exposition import read, total
from fake_upstream import FakeUpstream

QUICK = """
circuit_breaker:
  timeout: 100ms
  max_timeout: 100ms
retry:
  enabled: false
"""
# Open for as long as a test lasts.
PATIENT = QUICK.replace("100ms", "10m")


class Script:
    """An upstream that does with its n-th connection what the n-th word says: "close" before an
    answer, "cut" within one, "answer"; further ones do as the last."""

    def __init__(self, *words):
        self.words = words
        self.calls = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            word = self.words[min(self.calls, len(self.words) - 1)]
            self.calls += 1
            with peer:
                self.read(peer)
                if word == "close":
                    continue
                body = b'{"id":"x","object":"chat.completion","created":1,"model":"plain","choices":[{"index":0,' \
                       b'"message":{"role":"assistant","content":"scripted"},"finish_reason":"stop"}]}'
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n" \
                       b"Content-Length: %d\r\n\r\n" % len(body)
                peer.sendall(head + (body[:20] if word == "cut" else body))

    @staticmethod
    def read(peer):
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += peer.recv(65536)
        head, _, rest = seen.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
        while len(rest) < length:
            rest += peer.recv(65536)

    def close(self):
        self.listener.close()


@pytest.fixture
def script():
    made = []

    def make(*words):
        made.append(Script(*words))
        return made[-1]

    yield make
    for server in made:
        server.close()


def scrape(client):
    return read(client.get("/metrics").text)


def breaker(client, name="upstream"):
    return client.get("/health/detailed").json()["components"]["circuit_breaker"]["details"][name]


def assert_open(answer):
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "circuit_open"
    assert 1 <= int(answer.headers["retry-after"]) <= 600
    assert "x-should-retry" not in answer.headers
    assert "circuit_open" in answer.headers["cache-status"]


def test_refused_upstream_opens_the_breaker_and_hits_go_on(spawn, upstream, word):
    port = free_port()
    daemon = spawn(upstream_url=f"http://127.0.0.1:{port}", config=PATIENT)
    with make_http(daemon) as client:
        stored = client.put("/api/v1/entries", json={"query": f"kept {word}", "response": "kept"})
        assert stored.status_code in (200, 201)
        for number in range(5):
            assert ask(client, f"{word} {number}").status_code == 502
        for number in range(5):
            assert_open(ask(client, f"{word} again {number}"))
        # Each family of endpoints has a breaker of its own.
        assert breaker(client)["state"] == "open"
        assert breaker(client)["failures"] == 5 and breaker(client)["refused"] >= 5
        assert breaker(client, "upstream_embeddings")["state"] == "closed"
        answer = client.post("/v1/embeddings", json={"model": "m", "input": word})
        assert answer.status_code == 502
        health = client.get("/health")
        assert health.status_code == 207
        assert health.json()["components"]["circuit_breaker"]["status"] == "unhealthy"
        found = client.get("/api/v1/entries", params={"query": f"kept {word}"})
        assert found.status_code in (200, 404, 405)
        metrics = scrape(client)
        assert total(metrics, "semantic_cache_circuit_state", level="upstream") == 2
        assert total(metrics, "semantic_cache_circuit_refused_total", level="upstream") >= 5
        assert total(metrics, "semantic_cache_degraded") == 1
    assert "circuit breaker opened" in daemon.log_text()


def test_breaker_closes_when_the_upstream_is_back(spawn, word):
    server = FakeUpstream().start()
    try:
        daemon = spawn(upstream_url=server.url, config=QUICK)
        with make_http(daemon) as client:
            for number in range(5):
                assert ask(client, f"{word} {number}", "error-500").status_code == 500

            def is_well():
                return ask(client, word).status_code == 200

            poll(is_well, "the breaker to let a call through")
            assert ask(client, f"{word} more").status_code == 200
            assert breaker(client)["state"] == "closed"
            assert breaker(client)["opened"] >= 1
    finally:
        server.stop()


def test_statuses_that_are_not_the_upstreams_fault_do_not_open_it(spawn, word):
    daemon = spawn(config=PATIENT)
    with make_http(daemon) as client:
        for status in (400, 401, 404, 422) * 3:
            ask(client, f"{word} {status}", f"error-{status}")
        assert breaker(client)["state"] == "closed" and breaker(client)["failures"] == 0


def test_passed_through_calls_have_a_breaker_too(spawn, word):
    daemon = spawn(config=PATIENT)
    with make_http(daemon) as client:
        for _ in range(5):
            assert client.get("/v1/status/503").status_code == 503
        answer = client.get("/v1/status/200")
        assert_open(answer)
        assert ask(client, word).status_code == 200


def test_call_that_broke_off_before_its_answer_is_tried_again(spawn, script, word):
    server = script("close", "close", "answer")
    daemon = spawn(upstream_url=server.url)
    with make_http(daemon) as client:
        answer = ask(client, word)
        assert answer.status_code == 200 and content_of(answer) == "scripted"
        assert server.calls == 3
        assert total(scrape(client), "semantic_cache_retries_total", level="upstream") == 2


def test_nothing_is_tried_again_after_the_first_byte(spawn, script, word):
    server = script("cut")
    daemon = spawn(upstream_url=server.url)
    with make_http(daemon) as client:
        try:
            assert ask(client, word).status_code == 502
        except httpx.RemoteProtocolError:
            pass  # the answer had begun
        assert server.calls == 1


def test_answers_that_break_off_open_the_breaker(spawn, script, word):
    daemon = spawn(upstream_url=script("cut").url, config=PATIENT)
    with make_http(daemon) as client:
        for number in range(5):
            try:
                assert ask(client, f"{word} {number}").status_code == 502
            except httpx.RemoteProtocolError:
                pass
        assert_open(ask(client, word))


def test_passed_through_calls_are_never_tried_again(spawn, script):
    server = script("close")
    daemon = spawn(upstream_url=server.url)
    with make_http(daemon) as client:
        assert client.post("/v1/batches", json={"input_file_id": "f"}).status_code == 502
        assert server.calls == 1


def test_retries_stay_within_their_budget(spawn, script, word):
    server = script("close")
    daemon = spawn(upstream_url=server.url,
                   config="circuit_breaker:\n  enabled: false\nretry:\n  initial_interval: 1ms\n")
    with make_http(daemon) as client:
        for number in range(40):
            assert ask(client, f"{word} {number}").status_code == 502
        assert 40 < server.calls <= 40 + 10 + 4 + 1


def test_tenant_that_is_turned_away_is_held_back_and_others_are_not(spawn, word):
    daemon = spawn(config=PATIENT)
    codes = []
    with make_http(daemon, f"sk-{word}-greedy") as greedy, make_http(daemon, f"sk-{word}-calm") as calm:
        for number in range(60):
            answer = ask(greedy, f"{word} {number}", "error-429")
            assert answer.status_code == 429
            codes.append(answer.json()["error"]["code"])
            if codes[-1] == "rate_limited":
                assert int(answer.headers["retry-after"]) >= 1
            assert ask(calm, f"{word} {number}").status_code == 200
        assert codes[:10] == ["rate_limit_exceeded"] * 10
        assert codes.count("rate_limited") > 30
        assert breaker(greedy)["state"] == "closed"


def test_reload_changes_the_breaker(spawn, word):
    daemon = spawn(upstream_url=f"http://127.0.0.1:{free_port()}", config=PATIENT)
    with make_http(daemon) as client:
        text = PATIENT.replace("circuit_breaker:", "circuit_breaker:\n  max_failures: 2")
        daemon.config.write_text(text)
        before = total(scrape(client), "semantic_cache_config_last_reload_timestamp_seconds")
        daemon.signal(1)
        poll(lambda: total(scrape(client), "semantic_cache_config_last_reload_timestamp_seconds") != before,
             "the reload")
        for number in range(2):
            assert ask(client, f"{word} {number}").status_code == 502
        assert_open(ask(client, word))


def test_every_rider_of_a_flight_that_is_not_let_through_is_told(spawn, word):
    daemon = spawn(upstream_url=f"http://127.0.0.1:{free_port()}", config=PATIENT)
    with make_http(daemon) as client:
        for number in range(5):
            ask(client, f"{word} {number}")
        streamed = client.post("/v1/chat/completions", json=chat_body(word, stream=True))
        assert_open(streamed)
