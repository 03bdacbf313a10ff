"""What tests of real files share."""

from pathlib import Path

import pytest

from gnnkit.data import card, verify


def need(name: str, root: Path) -> None:
    """Skips a test where a file of a dataset, or every alternative to it, is missing."""
    for role in card(name).roles:
        candidates = card(name).candidates(role)
        if not any((root / file.path).is_file() for file in candidates):
            pytest.skip(f"GNNKIT_DATA has no {candidates[0].path}")


def check_card(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a dataset are those on its card, and hold what it says."""
    need(name, root)
    monkeypatch.setenv("GNNKIT_DATA", str(root))
    result = verify(name)
    assert result.ok, str(result)
