"""Every call of the API as data: what is sent, and how the answer is read.

A method here returns what `self._call(request, read)` returns: the value itself for `Deja`, something
to await for `AsyncDeja`. So both have one text.
"""
import base64
import json as json_of
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import quote

from . import errors, streams
from .message import MISSING, Request


@dataclass(frozen=True)
class Lookup:
    """The answer of a look-up; falsy: a miss, and `reason` says why."""
    hit: bool
    kind: Optional[str]
    response: Any
    similarity: float
    id: Optional[str]
    tier: Optional[str]
    age_s: Optional[float]
    reason: Optional[str]
    raw: dict

    def __bool__(self):
        return self.hit

    @classmethod
    def of(cls, raw):
        if raw.get("error"):
            problem = raw["error"]
            raise errors.of_response(problem.get("status", 400), {}, problem)
        return cls(hit=raw["hit"], kind=raw.get("kind"), response=raw.get("response"),
                   similarity=raw.get("similarity") or 0.0, id=raw.get("id"), tier=raw.get("tier"),
                   age_s=raw.get("age_s"), reason=raw.get("reason"), raw=raw)


@dataclass(frozen=True)
class Value:
    """A plain key's value, and what is known of it. ttl_s None: it is kept for ever. as_of: for `set` of what
    is computed from here on."""
    value: Any
    ttl_s: Optional[float]
    etag: Optional[str]
    tier: Optional[str]
    as_of: Optional[str] = None


def _given(**members):
    return {name: value for name, value in members.items() if value is not None}


