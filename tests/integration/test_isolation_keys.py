"""Nothing of one tenant, namespace or user is in an answer to another: plain keys over HTTP and RESP,
and what is told of all that a tenant has: exports, notices, schedules, warming, kinds.

As test_isolation.py, whose variables hold here too: everybody has put the same keys, and each answer
is searched for the marks of the others. A name with its owner's mark in it shows who lists names.
"""
import json
import re
import uuid

import pytest
from conftest import check_sanitizer
from crowd import Crowd, Line, request_of
from daemon import poll
from resp import RespDaemon
from test_isolation import AT_ONCE, OPEN, THINGS, USERS, Drive, asked, chat_of, finish, marking  # noqa: F401
from valkey import Client, encode

KV, BATCH = "/api/v1/kv", "/api/v1/kv:batch"
# So that kinds are met, too: of one name of them each other key is.
KINDS = {"session_user": "session:user:", "template_score": "template:score:"}
NAMES = [(*KINDS.values(), "", "")[number % 4] + thing for number, thing in enumerate(THINGS)]
CHANNEL = "cache:invalidate"
# db1 is what a client of Redis calls SELECT 1.
SPACES = ("", "db1")
OF_OWNER = len(NAMES) + 1


@pytest.fixture
def one(marking, tmp_path):  # noqa: F811
    """A daemon of its own, on which everybody has put every name, one with his mark and nothing else."""
    # That it keeps account of what was asked, for warming, but no run comes by itself.
    env = {"DEJA_WARMUP__SOURCES": "top", "DEJA_WARMUP__SCHEDULE": "0 0 29 2 *"}
    daemon = RespDaemon(tmp_path / "deja", upstream=marking.url, args=OPEN, env=env).start()
    crowd = Crowd(uuid.uuid4().hex[:6], USERS, credentials=3, name_spaces=SPACES)
    drive = Drive(crowd, daemon.port)
    drive.store(put_of(crowd))
    for owner in crowd.owners:
        status, raw, _ = drive.ask(put_request(owner, f"own:{crowd.make_mark(owner)}", b"x"))
        assert status == 201, raw
    yield daemon, crowd, drive
    finish(crowd)
    drive.line.close()
    daemon.stop()
    check_sanitizer(daemon)


def path_of(name):
    return f"{KV}/{name.replace(':', '%3A')}"


def put_request(owner, name, value, headers=()):
    lines = [f"PUT {path_of(name)} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(value)}"]
    lines += [f"{header}: {text}" for header, text in [*owner.headers, *headers]]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + value


def put_of(crowd):
    return lambda owner, number: put_request(owner, NAMES[number], crowd.make_mark(owner).encode())


def get_of(target="{path}", **headers):
    return lambda owner, number: request_of("GET", target.format(path=path_of(NAMES[number]), space=owner.name_space),
                                            owner, headers=headers.items())


def batch_of(*names):
    """Every operation that tells something, on that key and on all of names."""
    return lambda owner, number: request_of("POST", BATCH, owner, {"operations": [
        {"op": op, "key": name} for name in (NAMES[number], *names) for op in ("get", "exists", "ttl")]})


def whole_tenant(crowd):
    return [owner for owner in crowd.everybody if not owner.user]


def owners_of_key(crowd, key):
    return [owner for owner in crowd.owners if owner.key == key]


# ---- HTTP ----

def test_plain_keys(one):
    _, crowd, drive = one
    drive.path("kv, get", get_of(), statuses=(200, 404))
    drive.path("kv, batch", batch_of(*NAMES))
    drive.path("kv, list", get_of(f"{KV}?limit=100"))
    drive.path("kv, list by pattern", get_of(f"{KV}?pattern=own:*"))
    told_to_all = {"of_tenant": True, "statuses": (200, 403), "own": 0}
    drive.path("kv, patterns", get_of("/api/v1/patterns?namespace={space}"), **told_to_all)
    drive.path("kv, stats", get_of("/api/v1/kv:stats"), **told_to_all)
    check_cursors(drive)
    check_figures(drive)
    drive.path("kv, lock and get", lambda owner, number: request_of(
        "POST", "/api/v1/kv:lock", owner, {"key": NAMES[number], "get": True, "lease": "1h"}))
    check_removals(drive)


