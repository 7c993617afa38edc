#!/usr/bin/env python3
"""`deja bench` on this machine, with the model and a daemon to ask over HTTP; then beside the run
before it, if there was one.

    ./dev bench suite [--quick]     or  python3 bench/suite.py [--quick]
"""
import subprocess
import sys

from common import BINARY, RESULTS, ROOT, clean_environment, make_daemon, pulled_models


def main():
    models = pulled_models()
    daemon = make_daemon(models=models).start()
    RESULTS.mkdir(parents=True, exist_ok=True)
    now, before = RESULTS / "suite.json", RESULTS / "suite.before.json"
    if now.exists():
        now.replace(before)
    run = subprocess.run([BINARY, "bench", "--data", models.parent, "--server", daemon.url, "--out", now,
                          *sys.argv[1:]], env=clean_environment(), check=False)
    daemon.stop()
    if run.returncode == 0 and before.exists():
        print(f"\nbeside the run before ({before.relative_to(ROOT)}):", flush=True)
        subprocess.run([BINARY, "bench", "compare", before, now], env=clean_environment(), check=False)
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
