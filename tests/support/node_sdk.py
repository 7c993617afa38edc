"""Programs of Node with the pinned SDKs."""
import json
import subprocess

import pytest
from daemon import TOOLS, clean_environment

FOLDER = TOOLS / "node"
NODE = FOLDER / "node"


def run_module(text, env):
    """What that program prints, a JSON document; it finds the SDKs, and leaves no file behind."""
    if not NODE.exists():
        pytest.skip("Node is not here: ./dev test installs it")
    done = subprocess.run([str(NODE), "--input-type=module", "-"], input=text, cwd=FOLDER, env=clean_environment(env),
                          capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
