"""The examples of docs/clients.md, run as they are against another port."""
import re
from pathlib import Path

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(daemon, monkeypatch, number):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", daemon.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-docs")
    before = get_llm_cache()
    try:
        exec(EXAMPLES[number].replace("127.0.0.1:7070", f"127.0.0.1:{daemon.port}"), {})
    finally:
        set_llm_cache(before)
