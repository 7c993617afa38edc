"""The upstream's certificate is verified: unknown is refused, known is served."""
import http.server
import json
import ssl
import subprocess
import threading

import pytest
from conftest import ask, make_http

ANSWER = {"id": "chatcmpl-tls", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "over TLS"}, "finish_reason": "stop"}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def tls_upstream(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-keyout", key, "-out", certificate, "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", certificate
    server.shutdown()


def test_unknown_certificate_is_refused_with_its_reason(spawn, tls_upstream, word):
    url, _ = tls_upstream
    with make_http(spawn(upstream_url=url), f"sk-{word}") as client:
        answer = ask(client, word)
    assert answer.status_code == 502
    assert "certificate" in answer.json()["error"]["message"]


def test_configured_authority_is_trusted_and_the_answer_cached(spawn, tls_upstream, word):
    url, certificate = tls_upstream
    daemon = spawn(upstream_url=url, env={"DEJA_UPSTREAM__CA_FILE": str(certificate)})
    with make_http(daemon, f"sk-{word}") as client:
        assert ask(client, word).json()["choices"][0]["message"]["content"] == "over TLS"
        assert ask(client, word).headers["x-cache-hit"] == "true"