def encode(value):
    """Media type and bytes: bytes as they are, text as text, everything else as JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "application/octet-stream", bytes(value)
    if isinstance(value, str):
        return "text/plain; charset=utf-8", value.encode()
    return "application/json", json_of.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode(media_type, content):
    kind = (media_type or "").split(";")[0].strip().lower()
    if kind == "application/json":
        return json_of.loads(content)
    return content.decode() if kind == "text/plain" else content


def _read_json(response):
    return response.json


def _read_lookup(response):
    return Lookup.of(response.json)


def _read_lookups(response):
    return [Lookup.of(raw) for raw in response.json["results"]]


def _read_value(response):
    if response.status == 404:
        return None
    ttl = response.headers.get("x-deja-ttl")
    return Value(value=decode(response.headers.get("content-type"), response.content),
                 ttl_s=float(ttl) if ttl and float(ttl) > 0 else None,
                 etag=response.headers.get("etag"), tier=response.headers.get("x-cache-tier"), as_of=response.headers.get("x-deja-as-of"))


def _read_or_as_of(response):
    """(Value or None, as_of)"""
    return _read_value(response), response.headers.get("x-deja-as-of")


def _is_kept(response):
    return response.status < 300 and (response.json or {}).get("stored", True)


class Calls:
    """Entries found by meaning, and everything around them. `call` reaches whatever has no method."""

    def call(self, method, path, *, json=MISSING, **params):
        """Any route of /openapi.json: its JSON answer."""
        return self._call(Request(method, path, params=_given(**params), json=json), _read_json)

    # ---- answers, found by their words or their meaning ----

    def lookup(self, query=None, *, embedding=None, embedder=None, threshold=None, namespace=None, max_age=None,
               filter=None, limit=None, kind=None):
        body = _given(query=query, embedding=embedding, embedder=embedder, threshold=threshold, namespace=namespace,
                      max_age=max_age, filter=filter, limit=limit, kind=kind)
        return self._call(Request("POST", "/api/v1/lookup", json=body), _read_lookup)

    def lookup_many(self, queries):
        """Texts, or objects as `lookup` takes them; up to 100. A list of Lookup, in order."""
        body = {"queries": [{"query": query} if isinstance(query, str) else query for query in queries]}
        return self._call(Request("POST", "/api/v1/lookup", json=body), _read_lookups)

    def put(self, query, response, *, ttl=None, tags=None, namespace=None, metadata=None, model=None, provider=None,
            type=None, kind=None, version=None, depends_on=None, confidence=None, cost=None, tokens=None,
            embedding=None, embedder=None, as_of=None):
        """as_of: of the miss that it was computed for (`lookup(…).raw["as_of"]`): it is not kept if something
        made it void since."""
        body = {"query": query, "response": response,
                **_given(ttl=ttl, tags=tags, namespace=namespace, metadata=metadata, model=model, provider=provider,
                         type=type, kind=kind, version=version, depends_on=depends_on, confidence=confidence,
                         cost=cost, tokens=tokens, embedding=embedding, embedder=embedder, as_of=as_of)}
        return self._call(Request("PUT", "/api/v1/entries", json=body), _read_json)

    def put_many(self, entries):
        """Objects as `put` makes them; up to 100. The list of what became of each, in order."""
        return self._call(Request("PUT", "/api/v1/entries", json={"entries": list(entries)}),
                          lambda response: response.json["results"])

    def get_entry(self, id):
        """The whole entry, or None."""
        return self._call(Request("GET", f"/api/v1/entries/{quote(id, safe='')}", may_miss=True),
                          lambda response: response.json if response.status == 200 else None)

    def delete(self, query, *, namespace=None, reason=None):
        """The entry of exactly this question goes. True: it was there."""
        return self._call(Request("DELETE", "/api/v1/entries",
                                  params=_given(query=query, namespace=namespace or self.namespace, reason=reason)),
                          lambda response: response.json["removed"] > 0)

    def delete_entry(self, id, *, reason=None):
        """True: it was there."""
        return self._call(Request("DELETE", f"/api/v1/entries/{quote(id, safe='')}", params=_given(reason=reason),
                                  may_miss=True),
                          lambda response: response.status == 200)

    def invalidate(self, *, key=None, query=None, tag=None, namespace=None, older_than=None, filter=None, all=None,
                   pattern=None, event=None, cascade=None, at=None, after=None, cron=None, reason=None, dry_run=None):
        """What is no longer true goes; the server's answer says how much that was."""
        body = _given(key=key, query=query, tag=tag, namespace=namespace, older_than=older_than, filter=filter,
                      all=all, pattern=pattern, event=event, cascade=cascade, at=at, after=after, cron=cron,
                      reason=reason, dry_run=dry_run)
        return self._call(Request("POST", "/api/v1/invalidate", json=body), _read_json)

    def schedules(self):
        """Invalidations that were put off with at, after or cron, soonest first."""
        return self._call(Request("GET", "/api/v1/schedules"), lambda response: response.json["schedules"])

    def schedule(self, id):
        """One of them, or None."""
        return self._call(Request("GET", f"/api/v1/schedules/{quote(id, safe='')}", may_miss=True),
                          lambda response: response.json if response.status == 200 else None)

    def cancel_schedule(self, id):
        """True: it was there."""
        return self._call(Request("DELETE", f"/api/v1/schedules/{quote(id, safe='')}", may_miss=True),
                          lambda response: response.status < 300)

    def kinds(self):
        """What kinds of plain keys there are, how long each lives where, and what they have saved."""
        return self._call(Request("GET", "/api/v1/kinds"), lambda response: response.json["kinds"])

    def patterns(self, *, namespace=None):
        """How many plain keys there are of each form, how large they are, how often they are found."""
        return self._call(Request("GET", "/api/v1/patterns", params=_given(namespace=namespace or self.namespace)),
                          _read_json)

    def warm(self, **order):
        """Answers are made before they are asked for; order: as POST /api/v1/warm has it (requests,
        sources, budget, dry_run). What was begun, or would be."""
        return self._call(Request("POST", "/api/v1/warm", json=order), _read_json)

    def warm_status(self):
        return self._call(Request("GET", "/api/v1/warm"), _read_json)

    def cancel_warm(self):
        return self._call(Request("DELETE", "/api/v1/warm"), _read_json)

    def learn_history(self, accesses):
        """Past accesses, so that habits need not be learned anew: [{"request": …, "at": [ms since 1970, …]}]."""
        return self._call(Request("POST", "/api/v1/warm/history", json={"accesses": list(accesses)}), _read_json)

    # ---- room, indexes ----

    def evict(self, bytes=None, *, tenant=None, all=None):
        """So many bytes of room in each tier that evicts, without it a tenth of what it has: what is worth
        least goes. Of this tenant; tenant="…" and all=True need the admin token (token=)."""
        return self._call(Request("POST", "/api/v1/evict", json=_given(bytes=bytes, tenant=tenant, all=all),
                                  headers=self._admin(tenant or all)), _read_json)

    def index_stats(self, *, all=None):
        """What the vector indexes hold, and how far their optimisation is."""
        return self._call(Request("GET", "/api/v1/index", params=_given(all=_flag(all)), headers=self._admin(all)),
                          _read_json)

    def index_optimise(self, *, all=None):
        """The indexes are made anew behind; `index_stats()["optimise"]` says how far that is."""
        return self._call(Request("POST", "/api/v1/index", json={"action": "optimise", **_given(all=all)},
                                  headers=self._admin(all)), _read_json)

    # ---- iterators ----

    def export(self, *, vectors=False, timeout=60):
        """Every entry of the tenant, whole, as an object; what a later import takes as lines of JSON."""
        return self._pages(streams.Export(vectors, timeout))

    def tail(self, *, last=10, follow=True, wait=20):
        """Requests of the tenant as they are answered: the last ones, then, unless follow is False, each new
        one, without end. {"lost": n}: so many at most were not kept long enough to be told here."""
        return self._pages(streams.Tail(last, follow, wait, None))

    def follow_invalidations(self, *, after=None, wait=None):
        """What is made void, as it is: {"event": "invalidation", "id", "data"}, after a "following" that says
        since when. "lost": whoever holds copies should drop them all. Ends when the daemon does, or after `wait` seconds; after=id goes on."""
        return self._events(Request("GET", "/api/v1/invalidations",
                                    params=_given(after=after, wait=None if wait is None else streams.duration(wait))))

    def _admin(self, is_wanted):
        return {"x-deja-token": self.token} if is_wanted and self.token else {}

    # ---- what is known ----

    def feedback(self, entry, verdict):
        """verdict: "right", or "wrong", which withdraws the entry."""
        return self._call(Request("POST", "/api/v1/feedback", json={"entry": entry, "verdict": verdict}), _read_json)

    def report_false_hit(self, entry):
        """The answer with this X-Cache-Id was wrong."""
        return self.feedback(entry, "wrong")

    def explain(self, query, *, namespace=None, threshold=None):
        """Would it be a hit, and why (not)."""
        known = _given(query=query, namespace=namespace or self.namespace, threshold=threshold)
        return self._call(Request("GET", "/api/v1/explain", params=known), _read_json)

    def explain_request(self, request, *, api=None, headers=None, threshold=None):
        """The same of a request to a model, as the proxy would see it; api: "chat", "messages", …"""
        body = {"request": request, **_given(api=api, headers=headers, threshold=threshold)}
        return self._call(Request("POST", "/api/v1/explain", json=body), _read_json)

    def stats(self, period=None):
        """period: "24h": what was saved and spent in it, by kind."""
        return self._call(Request("GET", "/api/v1/stats", params=_given(period=period)), _read_json)

    def top(self, limit=None, *, order=None):
        """The entries served most; order: "idle" or "score": who would go first."""
        return self._call(Request("GET", "/api/v1/top", params=_given(k=limit, order=order)), _read_json)

    def limits(self):
        return self._call(Request("GET", "/api/v1/limits"), _read_json)

    def ping(self):
        """True: a daemon answers. Never raises."""
        return self._call(Request("GET", "/livez"), lambda response: True, otherwise=False)


