"""An upstream named through the API, and a webhook, lead nowhere but where anybody may go, or where the operator said."""
import http.server
import json
import socket
import threading

import pytest
from conftest import ask, make_http
from daemon import Daemon, free_port, poll

URLS = [
    "http://example.com", "ftp://example.com", "https://127.0.0.1", "https://127.1", "https://2130706433",
    "https://0x7f000001", "https://0177.0.0.1", "https://[::1]", "https://[::ffff:127.0.0.1]", "https://localhost",
    "https://169.254.169.254/latest", "https://[64:ff9b::7f00:1]", "https://user@example.com",
    "https://example.com@127.0.0.1", "https://example.com%2f", "https://example.com.", "https://10.0.0.1",
    "https://metadata.google.internal", "https://example.com?x", "https://example.com#x", "https://example.com\\@a.b",
]


def token_of(daemon):
    return next(line.split()[-1] for line in daemon.log_text().splitlines() if "admin      token" in line)


class Admin:
    def __init__(self, daemon):
        self.client = make_http(daemon)
        self.client.headers["X-Deja-Token"] = token_of(daemon)

    def add(self, name, url):
        return self.client.post("/api/v1/tenants", json={"name": name, "config": {"upstream": {"url": url}}})

    def link(self, tenant, credential):
        answer = self.client.post(f"/api/v1/tenants/{tenant}/links", json={"credential": credential})
        assert answer.status_code < 300, answer.text


class Target:
    """A machine of the inner network: answers, or sends elsewhere."""

    def __init__(self, location=None):
        self.asked = []
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                target.asked.append(self.path)
                body = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "inner"},
                     "finish_reason": "stop"}]}).encode()
                self.send_response(307 if location else 200)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()


@pytest.fixture
def target():
    made = Target()
    yield made
    made.close()


@pytest.mark.parametrize("url", URLS)
def test_what_leads_inside_is_refused_when_it_is_named(daemon, word, url):
    answer = Admin(daemon).add(f"t{word}", url)
    assert answer.status_code in (400, 422), answer.text
    assert "upstream.url" in answer.text


def test_a_public_upstream_is_taken(spawn, word):
    assert Admin(spawn()).add(f"t{word}", "https://api.example.com/v1").status_code == 201


def test_a_name_that_leads_inside_is_not_called(spawn, word, tmp_path):
    """The name passes; what it resolves to does not. localtest.me and its like lead to 127.0.0.1 where there
    is a resolver; where there is none nothing is called either."""
    daemon = spawn()
    admin = Admin(daemon)
    with socket.socket() as inner:
        inner.bind(("127.0.0.1", 0))
        inner.listen()
        inner.settimeout(0.1)
        made = admin.add(f"t{word}", f"https://localtest.me:{inner.getsockname()[1]}")
        assert made.status_code == 201, made.text
        admin.link(made.json()["id"], f"sk-{word}")
        with make_http(daemon, f"sk-{word}") as client:
            assert ask(client, word).status_code == 502
        with pytest.raises(TimeoutError):
            inner.accept()


def test_an_exception_is_called_and_has_its_own_misses(spawn, word, target, upstream):
    daemon = spawn(env={"DEJA_UPSTREAM__ALLOWED_ADDRESSES": f"127.0.0.1:{target.port}"})
    admin = Admin(daemon)
    assert admin.add(f"x{word}", f"http://127.0.0.1:{free_port()}").status_code in (400, 422)
    made = admin.add(f"t{word}", f"http://127.0.0.1:{target.port}/v1/")
    assert made.status_code == 201, made.text
    admin.link(made.json()["id"], f"sk-{word}")
    with make_http(daemon, f"sk-{word}") as client, make_http(daemon, f"sk-other-{word}") as other:
        answer = ask(client, word)
        assert answer.json()["choices"][0]["message"]["content"] == "inner"
        assert target.asked == ["/v1/chat/completions"]
        assert ask(client, word).headers["x-cache-hit"] == "true"
        assert client.post("/v1/completions", json={"model": "m", "prompt": word}).status_code == 200
        assert target.asked[-1] == "/v1/completions"
        # Whoever has no upstream of his own goes where the operator said.
        if other.post("/v1/chat/completions", json={"model": "plain", "messages": [
                {"role": "user", "content": word}]}).status_code == 200:
            assert len(target.asked) == 2


