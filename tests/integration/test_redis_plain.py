"""The shared tier where nobody may run scripts: what it does is what it does with them."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from daemon import BINARY
from valkey import NO_SCRIPTS, Cluster, Driver, Server

CONFORMANCE = BINARY.parent / "tests/conformance/store_conformance"
WRITERS = 6
ROUNDS = 40


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request, tmp_path_factory):
    made = Server(tmp_path_factory.mktemp(request.param), request.param, options=NO_SCRIPTS).start()
    yield made
    made.stop()


@pytest.fixture
def drivers(server):
    server.call("FLUSHALL")
    made = [Driver(address=f"127.0.0.1:{server.port}") for _ in range(WRITERS)]
    yield made
    for driver in made:
        driver.close()


def at_once(drivers, work):
    with ThreadPoolExecutor(len(drivers)) as pool:
        return list(pool.map(work, range(len(drivers)), drivers))


@pytest.mark.parametrize("more", [[], ["guarded"]], ids=["alone", "guarded"])
def test_tier_without_scripts_does_what_every_tier_does(server, more):
    environment = {**os.environ, "DEJA_TEST_REDIS": f"127.0.0.1:{server.port}"}
    run = subprocess.run([str(CONFORMANCE), "redis", *more], env=environment, capture_output=True, text=True,
                         timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not re.search(r"^redis (?:has|keeps) no (?!search)", run.stdout, re.M)


def test_the_newest_of_concurrent_writers_stays(drivers):
    def writes(number, driver):
        for round_ in range(ROUNDS):
            version = round_ * WRITERS + number + 1
            assert driver(f"put 1 1 {version} v{version}").startswith("ok")

    at_once(drivers, writes)
    last = ROUNDS * WRITERS
    assert drivers[0]("get 1 1") == f"hit {last} {len(f'v{last}')} v{last}"


def test_no_concurrent_fill_comes_back_after_a_removal(drivers):
    def works(number, driver):
        for round_ in range(ROUNDS):
            if number == 0:
                assert driver(f"remove 1 {round_} 1000").startswith("ok")
            else:
                assert driver(f"put 1 {round_} {number} x").startswith("ok")

    at_once(drivers, works)
    for round_ in range(ROUNDS):
        assert drivers[0](f"get 1 {round_}") == "miss"


def test_one_of_many_has_the_lock(drivers):
    for round_ in range(ROUNDS):
        told = at_once(drivers, lambda number, driver: driver(f"lock 1 {round_} holder{number} 60000"))
        assert sorted(told) == ["ok 0"] * (WRITERS - 1) + ["ok 1"]
        winner = told.index("ok 1")
        assert drivers[winner](f"lock 1 {round_} holder{winner} 60000") == "ok 1"  # renewed
        freed = at_once(drivers, lambda number, driver: driver(f"unlock 1 {round_} holder{number}"))
        assert freed.index("ok 1") == winner and freed.count("ok 1") == 1


def test_each_of_concurrent_raises_is_pulled(drivers):
    raised = at_once(drivers, lambda number, driver: [driver(f"raise 1 t{number}").split()[1] for _ in range(ROUNDS)])
    for values in raised:
        assert [int(v) for v in values] == sorted({int(v) for v in values}), "each is larger than the one before"
    pulled = dict(item.split("=") for item in drivers[0]("pull 0").split() if "=" in item)
    assert pulled == {f"1/t{number}": values[-1] for number, values in enumerate(raised)}


def test_off_runs_none_where_they_may_be_run(tmp_path):
    server = Server(tmp_path / "valkey").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", scriptless=1) as driver:
            for command in ("put 1 1 5 a", "remove 1 2 9", "lock 1 1 me 60000", "unlock 1 1 me", "raise 1 t", "pull 0"):
                assert driver(command).startswith(("ok", "1/")), command
            assert driver("get 1 1") == "hit 5 1 a"
        assert b"cmdstat_eval" not in server.call("INFO", "commandstats")
    finally:
        server.stop()


def test_a_server_that_dies_meanwhile_is_an_error_and_found_again(tmp_path):
    server = Server(tmp_path / "valkey", options=NO_SCRIPTS).start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}") as driver:
            assert driver("put 1 1 1 a").startswith("ok")
            server.kill()
            assert driver("put 1 1 2 b").startswith("error")
            assert driver("lock 1 1 me 1000").startswith("error")
            server.start()
            driver.until("put 1 1 3 c", "ok")
            assert driver("get 1 1") == "hit 3 1 c"
    finally:
        server.stop()


def test_many_that_are_refused_or_cut_off_are_told_and_nobody_waits_for_ever(tmp_path):
    server = Server(tmp_path / "valkey", options=NO_SCRIPTS).start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}") as driver:
            for i in range(200):
                assert driver(f"put 1 {i} 1 a").startswith("ok")
            server.call("ACL", "SETUSER", "default", "-unlink")
            assert driver("clear 1") == "error denied"
            assert "unlink" in driver("trouble")
            server.call("ACL", "SETUSER", "default", "+unlink", "-multi")
            assert driver("clear 1") == "error denied"
            assert driver("get 1 7") == "hit 1 1 a"
            server.call("ACL", "SETUSER", "default", "+multi")
            with ThreadPoolExecutor(1) as pool:
                clearing = pool.submit(lambda: [driver("clear 1") for _ in range(20)])
                while not clearing.done():
                    server.call("CLIENT", "KILL", "TYPE", "normal")
            assert {told.split()[0] for told in clearing.result()} <= {"ok", "error"}
            driver.until("clear 1", "ok")
            assert driver("get 1 7") == "miss"
    finally:
        server.stop()


def test_cluster_without_scripts(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        for node in cluster.nodes:
            node.call("ACL", "SETUSER", "default", "-@scripting")
        with Driver(*cluster.seeds(), mode="cluster") as driver:
            driver.until("put 1 0 1 first", "ok")
            for i in range(60):
                assert driver(f"put 1 {i} 10 v{i}").startswith("ok"), i
                assert driver(f"put 1 {i} 9 old").startswith("ok"), i
                assert driver(f"get 1 {i}").endswith(f" v{i}"), i
            assert driver("raise 1 t").startswith("ok")
            assert driver("pull 0").startswith("1/t=")
            assert driver("clear 1") == "ok 60"
    finally:
        cluster.stop()