def check_cursors(drive):
    """Where another's walk stands tells nothing of what he has."""
    crowd = drive.crowd
    cursors = [drive.told(request_of("GET", f"{KV}?limit=1", owner))["cursor"] for owner in crowd.owners]
    drive.path("kv, another's cursor", lambda owner, _: request_of(
        "GET", f"{KV}?limit=100&cursor={drive.choose.choice(cursors)}", owner), own=0)


def check_figures(drive):
    crowd = drive.crowd
    for owner in crowd.everybody:
        listed = drive.told(request_of("GET", f"{KV}?limit=1000", owner))["keys"]
        assert len(listed) == (0 if owner.is_outsider else OF_OWNER), listed
        kinds = {kind["name"]: kind for kind in drive.told(request_of("GET", "/api/v1/kinds", owner))["kinds"]}
        own = len(owners_of_key(crowd, owner.key))
        for name, pattern in KINDS.items():
            assert kinds[name]["puts"] == own * sum(key.startswith(pattern) for key in NAMES), (owner, kinds[name])
            assert owner.is_outsider == (kinds[name]["hits"]["total"] == 0), (owner, kinds[name])
    for owner in whole_tenant(crowd):
        stats = drive.told(request_of("GET", "/api/v1/kv:stats", owner))
        own = len(owners_of_key(crowd, owner.key)) * OF_OWNER
        assert stats["keys"] == (0 if owner.is_outsider else OF_OWNER), stats
        assert (stats["puts"], stats["memory"]["entries"]) == (own, own), stats
        patterns = drive.told(request_of("GET", f"/api/v1/patterns?namespace={owner.name_space}", owner))
        assert patterns["keys"] == own // len(SPACES), patterns
    drive.path("kinds", get_of("/api/v1/kinds"), own=0)


def check_removals(drive):
    """Who is not its owner changes nothing, with the very version of what he means."""
    crowd = drive.crowd
    versions = {owner: [item["version"] for item in drive.told(request_of("GET", f"{KV}?limit=1000", owner))["keys"]]
                for owner in crowd.owners}

    def change(owner, number):
        tag = ("If-Match", f'"{drive.choose.choice(versions[drive.choose.choice(crowd.owners)])}"')
        if owner.is_outsider and number % 2:
            return request_of("DELETE", f"{KV}?all=true" if number % 4 == 1 else f"{KV}?pattern=*", owner)
        method = ("PATCH", "DELETE")[number % 2]
        return request_of(method, path_of(NAMES[number]), owner, {} if method == "PATCH" else None, [tag])
    strangers = [owner for owner in crowd.everybody if owner.is_outsider]
    drive.path("kv, changes of others", change, own=0, statuses=(200, 404, 412), owners=strangers)
    locks = {owner: drive.told(request_of("POST", "/api/v1/kv:lock", owner, {"key": "lock", "lease": "1h"}))
             for owner in crowd.owners}
    assert all(lock["locked"] for lock in locks.values()), "everybody has a lock of that name"
    for owner in strangers:
        for lock in locks.values():
            drive.ask(request_of("POST", "/api/v1/kv:unlock", owner, {"key": "lock", "token": lock["token"]}))
    for owner, lock in locks.items():
        held = drive.told(request_of("POST", "/api/v1/kv:lock", owner, {"key": "lock", "lease": "1h"}))
        assert not held["locked"] and lock["token"] not in json.dumps(held), held
    drive.path("kv, after changes of others", get_of(), statuses=(200, 404))
    victim = crowd.owners[0]
    assert drive.told(request_of("DELETE", f"{KV}?all=true", victim))["removed"] == OF_OWNER
    left = [owner for owner in crowd.everybody if owner is not victim]
    drive.path("kv, after all of one was removed", get_of(), statuses=(200, 404), owners=left)


# ---- RESP ----

