"""Nothing of one tenant, namespace or user is in an answer to another, on any path over the network.

Everybody stores the same questions and asks the same; every answer, head and body, is searched for the
marks of the others (support/crowd.py). Plain keys and what is told of all a tenant has:
test_isolation_keys.py. DEJA_ISOLATION_CHECKS says how many answers each path is asked
for, DEJA_ISOLATION_REPORT where the table goes, DEJA_ISOLATION_SEED what is drawn.
"""
import json
import os
import random
import uuid

import pytest
from conftest import check_sanitizer, make_http
from crowd import Crowd, Line, MarkingUpstream, mark_of_vector, request_of
from daemon import Daemon, poll
from postgres import Postgres
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from valkey import Server

CHECKS = int(os.environ.get("DEJA_ISOLATION_CHECKS", "200"))
SEED = int(os.environ.get("DEJA_ISOLATION_SEED", "1"))
REPORT = os.environ.get("DEJA_ISOLATION_REPORT")
AT_ONCE = 16  # requests under way on a connection
THINGS = ["password", "mailbox", "router", "calendar", "keyboard", "printer", "voucher", "playlist"]
USERS = ("", "u1", "u2")
CHAT, ENTRIES, LOOKUP = "/v1/chat/completions", "/api/v1/entries", "/api/v1/lookup"
SEMANTIC = ["--set", "semantic.api_threshold=0.8", "--set", "semantic.threshold=0.8"]
OPEN = ["--set", "server.max_connections_per_address=1000"]


def asked(number):
    return f"How do I reset my {THINGS[number]}?"


def reworded(number):
    return f"How can I reset my {THINGS[number]}?"


