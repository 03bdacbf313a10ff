"""Packages that only parts need: absent and broken ones are told apart."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from gnnkit._optional import require
from gnnkit.errors import BackendError


def test_a_package_that_is_there_is_imported():
    assert require("json.decoder", "JSON", "reading", "json").JSONDecoder is not None


def test_a_package_that_is_absent_is_told(monkeypatch: pytest.MonkeyPatch):
    words = r"^reading needs Thing: pip install 'gnnkit\[thing\]'$"
    with pytest.raises(BackendError, match=words):
        require("no_such_package_here.part", "Thing", "reading", "thing")
    monkeypatch.setitem(sys.modules, "once_here", None)
    monkeypatch.setitem(sys.modules, "once_here.part", ModuleType("part"))
    with pytest.raises(BackendError, match=words):
        require("once_here.part", "Thing", "reading", "thing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module'"),
        ("from json import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ("raise OSError('libthing.so: undefined symbol')", "OSError: libthing.so: undefined symbol"),
    ],
)
def test_a_package_that_is_broken_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str):
    (tmp_path / "broken_package_here.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match="reading needs Thing, which is installed but cannot be imported") as error:
        require("broken_package_here", "Thing", "reading", "thing")
    assert words in str(error.value)
    assert "--force-reinstall 'gnnkit[thing]'" in str(error.value)
    assert "broken_package_here" not in sys.modules
