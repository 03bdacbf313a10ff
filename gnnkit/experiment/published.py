"""The published figures: one file, ``benchmarks/published.toml``, and which of its rows may be shown."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from gnnkit.errors import DataError
from gnnkit.experiment.reader import read_table

_SHOWN = ("read", "quoted")
_VERIFIED = (*_SHOWN, "unverified")


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        benchmark: The family of data sets.
        dataset: The data set.
        metric: The metric's name.
        higher_is_better: Whether more is better.
        method: The method's name.
        value: The figure.
        protocol: How it was measured.
        source: Where it stands.
        verified: ``read`` in the work itself, ``quoted`` from another, or ``unverified``.
        spread: Half-width that is printed after ±.
        spread_kind: ``std``, ``95ci`` or ``2se``.
        seeds: Number of runs.
        params: Number of parameters.
        note: Anything else.
    """

    benchmark: str
    dataset: str
    metric: str
    higher_is_better: bool
    method: str
    value: float
    protocol: str
    source: str
    verified: str
    spread: float | None = None
    spread_kind: str | None = None
    seeds: int | None = None
    params: int | None = None
    note: str | None = None

    @property
    def standing(self) -> str:
        """How far the figure can be relied on: ``read``, ``quoted``, ``quoted, transcribed``."""
        return f"{self.verified}, transcribed" if "machine transcription" in self.source else self.verified


def load_published(path: Path) -> list[Published]:
    """Reads the published figures, without the unverified ones: those are never shown.

    Raises:
        DataError: If the file is missing or is not TOML.
        ConfigError: If a row has an unknown key or a value of a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"there is no file {path}; run from a checkout of gnnkit, which has it in benchmarks/"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}") from None
    rows = [read_table(Published, row, f"result[{i}]") for i, row in enumerate(table.get("result", []))]
    for i, row in enumerate(rows):
        if row.verified not in _VERIFIED:
            raise DataError(
                f"{path}: result[{i}] has verified = {row.verified!r}, expected one of {', '.join(_VERIFIED)}"
            )
    return [row for row in rows if row.verified in _SHOWN]


def benchmarks_folder() -> Path:
    """The ``benchmarks`` folder: of the working directory or a folder above it, else of gnnkit's own checkout.

    Raises:
        DataError: If there is none.
    """
    here, package = Path.cwd(), Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, package):
        if (folder / "benchmarks" / "published.toml").is_file():
            return folder / "benchmarks"
    raise DataError(
        f"there is no benchmarks/published.toml in {here}, above it, or in {package}; run from a checkout of gnnkit"
    )
