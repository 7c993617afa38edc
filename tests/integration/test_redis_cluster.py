"""The shared tier as a cluster and watched by sentinels: redirects, migrations, failovers."""
import threading

import pytest
from daemon import poll
from valkey import Cluster, Driver, Sentinels

ENTRIES = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def driver(cluster):
    with Driver(("mode", "cluster"), *cluster.seeds()) as made:
        made.until("clear 1", "ok")
        yield made


class Load:
    """Reads entries 0 … ENTRIES all the time; counts what came back."""

    def __init__(self, cluster):
        self.driver = Driver(("mode", "cluster"), *cluster.seeds())
        self.rounds = self.hits = self.errors = 0
        self.wrong = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.stop.is_set():
            number = (number + 7) % ENTRIES
            answer = self.driver(f"get 1 {number}")
            if answer.startswith("hit"):
                self.hits += 1
                if answer != f"hit 1 {len(f'body{number}')} body{number}":
                    self.wrong.append(answer)
            elif answer.startswith("error"):
                self.errors += 1
            else:
                self.wrong.append(answer)
            self.rounds += 1

    def end(self):
        self.stop.set()
        self.thread.join()
        self.driver.close()


def fill(driver):
    for number in range(ENTRIES):
        assert driver(f"put 1 {number} 1 body{number}").startswith("ok")


def test_entries_spread_over_all_masters_and_are_found(cluster, driver):
    fill(driver)
    assert driver(f"gets 1 0 {ENTRIES}") == f"ok hits {ENTRIES} errors 0"
    sizes = [node.call("DBSIZE") for node in cluster.masters()]
    assert sum(sizes) == ENTRIES and min(sizes) > ENTRIES // 10, sizes


def test_a_hundred_gets_are_one_write_to_each_master(cluster, driver):
    fill(driver)
    for node in cluster.masters():
        node.call("CONFIG", "RESETSTAT")
    assert driver("gets 1 0 100") == "ok hits 100 errors 0"
    for node in cluster.masters():
        gets = node.call("INFO", "commandstats").decode()
        assert "cmdstat_get:" in gets
        reads = int(node.call("INFO", "stats").decode().split("total_reads_processed:")[1].split()[0])
        # Beside it: this test's own questions, and what the cluster's servers say to each other.
        assert reads < 20, reads


def test_a_list_and_a_clear_walk_all_masters(driver):
    fill(driver)
    found, command = [], "list 1 0"
    while True:
        words = driver(command).split()
        assert words[0] == "ok", words
        found += map(int, words[2:])
        if words[1] == "last":
            break
        command = "list 1 1"
    assert sorted(found) == list(range(ENTRIES))
    assert driver("clear 1") == f"ok {ENTRIES}"
    assert driver(f"gets 1 0 {ENTRIES}") == "ok hits 0 errors 0"


def test_a_clear_is_the_first_thing_that_is_asked(cluster, driver):
    fill(driver)
    with Driver(("mode", "cluster"), *cluster.seeds()) as fresh:
        assert fresh("clear 1") == f"ok {ENTRIES}"


def test_generations_and_locks_work_over_slots(driver):
    assert driver("raise 9 a").startswith("ok")
    assert "9/a=" in driver("pull 0")
    assert driver("lock 1 1 mine 60000") == "ok 1"
    assert driver("lock 1 1 theirs 60000") == "ok 0"
    assert driver("unlock 1 1 mine") == "ok 1"


def test_slots_move_under_load_and_no_read_fails(cluster, driver):
    fill(driver)
    source, target = cluster.masters()[:2]
    slots = {source.call("CLUSTER", "KEYSLOT", key)
             for key in source.call("KEYS", "deja:*:q:*")}
    load = Load(cluster)
    try:
        poll(lambda: load.hits > 20, "the load to begin")
        for slot in sorted(slots)[:60]:
            cluster.migrate(slot, source, target)
        at = load.rounds
        poll(lambda: load.rounds > at + ENTRIES, "the load to go on")
    finally:
        load.end()
    assert not load.wrong
    assert load.errors == 0
    assert driver(f"gets 1 0 {ENTRIES}") == f"ok hits {ENTRIES} errors 0"


def test_a_write_to_a_slot_on_its_way_is_asked_for_where_it_goes(cluster, driver):
    fill(driver)
    source, target = cluster.masters()[:2]
    key = source.call("KEYS", "deja:*:q:*")[0]
    number = int.from_bytes(bytes.fromhex(key.decode().rsplit(":", 1)[1])[:4], "little")
    slot = source.call("CLUSTER", "KEYSLOT", key)
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    assert driver(f"get 1 {number}").startswith("hit 1 ")
    assert driver(f"put 1 {number} 2 again").startswith("ok")
    assert driver(f"get 1 {number}") == "hit 2 5 again"
    for node in (target, source):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
    assert driver(f"get 1 {number}") == "hit 2 5 again"


def test_a_replica_takes_over_under_load(cluster, driver):
    fill(driver)
    victim = cluster.masters()[0]
    for node in cluster.masters():
        node.call("WAIT", 1, 5000)
    load = Load(cluster)
    try:
        poll(lambda: load.hits > 20, "the load to begin")
        before = {node.port for node in cluster.masters()}
        victim.kill()
        poll(lambda: {node.port for node in cluster.masters()} - before, "a replica to take over")
        rest = [node for node in cluster.nodes if node.process.poll() is None]
        cluster.wait_ok(rest)
        driver.until(f"gets 1 0 {ENTRIES}", f"ok hits {ENTRIES} errors 0")
        at = load.hits
        poll(lambda: load.hits > at + ENTRIES, "the load to go on")
    finally:
        load.end()
    assert not load.wrong
    assert driver("put 1 5 2 after").startswith("ok")
    assert driver("get 1 5") == "hit 2 5 after"


def test_a_server_alone_is_told_from_a_cluster(tmp_path):
    from valkey import Server

    server = Server(tmp_path / "alone").start()
    try:
        with Driver(mode="cluster", address=f"127.0.0.1:{server.port}") as driver:
            driver("get 1 1")
            driver.until("trouble", f"ok 127.0.0.1:{server.port}: it is no server of a cluster")
    finally:
        server.stop()


def test_sentinels_name_the_master_and_then_the_next(tmp_path):
    sentinels = Sentinels(tmp_path).start()
    try:
        with Driver(*sentinels.options()) as driver:
            assert driver("put 1 1 1 a").startswith("ok")
            assert driver("get 1 1") == "hit 1 1 a"
            sentinels.master.call("WAIT", 1, 5000)
            sentinels.master.kill()
            sentinels.sentinels[0].kill()
            driver.until("put 1 2 1 b", "ok", timeout=60)
            assert driver("get 1 1") == "hit 1 1 a"
            assert driver("get 1 2") == "hit 1 1 b"
            assert sentinels.replica.call("DBSIZE") == 2
    finally:
        sentinels.stop()


def test_a_master_nobody_knows_is_said(tmp_path):
    sentinels = Sentinels(tmp_path).start()
    try:
        options = [(k, v) for k, v in sentinels.options() if k != "master"]
        with Driver(*options, ("master", "other"), ("dial_ms", 300)) as driver:
            assert driver("get 1 1") == "error timeout"
            assert "l2.redis.master_name" in driver("trouble")
    finally:
        sentinels.stop()
