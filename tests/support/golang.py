"""The Go that ./dev found or unpacked, with the modules it fetched: nothing is fetched by a test."""
import subprocess

import pytest
from daemon import TOOLS, clean_environment

GO = TOOLS / "go" / "go"
NO_GO = pytest.mark.skipif(not GO.exists(), reason="Go is not here: ./dev test installs it")


def go_environment(extra=None):
    made = clean_environment({"GOTOOLCHAIN": "local", "GOENV": "off", "GOPROXY": "off", "GOFLAGS": "-mod=readonly -buildvcs=false",
                              "GOSUMDB": "off", "CGO_ENABLED": "0", "GOPATH": str(TOOLS / "go" / "path"),
                              "GOCACHE": str(TOOLS / "go" / "cache"), **(extra or {})})
    made.pop("GOROOT", None)  # it is where that Go lies
    return made


def run_go(*words, cwd, env=None, timeout=600):
    """go WORDS in a folder, to its end: a CompletedProcess with text output."""
    return subprocess.run([str(GO), *map(str, words)], cwd=cwd, env=go_environment(env), capture_output=True, text=True,
                          timeout=timeout, check=False)