def test_redirects_are_answers_and_not_followed(spawn, word, target):
    first = Target(location=f"http://127.0.0.1:{target.port}/v1/chat/completions")
    try:
        daemon = spawn(env={"DEJA_UPSTREAM__ALLOWED_ADDRESSES": f"127.0.0.1:{first.port}"})
        admin = Admin(daemon)
        made = admin.add(f"t{word}", f"http://127.0.0.1:{first.port}")
        assert made.status_code == 201, made.text
        admin.link(made.json()["id"], f"sk-{word}")
        with make_http(daemon, f"sk-{word}") as client:
            assert ask(client, word).status_code == 307
        assert first.asked and not target.asked
    finally:
        first.close()


# -- webhooks --

WEBHOOK_LITERALS = [
    "http://127.0.0.1/", "https://127.0.0.1/", "https://10.0.0.1:8443/a?b", "https://192.168.0.1", "https://172.16.0.1",
    "https://169.254.169.254/latest", "https://[::1]/", "https://[fe80::1]", "https://[fd00::1]",
    "https://[::ffff:127.0.0.1]", "https://[64:ff9b::7f00:1]", "https://100.64.0.1", "https://0.0.0.0", "http://8.8.8.8/",
]
# What only whoever resolves or reads them finds to be this machine: {} is its port.
WEBHOOK_NAMES = [
    "http://localhost:{}/", "https://localhost:{}/", "https://127.1:{}/", "https://2130706433:{}/",
    "https://0x7f000001:{}/", "https://0177.0.0.1:{}/", "https://LOCALHOST:{}/", "https://%6cocalhost:{}/",
]


def webhooks(urls, allowed=""):
    return {"DEJA_WEBHOOKS__URLS": ",".join(urls), "DEJA_WEBHOOKS__SECRET": "s", "DEJA_WEBHOOKS__ATTEMPTS": "1",
            "DEJA_WEBHOOKS__ALLOWED_ADDRESSES": allowed}


def deliver(daemon, word, result, count):
    """Something is made void; until so many webhooks were told of it, or were not."""
    line = f'semantic_cache_webhooks_total{{result="{result}"}} {count}'
    with make_http(daemon, f"sk-{word}") as client:
        assert client.post("/api/v1/invalidate", json={"tag": word}).status_code < 300
        poll(lambda: line in client.get("/metrics").text, line)


@pytest.mark.parametrize("url", WEBHOOK_LITERALS)
def test_webhook_to_an_address_inside_is_refused_at_start(tmp_path, url):
    daemon = Daemon(tmp_path / "deja", env=webhooks([url])).start(wait=False)
    assert daemon.wait() == 78
    assert "webhooks.allowed_addresses" in daemon.log_text() and url in daemon.log_text()


def test_webhook_whose_name_leads_inside_is_not_called(spawn, word):
    with socket.socket() as inner:
        inner.bind(("127.0.0.1", 0))
        inner.listen()
        inner.setblocking(False)
        urls = [url.format(inner.getsockname()[1]) for url in WEBHOOK_NAMES]
        daemon = spawn(env=webhooks(urls))
        deliver(daemon, word, "dropped", len(urls))
        with pytest.raises(BlockingIOError):
            inner.accept()
        assert "which the operator has not allowed" in daemon.log_text()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_allowed_webhook_is_called(spawn, word, target, host):
    deliver(spawn(env=webhooks([f"http://{host}:{target.port}/hook"], "127.0.0.1,::1")), word, "delivered", 1)
    assert target.asked == ["/hook"]


def test_webhook_on_another_port_than_the_allowed_is_not_called(spawn, word, target):
    deliver(spawn(env=webhooks([f"http://localhost:{target.port}/"], "127.0.0.1:1")), word, "dropped", 1)
    assert not target.asked


def test_redirect_of_a_webhook_is_not_followed(spawn, word, target):
    """Neither to where it might be called itself."""
    first = Target(location=f"http://127.0.0.1:{target.port}/inner")
    try:
        deliver(spawn(env=webhooks([f"http://127.0.0.1:{first.port}/"], "127.0.0.1")), word, "dropped", 1)
        assert first.asked == ["/"] and not target.asked
    finally:
        first.close()


def test_no_proxy_of_the_environment_is_used(spawn, word, target, upstream):
    proxy = f"http://127.0.0.1:{target.port}"
    daemon = spawn(env={name: proxy for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")})
    with make_http(daemon, f"sk-{word}") as client:
        assert ask(client, word).status_code == 200
    assert not target.asked


@pytest.mark.parametrize("value", ["localhost", "10.0.0.0/33", "127.0.0.1:0", "*"])
def test_exceptions_that_cannot_be_read_are_told(tmp_path, value):
    daemon = Daemon(tmp_path / "deja", env={"DEJA_UPSTREAM__ALLOWED_ADDRESSES": value}).start(wait=False)
    assert daemon.wait() == 78
    assert "upstream.allowed_addresses expects" in daemon.log_text()
