"""The shared tier over its table, against real servers (tests/support/valkey.py)."""
import re

import pytest
from valkey import NO_SCRIPTS, Driver, Server


@pytest.fixture(scope="module", params=["valkey", "redis", "valkey without scripts", "redis without scripts"])
def server(request, tmp_path_factory):
    kind, _, more = request.param.partition(" ")
    made = Server(tmp_path_factory.mktemp(kind), kind, options=NO_SCRIPTS if more else ()).start()
    made.has_scripts = not more
    yield made
    made.stop()


@pytest.fixture
def driver(server):
    server.call("FLUSHALL")
    with Driver(address=f"127.0.0.1:{server.port}") as made:
        yield made


def test_what_is_put_is_got_until_it_is_removed(driver):
    assert driver("get 1 7") == "miss"
    assert driver("put 1 7 100 hello").startswith("ok")
    assert driver("get 1 7") == "hit 100 5 hello"
    assert driver("get 2 7") == "miss"
    assert driver("remove 1 7 any") == "ok 1"
    assert driver("get 1 7") == "miss"
    assert driver("remove 1 7 any") == "ok 0"


def test_only_newer_versions_overwrite(driver):
    assert driver("put 1 1 300 new").startswith("ok")
    assert driver("put 1 1 200 old").startswith("ok")
    assert driver("put 1 1 300 same").startswith("ok")
    assert driver("get 1 1") == "hit 300 3 new"
    assert driver("put 1 1 18446744073709551614 last").startswith("ok")
    assert driver("get 1 1") == "hit 18446744073709551614 4 last"


def test_a_removal_keeps_older_fills_out_and_newer_entries_in(driver):
    assert driver("remove 1 1 500") == "ok 0"
    assert driver("put 1 1 400 late").startswith("ok")
    assert driver("get 1 1") == "miss"
    assert driver("put 1 1 600 newer").startswith("ok")
    assert driver("remove 1 1 500") == "ok 0"
    assert driver("get 1 1") == "hit 600 5 newer"


def test_an_entry_stays_no_longer_than_its_own_end_and_the_tiers(server, driver):
    driver("put 1 1 1 short 20000")
    driver("put 1 2 1 long")
    with server.client() as client:
        short, long = sorted(client("PTTL", key) for key in client("KEYS", "deja:*"))
    assert 0 < short <= 20000
    assert 3_500_000 < long <= 3_600_000


def test_an_entry_past_its_end_is_a_miss(server, driver):
    driver("put 1 1 1 x 150")
    with server.client() as client:
        key = client("KEYS", "deja:*")[0]
        client("PERSIST", key)
    driver.until("get 1 1", "miss")


def test_keys_carry_the_tag_of_their_shard(server, driver):
    driver("put 1 1 1 x")
    with server.client() as client:
        (key,) = client("KEYS", "*")
    match = re.fullmatch(r"deja:\{v:(\d+)\}:01000000-0000-0000-0000-000000000000:q:010{30}", key.decode())
    assert match and int(match[1]) < 4096, key


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100, None])
def test_what_does_not_verify_is_a_miss_and_goes(server, driver, damage):
    driver("put 1 1 1 " + "y" * 50)
    with server.client() as client:
        (key,) = client("KEYS", "deja:*:q:*")
        if damage is None:
            value = bytearray(client("GET", key))
            value[-3] ^= 1
            damage = bytes(value)
        client("SET", key, damage)
        assert driver("get 1 1") == "miss"
        assert driver("get 1 1") == "miss"
        assert client("EXISTS", key) == 0
    assert "corrupt 1" in driver("stats")


def test_a_record_under_another_key_is_not_served(server, driver):
    driver("put 1 1 1 mine")
    driver("put 2 1 1 theirs")
    with server.client() as client:
        keys = {k.decode().split("}:")[1][:2]: k for k in client("KEYS", "deja:*")}
        client("SET", keys["01"], client("GET", keys["02"]))
    assert driver("get 1 1") == "miss"


def test_a_hundred_gets_of_one_turn_are_one_write(server, driver):
    for i in range(100):
        driver(f"put 1 {i} 1 x")
    with server.client() as client:
        client("CONFIG", "RESETSTAT")
        assert driver("gets 1 0 100") == "ok hits 100 errors 0"
        stats = client("INFO", "stats").decode()
        reads = int(stats.split("total_reads_processed:")[1].split()[0])
        calls = client("INFO", "commandstats").decode()
    assert "cmdstat_get:calls=100," in calls
    # One for the hundred, and those of the client that asks.
    assert reads <= 3, reads


