"""The Go client of this repository: its own tests against a daemon, and its README, as a program would use it."""
import json
import re
import shutil
import subprocess

import pytest
from daemon import ROOT
from golang import GO, NO_GO, go_environment, run_go

PACKAGE = ROOT / "clients" / "go"
README = (PACKAGE / "README.md").read_text()
EXAMPLES = re.findall(r"^```go\n(.*?)^```\n\n```text\n(.*?)^```", README, re.M | re.S)

pytestmark = NO_GO


def test_its_tests_pass_and_none_is_skipped(daemon, key):
    done = run_go("test", "-count=1", "-v", "./...", cwd=PACKAGE, env={"DEJA_SERVER": daemon.url, "DEJA_KEY": key})
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    declared = len(re.findall(r"^func Test", "".join(path.read_text() for path in PACKAGE.glob("*_test.go")), re.M))
    assert done.stdout.count("--- PASS: ") == declared > 20 and "--- SKIP" not in done.stdout


def test_nothing_is_to_be_said_about_it():
    vetted = run_go("vet", "./...", cwd=PACKAGE)
    assert vetted.returncode == 0, vetted.stderr
    root = run_go("env", "GOROOT", cwd=PACKAGE).stdout.strip()
    formatted = subprocess.run([f"{root}/bin/gofmt", "-l", "."], cwd=PACKAGE, capture_output=True, text=True, timeout=60,
                               check=False)
    assert formatted.returncode == 0 and formatted.stdout == "", formatted.stdout + formatted.stderr


def test_it_needs_the_standard_library_only():
    listed = run_go("list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...", cwd=PACKAGE)
    assert listed.stdout.split() == ["deja"], listed.stderr
    assert not (PACKAGE / "go.sum").exists()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_of_the_readme_runs(daemon, key, tmp_path, number):
    """As a user would: a module elsewhere that names the folder. Only its patience is longer: an example that goes on
    without the cache shows something else."""
    program, shown = EXAMPLES[number]
    assert program.count("deja.Options{}") == 1
    (tmp_path / "main.go").write_text(program.replace("deja.Options{}", "deja.Options{Timeout: time.Minute}"))
    (tmp_path / "clients").mkdir()
    shutil.copytree(PACKAGE, tmp_path / "clients" / "go")
    command = re.search(r"^go (mod edit .*)$", README, re.M).group(1)
    for words in (["mod", "init", "example"], command.split()):
        done = run_go(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = run_go("run", ".", cwd=tmp_path, env={"DEJA_SERVER": daemon.url, "DEJA_KEY": key})
    assert done.returncode == 0 and done.stdout == shown, done.stdout + done.stderr


def test_every_example_of_the_readme_is_run():
    assert len(EXAMPLES) == README.count("```go\n") == 2


def test_every_route_that_programs_use_has_a_method():
    """What a new route brings must be offered here, or be named as left to Call."""
    spec = json.loads((ROOT / "src" / "api" / "openapi.json").read_text())
    left_to_call = {"deleteQuery", "explain", "evict", "getIndex", "optimiseIndex", "tailRequests", "learnHistory",
                    "getWarm", "warm", "cancelWarm"}
    source = "".join(path.read_text() for path in PACKAGE.glob("*.go"))
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and set(operation.get("tags", [])) & {"cache", "kv"} \
                    and operation["operationId"] not in left_to_call:
                stem = path.split("{")[0]
                assert f'"{stem}' in source, f"{method.upper()} {path} ({operation['operationId']})"


def test_the_go_of_the_tests_is_there():
    assert GO.exists() and "go1." in run_go("version", cwd=PACKAGE).stdout
    assert go_environment()["GOPROXY"] == "off"