class KeyValue:
    """Plain keys: values under names, without any meaning. Bytes come back as bytes, text as text, and
    everything else went as JSON."""

    def __init__(self, client):
        self._call = client._call

    @staticmethod
    def _path(key):
        key = key if isinstance(key, (str, bytes)) else str(key)
        if not key.strip(b"." if isinstance(key, bytes) else "."):
            raise errors.DejaInvalid("a key has 1 to 4,096 bytes, this one is empty" if not key else
                              "a key of only dots cannot be in a path: use kv.batch", type="invalid_request")
        return "/api/v1/kv/" + quote(key, safe="")

    def _read_at(self, key, version, namespace, read):
        return self._call(Request("GET", self._path(key), params=_given(version=version), headers=_spaced(namespace),
                                  may_miss=True), read)

    def fetch(self, key, *, version=None, namespace=None):
        """A Value, or None: tells a missing key from one that holds None. version: that one of the last two."""
        return self._read_at(key, version, namespace, _read_value)

    def get(self, key, default=None, *, version=None, namespace=None):
        def read(response):
            found = _read_value(response)
            return default if found is None else found.value
        return self._read_at(key, version, namespace, read)

    def fetch_or_as_of(self, key, *, namespace=None):
        """(Value or None, as_of): hand as_of to the `set` of what is computed from here on."""
        return self._read_at(key, None, namespace, _read_or_as_of)

    def set(self, key, value, *, ttl=None, tags=None, depends_on=None, namespace=None, if_absent=False, if_match=None,
            kind=None, version=None, as_of=None):
        """True: it is kept; False: the condition did not hold, or it was made void since as_of. ttl: seconds,
        0: for ever, None: as the server has it (1 h, or what the key's kind says). version: a name of this value;
        the one before is kept beside it."""
        media_type, content = encode(value)
        headers = {"content-type": media_type, **_spaced(namespace),
                   **({} if ttl is None else {"x-deja-ttl": _number(ttl)}),
                   **({"x-deja-tags": ",".join(tags)} if tags else {}),
                   **({"x-deja-depends-on": ",".join(depends_on)} if depends_on else {}),
                   **({"x-deja-kind": kind} if kind else {}),
                   **({"if-none-match": "*"} if if_absent else {}),
                   **({"if-match": if_match} if if_match else {}),
                   **({"x-deja-version": version} if version is not None else {}),
                   **({"x-deja-as-of": str(as_of)} if as_of else {})}
        return self._call(Request("PUT", self._path(key), headers=headers, content=content,
                                  may_miss=bool(if_absent or if_match)), _is_kept)

    def merge(self, key, changes, *, namespace=None):
        """A JSON object is changed in place (RFC 7396); what is left of its life stays. False: no such key."""
        return self._call(Request("PATCH", self._path(key),
                                  headers={"content-type": "application/merge-patch+json", **_spaced(namespace)},
                                  content=json_of.dumps(changes).encode(), may_miss=True),
                          lambda response: response.status < 300)

    def expire(self, key, ttl, *, namespace=None):
        """Another life, from now: seconds, 0: for ever. False: no such key."""
        return self._call(Request("PATCH", self._path(key), headers={"x-deja-ttl": _number(ttl), **_spaced(namespace)},
                                  may_miss=True), lambda response: response.status < 300)

    def ttl(self, key, *, namespace=None):
        """Seconds left, 0: for ever, None: no such key."""
        return self._one({"op": "ttl", **_keyed(key)}, namespace,
                         lambda item: (item["ttl"] or 0) if item["found"] else None)

    def incr(self, key, by=1, *, ttl=None, tags=None, namespace=None):
        """Adds to a counter, which begins at 0, and returns what it is then; ttl and tags are those of a new one."""
        return self._one({"op": "incr", **_keyed(key), "by": by, **_given(ttl=ttl, tags=_listed(tags))}, namespace,
                         lambda item: item["value"])

    def get_many(self, keys, *, namespace=None):
        """{key: value} of those that are there, of up to 1,000."""
        keys = list(keys)
        return self._all([{"op": "get", **_keyed(key)} for key in keys], namespace,
                         lambda items: {key: _unpack(item) for key, item in zip(keys, items) if item["found"]})

    def set_many(self, values, *, ttl=None, tags=None, depends_on=None, namespace=None):
        """Up to 1,000 values of {key: value}; how many are kept. Raises the error of the first that cannot be."""
        more = _given(ttl=ttl, tags=_listed(tags), depends_on=_listed(depends_on))
        return self._all([{"op": "set", **_keyed(key), **_pack(value), **more} for key, value in values.items()],
                         namespace, lambda items: sum(item["stored"] for item in items))

    def _one(self, operation, namespace, read):
        return self._all([operation], namespace, lambda items: read(items[0]))

    def _all(self, operations, namespace, read):
        """As batch, and what could not be done is raised."""
        def read_items(response):
            items = response.json["results"]
            for error in (item["error"] for item in items if "error" in item):
                raise errors.of_response(error.get("status") or 400, {}, error)
            return read(items)
        return self._call(Request("POST", "/api/v1/kv:batch", json={"operations": operations},
                                  headers=_spaced(namespace)), read_items)

    def delete(self, key, *, namespace=None, if_match=None, reason=None):
        """True: it was there, and as if_match (an etag) wants it. reason: why, for the records."""
        headers = {**_spaced(namespace), **({"if-match": if_match} if if_match else {})}
        return self._call(Request("DELETE", self._path(key), params=_given(reason=reason), headers=headers,
                                  may_miss=True),
                          lambda response: response.status < 300 and response.json["removed"] > 0)

    def exists(self, key, *, namespace=None):
        return self._call(Request("HEAD", self._path(key), headers=_spaced(namespace), may_miss=True),
                          lambda response: response.status == 200)

    def keys(self, pattern="*", *, cursor=None, limit=None, namespace=None):
        """One page: {"keys": [{"key", …}], "cursor": to go on with, or None}."""
        return self._call(Request("GET", "/api/v1/kv", params=_given(pattern=pattern, cursor=cursor, limit=limit),
                                  headers=_spaced(namespace)), _read_json)

    def delete_matching(self, pattern, *, dry_run=None, namespace=None, reason=None):
        return self._call(Request("DELETE", "/api/v1/kv",
                                  params=_given(pattern=pattern, dry_run=_flag(dry_run), reason=reason),
                                  headers=_spaced(namespace)), _read_json)

    def clear(self, *, dry_run=None, namespace=None, reason=None):
        """Every key of the namespace."""
        return self._call(Request("DELETE", "/api/v1/kv",
                                  params={"all": "true", **_given(dry_run=_flag(dry_run), reason=reason)},
                                  headers=_spaced(namespace)), _read_json)

    def batch(self, operations, *, namespace=None):
        """Operations as the API has them: [{"op": "get", "key": …}, …], also "merge", and "version" of a get or set;
        the results, in order, {"error": …} where one could not be done."""
        return self._call(Request("POST", "/api/v1/kv:batch", json={"operations": list(operations)},
                                  headers=_spaced(namespace)), lambda response: response.json["results"])

    def name(self, kind=None, **parts):
        """A key in the form of its kind: {"key", "kind", "hash", "ttl_s", "tags"}. parts: id, fields, part,
        namespace, version, pattern; and what is hashed: text, operation, question, options, sql and args."""
        return self._call(Request("POST", "/api/v1/kv:key", json=_given(kind=kind, **parts)), _read_json)

    def lock(self, key, *, lease=None, token=None, namespace=None):
        """{"locked": True, "token", …}, or {"locked": False}: somebody else has it. It ends by itself after
        `lease` seconds; with the token it is held anew."""
        return self._call(Request("POST", "/api/v1/kv:lock", json={"key": key, **_given(lease=lease, token=token)},
                                  headers=_spaced(namespace)), _read_json)

    def unlock(self, key, token, *, namespace=None):
        """True: it was held with that token."""
        return self._call(Request("POST", "/api/v1/kv:unlock", json={"key": key, "token": token},
                                  headers=_spaced(namespace)), lambda response: response.json["unlocked"])

    def stats(self, *, namespace=None):
        return self._call(Request("GET", "/api/v1/kv:stats", headers=_spaced(namespace)), _read_json)


def _keyed(key):
    """A key as an operation of a batch names it."""
    if isinstance(key, bytes):
        return {"key_base64": base64.b64encode(key).decode()}
    return {"key": str(key)}


def _pack(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"value_base64": base64.b64encode(bytes(value)).decode()}
    return {"value": value}


def _unpack(item):
    return base64.b64decode(item["value_base64"]) if "value_base64" in item else item["value"]


def _listed(names):
    return list(names) if names else None


def _spaced(namespace):
    return {"x-deja-namespace": namespace} if namespace else {}


def _flag(value):
    return None if value is None else "true" if value else "false"


def _number(value):
    return str(int(value)) if float(value) == int(value) else repr(float(value))
