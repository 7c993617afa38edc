"""What the bench scripts share: a daemon, a table, a place for results."""
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from daemon import BINARY, MODEL, TOOLS, Daemon, clean_environment, run_cli  # noqa: E402, F401

RESULTS = ROOT / "build" / "bench"


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def cores():
    return sorted(os.sched_getaffinity(0))


def spread(values):
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": statistics.median(values), "quartiles": [low, high], "min": min(values), "max": max(values)}


def pulled_models():
    data = TOOLS / "model-data"
    data.mkdir(parents=True, exist_ok=True)
    if run_cli("model", "verify", MODEL, "--data", data).returncode != 0:
        done = run_cli("model", "pull", MODEL, "--data", data, timeout=600)
        if done.returncode != 0:
            sys.exit(f"the model could not be pulled: {done.stderr}")
    return data / "models"


def make_daemon(upstream=None, **kwargs):
    folder = tempfile.TemporaryDirectory(prefix="deja-bench-")
    daemon = Daemon(Path(folder.name) / "data", upstream, **kwargs)
    daemon.folder = folder  # removed with the daemon
    return daemon


def write_result(name, result):
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"machine": {"cpu": cpu_name(), "cores": len(cores())}, **result}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"(written to {path.relative_to(ROOT)})")
