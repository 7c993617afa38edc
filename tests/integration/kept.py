"""An entry of every form there is, and what each must be again once it was restored: values, lives, versions, tags,
metadata, and that what voids it still does."""
import json

import redis
from conftest import ask, make_http
from daemon import free_port
from test_kinds import invalidate, key_of, path_of, put, table, voiding_event

API = "/api/v1"


def settings():
    """Of the daemon: clients of Redis, and refusals are kept."""
    return {"DEJA_RESP__LISTEN": f"127.0.0.1:{free_port()}", "DEJA_TTL__NEGATIVE": "1d"}


def resp_of(daemon, key):
    return redis.Redis(port=int(daemon.env["DEJA_RESP__LISTEN"].rpartition(":")[2]), password=key)


def lines_of(client):
    """All that an export tells of each entry but how long it still has, which its end says; by its id."""
    found, cursor = {}, ""
    while cursor is not None:
        answer = client.get(f"{API}/export", params={"vectors": "true", **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        for line in map(json.loads, answer.text.splitlines()):
            line.pop("ttl_ms")
            found[line["id"]] = line
        cursor = answer.headers.get("x-deja-cursor")
    return found


class Kept:
    """daemon: with settings(); upstream: the fake one it asks; life: a header for what lives less than the test."""

    def __init__(self, daemon, upstream, key, life=None):
        self.daemon, self.upstream, self.key, self.life = daemon, upstream, key, life or {}
        self.refused = f"plain:refused-{key}"
        self.kinds = {}

    def put(self):
        with make_http(self.daemon, self.key) as http, resp_of(self.daemon, self.key) as resp:
            for name, kind in table(http).items():
                event, headers = voiding_event(kind, name)
                self.kinds[name] = (key_of(http, kind, name), event)
                put(http, self.kinds[name][0], f"value of {name}".encode(), **headers, **self.life)
                if kind["semantic"]:
                    self.semantic(http, name, headers)
            for version in ("v1", "v2"):
                put(http, "page:1", version.encode(), X_Deja_Version=version, X_Deja_TTL="1d")
            put(http, "tagged", b'{"a": 1}', Content_Type="application/json", X_Deja_Tags="red, green", X_Deja_TTL="1d")
            put(http, "made of another", b"x", X_Deja_Depends_On="tagged", X_Deja_TTL="1d")
            put(http, "elsewhere", b"y", X_Deja_Namespace="shop", X_Deja_TTL="1d")
            assert resp.set("for ever", b"\0\xff") and resp.incrby("counter", 7) == 7
            self.upstream.failing[self.refused] = 404
            assert ask(http, "no such thing", self.refused).headers["x-cache-hit"] == "false"

    @staticmethod
    def semantic(http, name, headers):
        answer = http.put(f"{API}/entries", json={
            "query": f"what is meant by {name}", "response": {"of": name}, "kind": name, "ttl": "1d", "model": "m",
            "provider": "p", "metadata": {"template_id": "7", "lang": "en"}, "tags": list(headers.values())})
        assert answer.status_code == 201, answer.text

    def look(self):
        """Everything as it is now; equal before and after, whatever lies between."""
        with make_http(self.daemon, self.key) as http, resp_of(self.daemon, self.key) as resp:
            def value(key, **headers):
                answer = http.get(path_of(key), headers=headers)
                return answer.status_code, answer.content, answer.headers.get("content-type"), answer.headers.get("etag")
            refusal = ask(http, "no such thing", self.refused)
            return {
                **{name: value(key) for name, (key, _) in self.kinds.items()},
                **{key: value(key) for key in ("tagged", "made of another")},
                "versions": [value("page:1"), *(value("page:1", **{"X-Deja-Version": v}) for v in ("v1", "v2"))],
                "namespace": value("elsewhere", **{"X-Deja-Namespace": "shop"}),
                "for ever": [resp.get(key) for key in ("for ever", "counter")],
                "without an end": [resp.ttl(key) for key in ("for ever", "counter")],
                "by meaning": [http.post(f"{API}/lookup", json={"query": f"what is meant by {name}", "kind": name}).json()
                               .get("response") for name in ("template_semantic", "ai_response")],
                "refused": (refusal.status_code, refusal.content, refusal.headers["x-cache-hit"]),
            }, lines_of(http)

    def check_what_voids_them(self):
        """Each of its own event, tag or source; the others stay."""
        with make_http(self.daemon, self.key) as http:
            def is_there(key):
                return http.get(path_of(key)).status_code == 200
            for name, (key, event) in self.kinds.items():
                assert is_there(key), name
                invalidate(http, event)
                assert not is_there(key), name
            assert is_there("made of another") and is_there("tagged")
            http.post(f"{API}/invalidate", json={"cascade": "tagged"}).raise_for_status()
            assert not is_there("made of another") and is_there("tagged")
            http.post(f"{API}/invalidate", json={"tag": "green"}).raise_for_status()
            assert not is_there("tagged") and is_there("page:1")
