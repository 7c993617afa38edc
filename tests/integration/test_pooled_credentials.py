"""Connections to the upstream are shared; the credential on them is always the asking client's."""
import http.server
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from conftest import make_http

# A million in the long run; enough here that every connection serves both.
CALLS = int(os.environ.get("DEJA_POOLED_CALLS", "1500"))
CLIENTS = 8


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the credential it was asked with."""

    protocol_version = "HTTP/1.1"
    connections = set()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.connections.add(self.client_address)
        body = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": self.headers["Authorization"]},
             "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_each_call_carries_its_own_clients_credential(spawn, word):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    daemon = spawn(upstream_url=f"http://127.0.0.1:{server.server_address[1]}",
                   env={"DEJA_UPSTREAM__MAX_CONNECTIONS": "4"})

    def ask_many(number):
        key = f"sk-{word}-{number % 2}"
        wrong = 0
        with make_http(daemon, key) as client:
            for i in range(CALLS // CLIENTS):
                answer = client.post("/v1/chat/completions", json={
                    "model": "m", "messages": [{"role": "user", "content": f"{word} {number} {i}"}]},
                    headers={"X-Deja-Cache": "bypass"} if i % 3 == 0 else {})
                assert answer.status_code == 200, answer.text
                wrong += answer.json()["choices"][0]["message"]["content"] != f"Bearer {key}"
        return wrong

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(ask_many, range(CLIENTS))) == 0
    # It would prove nothing if each credential had connections of its own.
    assert len(Echo.connections) < CLIENTS * 4
    server.shutdown()
