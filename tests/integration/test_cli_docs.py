"""docs/cli.md: every command has a row, and every row runs as it stands."""
import json
import os
import re
import subprocess

from daemon import BINARY, ROOT, clean_environment, run_cli

ROW = re.compile(r"^\| `(\w+)` \| `(deja [^`]*)` \|", re.M)
DOCUMENT = (ROOT / "docs" / "cli.md").read_text()


def shown_commands():
    return re.findall(r"^  (\w+) {2,}\S", run_cli("help").stdout.split("commands:\n")[1], re.M)


def test_every_command_has_its_row():
    assert sorted(name for name, _ in ROW.findall(DOCUMENT)) == sorted(shown_commands())
    for name, example in ROW.findall(DOCUMENT):
        assert example.startswith(f"deja {name}"), example


def test_every_row_runs_as_it_stands(spawn, tmp_path):
    daemon = spawn()
    (tmp_path / "questions.jsonl").write_text("".join(
        json.dumps({"prompt": f"question {i % 3}", "answer_class": f"class {i % 3}"}) + "\n" for i in range(9)))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "deja").symlink_to(BINARY)
    environment = clean_environment({
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "DEJA_SERVER": daemon.url, "TMPDIR": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "home")})
    for _, example in ROW.findall(DOCUMENT):
        ended = subprocess.run(["bash", "-c", example], cwd=tmp_path, env=environment, capture_output=True,
                               stdin=subprocess.DEVNULL, text=True, timeout=120, check=False)
        assert ended.returncode == 0, (example, ended.stdout, ended.stderr)
