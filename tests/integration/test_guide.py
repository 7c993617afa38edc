"""docs/guide.md: its Python blocks, one after the other, as somebody who reads it would run them."""
import re

from daemon import ROOT

TEXT = (ROOT / "docs" / "guide.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


def test_every_example_runs(daemon, key, monkeypatch):
    monkeypatch.setenv("DEJA_SERVER", daemon.url)
    monkeypatch.setenv("DEJA_KEY", key)
    names = {}
    assert len(BLOCKS) > 20
    for number, block in enumerate(BLOCKS):
        line = TEXT[:TEXT.index(block)].count("\n") + 1
        exec(compile("\n" * (line - 1) + block, "docs/guide.md", "exec"), names)


def test_every_shipped_kind_has_an_example_or_its_family_has():
    shipped = (ROOT / "src" / "policy" / "kinds_shipped.c").read_text()
    families = {"template:", "doc:", "ocr:", "ai:", "session:", "query_result"}
    patterns = re.findall(r'\.patterns = "([a-z]+):', shipped)
    assert {f"{front}:" for front in patterns} <= families | {"query:"}, "a family without an example in the guide"
    assert all(family in TEXT for family in families)
