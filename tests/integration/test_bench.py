"""deja bench: a run has the documented shape, and compare tells a regression. Nothing here looks at
how long anything took."""
import copy
import json
import re
import signal
import subprocess

import pytest
from daemon import BINARY, clean_environment, free_port, poll, run_cli

PATIENCE_S = 300.0  # a sanitized build on a busy machine; bounds a hang
NAMES = [
    "memory.entry", "memory.entry.vector384",
    "basic.put.memory", "basic.lookup.memory", "basic.remove.memory",
    "basic.put.lmdb", "basic.lookup.lmdb", "basic.remove.lmdb",
    "exact.engine.key", "exact.engine.hit", "exact.hit", "exact.miss", "batch.lookup100",
    "semantic.embed", "semantic.put", "semantic.hit",
    *(f"compression.{kind}.{what}" for kind in ("prose", "json", "random") for what in ("ratio", "pack", "unpack")),
]


def bench(*args, **kwargs):
    return run_cli("bench", *args, timeout=PATIENCE_S, **kwargs)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def quick(place):
    """One quick run, without a model: its JSON, also in place/run.json."""
    temporary = place / "tmp"
    temporary.mkdir()
    done = bench("--quick", "--json", "--out", place / "run.json", "--data", place / "data",
                 env={"TMPDIR": str(temporary)})
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "no progress off a terminal"
    assert not list(temporary.iterdir()), "the temporary folder is gone"
    return json.loads(done.stdout)


def test_quick_run_has_every_figure(quick):
    assert [result["name"] for result in quick["results"]] == NAMES
    assert quick["quick"] is True and quick["format"] == 1
    assert quick["machine"]["cores"] >= 1 and quick["machine"]["cpu"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", quick["taken_at"])
    for result in quick["results"]:
        assert result["unit"] in ("us", "bytes", "ratio"), result
        assert result["better"] == ("higher" if result["unit"] == "ratio" else "lower")
        assert result["runs"] >= 1 and result["round_count"] >= 1, result
        assert result["p50"] <= result["p95"] <= result["p99"], result
        low, high = result["rounds"]["quartiles"]
        assert low <= result["rounds"]["median"] <= high, result
        assert ("ops_per_s" in result) == (result["unit"] == "us")
        if result["unit"] == "us":
            assert result["mean"] > 0 and result["ops_per_s"]["median"] > 0


def test_quick_run_answers_rightly(quick):
    for result in quick["results"]:
        assert result["success_rate"] == 1, result


def test_without_a_model_the_lexical_embedder_is_measured_and_named(quick):
    semantic = [result for result in quick["results"] if result["name"].startswith("semantic.")]
    assert len(semantic) == 3
    assert all(result["embedder"].startswith("lexical") for result in semantic)


def test_compressible_text_packs_and_random_bytes_do_not(quick):
    ratio = {result["name"]: result["p50"] for result in quick["results"] if result["unit"] == "ratio"}
    assert ratio["compression.prose.ratio"] > 1.5
    assert ratio["compression.json.ratio"] > 1.5
    assert ratio["compression.random.ratio"] == pytest.approx(1, abs=0.01)


def test_run_compared_with_itself_is_exit_0(quick, place):
    assert json.loads((place / "run.json").read_text()) == quick
    done = bench("compare", place / "run.json", place / "run.json")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        assert name in done.stdout
    assert "WORSE" not in done.stdout
    body = json.loads(bench("compare", place / "run.json", place / "run.json", "--json").stdout)
    assert (body["worse"], body["compared"], body["same_machine"]) == (0, len(NAMES), True)


def worsened(quick, name, factor):
    """quick with one figure multiplied."""
    made = copy.deepcopy(quick)
    [result] = [result for result in made["results"] if result["name"] == name]
    rounds = result["rounds"]
    rounds["median"] *= factor
    rounds["quartiles"] = [value * factor for value in rounds["quartiles"]]
    return made


def write(place, run):
    path = place / "other.json"
    path.write_text(json.dumps(run))
    return path


def test_worsened_figure_is_exit_1_and_named(quick, place):
    other = write(place, worsened(quick, "exact.hit", 100))
    done = bench("compare", place / "run.json", other)
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if "WORSE" in line]
    assert line.startswith("exact.hit ")
    assert bench("compare", other, place / "run.json").returncode == 0, "faster is no regression"
    assert bench("compare", place / "run.json", other, "--limit", "1000%").returncode == 1
    other = write(place, worsened(quick, "compression.json.ratio", 0.5))
    assert bench("compare", place / "run.json", other).returncode == 1


def test_limit_decides_what_is_a_regression(quick, place):
    other = write(place, worsened(quick, "compression.random.ratio", 0.8))
    assert bench("compare", place / "run.json", other, "--limit", "10%").returncode == 1
    assert bench("compare", place / "run.json", other, "--limit", "25").returncode == 0


