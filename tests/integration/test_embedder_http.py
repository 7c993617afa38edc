"""The embedder behind an address: works, is hung, refused, of another dimension, garbage; never a hang."""
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ask, make_http, status_of, wait_for_semantic
from daemon import free_port, poll, run_cli
from litellm_proxy import MOCK_KEY
from test_cache_api import lookup, put

DIM = 16


def vector_of(text, dim):
    """Texts with the same last word lie in the same direction."""
    seed = hash(text.split()[-1].strip("?.!")) & 0xFFFFFFFF
    made = []
    for _ in range(dim):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        made.append(seed / 0x7FFFFFFF - 0.5)
    return made


class Endpoint:
    """An embeddings endpoint whose behaviour a test changes: mode is a way to answer."""

    def __init__(self):
        self.mode = "ok"
        self.requests = []
        self.release = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, self.headers.get("Authorization"), body))
                endpoint.answer(self, body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answer(self, handler, body):
        status, text = 200, "{}"
        if self.mode == "hung":
            self.release.wait(60)
            handler.close_connection = True
            return
        if self.mode == "garbage":
            text = "<html>hello</html>"
        elif self.mode == "500":
            status = 500
        elif self.mode == "picky" and any("poison" in item for item in body["input"]):
            status = 400
        else:
            dim = 7 if self.mode == "dimension" else DIM
            words = sum(len(item.split()) for item in body["input"])
            text = json.dumps({"object": "list", "model": body["model"], "data": [
                {"object": "embedding", "index": i, "embedding": vector_of(item, dim)}
                for i, item in enumerate(body["input"])], "usage": {"prompt_tokens": words, "total_tokens": words}})
        raw = text.encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    def texts(self):
        return [item for _, _, body in self.requests for item in body["input"]]

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint():
    made = Endpoint()
    yield made
    made.stop()


def config_of(url, **more):
    rows = {"url": url, "model": "tiny-embed", "key": "sk-embed-1", "timeout": "500ms", "dimensions": DIM,
            "price_per_1k": 0.5, **more}
    lines = "".join(f"    {name}: {value}\n" for name, value in rows.items())
    return (f"semantic:\n  embedder: http\n  threshold: 0.9\n  http:\n{lines}"
            "circuit_breaker:\n  max_failures: 3\n  timeout: 300ms\n  max_timeout: 300ms\n")


def metric(client, name, **labels):
    found = 0.0
    for line in client.get("/metrics").text.splitlines():
        if re.match(name + r"[{ ]", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            found += float(line.rsplit(" ", 1)[1])
    return found


def test_rewording_is_found_and_each_text_is_embedded_once(spawn, endpoint, word, key):
    daemon = spawn(config=config_of(endpoint.url + "/v1"))
    with make_http(daemon, key) as client:
        first = ask(client, f"please tell me about {word}")
        assert status_of(first) == "MISS"
        found = wait_for_semantic(client, f"tell me about {word}")
        assert found.json() == first.json()
        path, authorization, body = endpoint.requests[0]
        assert (path, authorization, body["model"]) == ("/v1/embeddings", "Bearer sk-embed-1", "tiny-embed")
        for text in set(endpoint.texts()):
            assert endpoint.texts().count(text) == 1, endpoint.texts()
        calls = len(endpoint.requests)
        assert metric(client, "semantic_cache_embedder_calls_total", status="ok", model="tiny-embed") == calls
        tokens = sum(len(text.split()) for text in endpoint.texts())
        assert metric(client, "semantic_cache_embedder_tokens_total") == tokens
        assert metric(client, "semantic_cache_embedder_cost_usd_total") == pytest.approx(tokens / 1000 * 0.5)
        assert client.get("/api/v1/stats").json()["embedder"]["kind"] == "http"
        assert client.get("/health/detailed").json()["components"]["embedder"]["status"] == "healthy"


def test_vector_is_asked_for_again_when_its_time_is_over(spawn, endpoint, word, key):
    daemon = spawn(config=config_of(endpoint.url, memo_ttl="1ms"))
    with make_http(daemon, key) as client:
        put(client, f"what is {word}", "kept")

        def is_asked_again():
            assert lookup(client, f"what exactly is {word}")["hit"] is True
            return endpoint.texts().count(f"what exactly is {word}") > 1

        poll(is_asked_again, "the endpoint to be asked again")


def test_dimension_is_learned_at_start(spawn, endpoint, word, key):
    daemon = spawn(config=config_of(endpoint.url, dimensions=0))
    with make_http(daemon, key) as client:
        assert client.get("/api/v1/stats").json()["embedder"]["dimension"] == DIM
        put(client, f"what is {word}", "kept")
        assert lookup(client, f"what exactly is {word}")["hit"] is True


@pytest.mark.parametrize(("mode", "told"), [
    ("hung", "timeout"), ("garbage", "garbage"), ("dimension", "dimension"), ("500", "busy")])
def test_sick_endpoint_means_exact_hits_only_and_it_comes_back(spawn, endpoint, word, key, mode, told):
    daemon = spawn(config=config_of(endpoint.url))
    with make_http(daemon, key) as client:
        first = ask(client, f"please tell me about {word}")
        wait_for_semantic(client, f"tell me about {word}")
        endpoint.mode = mode
        assert ask(client, f"please tell me about {word}").json() == first.json()
        began = time.monotonic()
        missed = ask(client, f"now tell me all about {word}")
        assert time.monotonic() - began < 30, "a bound on a hang, no promise"
        assert status_of(missed) == "MISS"
        assert "embedder-failed" in missed.headers["cache-status"], missed.headers
        put(client, f"what is {word}", "kept all the same")
        assert lookup(client, f"what is {word}", threshold=1)["response"] == "kept all the same"

        def is_open():
            return "embedder-circuit-open" in ask(client, f"tell me of {word} {time.monotonic()}").headers["cache-status"]

        poll(is_open, "the breaker to open")
        poll(lambda: metric(client, "semantic_cache_embedder_calls_total", status=told) > 0, f"{told} is counted")
        endpoint.mode = "ok"
        endpoint.release.set()
        wait_for_semantic(client, f"quickly tell me about {word}")


def test_refused_connection_at_start_and_later(spawn, word, key):
    daemon = spawn(config=config_of(f"http://127.0.0.1:{free_port()}"))
    with make_http(daemon, key) as client:
        first = ask(client, f"please tell me about {word}")
        assert ask(client, f"please tell me about {word}").json() == first.json()
        assert status_of(ask(client, f"tell me about {word}")) == "MISS"
        assert metric(client, "semantic_cache_embedder_calls_total", status="unreachable") > 0
        assert client.get("/health/detailed").json()["components"]["embedder"]["status"] == "unhealthy"


def test_health_is_not_paid_for_each_time_it_is_asked(spawn, endpoint):
    daemon = spawn(config=config_of(endpoint.url))
    with make_http(daemon) as client:
        told = [client.get("/health/detailed").json()["components"]["embedder"] for _ in range(20)]
        assert {component["status"] for component in told} == {"healthy"}
        assert endpoint.texts().count("health") == 1
        endpoint.mode = "garbage"
        assert client.get("/health/detailed").json()["components"]["embedder"]["status"] == "healthy"
        assert endpoint.texts().count("health") == 1


def test_start_without_endpoint_and_dimension_is_exact_only(spawn, word, key):
    daemon = spawn(config=config_of(f"http://127.0.0.1:{free_port()}", dimensions=0))
    assert "semantic.http.dimensions" in daemon.log_text()
    with make_http(daemon, key) as client:
        first = ask(client, word)
        assert ask(client, word).json() == first.json()


def test_text_the_endpoint_refuses_costs_only_itself(spawn, endpoint, word, key):
    endpoint.mode = "picky"
    daemon = spawn(config=config_of(endpoint.url))
    with make_http(daemon, key) as client:
        entries = [{"query": f"what is {word}{i}", "response": str(i)} for i in range(4)]
        entries.insert(2, {"query": f"poison {word}", "response": "x"})
        assert client.put("/api/v1/entries", json={"entries": entries}).status_code in (200, 201, 207)
        for i in range(4):
            assert lookup(client, f"what exactly is {word}{i}")["hit"] is True, i


def test_stop_does_not_wait_for_a_hung_endpoint(spawn, endpoint, word, key):
    daemon = spawn(config=config_of(endpoint.url, timeout="2s"))
    endpoint.mode = "hung"
    with make_http(daemon, key) as client:
        assert ask(client, word).status_code == 200
    daemon.stop()


def test_incomplete_settings_are_told(tmp_path):
    path = tmp_path / "deja.yaml"
    path.write_text("semantic:\n  embedder: http\n")
    done = run_cli("config", "check", "--config", path)
    assert done.returncode == 78
    assert "semantic.http.url" in done.stdout + done.stderr
    assert "semantic.http.model" in done.stdout + done.stderr


def test_litellm_is_an_endpoint(spawn, litellm, word, key):
    daemon = spawn(config=config_of(litellm, model="mock-embedding", key=MOCK_KEY, dimensions=0, timeout="30s"))
    with make_http(daemon, key) as client:
        assert client.get("/api/v1/stats").json()["embedder"]["dimension"] == 3
        put(client, f"what is {word}", "kept")
        assert lookup(client, f"what exactly is {word}")["hit"] is True