def chat(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


class Drive:
    """Asks CHECKS times on one path and judges each answer."""

    def __init__(self, crowd, port, count=CHECKS):
        self.crowd = crowd
        self.count = count
        self.choose = random.Random(SEED)
        self.line = Line(port)

    def path(self, name, make, own=0.9, statuses=(200,), owners=None, read=None, of_tenant=False):
        """make(owner, number of the question): a request. own: how much of what the owners ask must
        bring something of theirs, so that the path is walked at all. read: marks out of a body.
        of_tenant: namespaces of one tenant are no boundary there, and users are refused."""
        sent, got_own, of_owners = 0, 0, 0
        owners = owners or self.crowd.everybody
        while sent < self.count:
            batch = [(self.choose.choice(owners), self.choose.randrange(len(THINGS))) for _ in range(AT_ONCE)]
            self.line.send(b"".join(make(*one) for one in batch))
            for owner, _ in batch:
                status, raw, body = self.line.read()
                assert status in statuses, (name, raw[:1000])
                assert not of_tenant or (status == 403) == bool(owner.user), (name, owner, raw[:1000])
                has_own = self.crowd.judge(name, owner, raw + (read(body) if read else b""), of_tenant)
                of_owners += not owner.is_outsider
                got_own += has_own and not owner.is_outsider
            sent += AT_ONCE
        assert not self.crowd.leaks, self.crowd.leaks[:3]
        assert got_own >= own * of_owners, (name, got_own, of_owners)

    def store(self, make, owners=None, status=(200, 201)):
        """make(owner, number): one request for each owner and question."""
        for owner in owners or self.crowd.owners:
            for number in range(len(THINGS)):
                got, raw, _ = self.ask(make(owner, number))
                assert got in status, raw[:1000]
                self.crowd.judge("store", owner, raw)

    def ask(self, request):
        self.line.send(request)
        return self.line.read()

    def told(self, request):
        """The document that it is answered with."""
        status, raw, body = self.ask(request)
        assert status in (200, 201, 202), raw[:1000]
        return json.loads(body)


def put_of(crowd, text=asked):
    def make(owner, number):
        body = {"query": text(number), "response": crowd.make_mark(owner), "namespace": owner.name_space,
                "tags": ["everybody's"], "metadata": {"thing": THINGS[number]}}
        return request_of("PUT", ENTRIES, owner, body)
    return make


def lookup_of(text, **more):
    def make(owner, number):
        return request_of("POST", LOOKUP, owner, {"query": text(number), "namespace": owner.name_space, **more})
    return make


def chat_of(text, headers=(), **more):
    return lambda owner, number: request_of("POST", CHAT, owner, chat(text(number), **more), headers)


# The other bodies that ask a model, of a question.
FAMILIES = {
    "messages": ("/v1/messages", lambda text: {**chat(text), "max_tokens": 9}),
    "responses": ("/v1/responses", lambda text: {"model": "m", "input": text, "store": False}),
    "completions": ("/v1/completions", lambda text: {"model": "m", "prompt": text}),
}


def family_of(family, text, headers=(), **more):
    target, body = FAMILIES[family]
    return lambda owner, number: request_of("POST", target, owner, {**body(text(number)), **more}, headers)


def finish(crowd):
    for row in crowd.table():
        print(row)
    if REPORT:
        with open(REPORT, "a", encoding="utf-8") as report:
            report.write("\n".join(crowd.table()) + "\n")
    assert not crowd.leaks


@pytest.fixture(scope="module")
def marking():
    server = MarkingUpstream().start()
    yield server
    server.stop()


@pytest.fixture
def one(marking, models, tmp_path):
    """A daemon of its own with everybody's answers, the crowd, and a drive."""
    daemon = Daemon(tmp_path / "deja", marking.url, models=models, args=[*SEMANTIC, *OPEN]).start()
    crowd = Crowd(uuid.uuid4().hex[:6], USERS, credentials=3)
    yield daemon, crowd, Drive(crowd, daemon.port)
    finish(crowd)
    daemon.stop()
    check_sanitizer(daemon)


def test_proxied_answers(one, models):
    daemon, crowd, drive = one
    drive.store(chat_of(asked))
    drive.path("exact", chat_of(asked))
    drive.path("normalised", chat_of(lambda number: "  " + asked(number).replace(" ", "  ")))
    drive.path("exact, streamed", chat_of(asked, stream=True))
    only = [("Cache-Control", "only-if-cached")]
    drive.path("only-if-cached", chat_of(asked, only), statuses=(200, 504))
    if models is not None:
        wait_for_meaning(drive, chat_of(reworded, only))
        drive.path("meaning", chat_of(reworded, only), statuses=(200, 504), own=0.5)
        drive.path("meaning, streamed", chat_of(reworded, only, stream=True), statuses=(200, 504), own=0.5)
    drive.path("embeddings", lambda owner, number: request_of(
        "POST", "/v1/embeddings", owner, {"model": "m", "input": asked(number)}), read=mark_of_vector)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_other_families(one, models, family):
    _, _, drive = one
    drive.store(family_of(family, asked))
    drive.path(f"{family}, exact", family_of(family, asked))
    drive.path(f"{family}, streamed", family_of(family, asked, stream=True))
    only = [("Cache-Control", "only-if-cached")]
    drive.path(f"{family}, only-if-cached", family_of(family, asked, only), statuses=(200, 504))
    if models is not None:
        wait_for_meaning(drive, family_of(family, reworded, only))
        drive.path(f"{family}, meaning", family_of(family, reworded, only), statuses=(200, 504), own=0.5)


def wait_for_meaning(drive, make):
    """The vectors of answers are made after they were given."""
    def check():
        for owner in drive.crowd.owners:
            for number in range(len(THINGS)):
                drive.line.send(make(owner, number))
                status, raw, _ = drive.line.read()
                if not drive.crowd.judge("waiting", owner, raw):
                    return False
        return True
    poll(check, "everybody's vectors", every=0.2)


def test_cache_api(one, models):
    daemon, crowd, drive = one
    drive.store(put_of(crowd))
    drive.path("look-up, exact", lookup_of(asked))
    if models is not None:
        wait_for_meaning(drive, lookup_of(reworded))
        drive.path("look-up, meaning", lookup_of(reworded))
        drive.path("look-up, any similarity", lookup_of(reworded, threshold=0.0, limit=100, responses=True))
    drive.path("batch", lambda owner, number: request_of("POST", LOOKUP, owner, {"queries": [
        {"query": text, "namespace": owner.name_space, "limit": 20, "responses": True}
        for text in (asked(number), reworded(number))]}))
    drive.path("look-up, filtered", lookup_of(asked, filter={"$tag": "everybody's"}, limit=100, responses=True))
    ids = {owner: [entry_id(drive, owner, number) for number in range(len(THINGS))] for owner in crowd.owners}
    every_id = [(owner, one) for owner, some in ids.items() for one in some]

    def somebodys(owner, _):
        whose, entry = drive.choose.choice(every_id)
        # A namespace is no boundary for who has the tenant's key and knows the id, nor is a user for
        # who asks as none.
        if whose.key == owner.key and owner.user in ("", whose.user):
            whose, entry = owner, drive.choose.choice(ids.get(owner) or [entry])
        return request_of("GET", f"{ENTRIES}/{entry}", owner)
    drive.path("by id", somebodys, own=0.05, statuses=(200, 404))
    # From here on no answer repeats the id of another out of a question.
    crowd.of_id = {one.encode(): owner for owner, one in every_id}
    drive.path("explain", lambda owner, number: request_of("POST", "/api/v1/explain", owner, {
        "query": asked(number), "namespace": owner.name_space, "threshold": 0.1}), own=0)
    drive.path("explain, all scopes", lambda owner, number: request_of("POST", "/api/v1/explain", owner, {
        "query": reworded(number)}), own=0)
    figures(drive)
    removals(drive, every_id)


def entry_id(drive, owner, number):
    drive.line.send(lookup_of(asked)(owner, number))
    return json.loads(drive.line.read()[2])["id"]


def figures(drive):
    """Nothing that tells how much there is tells of others."""
    crowd = drive.crowd
    drive.path("top", lambda owner, _: request_of("GET", "/api/v1/top?k=100", owner), own=0)
    for order in ("idle", "score"):
        drive.path(f"top, {order}", lambda owner, _, order=order: request_of(
            "GET", f"/api/v1/top?k=100&order={order}", owner), own=0)
    # A user is told what is his, and the whole tenant's doings not at all.
    drive.path("tail", lambda owner, _: request_of("GET", "/api/v1/tail?last=50", owner), own=0, statuses=(200, 403))
    per_key = len(THINGS) * len(crowd.owners) // len({owner.key for owner in crowd.owners})
    for owner in crowd.everybody:
        drive.line.send(request_of("GET", "/api/v1/stats", owner))
        stats = json.loads(drive.line.read()[2])
        assert stats["levels"]["memory"]["entries"] == (0 if owner.is_outsider else per_key), stats
        drive.line.send(request_of("GET", "/api/v1/top?k=100", owner))
        assert len(json.loads(drive.line.read()[2])["entries"]) <= (0 if owner.is_outsider else per_key)
    drive.path("stats", lambda owner, _: request_of("GET", "/api/v1/stats", owner), own=0)
    drive.path("metrics", lambda owner, _: request_of("GET", "/metrics", owner), own=0)
    drive.path("health", lambda owner, _: request_of("GET", "/health/detailed", owner), own=0, statuses=(200, 207))
    drive.line.send(request_of("GET", "/metrics", crowd.owners[0]))
    text = drive.line.read()[1].decode()
    for owner in crowd.everybody:
        assert owner.key not in text and not any(mark.decode() in text for mark in owner.marks)


def removals(drive, every_id):
    """Who is not its owner removes nothing, by id, tag, filter or altogether."""
    crowd = drive.crowd
    outsider = crowd.outsiders[0]
    for whose, entry in every_id:
        others = [outsider] + [owner for owner in crowd.owners if owner.key == whose.key and
                               owner.name_space == whose.name_space and owner.user not in ("", whose.user)]
        for other in others:
            drive.line.send(request_of("DELETE", f"{ENTRIES}/{entry}", other))
            assert drive.line.read()[0] == 404, (whose, other)
            drive.line.send(request_of("POST", "/api/v1/feedback", other, {"entry": entry, "verdict": "wrong"}))
            assert drive.line.read()[0] == 404, (whose, other)
    for selector in ({"tag": "everybody's"}, {"namespace": "n1"}, {"filter": {"thing": THINGS[0]}}, {"all": True},
                     {"query": asked(0)}):
        drive.line.send(request_of("POST", "/api/v1/invalidate", outsider, selector))
        status, _, body = drive.line.read()
        assert (status, json.loads(body)["removed"]) == (200, 0), body
    drive.path("after removals of others", lookup_of(asked))
    user = next(owner for owner in crowd.owners if owner.user)
    drive.line.send(request_of("POST", "/api/v1/invalidate", user, {"all": True}))
    assert drive.line.read()[0] == 200
    left = [owner for owner in crowd.owners if (owner.key, owner.user) != (user.key, user.user)]
    drive.path("after all of a user was removed", lookup_of(asked), owners=left)
    victim = crowd.owners[0]
    drive.line.send(request_of("POST", "/api/v1/invalidate", victim, {"all": True}))
    assert drive.line.read()[0] == 200
    left = [owner for owner in crowd.owners if owner.key != victim.key]
    drive.path("after all of one was removed", lookup_of(asked), owners=left)


def test_other_surfaces(one):
    """LangCache's, GPTCache's and LiteLLM's routes are doors to the same entries."""
    daemon, crowd, drive = one

    def langcache_put(owner, number):
        return request_of("POST", f"/v1/caches/c{owner.name_space}/entries", owner,
                          {"prompt": asked(number), "response": crowd.make_mark(owner)})

    def langcache_search(text, **more):
        return lambda owner, number: request_of("POST", f"/v1/caches/c{owner.name_space}/entries/search", owner,
                                                {"prompt": text(number), **more})

    drive.store(langcache_put)
    drive.path("langcache, exact", langcache_search(asked, searchStrategies=["exact"]))
    drive.path("langcache, both", langcache_search(reworded, similarityThreshold=0.1, maxResults=100), own=0.2)
    follow_up = "And how long does that take?"
    for owner in crowd.owners:
        for number in range(len(THINGS)):
            drive.told(request_of("POST", f"/v1/caches/c{owner.name_space}/entries", owner, {
                "prompt": f"{asked(number)}\n{follow_up}", "response": crowd.make_mark(owner)}))
    drive.path("langcache, conversation", lambda owner, number: request_of(
        "POST", f"/v1/caches/c{owner.name_space}/conversations/search", owner,
        {"prompt": follow_up, "context": [asked(number)]}))
    plain = [owner for owner in crowd.everybody if not owner.name_space]
    for owner in plain:
        for number in range(len(THINGS)) if not owner.is_outsider else ():
            drive.line.send(request_of("POST", "/gptcache/put", owner,
                                       {"prompt": asked(number), "answer": crowd.make_mark(owner)}))
            assert drive.line.read()[0] == 200
    drive.path("gptcache", lambda owner, number: request_of("POST", "/gptcache/get", owner,
                                                            {"prompt": asked(number)}), owners=plain)
    for target in ("/cache/ping", "/cache/redis/info"):
        drive.path(f"litellm, {target}", lambda owner, _, target=target: request_of("GET", target, owner), own=0,
                   statuses=(200, 404, 503))


def test_running_calls_are_shared_within_a_tenant_only(marking, tmp_path):
    """Everybody asks the same at the same moment, on two connections each: one call upstream for each
    owner, and both get its answer."""
    upstream = MarkingUpstream(delay_s=0.01).start()
    daemon = Daemon(tmp_path / "deja", upstream.url, args=OPEN).start()
    crowd = Crowd(uuid.uuid4().hex[:6], USERS, credentials=3)
    lines = [(owner, Line(daemon.port)) for owner in crowd.owners for _ in range(2)]
    rounds = max(2, CHECKS // len(lines))
    for number in range(rounds):
        before = len(upstream.seen)
        is_stream = number % 2 == 1
        for owner, line in lines:
            line.send(request_of("POST", CHAT, owner, chat(f"round {number}", stream=is_stream)))
        marks = {}
        for owner, line in lines:
            status, raw, _ = line.read()
            assert status == 200, raw
            assert crowd.judge("coalescing", owner, raw), raw
            marks.setdefault(owner, set()).update(mark for mark in owner.marks if mark in raw)
        assert not crowd.leaks, crowd.leaks[:3]
        assert len(upstream.seen) - before == len(crowd.owners)
        assert all(len(found) == 1 for found in marks.values())
    finish(crowd)
    daemon.stop()
    upstream.stop()
    check_sanitizer(daemon)


def test_answers_past_their_end(marking, tmp_path):
    daemon = Daemon(tmp_path / "deja", marking.url, args=OPEN,
                    env={"DEJA_TTL__STALE_WHILE_REVALIDATE": "1h", "DEJA_PROXY__EARLY_REFRESH": "false"}).start()
    crowd = Crowd(uuid.uuid4().hex[:6], USERS, credentials=3)
    drive = Drive(crowd, daemon.port)
    life = [("X-Deja-TTL", "1")]
    drive.store(chat_of(asked, life))

    def is_stale():
        drive.line.send(chat_of(asked, life)(crowd.owners[-1], 0))
        return b"stale-while-revalidate" in drive.line.read()[1]
    poll(is_stale, "a stale answer")
    drive.path("stale", chat_of(asked, life))
    finish(crowd)
    daemon.stop()
    check_sanitizer(daemon)


# ---- tiers that programs share ----

SECRET = "15" * 32


@pytest.fixture(params=["redis", "postgres", "s3"])
def shared(request, tmp_path):
    """Level, and the environment that makes a daemon use the tier."""
    name = f"i{uuid.uuid4().hex[:12]}"
    base = {"DEJA_SECURITY__SECRET": SECRET}
    if request.param == "redis":
        server = Server(tmp_path / "valkey").start()
        yield "redis", {**base, "DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{server.port}"}
        server.stop()
    elif request.param == "postgres":
        server = Postgres().start()
        yield "postgres", {**base, "DEJA_L3__POSTGRES__URL": server.create_database(name),
                           "DEJA_L3__POSTGRES__SEARCH": "true"}
        server.remove()
    else:
        server = S3Server(tmp_path / "s3").start()
        yield "s3", {**base, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                     "DEJA_L3__S3__ENABLED": "true", "DEJA_L3__S3__BUCKET": BUCKET,
                     "DEJA_L3__S3__ENDPOINT": server.url, "DEJA_L3__S3__WRITE": "through"}
        server.stop()


def test_shared_tier(shared, marking, models, tmp_path):
    """One daemon stores; another, which remembers next to nothing itself, is asked."""
    level, env = shared
    writer = Daemon(tmp_path / "writer", marking.url, models=models, env=env, args=[*SEMANTIC, *OPEN]).start()
    crowd = Crowd(uuid.uuid4().hex[:6], USERS, credentials=3)
    Drive(crowd, writer.port).store(put_of(crowd))
    reader = Daemon(tmp_path / "reader", marking.url, models=models, env=env,
                    args=[*SEMANTIC, *OPEN, "--set", "l1.max_size=1"]).start()
    drive = Drive(crowd, reader.port)

    def is_read():
        drive.line.send(lookup_of(asked)(crowd.owners[0], 0))
        return level.encode() in drive.line.read()[2]
    poll(is_read, f"an answer out of {level}")
    drive.path(f"{level}, exact", lookup_of(asked))
    drive.path(f"{level}, batch", lambda owner, _: request_of("POST", LOOKUP, owner, {"queries": [
        {"query": asked(number), "namespace": owner.name_space} for number in range(len(THINGS))]}))
    if level == "postgres" and models is not None:
        wait_for_meaning(drive, lookup_of(reworded))
        drive.path("postgres, meaning", lookup_of(reworded))
        drive.path("postgres, any similarity", lookup_of(reworded, threshold=0.0, limit=100, responses=True))
    dry = lambda owner, _: request_of("POST", "/api/v1/invalidate", owner, {"all": True, "dry_run": True})
    per_key = len(THINGS) * len(crowd.owners) // len({owner.key for owner in crowd.owners})
    for owner in crowd.everybody:
        drive.line.send(dry(owner, 0))
        status, _, body = drive.line.read()
        wanted = 0 if owner.is_outsider else per_key // len(USERS) if owner.user else per_key
        assert (status, json.loads(body)["would_remove"]) == (200, wanted), body
    with make_http(reader, crowd.outsiders[0].key) as client:
        assert client.post("/api/v1/invalidate", json={"all": True}).json()["removed"] == 0
    drive.path(f"{level}, after removals of others", lookup_of(asked))
    finish(crowd)
    for daemon in (writer, reader):
        daemon.stop()
        check_sanitizer(daemon)
