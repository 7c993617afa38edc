"""The command line: exit codes, results on stdout, messages on stderr, --json."""
import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import shared_data
from daemon import run_cli


def test_version_is_on_stdout():
    for args in (["version"], ["--version"], ["-V"]):
        done = run_cli(*args)
        assert done.returncode == 0, args
        assert done.stdout.strip()


def test_help_begins_with_examples_and_lists_commands():
    done = run_cli("--help")
    assert done.returncode == 0
    for name in ("serve", "demo", "put", "get", "del", "explain", "stats", "model", "eval", "config", "doctor"):
        assert name in done.stdout
    for name in ("serve", "demo", "put", "get", "eval"):
        assert run_cli(name, "--help").returncode == 0


@pytest.mark.parametrize("args", [["frobnicate"], ["put"], ["put", "only-one"], ["get"], ["serve", "--nonsense"],
                                  ["config"], ["model"], ["eval"]])
def test_wrong_use_is_exit_2_with_a_message_on_stderr(args):
    done = run_cli(*args)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.strip()
    assert not done.stdout.strip()


def test_misspelt_command_gets_a_suggestion():
    assert "explain" in run_cli("explian", "x").stderr


def test_misspelt_words_and_flags_get_a_suggestion():
    assert '"pull"' in run_cli("model", "pul", "x").stderr
    assert "--threshold" in run_cli("get", "x", "--treshold", "1").stderr
    assert '"print"' in run_cli("config", "prnit").stderr


def complete(script, *words):
    """What bash offers for the last of words."""
    line = " ".join(f"'{word}'" for word in ("deja", *words))
    code = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _deja; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_words_and_flags(tmp_path):
    script = tmp_path / "deja.bash"
    script.write_text(run_cli("completions", "bash").stdout)
    assert complete(script, "exp") == ["explain", "export"]
    assert "manual" not in complete(script, "")
    assert complete(script, "put", "--tt") == ["--ttl"]
    assert complete(script, "model", "ver") == ["verify"]
    assert complete(script, "serve", "--lis") == ["--listen"]
    assert complete(script, "migrate-data", "--from", "l") == ["lmdb"]
    assert complete(script, "verify", "--to", "") == ["lmdb", "redis", "postgres", "s3"]
    assert complete(script, "migrate-data", "--to", str(script)[:-3]) == [str(script)]
    assert "l1.max_size=" in complete(script, "serve", "--set", "l1.max_s")
    offered = complete(script, "serve", "--set", "security")
    assert "security.sensitive.secret=" in offered
    assert not {"security.secret=", "security.admin_token="} & set(offered)


def test_completions_exist_for_each_shell_and_no_other():
    for shell in ("bash", "zsh", "fish"):
        told = run_cli("completions", shell).stdout
        assert "explain" in told and "TIER" not in told
    assert run_cli("completions", "tcsh").returncode == 2


@pytest.mark.parametrize("page", ["deja.1", "deja.conf.5", "deja.8"])
def test_man_pages_are_sound_roff(page):
    text = run_cli("manual", page).stdout
    assert text.startswith(".\\\"") and ".SH NAME" in text
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=text, capture_output=True, text=True, check=True)
        assert not done.stderr


def test_flush_off_a_terminal_needs_yes(daemon, word):
    daemon.cli("put", word, "x", "--key", f"sk-{word}")
    env = {"DEJA_KEY": f"sk-{word}"}
    assert daemon.cli("flush", env=env, stdin="").returncode == 2
    assert daemon.cli("flush", "--dry-run", env=env, stdin="").stdout.startswith("1 would")
    assert daemon.cli("get", word, env=env).returncode == 0
    assert daemon.cli("flush", "--yes", env=env, stdin="").returncode == 0
    assert daemon.cli("get", word, env=env).returncode == 3


def test_put_get_delete_round(daemon, word):
    put = daemon.cli("put", word, "the answer", "--json")
    assert put.returncode == 0, put.stderr
    entry = json.loads(put.stdout)["id"]
    got = daemon.cli("get", word)
    assert (got.returncode, got.stdout.strip()) == (0, "the answer")
    assert json.loads(daemon.cli("get", word, "--json").stdout)["kind"] == "exact"
    assert daemon.cli("del", entry).returncode == 0
    assert daemon.cli("get", word).returncode == 3


def test_miss_is_exit_3_with_nothing_on_stdout(daemon, word):
    done = daemon.cli("get", word)
    assert (done.returncode, done.stdout) == (3, "")


def test_server_that_is_not_there_is_exit_69(word):
    for args in (["get", word], ["put", word, "x"], ["stats"], ["explain", word]):
        done = run_cli(*args, "--server", "http://127.0.0.1:9")
        assert done.returncode == 69, (args, done.stderr)
        assert done.stderr.strip()


def test_key_names_a_tenant(daemon, word):
    assert daemon.cli("put", word, "mine", "--key", f"sk-{word}").returncode == 0
    assert daemon.cli("get", word).returncode == 3
    assert daemon.cli("get", word, env={"DEJA_KEY": f"sk-{word}"}).stdout.strip() == "mine"


def test_stats_and_explain_are_readable_and_json(daemon, word):
    daemon.cli("put", word, "x")
    for args in (["stats"], ["explain", word]):
        assert daemon.cli(*args).stdout.strip()
        json.loads(daemon.cli(*args, "--json").stdout)
    assert re.search(r"(?m)^last 24 h   \d+ hits saved ", daemon.cli("stats").stdout)
    assert re.search(r"(?m)^levels\.memory\.entries\s+\d+$", daemon.cli("stats", "--plain").stdout)
    assert re.match(r"hit: exact\n", daemon.cli("explain", word).stdout)
    near = daemon.cli("explain", f"{word} 5 apples").stdout
    assert re.match(r"miss: \S+\n", near) and word in near



