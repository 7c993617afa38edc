"""Every shipped kind, over every level: written, hit on each it is kept on, promoted, ended by its own TTL
on each, voided by its event. The cases are made from the shipped table, so a new row is tested as it is added."""
import re
import uuid
from pathlib import Path

import pytest
from conftest import make_http
from daemon import ROOT, poll
from postgres import Postgres
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from valkey import Server

SECRET = "7c" * 32  # so that every daemon of this file finds what the others wrote
NAMES = re.findall(r'\{\.name = "(\w+)"', (ROOT / "src" / "policy" / "kinds_shipped.c").read_text())
TIERS = {"l1": "memory", "disk": "lmdb", "l2": "redis", "postgres": "postgres", "s3": "s3"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Tiers:
    """Servers that all daemons share."""

    def __init__(self, folder):
        self.valkey = Server(folder / "valkey").start()
        self.postgres = Postgres().start()
        self.postgres.create_database("deja")
        self.s3 = S3Server(folder / "s3").start()

    def config(self, *levels, kinds=""):
        rows = [f"security:\n  secret: {SECRET}\n", "lmdb:\n  enabled: %s\n" % ("disk" in levels and "true" or "false")]
        if "l2" in levels:
            rows.append(f"l2:\n  redis:\n    url: redis://127.0.0.1:{self.valkey.port}\n")
        if "postgres" in levels or "s3" in levels:
            rows.append("l3:\n")
        if "postgres" in levels:
            rows.append(f"  postgres:\n    url: {self.postgres.url()}\n")
        if "s3" in levels:
            rows.append(f"  s3:\n    enabled: true\n    endpoint: {self.s3.url}\n    bucket: {BUCKET}\n")
        return "".join(rows) + (f"kinds:\n{kinds}" if kinds else "")

    def stop(self):
        self.valkey.stop()
        self.postgres.remove()
        self.s3.stop()


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    made = Tiers(tmp_path_factory.mktemp("tiers"))
    yield made
    made.stop()


@pytest.fixture
def serve(spawn, tiers):
    def make(*levels, kinds="", **more):
        return spawn(config=tiers.config(*levels, kinds=kinds), env=ENVIRONMENT, **more)
    return make


@pytest.fixture
def owner():
    return f"sk-kinds-{uuid.uuid4().hex}"


def seconds(text):
    return int(text[:-1]) * UNITS[text[-1]]


def table(http):
    return {kind["name"]: kind for kind in http.get("/api/v1/kinds").json()["kinds"]}


def fields_of(kind, seed):
    """A value for each field of the kind's first pattern."""
    return {name: f"{name}-{seed}" for name in re.findall(r"\{(\w+)\}", kind["patterns"][0])}


def key_of(http, kind, seed):
    made = http.post("/api/v1/kv:key", json={"kind": kind["name"], "fields": fields_of(kind, seed)})
    assert made.status_code == 200, made.text
    assert made.json()["kind"] == kind["name"]
    return made.json()["key"]


def path_of(key):
    return "/api/v1/kv/" + "".join(c if c.isalnum() or c in "-_.~" else "%%%02X" % ord(c) for c in key)


def put(http, key, body=b"value", **headers):
    answer = http.put(path_of(key), content=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status_code == 201, answer.text
    assert not answer.json().get("tiers_missing"), answer.text
    return answer


def tier_of(http, key):
    """Where it was found; None: nowhere."""
    answer = http.get(path_of(key))
    assert answer.status_code in (200, 404), answer.text
    return answer.headers["x-cache-tier"] if answer.status_code == 200 else None


def levels_of(kind, *among):
    return [level for level in among if kind["levels"][level] is not False]


def voiding_event(kind, seed):
    """(the event that voids the entry of fields_of(kind, seed) and what it carries, headers of its put)"""
    fields = fields_of(kind, seed)
    event = {"name": kind["events"][0]}
    for tag in kind["tags"]:
        used = re.findall(r"\{(\w+)\}", tag)
        if used and all(name in fields for name in used):
            return {**event, **{name: fields[name] for name in used}}, {}
    tag = kind["tags"][0]  # nothing in its key says whose it is: who puts it does
    field = re.findall(r"\{(\w+)\}", tag)[0]
    event[field] = f"{field}-{seed}"
    return event, {"X_Deja_Tags": tag.replace("{%s}" % field, event[field])}


def invalidate(http, event):
    answer = http.post("/api/v1/invalidate", json={"event": event, "reason": "a test"})
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- the table ----

def test_the_table_in_force_is_the_shipped_one(serve, owner):
    with make_http(serve("disk"), owner) as http:
        assert list(table(http)) == NAMES
        for kind in table(http).values():
            assert kind["shipped"] and kind["patterns"] and kind["events"] and kind["ttl_s"]


def test_the_lives_are_those_that_are_asked_for(serve, owner):
    with make_http(serve("disk"), owner) as http:
        kinds = table(http)
    for name in ("template_score", "template_match"):
        assert (kinds[name]["levels"]["l1"], kinds[name]["levels"]["l2"]) == (900, 6 * 3600)
    assert kinds["template_semantic"]["semantic"] == {"threshold": 0.8, "limit": 10}
    assert kinds["template_semantic"]["ttl_s"] == 2 * 3600
    for name in ("doc_parse", "doc_analysis", "doc_extraction"):
        assert kinds[name]["ttl_s"] == 86400
    assert kinds["doc_extraction"]["parts"] == ["features", "requirements", "metadata"]
    assert kinds["doc_chunk"]["ttl_s"] == kinds["doc_chunks"]["ttl_s"] == 3600
    assert kinds["ocr_result"]["levels"]["l2"] == 7 * 86400
    assert kinds["ocr_result"]["levels"]["s3"] > 30 * 86400
    for name in ("session_user", "session_ws", "session_rate"):
        assert kinds[name]["ttl_s"] == 1800 and kinds[name]["sliding"]


# ---- written, hit, promoted ----

def test_every_kind_is_hit_on_disk_after_a_restart_and_promoted(serve, owner):
    daemon = serve("disk")
    with make_http(daemon, owner) as http:
        keys = {name: key_of(http, kind, "disk") for name, kind in table(http).items()}
        for key in keys.values():
            put(http, key)
            assert tier_of(http, key) == "memory"
    daemon.restart()
    with make_http(daemon, owner) as http:
        for name, key in keys.items():
            assert tier_of(http, key) == "lmdb", name
            poll(lambda: tier_of(http, key) == "memory", f"{name} to be promoted")
        hits = {name: kind["hits"] for name, kind in table(http).items()}
        assert all(found["lmdb"] == 1 and found["memory"] >= 1 for found in hits.values()), hits


class Noted:
    """What Valkey keeps since it was made: a name for each entry."""

    def __init__(self, valkey):
        self.valkey = valkey
        self.known = self.names()

    def names(self):
        return {name for name in self.valkey.call("KEYS", "*") if b":q:" in bytes(name)}

    def more(self):
        new = self.names() - self.known
        self.known |= new
        return new

    def life_ms(self, names):
        return max(self.valkey.call("PTTL", name) for name in names)

    def drop(self, names):
        for name in names:
            self.valkey.call("DEL", name)


def first_of(kind, *among):
    kept = levels_of(kind, *among)
    return TIERS[kept[0]] if kept else None


def test_every_kind_is_hit_on_each_shared_level_that_keeps_it_and_promoted(serve, tiers, owner):
    every = ("l2", "postgres", "s3")
    names = {}
    writer = serve(*every)
    with make_http(writer, owner) as http:
        kinds = table(http)
        keys = {name: key_of(http, kind, "shared") for name, kind in kinds.items()}
        noted = Noted(tiers.valkey)
        for name, key in keys.items():
            put(http, key)
            names[name] = noted.more()
            bound = kinds[name]["levels"]["l2"] * 1000
            assert names[name] and 0 < noted.life_ms(names[name]) <= bound, name
            assert noted.life_ms(names[name]) > bound - 3600 * 1000 or bound <= 3600 * 1000, name
    writer.stop()
    for gone in range(len(every)):
        reader = serve(*every)
        with make_http(reader, owner) as http:
            for name, key in keys.items():
                wanted = first_of(kinds[name], *every[gone:])
                assert tier_of(http, key) == wanted, (name, every[gone:])
                if wanted:
                    poll(lambda: tier_of(http, key) == "memory", f"{name} to be promoted from {wanted}")
                    assert table(http)[name]["hits"][wanted] == 1
                    poll(lambda: noted.life_ms(names[name]) > 0, f"{name} to be promoted into Valkey")
        reader.stop()
        for own in names.values():
            noted.drop(own)
        if gone:
            tiers.postgres.psql("DELETE FROM cache_metadata")


def test_what_ocr_read_comes_back_from_the_bucket_into_the_shared_level(serve, tiers, owner):
    noted = Noted(tiers.valkey)
    writer = serve("l2", "s3")
    with make_http(writer, owner) as http:
        key = key_of(http, table(http)["ocr_result"], "back")
        put(http, key, b"the text of a page")
    writer.stop()
    names = noted.more()
    noted.drop(names)  # seven days later
    with make_http(serve("l2", "s3"), owner) as http:
        assert tier_of(http, key) == "s3"
        poll(lambda: 0 < noted.life_ms(names) <= 7 * 86400 * 1000, "its promotion")
    with make_http(serve("l2", "s3"), owner) as http:
        assert tier_of(http, key) == "redis"


# ---- ended ----

SHORT = "".join(f"  {name}: {{ttl: 2s, l1: 1s, l2: 2s}}\n" for name in NAMES)


@pytest.mark.parametrize("levels", [("disk",), ("l2",), ("postgres",), ("s3",)], ids=lambda levels: levels[0])
def test_every_kind_ends_by_its_own_ttl(serve, owner, levels):
    daemon = serve(*levels, kinds=SHORT)
    with make_http(daemon, owner) as http:
        kinds = table(http)
        keys = {name: key_of(http, kind, f"end-{levels[0]}") for name, kind in kinds.items()
                if not kind["sliding"]}
        other = f"of-no-kind-{uuid.uuid4().hex}"
        put(http, other)
        for key in keys.values():
            answer = put(http, key)
            assert 1 <= int(answer.headers["x-deja-ttl"]) <= 2
        for name, key in keys.items():
            poll(lambda: tier_of(http, key) is None, f"{name} to end")
        assert tier_of(http, other), "what is of no kind lives on"


def test_a_copy_in_memory_ends_before_the_entry_does(serve, owner):
    daemon = serve("l2", kinds="".join(f"  {name}: {{ttl: 1h, l1: 1s}}\n" for name in NAMES))
    with make_http(daemon, owner) as http:
        keys = {name: key_of(http, kind, "copy") for name, kind in table(http).items()}
        for key in keys.values():
            put(http, key)
        for name, key in keys.items():
            poll(lambda: tier_of(http, key) == "redis", f"the copy of {name} to end")


def test_an_own_ttl_wins_over_that_of_the_kind(serve, owner):
    with make_http(serve("disk"), owner) as http:
        key = key_of(http, table(http)["template_score"], "own")
        assert int(put(http, key, X_Deja_TTL="2d").headers["x-deja-ttl"]) == 2 * 86400
        put(http, key, X_Deja_TTL="1")
        poll(lambda: tier_of(http, key) is None, "its own end")


@pytest.mark.parametrize("name", ["session_user", "session_ws", "session_rate"])
def test_a_session_begins_anew_when_it_is_read(serve, owner, name):
    kinds = f"  {name}: {{ttl: 3s}}\n"
    daemon = serve("l2", kinds=kinds)
    with make_http(daemon, owner) as http, make_http(serve("l2", kinds=kinds), owner) as elsewhere:
        key = key_of(http, table(http)[name], "slide")
        version = put(http, key).headers["etag"]
        answer = poll(lambda: (found := http.get(path_of(key))).status_code == 200
                      and found.headers["etag"] != version and found, "its life to begin anew")
        assert answer.content == b"value"
        assert poll(lambda: table(http)[name]["slides"], "the figures to say so") >= 1
        assert elsewhere.get(path_of(key)).status_code == 200, "on the level others read, too"
        poll(lambda: table(http)[name]["slides"] >= 3 or not tier_of(http, key), "it to live on")
        assert tier_of(http, key)


@pytest.mark.parametrize("levels", [("disk",), ("l2",), ("postgres",), ("s3",)], ids=lambda levels: levels[0])
def test_an_idle_session_ends(serve, owner, levels):
    """A listing reads nothing, so it keeps nothing alive."""
    kinds = "".join(f"  {name}: {{ttl: 5s, l1: 1s, l2: 5s}}\n" for name in NAMES)
    with make_http(serve(*levels, kinds=kinds), owner) as http:
        keys = {key_of(http, kind, f"idle-{levels[0]}") for kind in table(http).values() if kind["sliding"]}
        for key in keys:
            put(http, key)

        def listed():
            answer = http.get("/api/v1/kv", params={"pattern": f"*idle-{levels[0]}*"}).json()
            return {item["key"] if isinstance(item, dict) else item for item in answer["keys"]} & keys

        assert len(keys) == 3 and listed()
        poll(lambda: not listed(), "the sessions to end")
        for key in keys:
            assert http.get(path_of(key)).status_code == 404


# ---- voided ----

@pytest.mark.parametrize("name", NAMES)
def test_a_kind_is_voided_by_its_event_on_every_level(serve_once, name):
    first, second, kinds = serve_once
    kind, run = kinds[name], uuid.uuid4().hex
    key, other = key_of(first, kind, run), key_of(first, kind, f"{run}-other")
    event, headers = voiding_event(kind, run)
    put(first, key, **headers)
    put(first, other)
    assert tier_of(second, key) and tier_of(second, other)
    invalidate(first, event)
    assert tier_of(first, key) is None
    poll(lambda: tier_of(second, key) is None, "the other node to hear of it")
    assert tier_of(first, other), "another of its kind stays"
    invalidate(first, {"name": kind["events"][0]})
    assert tier_of(first, other) is None, "without an id the whole family goes"
    poll(lambda: tier_of(second, other) is None, "the other node to hear of that, too")


@pytest.fixture(scope="module")
def serve_once(tiers, tmp_path_factory, upstream):
    from daemon import Daemon

    made = [Daemon(tmp_path_factory.mktemp("deja"), upstream.url, env=ENVIRONMENT,
                   config=tiers.config("l2", "postgres", "s3")).start() for _ in range(2)]
    key = f"sk-kinds-{uuid.uuid4().hex}"
    with make_http(made[0], key) as first, make_http(made[1], key) as second:
        yield first, second, table(first)
    for daemon in made:
        daemon.stop()


def test_an_event_nobody_knows_is_refused_with_those_there_are(serve, owner):
    with make_http(serve("disk"), owner) as http:
        answer = http.post("/api/v1/invalidate", json={"event": "template:upated"})
        assert answer.status_code == 400 and "template:updated" in answer.text


# ---- parts, partial updates ----

def test_parts_of_an_extraction_are_written_together_and_read_alone_or_together(serve, owner):
    with make_http(serve("disk"), owner) as http:
        kind = table(http)["doc_extraction"]
        keys = [http.post("/api/v1/kv:key", json={"kind": "doc_extraction", "fields": {
            "document_id": "d7", "part": part}}).json()["key"] for part in kind["parts"]]
        assert keys == ["doc:extract:d7:features", "doc:extract:d7:requirements", "doc:extract:d7:metadata"]
        answer = http.post("/api/v1/kv:batch", json={"operations": [
            {"op": "set", "key": key, "value": {"of": key}} for key in keys]})
        assert answer.status_code == 200, answer.text
        assert http.get(path_of(keys[1])).json() == {"of": keys[1]}
        answer = http.post("/api/v1/kv:batch", json={"operations": [{"op": "get", "key": key} for key in keys]})
        assert [found["value"] for found in answer.json()["results"]] == [{"of": key} for key in keys]
        invalidate(http, {"name": "document:processed", "document_id": "d7"})
        assert [tier_of(http, key) for key in keys] == [None] * 3


def test_a_score_is_changed_in_place_and_keeps_what_is_left_of_its_life(serve, owner):
    with make_http(serve("disk"), owner) as http:
        key = key_of(http, table(http)["template_score"], "patch")
        put(http, key, b'{"score": 0.5, "of": {"clarity": 1}}', Content_Type="application/json", X_Deja_TTL="100")
        answer = http.patch(path_of(key), json={"of": {"tone": 2}}, headers={
            "Content-Type": "application/merge-patch+json"})
        assert answer.status_code == 200, answer.text
        found = http.get(path_of(key))
        assert found.json() == {"score": 0.5, "of": {"clarity": 1, "tone": 2}}
        assert 0 < int(found.headers["x-deja-ttl"]) <= 100
        invalidate(http, {"name": "template:updated", "template_id": "template_id-patch"})
        assert tier_of(http, key) is None, "it still carries its tag"


def test_the_last_two_versions_of_a_value_are_kept(serve, owner):
    daemon = serve("disk")
    with make_http(daemon, owner) as http:
        key = key_of(http, table(http)["template_render"], "versions")

        def get(version):
            answer = http.get(path_of(key), params={"version": version} if version else {})
            return answer.text if answer.status_code == 200 else answer.status_code

        for version in ("v1", "v2", "v3"):
            assert http.put(path_of(key), params={"version": version}, content=f"text of {version}").status_code == 201
        assert (get(None), get("v3"), get("v2"), get("v1")) == ("text of v3", "text of v3", "text of v2", 404)
        assert http.put(path_of(key), params={"version": "v3"}, content="v3 again").status_code == 201
        assert (get("v3"), get("v2")) == ("v3 again", "text of v2"), "the same version takes its own place"
    daemon.restart()
    with make_http(daemon, owner) as http:
        assert (get(None), get("v2")) == ("v3 again", "text of v2")
        invalidate(http, {"name": "template:updated", "template_id": "template_id-versions"})
        assert (get(None), get("v3"), get("v2")) == (404, 404, 404)
        assert http.put(path_of(key), params={"version": ""}, content="x").status_code == 400


def test_the_version_before_is_nobodys_key(serve, owner):
    """It is neither listed nor counted nor named; what goes by pattern takes it along."""
    with make_http(serve("disk"), owner) as http:
        for version in ("v1", "v2"):
            assert http.put(path_of("hidden:7"), params={"version": version}, content=version).status_code == 201
        listed = http.get("/api/v1/kv", params={"pattern": "hidden:*"}).json()["keys"]
        assert [item["key"] if isinstance(item, dict) else item for item in listed] == ["hidden:7"]
        assert http.delete("/api/v1/kv", params={"pattern": "hidden:*", "dry_run": "true"}).json()["would_remove"] == 1
        inner = "hidden:7:@previous"
        for refused in (http.get(path_of(inner)), http.put(path_of(inner), content=b"x"), http.delete(path_of(inner))):
            assert refused.status_code == 400 and "?version=" in refused.json()["detail"], refused.text
        batch = http.post("/api/v1/kv:batch", json={"operations": [{"op": "get", "key": inner}]}).json()["results"]
        assert "?version=" in str(batch)
        assert http.delete("/api/v1/kv", params={"pattern": "hidden:*"}).json()["removed"] == 1
        assert http.get(path_of("hidden:7"), params={"version": "v1"}).status_code == 404


def test_versions_of_what_was_deleted_do_not_come_back(serve, owner):
    with make_http(serve("disk"), owner) as http:
        key = key_of(http, table(http)["template_render"], "gone")

        def get(version):
            answer = http.get(path_of(key), params={"version": version} if version else {})
            return answer.text if answer.status_code == 200 else answer.status_code

        def put(version):
            params = {"version": version} if version else {}
            assert http.put(path_of(key), params=params, content=f"text of {version}").status_code == 201
        put("v1"), put("v2")
        assert http.delete(path_of(key)).status_code == 200
        assert (get("v2"), get("v1")) == (404, 404)
        put("v3")
        assert (get("v3"), get("v2"), get("v1")) == ("text of v3", 404, 404)
        put("v4")
        assert (get("v4"), get("v3")) == ("text of v4", "text of v3")
        put(None)
        assert (get(None), get("v4"), get("v3")) == ("text of None", 404, 404), "nor of what a plain put replaced"


# ---- found by meaning ----

def test_templates_are_found_by_meaning_among_their_kind(serve, owner):
    with make_http(serve("disk"), owner) as http:
        text = "quarterly report on the sales of every region"
        for number in range(12):
            answer = http.put("/api/v1/entries", json={
                "query": f"{text} {'of the year ' * (number % 3)}number {number}", "response": {"template": number},
                "kind": "template_semantic", "metadata": {"template_id": str(number)}})
            assert answer.status_code == 201, answer.text
        stored = http.get(f"/api/v1/entries/{answer.json()['id']}").json()
        assert set(stored["tags"]) >= {"kind:template_semantic", "template:11"}
        assert 7200 * 0.85 < stored["ttl_s"] <= 7200
        found = http.post("/api/v1/lookup", json={"query": f"{text} number 5", "kind": "template_semantic"}).json()
        assert found["threshold"] == 0.8 and 1 < len(found["candidates"]) <= 10
        assert all(near["similarity"] >= 0.8 for near in found["candidates"])
        ranks = [near["similarity"] for near in found["candidates"]]
        assert ranks == sorted(ranks, reverse=True)
        assert not http.post("/api/v1/lookup", json={"query": f"{text} number 5", "threshold": 0.5}).json()["hit"], \
            "what is of no kind is apart"
        invalidate(http, {"name": "template:updated", "template_id": "5"})
        again = http.post("/api/v1/lookup", json={"query": f"{text} number 5", "kind": "template_semantic"}).json()
        assert not again["hit"] or again["kind"] != "exact"
        invalidate(http, {"name": "template:updated"})
        gone = http.post("/api/v1/lookup", json={"query": f"{text} number 5", "kind": "template_semantic"}).json()
        assert not gone["hit"] and not gone["candidates"]
        for kind, why in (("template_semantik", "no kind has that name"), ("doc_chunk", "not found by meaning")):
            refused = http.post("/api/v1/lookup", json={"query": text, "kind": kind})
            assert refused.status_code == 400 and why in refused.text


def test_a_model_that_changed_voids_what_it_made_whoever_keeps_it(serve, owner):
    with make_http(serve("disk"), owner) as http:
        for model in ("gpt-4o", "other"):
            http.put("/api/v1/entries", json={"query": f"question to {model}", "response": "x", "provider": "openai",
                                              "model": model, "kind": "ai_response"})
            put(http, f"ai:response:openai:{model}:f00")
        invalidate(http, {"name": "model:updated", "provider": "openai", "model": "gpt-4o"})

        def is_hit(model):
            return http.post("/api/v1/lookup", json={"query": f"question to {model}", "kind": "ai_response",
                                                     "threshold": 1}).json()["hit"]
        assert not is_hit("gpt-4o") and is_hit("other")
        assert tier_of(http, "ai:response:openai:gpt-4o:f00") is None
        assert tier_of(http, "ai:response:openai:other:f00")


# ---- keys, patterns, commands ----

def test_a_key_is_made_the_same_by_http_and_command(serve, owner):
    daemon = serve("disk")
    with make_http(daemon, owner) as http:
        made = http.post("/api/v1/kv:key", json={
            "namespace": "shop", "version": 2, "kind": "embedding", "fields": {"model": "small"},
            "pattern": "embedding:{model}:{hash}", "text": "hello"}).json()
        assert made == {
            "key": "shop:v2:embedding:small:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "kind": "embedding", "ttl_s": 86400, "tags": ["kind:embedding", "model:small"],
            "hash": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
        sql = http.post("/api/v1/kv:key", json={"kind": "query_result", "sql": "SELECT * FROM users WHERE id=$1",
                                                "args": [7]}).json()
        assert re.fullmatch(r"query:select:users:[0-9a-f]{64}", sql["key"]) and "table:users" in sql["tags"]
        wrong = http.post("/api/v1/kv:key", json={"kind": "template_score"})
        assert wrong.status_code == 400 and "template_id is missing" in wrong.text
        large = "x" * 5000
        http.post("/api/v1/kv:key", json={"kind": "ocr_result", "text": large})
        figures = http.get("/api/v1/kinds").json()["keys"]
        assert figures["made"] == 3 and figures["refused"] == 1 and figures["streamed"] == 1
    told = daemon.cli("key-name", "template_score", "--id", "42")
    assert (told.returncode, told.stdout) == (0, "template:score:42\n")
    listed = daemon.cli("kinds")
    assert listed.returncode == 0 and all(name in listed.stdout for name in NAMES)


def test_patterns_tell_how_much_there_is_of_each(serve, owner):
    daemon = serve("disk")
    with make_http(daemon, owner) as http:
        for number in range(150):
            put(http, f"template:score:{number}", b"x" * 100)
        for number in range(3):
            put(http, f"basket:{number}", b"x" * 10)
        put(http, "alone")
        assert tier_of(http, "template:score:1") and not tier_of(http, "template:score:missing")
        told = http.get("/api/v1/patterns").json()
        rows = {row["pattern"]: row for row in told["patterns"]}
        score = rows["template:score:{template_id}"]
        assert told["complete"] and told["keys"] == 154
        assert (score["keys"], score["sampled"], score["kind"]) == (150, 100, "template_score")
        assert 100 * 150 < score["estimated_bytes"] < 400 * 150 and score["hit_rate"] == 0.5
        assert rows["basket:*"]["keys"] == 3 and rows["*"]["keys"] == 1
    with make_http(daemon, owner + "-other") as stranger:
        assert stranger.get("/api/v1/patterns").json()["patterns"] == []
    assert "template:score:{template_id}" in daemon.cli("patterns", env={"DEJA_KEY": owner}).stdout


def test_an_operator_adds_a_kind(serve, owner):
    daemon = serve("disk", kinds="""\
  invoice:
    pattern: "invoice:{invoice_id}"
    ttl: 2d
    tags: ["invoice:{invoice_id}"]
    events: ["invoice:paid"]
  embedding:
    ttl_for: ["ai:embedding:*:large:* 30d"]
""")
    with make_http(daemon, owner) as http:
        assert int(put(http, "invoice:7").headers["x-deja-ttl"]) == 2 * 86400
        assert int(put(http, "ai:embedding:a:large:f").headers["x-deja-ttl"]) == 30 * 86400
        assert int(put(http, "ai:embedding:a:small:f").headers["x-deja-ttl"]) == 86400
        assert int(put(http, "anything", X_Deja_Kind="invoice").headers["x-deja-ttl"]) == 2 * 86400
        invalidate(http, {"name": "invoice:paid", "invoice_id": "7"})
        assert tier_of(http, "invoice:7") is None and tier_of(http, "anything")
        invalidate(http, {"name": "invoice:paid"})
        assert tier_of(http, "anything") is None


def test_metrics_tell_hits_and_misses_of_each_kind(serve, owner):
    daemon = serve("disk")
    with make_http(daemon, owner) as http:
        put(http, "template:score:1")
        assert tier_of(http, "template:score:1") and tier_of(http, "template:score:2") is None
        text = http.get("/metrics").text
        assert re.search(r'semantic_cache_hits_total\{[^}]*cache_type="template_score",level="memory"\} 1', text)
        assert re.search(r'semantic_cache_misses_total\{[^}]*cache_type="template_score",level="none"\} 1', text)


def test_docs_have_the_shipped_table():
    text = (Path(ROOT) / "docs" / "kinds.md").read_text()
    source = (ROOT / "src" / "policy" / "kinds_shipped.c").read_text()
    for name in NAMES:
        assert f"| `{name}` |" in text, name
    for pattern in re.findall(r'\.patterns =\s*((?:"[^"]*"\s*)+)', source):
        for one in "".join(re.findall(r'"([^"]*)"', pattern)).split():
            assert one in text, one