class Redis(Client):
    """An owner's connection; many() sends commands one behind the other."""

    def __init__(self, port, owner):
        super().__init__(port)
        self("AUTH", f"user:{owner.user}" if owner.user else "default", owner.key)
        if owner.name_space:
            self("SELECT", owner.name_space.removeprefix("db"))

    def many(self, commands):
        self.socket.sendall(b"".join(encode(*command) for command in commands))
        return [self.read() for _ in commands]


def flat(reply):
    if isinstance(reply, list):
        return b" ".join(map(flat, reply))
    return reply if isinstance(reply, bytes) else repr(reply).encode()


class RedisDrive:
    """Asks as often on one path, and judges each reply."""

    def __init__(self, drive, port):
        self.crowd, self.choose, self.count = drive.crowd, drive.choose, drive.count
        self.clients = {owner: Redis(port, owner) for owner in self.crowd.everybody}

    def path(self, name, make, own=0.9, begin=(), end=()):
        """begin, end: commands around those that are made at once."""
        sent, got_own, of_owners = 0, 0, 0
        while sent < self.count:
            owner = self.choose.choice(self.crowd.everybody)
            made = [make(self.choose.randrange(len(NAMES))) for _ in range(AT_ONCE)]
            for reply in self.clients[owner].many([*begin, *made, *end]):
                has_own = self.crowd.judge(name, owner, flat(reply))
                of_owners += not owner.is_outsider
                got_own += has_own and not owner.is_outsider
            sent += AT_ONCE
        assert not self.crowd.leaks, self.crowd.leaks[:3]
        assert got_own >= own * of_owners, (name, got_own, of_owners)

    def same(self, name, command, wanted):
        """wanted(owner): the one reply."""
        for number in range(max(1, self.count // len(self.clients) // AT_ONCE)):
            for owner, client in self.clients.items():
                for reply in client.many([command(number % len(NAMES))] * AT_ONCE):
                    self.crowd.judge(name, owner, flat(reply))
                    assert reply == wanted(owner), (name, owner, reply)

    def close(self):
        for client in self.clients.values():
            client.close()


def test_plain_keys_of_clients_of_redis(one):
    daemon, crowd, drive = one
    redis = RedisDrive(drive, daemon.resp_port)
    redis.path("resp, get", lambda number: ("GET", NAMES[number]))
    redis.path("resp, mget", lambda number: ("MGET", *NAMES, NAMES[number]))
    redis.path("resp, getrange", lambda number: ("GETRANGE", NAMES[number], 0, 99))
    redis.path("resp, keys", lambda number: ("KEYS", ("*", "own:*")[number % 2]))
    redis.path("resp, scan", lambda _: ("SCAN", 0, "MATCH", "own:*", "COUNT", 1000))
    redis.path("resp, randomkey", lambda _: ("RANDOMKEY",), own=0)
    # One reply in eighteen, that of EXEC, has all the values.
    redis.path("resp, transaction", lambda number: ("GET", NAMES[number]), own=0.05, begin=[("MULTI",)], end=[("EXEC",)])
    redis.same("resp, dbsize", lambda _: ("DBSIZE",), lambda owner: 0 if owner.is_outsider else OF_OWNER)
    redis.same("resp, exists", lambda number: ("EXISTS", NAMES[number]), lambda owner: int(not owner.is_outsider))
    redis.same("resp, ttl of nothing", lambda _: ("TTL", "nothing"), lambda _: -2)
    for owner in (owner for owner in crowd.everybody if owner.is_outsider):
        for command in (("DEL", *NAMES), ("GETDEL", NAMES[0]), ("GETSET", NAMES[0], "x"), ("APPEND", NAMES[1], "x"),
                        ("EXPIRE", NAMES[2], 1), ("PERSIST", NAMES[2]), ("FLUSHDB",), ("FLUSHALL",)):
            crowd.judge("resp, changes of others", owner, flat(redis.clients[owner](*command)))
    redis.path("resp, after changes of others", lambda number: ("GET", NAMES[number]))
    redis.close()


def read_told(client, mark):
    """All that a subscriber was told, up to that mark."""
    told = []
    while not told or mark not in told[-1]:
        told.append(flat(client.read()))
    return told


def test_messages_of_a_channel(one):
    daemon, crowd, drive = one
    subscribers = {owner: Redis(daemon.resp_port, owner) for owner in whole_tenant(crowd)}
    publishers = {owner: Redis(daemon.resp_port, owner) for owner in crowd.everybody}
    for owner, client in subscribers.items():
        assert client("SUBSCRIBE", CHANNEL)[0] == b"subscribe", owner
    for owner in (owner for owner in crowd.everybody if owner.user):
        with pytest.raises(RuntimeError):
            publishers[owner]("SUBSCRIBE", CHANNEL)
    heard = 0
    while heard < drive.count:
        for owner in (owner for owner in crowd.everybody if owner not in subscribers):
            publishers[owner]("PUBLISH", CHANNEL, json.dumps({"tag": crowd.make_mark(owner)}))
        last = {}
        for owner in subscribers:
            last[owner.key] = crowd.make_mark(owner)
            publishers[owner]("PUBLISH", CHANNEL, json.dumps({"tag": last[owner.key]}))
        for owner, client in subscribers.items():
            for told in read_told(client, last[owner.key].encode()):
                assert crowd.judge("resp, publish", owner, told, of_tenant=True), told
                heard += 1
    assert not crowd.leaks, crowd.leaks[:3]
    for client in (*subscribers.values(), *publishers.values()):
        client.close()


# ---- what is told of the whole tenant ----

def test_exports_schedules_and_warming(one):
    daemon, crowd, drive = one
    drive.store(chat_of(asked))
    told_to_all = {"of_tenant": True, "statuses": (200, 403), "own": 0.2}
    drive.path("export", lambda owner, number: request_of(
        "GET", f"/api/v1/export?vectors={'true' if number % 2 else 'false'}", owner), **told_to_all)
    check_cursors_of_exports(drive)
    for owner in (owner for owner in whole_tenant(crowd) if not owner.is_outsider):
        for _ in THINGS:
            drive.told(request_of("POST", "/api/v1/invalidate", owner, {
                "tag": crowd.make_mark(owner), "reason": crowd.make_mark(owner), "after": "1d"}))
    drive.path("schedules", get_of("/api/v1/schedules"), **told_to_all)
    check_schedules(drive)
    check_dry_runs(daemon, drive)
    drive.path("warm, state", get_of("/api/v1/warm"), own=0, of_tenant=True, statuses=(200, 403))
    check_warmed(drive)


def exported(drive, owner, cursors=None):
    """All of it, piece by piece."""
    cursor, entries = "", []
    while cursor is not None:
        target = f"/api/v1/export?cursor={cursor}" if cursor else "/api/v1/export"
        _, raw, body = drive.ask(request_of("GET", target, owner))
        drive.crowd.judge("export, all pieces", owner, raw, of_tenant=True)
        entries += [json.loads(line) for line in body.splitlines()]
        found = re.search(rb"\r\nx-deja-cursor: ([^\r]+)", raw[: -len(body) or None], re.IGNORECASE)
        cursor = found[1].decode() if found else None
        if found and cursors is not None:
            cursors.append(cursor)
    return entries


def check_cursors_of_exports(drive):
    cursors = []
    for owner in whole_tenant(drive.crowd):
        own = sum(one.key == owner.key for one in drive.crowd.owners) * (OF_OWNER + len(THINGS))
        assert len(exported(drive, owner, cursors)) == own, owner
    drive.path("export, another's cursor", lambda owner, _: request_of(
        "GET", f"/api/v1/export?cursor={drive.choose.choice(cursors)}", owner), of_tenant=True, own=0,
        statuses=(200, 403))


def check_schedules(drive):
    crowd = drive.crowd
    ids = {owner: [one["id"] for one in drive.told(request_of("GET", "/api/v1/schedules", owner))["schedules"]]
           for owner in whole_tenant(crowd)}
    every = [(owner, one) for owner, some in ids.items() for one in some]
    assert len(every) == len(SPACES) * sum(not owner.is_outsider for owner in whole_tenant(crowd)) * len(THINGS)

    def another(owner, number):
        whose, schedule = drive.choose.choice(every)
        while whose.key == owner.key:
            whose, schedule = drive.choose.choice(every)
        return request_of(("GET", "DELETE")[number % 2], f"/api/v1/schedules/{schedule}", owner)
    drive.path("schedules of others", another, own=0, statuses=(403, 404))
    assert {owner: len(some) for owner, some in ids.items()} == {
        owner: len(drive.told(request_of("GET", "/api/v1/schedules", owner))["schedules"]) for owner in ids}


def check_dry_runs(daemon, drive):
    """They tell ids, which an export tells the owners of."""
    crowd = drive.crowd
    for owner in (owner for owner in whole_tenant(crowd) if not owner.is_outsider):
        for entry in exported(drive, owner):
            mark = (entry.get("query") or "").removeprefix("own:").encode()
            if mark in crowd.of_mark:
                crowd.of_id[entry["id"].encode()] = crowd.of_mark[mark]
    assert len(crowd.of_id) == len(crowd.owners)
    drive.line.close()
    daemon.restart()  # then nothing is in memory, and all of it would be warmed
    drive.line = Line(daemon.port)
    order = {"sources": ["top", "expiring"], "keys": ["own:*"], "limit": 100, "dry_run": True}
    drive.path("warm, dry run", lambda owner, _: request_of("POST", "/api/v1/warm", owner, order),
               own=0, of_tenant=True, statuses=(200, 403))
    for owner in whole_tenant(crowd):
        items = drive.told(request_of("POST", "/api/v1/warm", owner, order))["items"]
        assert {item["id"].encode() for item in items} == {
            one for one, whose in crowd.of_id.items() if whose.key == owner.key}, owner


def check_warmed(drive):
    """Everybody has the same prompts warmed, with his own credential of the upstream."""
    crowd = drive.crowd
    owners = [owner for owner in whole_tenant(crowd) if not owner.name_space]
    warmed = [owner for owner in owners if not owner.is_outsider]
    prompts = [f"warmed: {asked(number)}" for number in range(len(THINGS))]
    for owner in warmed:
        drive.told(request_of("POST", "/api/v1/warm", owner, {"requests": prompts, "model": "m"}))

    def are_done():
        runs = [drive.told(request_of("GET", "/api/v1/warm", owner))["run"] for owner in warmed]
        return all(run["status"] == "done" for run in runs) and runs
    assert [run["warmed"] for run in poll(are_done, "the runs to end")] == [len(THINGS)] * len(warmed)
    drive.path("warmed answers", chat_of(lambda number: prompts[number], [("Cache-Control", "only-if-cached")]),
               statuses=(200, 504), owners=owners)


def test_notices(one):
    """Streams of all tenants side by side, while everybody makes something void."""
    daemon, crowd, drive = one
    readers = {owner: Line(daemon.port) for owner in whole_tenant(crowd)}
    for owner, line in readers.items():
        line.send(request_of("GET", "/api/v1/invalidations", owner))
        read_stream(line, b"event: following")
    drive.path("invalidations, of a user", get_of("/api/v1/invalidations?wait=1ms"), own=0, statuses=(403,),
               owners=[owner for owner in crowd.everybody if owner.user])
    heard = 0
    while heard < drive.count:
        last = {}
        for owner in [owner for owner in crowd.everybody if owner.user] + list(readers):
            mark = last[owner.key] = crowd.make_mark(owner)
            drive.told(request_of("POST", "/api/v1/invalidate", owner, {"tag": mark, "reason": mark}))
        for owner, line in readers.items():
            for told in read_stream(line, last[owner.key].encode()):
                if told.startswith(b"data: {"):
                    assert crowd.judge("invalidations", owner, told, of_tenant=True) or b'"kind"' not in told, told
                    heard += 1
    assert not crowd.leaks, crowd.leaks[:3]
    for line in readers.values():
        line.close()


def read_stream(line, mark):
    """The lines that come, up to the one with that mark."""
    told = []
    while not told or mark not in told[-1]:
        told.append(line.file.readline())
        assert told[-1], "the stream ended"
    return told
