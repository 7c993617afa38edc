"""LiteLLM's proxy of a test: its own program, unchanged, in an environment of its own under build/tools.

Not named litellm, which is the package."""
import contextlib
import os
import signal
import subprocess

import httpx
import pytest
from daemon import TOOLS, clean_environment, free_port, poll

LITELLM = TOOLS / "litellm" / "bin" / "litellm"

# Answers by itself, without a model.
MOCK_KEY = "sk-litellm-test-0123456789abcdef0123456789abcdef"
MOCK_CONFIG = f"""
model_list:
  - model_name: mock-model
    litellm_params:
      model: openai/mock-model
      api_key: none
      mock_response: "The mock says hello."
  - model_name: mock-embedding
    litellm_params:
      model: openai/mock-embedding
      api_key: none
      mock_response: [0.1, 0.2, 0.3]
general_settings:
  master_key: {MOCK_KEY}
litellm_settings:
  telemetry: false
"""


@contextlib.contextmanager
def running(folder, config):
    """The URL of a proxy with that configuration (YAML); it ends with the block."""
    if not LITELLM.exists():
        pytest.skip("LiteLLM is not here: ./dev test installs it")
    (folder / "config.yaml").write_text(config)
    port = free_port()
    env = clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False",
                             "PATH": f"{LITELLM.parent}:{os.environ['PATH']}"})
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [str(LITELLM), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)],
            env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def is_up():
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        try:
            return httpx.get(url + "/health/liveliness", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        poll(is_up, "LiteLLM to be up", timeout=180, every=0.3)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