def test_bad_input_is_exit_1_with_the_conditions_name(daemon):
    done = daemon.cli("put", "", "x")
    assert done.returncode in (1, 2)
    assert "query_empty" in done.stderr or "empty" in done.stderr


def test_model_list_and_unknown_model(tmp_path):
    assert run_cli("model", "list", "--data", tmp_path).returncode == 0
    done = run_cli("model", "pull", "no-such-model", "--data", tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.strip()


def test_model_with_a_changed_byte_fails_verification(models, tmp_path):
    import shutil

    if models is None:
        pytest.skip("the embedding model could not be pulled")
    shutil.copytree(models, tmp_path / "models")
    assert run_cli("model", "verify", "all-minilm-l6-v2", "--data", tmp_path).returncode == 0
    weights = next((tmp_path / "models").glob("**/model.safetensors"))
    with open(weights, "r+b") as file:
        file.seek(5_000_000)
        byte = file.read(1)
        file.seek(5_000_000)
        file.write(bytes([byte[0] ^ 1]))
    done = run_cli("model", "verify", "all-minilm-l6-v2", "--data", tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip()


def test_model_add_takes_local_files(models, tmp_path):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    folder = next(models.glob("**/model.safetensors")).parent
    done = run_cli("model", "add", folder, "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "minilm" in run_cli("model", "list", "--data", tmp_path).stdout.lower()


def test_model_add_of_broken_files_is_refused(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        (folder / name).write_bytes(b"\xff" * 100)
    done = run_cli("model", "add", folder, "--name", "broken", "--data", tmp_path / "data")
    assert done.returncode == 1
    assert done.stderr.strip()


def write_stream(path, rows):
    path.write_text("".join(json.dumps({"prompt": p, "answer_class": f"class {c}", "source": "own"}) + "\n" for p, c in rows))
    return path


def test_eval_prints_the_table_and_the_json(models, tmp_path):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    path = write_stream(tmp_path / "stream_own.jsonl", [
        ("How do I reset my password?", 1), ("How can I reset my password?", 1), ("What is the capital of Peru?", 2),
        ("How do I reset my password?", 1), ("How do I enable dark mode?", 3), ("How do I disable dark mode?", 4)])
    model = next(models.glob("*/config.json")).parent
    table = run_cli("eval", "--model", model, path, timeout=300)
    assert table.returncode == 0, table.stderr
    assert "stream_own" in table.stdout or "own" in table.stdout
    body = json.loads(run_cli("eval", "--json", "--model", model, path, timeout=300).stdout)
    stream = body["streams"][0]
    assert {"stream", "requests", "hits", "wrong", "wrong_per_hit", "interval"} <= set(stream)
    assert stream["requests"] == 6
    assert stream["hits"] >= 1 and stream["wrong"] == 0
    low, high = stream["interval"]
    assert 0 <= low <= stream["wrong_per_hit"] <= high <= 1


def test_eval_of_a_bad_file_is_exit_1_and_names_the_line(tmp_path):
    path = tmp_path / "stream_bad.jsonl"
    path.write_text('{"prompt":"a","answer_class":"1"}\n{"prompt":5}\n')
    done = run_cli("eval", "--embedder", "lexical", path, timeout=300)
    assert done.returncode == 1
    assert ":2" in done.stderr


@pytest.mark.heavy
def test_eval_on_the_dev_streams_reaches_the_floor(models):
    """Hit rates at the default policy are printed; the adversarial wrong rate has a ceiling."""
    folder = shared_data()
    if folder is None or models is None:
        pytest.skip("../shared/data/dev or the model is not here")
    files = [folder / f"stream_{name}.jsonl" for name in ("qqp_clusters_adj", "osschat", "gptcache_mock", "adversarial")]
    model = next(models.glob("*/config.json")).parent
    done = run_cli("eval", "--json", "--model", model, *files, timeout=900)
    assert done.returncode == 0, done.stderr
    for stream in json.loads(done.stdout)["streams"]:
        wrong = stream["wrong"] / stream["requests"]
        print(f"\n{stream['stream']}: {stream['hits'] / stream['requests']:.1%} hits, "
              f"{wrong:.2%} wrong of requests, {stream['wrong_per_hit']:.1%} of hits {stream['interval']}")
        assert wrong <= 0.05


def on_terminal(daemon, answer, *args):
    """deja ARGS with a terminal as its input: (exit code, all it said)."""
    from daemon import BINARY, clean_environment

    try:
        ours, theirs = os.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be had here: {error}")
    process = subprocess.Popen([str(BINARY), *args], env=clean_environment({"DEJA_SERVER": daemon.url}), stdin=theirs,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.close(theirs)
    os.write(ours, answer)
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    return process.returncode, said


def test_a_terminal_is_asked_before_entries_go(daemon, word):
    for number in range(3):
        daemon.cli("put", f"{word} {number}", "x", "--namespace", word)
    code, said = on_terminal(daemon, b"n\n", "invalidate", "--namespace", word)
    assert code == 1
    assert "3 entries would be removed" in said and "nothing was removed" in said
    assert daemon.cli("get", f"{word} 0", "--namespace", word).returncode == 0
    code, said = on_terminal(daemon, b"y\n", "invalidate", "--namespace", word)
    assert code == 0, said
    assert daemon.cli("get", f"{word} 0", "--namespace", word).returncode == 3
