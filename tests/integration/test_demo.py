"""deja demo: what it claims holds, and nothing of it stays."""
import json
import signal
import subprocess

import pytest
from conftest import in_parallel
from daemon import BINARY, clean_environment, run_cli

STEPS = ["miss", "exact_hit", "semantic_hit", "near_miss", "stream", "ten_at_once"]


@pytest.fixture
def temporary(tmp_path):
    """A TMPDIR of the demo's own, empty before and after."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture(params=["model", "lexical"])
def data(request, tmp_path, models):
    """A data directory with the model or without one; the demo may only read it."""
    folder = tmp_path / "data"
    folder.mkdir()
    if request.param == "model":
        if models is None:
            pytest.skip("the model could not be pulled")
        (folder / "models").symlink_to(models)
    yield folder
    assert [path.name for path in folder.iterdir()] == (["models"] if request.param == "model" else [])


def demo(temporary, data, *args):
    return run_cli("demo", "--data", data, *args, env={"TMPDIR": str(temporary)})


def test_every_step_is_shown_and_holds(temporary, data):
    ended = demo(temporary, data)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for number in range(1, len(STEPS) + 1):
        assert f"\n{number}  " in ended.stdout
    assert "similarity 0.9" in ended.stdout and "guard of numbers" in ended.stdout
    assert "15 requests, only 3 calls to the model" in ended.stdout
    assert "\x1b" not in ended.stdout
    says_how = "deja model pull" if not (data / "models").exists() else "sentence model is installed"
    assert says_how in ended.stdout


def test_json_is_one_object_with_the_same_figures(temporary, data):
    ended = demo(temporary, data, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["ok"] is True and told["embedder"] == ("transformer" if (data / "models").exists() else "lexical")
    assert [step["name"] for step in told["steps"]] == STEPS
    steps = {step["name"]: step for step in told["steps"]}
    assert all(step["ok"] and step["fault"] is None and step["answer"] for step in told["steps"])
    assert steps["miss"]["took_ms"] >= told["upstream_delay_ms"]
    assert steps["exact_hit"]["answer"] == steps["miss"]["answer"] == steps["semantic_hit"]["answer"]
    assert steps["stream"]["answer"] == steps["miss"]["answer"] and steps["stream"]["events"] > 2
    assert steps["near_miss"]["detail"] == "guard:numbers" and steps["near_miss"]["similarity"] >= 0.9
    assert steps["near_miss"]["answer"] != steps["miss"]["answer"]
    assert steps["ten_at_once"]["requests"] == 10 and steps["ten_at_once"]["upstream_calls"] == 1
    saved = told["saved"]
    assert saved["requests"] == 15 and saved["upstream_calls"] == 3 and saved["tokens"] > 0
    assert saved["hits_exact"] + saved["hits_semantic"] + saved["joined"] == 12
    assert saved["seconds"] > 0.5 and saved["cost_usd"] > 0


def test_two_at_once_do_not_meet(temporary, tmp_path):
    ended = in_parallel(2, lambda i: demo(temporary, tmp_path / f"none{i}", "--json"))
    assert [one.returncode for one in ended] == [0, 0], [one.stdout for one in ended]


def test_a_signal_ends_it_and_nothing_stays(temporary, tmp_path):
    running = subprocess.Popen([str(BINARY), "demo", "--data", str(tmp_path / "none")],
                               env=clean_environment({"TMPDIR": str(temporary)}),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert first.startswith("Deja ") and running.returncode == 1
    assert "stopped" in rest


def test_settings_of_the_machine_do_not_reach_it(temporary, tmp_path):
    ended = run_cli("demo", "--data", tmp_path / "none", "--json",
                    env={"TMPDIR": str(temporary), "DEJA_SEMANTIC__ENABLED": "false",
                         "DEJA_SERVER__LISTEN": "127.0.0.1:1"})
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_stands_in_the_way_is_said(tmp_path):
    ended = run_cli("demo", "--data", tmp_path / "none", env={"TMPDIR": str(tmp_path / "missing")})
    assert ended.returncode == 1 and "TMPDIR" in ended.stderr and not ended.stdout
    ended = run_cli("demo", "words")
    assert ended.returncode == 2 and "takes no words" in ended.stderr
