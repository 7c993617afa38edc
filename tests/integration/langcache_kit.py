"""What the tests of LangCache's API share: a client of the wire, and paraphrases."""
import contextlib
import socket

import httpx
from conftest import TIMEOUT_S
from daemon import poll, raw_request

# Closed list of the SDKs: another type makes their error classes fail to parse.
TYPES = {400: "/errors/invalid-data", 401: "/errors/authentication-failed",
         403: "/errors/insufficient-permissions", 404: "/errors/resource-not-found",
         405: "/errors/invalid-data", 413: "/errors/payload-too-large", 415: "/errors/invalid-data",
         421: "/errors/invalid-data", 424: "/errors/resource-unavailable",
         429: "/errors/too-many-requests", 500: "/errors/unexpected-error"}
ASKED = "How do I reset my password?"
REWORDED = "How can I reset my password?"


class Wire:
    """One cache of one tenant, spoken to without an SDK."""

    def __init__(self, daemon, key, cache_id="cache1"):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=f"{daemon.url}/v1/caches/{cache_id}", headers=headers,
                                 timeout=TIMEOUT_S, trust_env=False)

    def set(self, prompt, response="r", **more):
        return self.http.post("/entries", json={"prompt": prompt, "response": response, **more})

    def search(self, prompt, **more):
        return self.http.post("/entries/search", json={"prompt": prompt, **more})

    def find(self, prompt, **more):
        answer = self.search(prompt, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def remove(self, entry):
        return self.http.delete(f"/entries/{entry}")

    def remove_matching(self, **attributes):
        return self.http.request("DELETE", "/entries", json={"attributes": attributes})

    def flush(self):
        return self.http.post("/flush")


def is_error(answer, status):
    """An error as the SDKs parse it; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["type"] == TYPES[status]
    assert body["title"] and body["status"] == status
    for field in body.get("fields", []):
        assert set(field) == {"field", "rule", "message"}
    return body


SMALL = ["--set", "server.max_in_flight_bytes=64kb", "--set", "server.max_body_bytes=64kb"]
LARGE_RESPONSE = "r" * 40_000


@contextlib.contextmanager
def crowded(daemon):
    """Another client's unfinished body takes the bytes that a daemon started with SMALL may hold."""
    whole = raw_request("POST", "/v1/caches/c/entries", [("Content-Type", "application/json")], b"{" * 60_000)
    with socket.create_connection(("127.0.0.1", daemon.port)) as other:
        other.sendall(whole[:-10])
        poll(lambda: Wire(daemon, "sk-probe").set("p", LARGE_RESPONSE).status_code == 429, "the crowd")
        yield
