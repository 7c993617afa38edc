"""One check of isolation is taken out at a time, and tests/isolation has to notice each."""
import sys
from pathlib import Path

import pytest
from daemon import BINARY

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "isolation"))
import mutants

BUILD = BINARY.resolve().parent


@pytest.mark.heavy
@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_engine_without_a_check_is_noticed(name):
    if not (BUILD / "compile_commands.json").exists():
        pytest.skip(f"{BUILD} is not a build folder")
    assert mutants.is_noticed(BUILD, name)
