"""Invalidation: by pattern, event, version, what depends on what, and at a time to come."""
import time
import uuid

import pytest
from conftest import make_http
from daemon import poll, run_cli
from postgres import Postgres

ENTRIES, LOOKUP, INVALIDATE = "/api/v1/entries", "/api/v1/lookup", "/api/v1/invalidate"
SCHEDULES = "/api/v1/schedules"


def put(client, query, **more):
    answer = client.put(ENTRIES, json={"query": query, "response": f"answer to {query}", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def is_hit(client, query, **more):
    answer = client.post(LOOKUP, json={"query": query, "threshold": 1, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["hit"]


def invalidate(client, status=200, **body):
    answer = client.post(INVALIDATE, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def complaint(client, **body):
    field = invalidate(client, 400, **body)["fields"][0]
    return field["field"], field["rule"]


# -- patterns, versions --

def test_pattern_takes_entries_whose_tags_fit(http, word):
    put(http, f"{word} a", tags=[f"user:{word}:1"])
    put(http, f"{word} b", tags=[f"user:{word}:22"])
    put(http, f"{word} c", tags=[f"user*{word}"])
    assert invalidate(http, pattern=f"user:{word}:?", dry_run=True)["would_remove"] == 1
    done = invalidate(http, pattern=f"user:{word}:*", reason="they left")
    assert (done["removed"], done["kind"], done["reason"]) == (2, "pattern", "they left")
    assert not is_hit(http, f"{word} a") and is_hit(http, f"{word} c")
    assert invalidate(http, pattern=f"user\\*{word}")["removed"] == 1  # escaped: itself


def test_pattern_is_bounded_and_not_empty(http):
    assert complaint(http, pattern="") == ("pattern", "length")
    assert complaint(http, pattern="x" * 1025) == ("pattern", "length")
    assert complaint(http, pattern=7) == ("pattern", "type")
    assert complaint(http, pattern=None) == ("pattern", "type")
    assert invalidate(http, pattern="*a" * 512)["removed"] == 0  # slow elsewhere


def test_version_takes_what_was_put_under_it(http, word):
    put(http, f"{word} old", version="v1")
    put(http, f"{word} new", version="v2")
    assert invalidate(http, version="v1")["removed"] >= 1
    assert not is_hit(http, f"{word} old") and is_hit(http, f"{word} new")
    assert complaint(http, version="v1", filter={"a": 1}) == ("version", "exclusive")


# -- events --

def test_event_takes_what_it_is_about_and_without_an_id_the_whole_family(http, word):
    put(http, f"{word} a", tags=[f"template:{word}"])
    put(http, f"{word} b", tags=["template:other", "kind:template_score"])
    done = invalidate(http, event={"name": "template:updated", "template_id": word})
    assert (done["removed"], done["kind"]) == (1, "event")
    assert not is_hit(http, f"{word} a") and is_hit(http, f"{word} b")
    assert invalidate(http, event="template:updated")["removed"] == 1
    assert not is_hit(http, f"{word} b")


def test_model_event_takes_what_that_model_made(http, word):
    put(http, f"{word} a", model="gpt-x", provider="openai")
    put(http, f"{word} b", model="gpt-y", provider="openai")
    put(http, f"{word} c", model="gpt-x", provider="other")
    event = {"name": "model:updated", "provider": "openai", "model": "gpt-x"}
    assert invalidate(http, event=event, dry_run=True)["would_remove"] == 1
    assert invalidate(http, event=event)["removed"] == 1
    assert not is_hit(http, f"{word} a") and is_hit(http, f"{word} b") and is_hit(http, f"{word} c")
    assert invalidate(http, event={"name": "model:updated", "provider": "openai"})["removed"] == 1
    assert not is_hit(http, f"{word} b") and is_hit(http, f"{word} c")


def test_unknown_event_is_refused_and_names_those_there_are(http):
    field = invalidate(http, 400, event="moon:full")["fields"][0]
    assert field["field"] == "event" and "template:updated" in field["message"]
    assert complaint(http, event={"template_id": "1"}) == ("event", "type")
    assert complaint(http, event={"name": "template:updated", "template_id": ["x"]}) == ("event", "type")


# -- what depends on what --

def test_cascade_takes_dependants_of_dependants_and_a_dry_run_shows_the_tree(http, word):
    root = f"template:{word}"
    first = put(http, f"{word} first", depends_on=[root])
    second = put(http, f"{word} second", depends_on=[first])
    third = put(http, f"{word} third", depends_on=[second, root])
    put(http, f"{word} other", depends_on=["elsewhere"])
    seen = invalidate(http, cascade=root, dry_run=True)
    assert (seen["would_remove"], seen["kind"], seen["depth"]) == (3, "cascade", 2)
    tree = {node["id"]: node for node in seen["tree"]}
    assert tree[first]["depth"] == 1 and tree[first]["parent"] is None
    assert tree[first]["because_of"] == root and tree[first]["query"] == f"{word} first"
    assert tree[second]["depth"] == 2 and seen["tree"][tree[second]["parent"]]["id"] == first
    assert third in tree and is_hit(http, f"{word} third")
    assert invalidate(http, cascade=root, reason="edited")["removed"] == 3
    for name in ("first", "second", "third"):
        assert not is_hit(http, f"{word} {name}")
    assert is_hit(http, f"{word} other")


def test_removed_entry_takes_its_dependants_when_told_so(http, word):
    root = put(http, f"{word} root")
    put(http, f"{word} child", depends_on=[root])
    done = invalidate(http, key=root, cascade=True)
    assert done["removed"] == 2
    assert [node["depth"] for node in done["tree"]] == [0, 1]
    assert not is_hit(http, f"{word} child")


def test_cycles_end(http, word):
    a = put(http, f"{word} a")
    b = put(http, f"{word} b", depends_on=[a])
    assert put(http, f"{word} a", depends_on=[b]) == a
    assert invalidate(http, cascade=a)["removed"] == 2


def test_dependencies_are_told_with_the_entry_and_cannot_be_named_as_tags(http, word):
    entry = put(http, f"{word} a", tags=["seen"], depends_on=["doc:1"])
    told = http.get(f"{ENTRIES}/{entry}").json()
    assert told["depends_on"] == ["doc:1"] and told["tags"] == ["seen"]
    answer = http.put(ENTRIES, json={"query": word, "response": 1, "tags": ["\x01dep:doc:1"]})
    assert answer.status_code == 400
    assert invalidate(http, tag="doc:1")["removed"] == 0
    assert invalidate(http, pattern="*dep*")["removed"] == 0
    answer = http.put(ENTRIES, json={"query": word, "response": 1, "tags": [f"t{i}" for i in range(20)],
                                     "depends_on": [f"d{i}" for i in range(20)]})
    assert answer.status_code == 400 and answer.json()["fields"][0]["field"] == "depends_on"


@pytest.mark.heavy
def test_cascade_over_ten_thousand_dependants(spawn, word):
    """Every one of them, in memory and on disk, once; how long it took is printed (shared tiers: test_shared.py). Nothing is embedded: that would take longest."""
    with make_http(spawn(env={"DEJA_SEMANTIC__ENABLED": "false"}), word) as http:
        cascade_over(http, word, 10_000)


def cascade_over(http, word, total):
    for start in range(0, total, 100):
        answer = http.put(ENTRIES, json={"entries": [
            {"query": f"{word} {i}", "response": i, "depends_on": [f"root:{word}"]}
            for i in range(start, start + 100)]})
        assert answer.status_code == 201, answer.text
    # ten more, each behind one of them
    ids = [node["id"] for node in invalidate(http, cascade=f"root:{word}", dry_run=True)["tree"][:10]]
    for i, entry in enumerate(ids):
        put(http, f"{word} leaf {i}", depends_on=[entry])
    seen = invalidate(http, cascade=f"root:{word}", dry_run=True)
    assert seen["would_remove"] == total + 10 and seen["tree_truncated"] and len(seen["tree"]) == 1000
    began = time.monotonic()
    assert invalidate(http, cascade=f"root:{word}")["removed"] == total + 10
    print(f"cascade over {total} dependants: {time.monotonic() - began:.2f} s")
    for i in (0, 1, 17, total // 2, total - 1):
        assert not is_hit(http, f"{word} {i}")
    assert not is_hit(http, f"{word} leaf 9")
    assert invalidate(http, cascade=f"root:{word}", dry_run=True)["would_remove"] == 0


def test_deeper_than_64_levels_is_refused_and_nothing_is_removed(http, word):
    before = put(http, f"{word} 0", depends_on=[f"root:{word}"])
    for i in range(1, 70):
        before = put(http, f"{word} {i}", depends_on=[before])
    problem = invalidate(http, 422, cascade=f"root:{word}")
    assert problem["type"].endswith("cascade_too_large") and "nothing was removed" in problem["detail"]
    assert is_hit(http, f"{word} 0") and is_hit(http, f"{word} 69")


# -- for later --

def schedules(client):
    return client.get(SCHEDULES).json()["schedules"]


def test_scheduled_invalidation_survives_kill_9(spawn, word):
    daemon = spawn()
    with make_http(daemon, word) as client:
        put(client, f"{word} tagged", tags=["late"])
        put(client, f"{word} other")
        kept = invalidate(client, 202, tag="late", after=3, reason="tested")
        assert kept["kind"] == "tag" and kept["next_at"]
    daemon.kill()
    daemon.start()
    with make_http(daemon, word) as client:
        listed = schedules(client)
        if listed:  # not due yet
            assert listed[0]["id"] == kept["schedule"]
            assert listed[0]["invalidate"]["tag"] == "late" and listed[0]["invalidate"]["reason"] == "tested"
        poll(lambda: not is_hit(client, f"{word} tagged"), "the schedule to run", every=0.2)
        assert is_hit(client, f"{word} other")
        poll(lambda: not schedules(client), "it to be forgotten", every=0.2)


def test_what_was_due_while_the_daemon_was_down_runs_at_the_start(spawn, word):
    daemon = spawn()
    with make_http(daemon, word) as client:
        put(client, f"{word} tagged", tags=["late"])
        invalidate(client, 202, tag="late", after=1)
    daemon.kill()
    due = time.time() + 1.2
    poll(lambda: time.time() > due, "the time to pass", every=0.1)
    daemon.start()
    with make_http(daemon, word) as client:
        poll(lambda: not is_hit(client, f"{word} tagged"), "the late one to run", every=0.1)


def test_every_way_of_saying_it_can_be_kept(http, word):
    ways = [{"key": "00" * 16}, {"query": word}, {"tag": "t"}, {"namespace": "n"}, {"older_than": "1h"},
            {"filter": {"a": {"gte": 1}}}, {"version": "v1"}, {"pattern": "a*"}, {"all": True},
            {"event": {"name": "template:updated", "template_id": "7"}}, {"cascade": "doc:1"},
            {"tag": "t", "cascade": True}]
    for way in ways:
        kept = invalidate(http, 202, **way, at="2035-02-03T04:05:06Z", reason=word)
        assert kept["next_at"] == "2035-02-03T04:05:06.000Z"
        told = http.get(f"{SCHEDULES}/{kept['schedule']}").json()
        assert told["id"] == kept["schedule"] and told["invalidate"]["reason"] == word
        assert http.delete(f"{SCHEDULES}/{kept['schedule']}").status_code == 204
        assert http.delete(f"{SCHEDULES}/{kept['schedule']}").status_code == 404
    assert schedules(http) == []


def test_cron_says_when_it_is_next(http, word):
    kept = invalidate(http, 202, tag=word, cron="0 0 1 1 *")
    assert kept["next_at"].endswith("-01-01T00:00:00.000Z") and kept["cron"] == "0 0 1 1 *"
    assert schedules(http)[0]["cron"] == "0 0 1 1 *"
    http.delete(f"{SCHEDULES}/{kept['schedule']}")


@pytest.mark.parametrize("body, expected", [
    ({"at": "tomorrow"}, ("at", "format")), ({"at": -1}, ("at", "format")),
    ({"at": "2999-01-01T00:00:00Z"}, ("at", "range")), ({"after": 0}, ("after", "duration")),
    ({"cron": "* * * *"}, ("cron", "format")), ({"cron": "0 0 31 2 *"}, ("cron", "format")),
    ({"after": 5, "cron": "@daily"}, ("at", "exclusive")), ({"after": 5, "dry_run": True}, ("dry_run", "exclusive")),
])
def test_time_that_cannot_be_meant_is_refused(http, body, expected):
    assert complaint(http, tag="t", **body) == expected


def test_schedules_are_bounded_and_belong_to_their_tenant(daemon, http, word):
    kept = [invalidate(http, 202, tag=word, after="1d") for _ in range(100)]
    assert invalidate(http, 429, tag=word, after="1d")["type"].endswith("too_many_schedules")
    with make_http(daemon, word + "-other") as other:
        assert schedules(other) == []
        assert other.delete(f"{SCHEDULES}/{kept[0]['schedule']}").status_code == 404
        assert other.get(f"{SCHEDULES}/{kept[0]['schedule']}").status_code == 404
    for one in kept:
        assert http.delete(f"{SCHEDULES}/{one['schedule']}").status_code == 204
    assert http.post(INVALIDATE, json={"all": True, "after": 5},
                     headers={"X-Deja-User": "ann"}).status_code == 403


# -- plain keys, the command line --

def test_plain_keys_name_what_they_were_made_from(http, word):
    plain = {"Content-Type": "text/plain"}
    assert http.put(f"/api/v1/kv/template:{word}", content=b"t", headers=plain).status_code in (200, 201, 204)
    made = {**plain, "X-Deja-Depends-On": f"template:{word}", "X-Deja-Tags": "seen"}
    assert http.put(f"/api/v1/kv/score:{word}", content=b"7", headers=made).status_code in (200, 201, 204)
    put(http, f"{word} report", depends_on=[f"score:{word}"])
    seen = invalidate(http, cascade=f"template:{word}", dry_run=True)
    assert [(node.get("key"), node.get("query")) for node in seen["tree"]] == \
        [(f"score:{word}", None), (None, f"{word} report")]
    assert invalidate(http, pattern=f"template:{word}", cascade=True)["removed"] == 3
    for name in ("template", "score"):
        assert http.get(f"/api/v1/kv/{name}:{word}").status_code == 404
    assert not is_hit(http, f"{word} report")


def test_command_line_says_all_of_it(daemon, key, http, word):
    env = {"DEJA_SERVER": daemon.url, "DEJA_KEY": key}
    put(http, f"{word} a", tags=[f"row:{word}"])
    first = put(http, f"{word} b", depends_on=[f"doc:{word}"])
    assert run_cli("invalidate", "--pattern", f"row:{word}*", "--yes", env=env).stdout == "1 removed\n"
    seen = run_cli("invalidate", "--depends-on", f"doc:{word}", "--dry-run", env=env).stdout
    assert first in seen and "1 would be removed" in seen
    put(http, f"{word} c", tags=[f"template:{word}"])
    assert run_cli("invalidate", "--event", "template:updated", "--field", f"template_id={word}", "--yes",
                   env=env).stdout == "1 removed\n"
    made = run_cli("invalidate", "--tag", word, "--cron", "@yearly", "--reason", "new year", env=env)
    assert made.returncode == 0, made.stderr
    schedule = made.stdout.split()[0]
    listed = run_cli("schedule", "list", env=env).stdout
    assert schedule in listed and "@yearly" in listed and "new year" in listed
    assert run_cli("schedule", "remove", schedule, env=env).returncode == 0
    assert run_cli("schedule", "remove", schedule, env=env).returncode == 1
    past = run_cli("invalidate", "--tag", word, "--at", "2020-01-01T00:00:00Z", env=env)
    assert past.returncode == 0 and "--at has passed: it is done at once" in past.stderr
    for wrong in (["--tag", "t", "--at", "x", "--cron", "@daily"], ["--field", "a=b", "--tag", "t"], []):
        assert run_cli("invalidate", *wrong, env=env).returncode == 2


# -- programs that share an authority --

def test_schedule_is_known_to_all_programs_and_run_by_one(spawn, word):
    postgres = Postgres().start()
    try:
        url = postgres.create_database(f"t{uuid.uuid4().hex[:12]}")
        env = {"DEJA_L3__POSTGRES__URL": url, "DEJA_SECURITY__SECRET": "5e" * 32}
        daemons = [spawn(env=env) for _ in range(2)]
        with make_http(daemons[0], word) as one, make_http(daemons[1], word) as two:
            put(one, f"{word} a", tags=["t"])
            kept = invalidate(one, 202, tag="t", after=4)
            poll(lambda: [s["id"] for s in schedules(two)] == [kept["schedule"]], "the other to know it", every=0.1)
            poll(lambda: not is_hit(one, f"{word} a") and not is_hit(two, f"{word} a"), "it to run", every=0.2)
            poll(lambda: not schedules(one) and not schedules(two), "both to forget it", every=0.2)
            again = invalidate(two, 202, tag="t", after="1d")
            poll(lambda: schedules(one), "the first to know it", every=0.1)
            assert one.delete(f"{SCHEDULES}/{again['schedule']}").status_code == 204
            poll(lambda: not schedules(two), "the other to forget it", every=0.1)
        for daemon in daemons:
            daemon.stop()
        assert sum(daemon.log_text().count("scheduled invalidation ran") for daemon in daemons) == 1
    finally:
        postgres.remove()