def test_wrong_answers_are_a_regression(quick, place):
    run = copy.deepcopy(quick)
    run["results"][NAMES.index("semantic.hit")]["success_rate"] = 0.5
    done = bench("compare", place / "run.json", write(place, run))
    assert done.returncode == 1
    assert "fewer succeeded" in done.stdout


def test_missing_and_new_names_are_told_and_no_regression(quick, place):
    run = copy.deepcopy(quick)
    run["results"][0]["name"] = "something.else"
    done = bench("compare", place / "run.json", write(place, run))
    assert done.returncode == 0
    assert "missing in the new run" in done.stdout
    assert "only in the new run" in done.stdout


def test_times_of_another_machine_are_not_compared(quick, place):
    run = worsened(quick, "exact.hit", 100)
    run["machine"]["cpu"] = "another one"
    done = bench("compare", place / "run.json", write(place, run))
    assert done.returncode == 0
    assert "another one" in done.stdout and "other machine" in done.stdout


def test_two_runs_without_anything_in_common_are_exit_1(quick, place):
    done = bench("compare", place / "run.json", write(place, {**quick, "results": []}))
    assert done.returncode == 1
    assert "nothing that can be compared" in done.stderr


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 1}', '{"format": 9, "results": []}', "\x00" * 100])
def test_file_that_is_no_run_is_exit_1_and_named(quick, place, content):
    path = place / "broken.json"
    path.write_text(content)
    done = bench("compare", place / "run.json", path)
    assert done.returncode == 1
    assert "broken.json" in done.stderr
    assert bench("compare", place / "nowhere.json", path).returncode == 1


@pytest.mark.parametrize("args", [
    ["--only", "exct"], ["--only", ""], ["--only", "server"], ["--clients", "0"], ["--clients", "257"],
    ["--limit", "5"], ["--server", "127.0.0.1:7070", "--only", "server"], ["compair"], ["compare"], ["compare", "a"], ["compare", "a", "b", "c"],
    ["compare", "a", "b", "--limit", "x"], ["compare", "a", "b", "--limit", "-1"], ["compare", "a", "b", "--quick"]])
def test_wrong_use_is_exit_2(args):
    done = bench(*args)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.strip() and not done.stdout.strip()


def test_only_runs_what_is_named_and_prints_a_table():
    done = bench("--quick", "--only", "compression")
    assert done.returncode == 0, done.stderr
    assert "compression.json.ratio" in done.stdout
    assert "exact.hit" not in done.stdout


def test_interrupted_run_leaves_no_folder(tmp_path):
    running = subprocess.Popen([BINARY, "bench", "--only", "basic", "--data", tmp_path / "data"],
                               env=clean_environment({"TMPDIR": str(tmp_path)}), stdout=subprocess.PIPE)
    try:
        poll(lambda: list(tmp_path.glob("deja-bench-*")),
             "the temporary folder")
        running.send_signal(signal.SIGTERM)
        out, _ = running.communicate(timeout=PATIENCE_S)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert running.returncode == -signal.SIGTERM
    assert not out
    assert not list(tmp_path.glob("deja-bench-*"))


def test_temporary_folder_that_cannot_be_made_is_exit_1_and_named(tmp_path):
    done = bench("--quick", "--only", "basic", "--data", tmp_path, env={"TMPDIR": str(tmp_path / "nowhere")})
    assert done.returncode == 1
    assert "nowhere" in done.stderr and "TMPDIR" in done.stderr


def test_out_that_cannot_be_written_is_exit_1(tmp_path):
    done = bench("--quick", "--only", "compression", "--out", tmp_path / "no" / "run.json")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_running_daemon_is_measured_over_http_and_left_as_it_was(daemon):
    for clients in ("1", "4"):
        done = bench("--quick", "--only", "server", "--server", daemon.url + "/", "--clients", clients, "--json",
                     "--key", "sk-bench")
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)["results"]
        assert [result["name"] for result in results] == ["server.exact", "server.semantic"]
        assert all(result["success_rate"] == 1 for result in results), results
        assert all(str(result["clients"]) == clients for result in results)
    stats = json.loads(daemon.cli("stats", "--json", "--key", "sk-bench").stdout)
    assert stats["levels"]["memory"]["entries"] == 0


def test_server_that_is_not_there_is_exit_69():
    done = bench("--quick", "--only", "server,basic", "--server", "http://127.0.0.1:9")
    assert done.returncode == 69
    assert not done.stdout
    assert "127.0.0.1:9" in done.stderr




# ---- deja bench load ----

LOAD = ["load.up.first", "load.up.second", "load.up.third", "load.all", "load.down"]
# The slowest of a thousand clients is as slow as the machine is busy, and tests run beside others:
# one of so many runs has to hold. Whether answers are right is never tried twice.
TRIES = 3


def load(*args, **kwargs):
    done = bench("load", "--json", *args, **kwargs)
    return done, json.loads(done.stdout) if done.stdout else None


def checks_of(run):
    return {check["name"]: check for check in run["checks"]}


