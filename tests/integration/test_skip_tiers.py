"""X-Deja-Skip-Tiers over the cache API: what it names is neither read nor written, and keeps nothing older."""
import pytest
from conftest import make_http
from daemon import poll
from test_kv import BATCH, environment_of, path, put

LOOKUP, ENTRIES = "/api/v1/lookup", "/api/v1/entries"
WITHOUT_MEMORY = {"X-Deja-Skip-Tiers": "memory"}


def skipping(*levels):
    return {"X-Deja-Skip-Tiers": ", ".join(levels)}


def tier_of(client, name, headers=None):
    """Value and tier of a plain key; None: a miss."""
    answer = client.get(path(name), headers=headers)
    return (answer.content, answer.headers["x-cache-tier"]) if answer.status_code == 200 else None


def wait_until_below(client, name, value, level):
    """S3 is put into behind the answer."""
    poll(lambda: tier_of(client, name, WITHOUT_MEMORY) == (value, level), "the value below memory")


@pytest.fixture(params=["lmdb", "redis", "postgres", "s3"])
def tiered(request, spawn, key):
    """A client of a daemon of memory and that tier, and the tier's name."""
    level = request.param
    # Beside a shared tier memory would ask it again soon, and drop what it has not: not while a test reads.
    environment = {**environment_of(request, level), "DEJA_KV__MEMORY_TTL": "1h", "DEJA_L1__LEASE": "1h"}
    if level != "lmdb":
        environment["DEJA_LMDB__ENABLED"] = "false"
    with make_http(spawn(env=environment), key) as client:
        yield client, level


# ---- plain keys ----

def test_plain_key_is_kept_and_read_where_the_header_lets_it(tiered):
    client, level = tiered
    put(client, "below", b"1", **WITHOUT_MEMORY)
    assert tier_of(client, "below", skipping(level)) is None
    wait_until_below(client, "below", b"1", level)
    assert tier_of(client, "below", skipping(level)) is None, "promoted into a tier that was left out"
    put(client, "above", b"1", **skipping(level))
    assert tier_of(client, "above", WITHOUT_MEMORY) is None
    assert tier_of(client, "above") == (b"1", "memory")


def test_older_value_of_a_key_is_not_served_from_a_tier_the_newer_one_left_out(tiered):
    client, level = tiered
    for left_out, kept in (("memory", level), (level, "memory")):
        put(client, left_out, b"old")
        wait_until_below(client, left_out, b"old", level)
        put(client, left_out, b"new", **skipping(left_out))
        assert tier_of(client, left_out, skipping(kept)) is None
        if left_out == "memory":
            wait_until_below(client, left_out, b"new", level)
        assert tier_of(client, left_out) == (b"new", kept)


def test_value_that_no_tier_may_have_takes_the_older_one_with_it(tiered):
    client, level = tiered
    put(client, "gone", b"old")
    wait_until_below(client, "gone", b"old", level)
    assert put(client, "gone", b"new", **skipping("memory", level))["stored"] is False
    assert tier_of(client, "gone") is None


def test_new_end_keeps_to_the_tiers_too(tiered):
    client, level = tiered
    put(client, "ends", b"1")
    if level == "lmdb":
        answer = client.patch(path("ends"), headers={"X-Deja-TTL": "60", **skipping("lmdb")})
        assert answer.status_code == 200, answer.text
        assert tier_of(client, "ends", WITHOUT_MEMORY) is None
        assert client.get(path("ends")).headers["x-deja-ttl"] == "60"
        return
    # Whoever looks at what is there before he changes it looks into a tier that other programs see.
    answer = client.patch(path("ends"), headers={"X-Deja-TTL": "60", **skipping(level)})
    assert answer.status_code == 400 and "X-Deja-Skip-Tiers" in answer.json()["detail"], answer.text
    answer = client.patch(path("ends"), headers={"X-Deja-TTL": "60", **WITHOUT_MEMORY})
    assert answer.status_code == 200, answer.text
    assert tier_of(client, "ends", skipping(level)) is None


def test_removal_reaches_every_tier(tiered):
    client, level = tiered
    put(client, "removed", b"1")
    assert client.delete(path("removed"), headers=skipping("memory", level)).json() == {"removed": 1}
    assert tier_of(client, "removed") is None