def test_a_clear_takes_one_tenants_entries_and_no_others(driver):
    for i in range(1500):
        driver(f"put 1 {i} 1 x")
    driver("put 2 1 1 x")
    assert driver("clear 1") == "ok 1500"
    assert driver("gets 1 0 1500") == "ok hits 0 errors 0"
    assert driver("get 2 1") == "hit 1 1 x"
    assert driver("clear 1") == "ok 0"


def listed(driver, tenant):
    found, command = [], f"list {tenant} 0"
    for _ in range(1000):
        words = driver(command).split()
        assert words[0] == "ok", words
        found += map(int, words[2:])
        if words[1] == "last":
            return found
        command = f"list {tenant} 1"
    raise AssertionError("a list without end")


def test_a_list_meets_each_entry_once(driver):
    for i in range(1000):
        driver(f"put 1 {i} 1 x")
        driver(f"put 2 {i} 1 x")
    driver("remove 1 5 any")
    assert sorted(listed(driver, 1)) == [i for i in range(1000) if i != 5]


def pulled(driver, since):
    """{counter: generation} and the place to go on from."""
    *counters, ok, place = driver(f"pull {since}").split()
    assert ok == "ok"
    return dict(counter.split("=") for counter in counters), int(place)


def test_generations_are_raised_and_pulled_in_order(driver):
    assert driver("pull 0") == "ok 0"
    first = int(driver("raise 1 a").split()[1])
    other = int(driver("raise 1 b").split()[1])
    second = int(driver("raise 1 a").split()[1])
    assert second > first > 0
    counters, place = pulled(driver, 0)
    assert counters == {"1/a": str(second), "1/b": str(other)}
    assert pulled(driver, place) == ({}, place)
    own = driver("raise 2").split()[1]
    counters, after = pulled(driver, place)
    assert counters == {"2/": own} and after > place


def test_generations_a_server_has_lost_are_not_given_out_again(server, driver):
    before = int(driver("raise 1 a").split()[1])
    _, place = pulled(driver, 0)
    server.call("FLUSHALL")
    assert pulled(driver, place) == ({}, 0)
    after = int(driver("raise 1 a").split()[1])
    assert after > before
    assert pulled(driver, place)[0] == {"1/a": str(after)}


def test_a_pull_of_thousands_comes_in_pieces(driver):
    for i in range(1300):
        driver(f"raise 1 t{i}")
    assert len(pulled(driver, 0)[0]) == 1300


def test_a_lock_has_one_holder_until_its_token_or_its_end_frees_it(driver):
    assert driver("lock 1 1 mine 60000") == "ok 1"
    assert driver("lock 1 1 theirs 60000") == "ok 0"
    assert driver("unlock 1 1 theirs") == "ok 0"
    assert driver("lock 1 2 theirs 60000") == "ok 1"
    assert driver("unlock 1 1 mine") == "ok 1"
    assert driver("lock 1 1 theirs 1") == "ok 1"
    driver.until("lock 1 1 mine 60000", "ok 1")


def test_a_probe_reaches_the_server(driver):
    assert driver("probe") == "miss"


def test_scripts_survive_a_flush_of_the_server(server, driver):
    if not server.has_scripts:
        pytest.skip("it lets nobody run any")
    driver("put 1 1 1 a")
    server.call("SCRIPT", "FLUSH")
    assert driver("put 1 1 2 b").startswith("ok")
    assert driver("get 1 1") == "hit 2 1 b"


def test_a_large_record_goes_there_and_back(driver):
    assert driver("put 1 1 1 @8000000").startswith("ok")
    assert driver("get 1 1").startswith("hit 1 8000000")


def test_a_database_and_a_prefix_of_ones_own(server):
    server.call("FLUSHALL")
    with Driver(address=f"127.0.0.1:{server.port}", db=3, prefix="x.y") as driver:
        driver("put 1 1 1 a")
        assert driver("get 1 1") == "hit 1 1 a"
    with server.client() as client:
        client("SELECT", 3)
        assert client("KEYS", "*")[0].startswith(b"x.y:{v:")


def test_a_secret_is_the_first_ones(driver):
    assert driver("secret a") == "ok " + "61" * 32
    assert driver("secret b") == "ok " + "61" * 32


def test_a_look_advises(driver):
    seen = driver("look")
    assert "tls=0 auth=0 user=default" in seen
    for what in ("no password", "maxmemory is 0", "maxmemory-policy", "appendonly"):
        assert what in seen