def assert_all_but_p95(run):
    assert all(check["ok"] for check in run["checks"] if check["name"] != "p95"), run["checks"]


@pytest.mark.heavy
def test_load_of_a_thousand_clients_holds(place):
    for _ in range(TRIES):
        done, run = load("--seconds", 10, "--pause", "500ms", env={"TMPDIR": str(place)})
        print([f"{r['name']}: {r['clients']} clients, average {r['mean'] / 1000:.2f} ms, p95 {r['p95'] / 1000:.2f} ms, "
               f"{r['ops_per_s']['median']:.0f}/s" for r in run["results"]])
        assert [result["name"] for result in run["results"]] == LOAD
        assert [result["clients"] for result in run["results"]] == [100, 500, 1000, 1000, 1000]
        assert set(checks_of(run)) == {"p95", "hit_rate", "answered", "wrong_answers",
                                       "answers_of_other_tenants", "without_cache_header"}
        assert_all_but_p95(run)
        assert all(result["memory_bytes"] > 0 for result in run["results"])
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert not list(place.glob("deja-bench-*")), "nothing is left behind"


@pytest.mark.heavy
def test_load_holds_ten_thousand_connections(place):
    done, run = load("--seconds", 4, "--clients", 100, "--connections", 10000, env={"TMPDIR": str(place)})
    assert_all_but_p95(run)
    assert checks_of(run)["connections_held"]["value"] == 10000, done.stderr
    held = run["results"][-1]
    assert (held["name"], held["clients"], held["success_rate"]) == ("load.held", 10000, 1)


def test_load_prints_average_and_p95_for_people(place):
    done = bench("load", "--seconds", 4, "--clients", 10, "--questions", 5, env={"TMPDIR": str(place)})
    assert re.search(r"^ +runs +mean +p50 +p95 +p99 ", done.stdout, re.M), done.stdout
    assert re.search(r"^p95 .* wanted: ", done.stdout, re.M) and re.search(r"^hit_rate .* ok ", done.stdout, re.M)


def test_load_asks_the_cache_api_of_a_running_daemon_and_leaves_nothing(daemon, http):
    before = http.get("/api/v1/stats").json()
    done, run = load("--seconds", 4, "--clients", 20, "--questions", 10, "--server", daemon.url)
    assert_all_but_p95(run)
    assert before.keys() == http.get("/api/v1/stats").json().keys()
    assert "stay until they expire" not in done.stderr


def test_load_goes_through_the_proxy_of_a_daemon_whose_upstream_is_our_model(spawn):
    port = free_port()
    made = spawn(upstream_url=f"http://127.0.0.1:{port}")
    done, run = load("--seconds", 4, "--clients", 20, "--questions", 10, "--server", made.url, "--model-port", port)
    assert_all_but_p95(run)
    assert done.stderr == ""


def test_load_of_another_upstream_is_wrong_answers_and_exit_1(daemon):
    done, run = load("--seconds", 4, "--clients", 2, "--server", daemon.url, "--model-port", free_port())
    assert done.returncode == 1
    assert not checks_of(run)["wrong_answers"]["ok"]
    assert "not the answer to its question" in done.stderr


def test_load_of_nobody_is_unreachable():
    done, _ = load("--seconds", 4, "--server", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 69
    assert "does deja serve run there?" in done.stderr


@pytest.mark.parametrize("args, words", [
    (["--seconds", "2"], "--seconds expects"), (["--clients", "0"], "--clients expects"),
    (["--only", "exact"], "--only and --limit"), (["--pause", "soon"], "--pause expects"),
    (["--model-port", "80"], "--server URL"), (["--server", "ftp://h"], "--server"), (["twice"], "twice")])
def test_load_says_what_is_wrong_with_its_words(args, words):
    done = bench("load", *args)
    assert done.returncode == 2
    assert words in done.stderr


# ---- slow ----


def test_slow_clients_hold_nobody_up():
    done = bench("slow", "--connections", "300", "--seconds", "8", "--json")
    body = json.loads(done.stdout)
    assert [result["name"] for result in body["results"]] == ["slow.alone", "slow.sink", "slow.beside"]
    checks = {check["name"]: check for check in body["checks"]}
    assert set(checks) == {"p99_ratio", "answered", "oldest_slow_head", "oldest_slow_body", "oldest_slow_reader"}
    # Times are this machine's affair; that everybody was answered is not.
    assert checks["answered"]["value"] >= 0.999
    assert re.search(r"300 slow connections; .* [1-9]\d* bodies", done.stderr), done.stderr


@pytest.mark.parametrize("args", [("slow", "now"), ("slow", "--server", "http://127.0.0.1:1"), ("slow", "--clients", "3"),
                                  ("slow", "--connections", "0"), ("slow", "--seconds", "1")])
def test_slow_says_what_is_wrong_with_its_words(args):
    done = bench(*args)
    assert done.returncode == 2 and done.stderr