def test_batch_of_plain_keys_obeys(http):
    def batch(*operations, **headers):
        return http.post(BATCH, json={"operations": list(operations)}, headers=headers).json()["results"]

    batch({"op": "set", "key": "b", "value": "old"}, {"op": "set", "key": "n", "value": "1"})
    assert all(item["stored"] for item in batch({"op": "set", "key": "b", "value": "new"}, {"op": "incr", "key": "n"},
                                                **skipping("lmdb")))
    read = ({"op": "get", "key": "b"}, {"op": "get", "key": "n"})
    assert [item["found"] for item in batch(*read, **WITHOUT_MEMORY)] == [False, False]
    assert [item["value"] for item in batch(*read)] == ["new", "2"]


def test_version_before_stays_where_the_value_may_be(http):
    for version in ("v1", "v2"):
        answer = http.put(path("twice"), content=version, params={"version": version}, headers=skipping("lmdb"))
        assert answer.status_code == 201, answer.text
    for version in ("v1", "v2"):
        asked = {"params": {"version": version}}
        assert http.get(path("twice"), **asked).text == version
        assert http.get(path("twice"), headers=WITHOUT_MEMORY, **asked).status_code == 404


def test_lock_is_everybodys_whatever_is_left_out(http):
    lock = {"key": "slow", "get": True}
    first = http.post("/api/v1/kv:lock", json=lock, headers=skipping("memory", "lmdb")).json()
    assert first["locked"], first
    assert not http.post("/api/v1/kv:lock", json=lock).json()["locked"]


# ---- entries ----

def found(client, word, headers=None, **more):
    answer = client.post(LOOKUP, json={"query": word, **more}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def keep(client, word, response, headers=None):
    answer = client.put(ENTRIES, json={"query": word, "response": response}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_entry_is_kept_and_found_where_the_header_lets_it(tiered, word):
    client, level = tiered
    for left_out, kept in (("memory", level), (level, "memory")):
        words = f"{word} {left_out}"
        keep(client, words, "old")
        poll(lambda: found(client, words, WITHOUT_MEMORY)["hit"], "the entry below memory")
        made = keep(client, words, "new", skipping(left_out))
        assert not found(client, words, skipping(kept))["hit"], "an older one is served"
        assert client.get(f"{ENTRIES}/{made['id']}", headers=skipping(kept)).status_code == 404
        answer = poll(lambda: (f := found(client, words, skipping(left_out)))["hit"] and f, "the newer one")
        assert (answer["response"], answer["tier"]) == ("new", kept)
        assert client.get(f"{ENTRIES}/{made['id']}", headers=skipping(left_out)).json()["response"] == "new"


def test_batches_of_entries_obey(http, word):
    entries = [{"query": f"{word} {i}", "response": str(i)} for i in range(3)]
    queries = [{"query": entry["query"]} for entry in entries]
    assert http.put(ENTRIES, json={"entries": entries}, headers=skipping("lmdb")).status_code == 201

    def hits(**headers):
        return [item["hit"] for item in http.post(LOOKUP, json={"queries": queries}, headers=headers).json()["results"]]

    assert hits(**WITHOUT_MEMORY) == [False] * 3
    assert hits(**skipping("lmdb")) == [True] * 3


def test_entry_that_a_shared_tier_must_keep_is_refused_where_that_is_left_out(tiered, word):
    client, level = tiered
    entry = {"query": word, "response": "r", "require": "shared"}
    answer = client.put(ENTRIES, json=entry, headers=skipping(level))
    assert answer.status_code == 400, answer.text
    assert ("X-Deja-Skip-Tiers" in answer.json()["detail"]) == (level != "lmdb")


# ---- refused ----

@pytest.mark.parametrize("method, where", [("GET", path("a")), ("PUT", path("a")), ("POST", BATCH), ("POST", LOOKUP), ("PUT", ENTRIES)])
def test_tier_that_does_not_exist_is_refused(http, method, where):
    answer = http.request(method, where, json={"query": "q"}, headers=skipping("memory", "l9"))
    assert answer.status_code == 400 and "X-Deja-Skip-Tiers" in answer.json()["detail"], answer.text
