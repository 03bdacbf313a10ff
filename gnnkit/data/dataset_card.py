"""Dataset cards: what a dataset is, which files it is made of, and what must be found in them."""

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin

from gnnkit.errors import ConfigError, DataError

TASKS = ("multilabel", "binary", "regression", "multiclass")
METRICS = ("ap", "rocauc", "rmse", "accuracy", "hits@20")

_Record = TypeVar("_Record", "DataFile", "Card")


@dataclass(frozen=True)
class DataFile:
    """One raw file.

    Attributes:
        role: What the loader uses it for. Files with the same role are alternatives, the preferred one first.
        path: Path relative to the data root.
        size: Bytes.
        sha256: Hexadecimal SHA-256.
        urls: Where to fetch it, in order of preference; empty if it must be placed by hand.
        member: Name inside the zip archive that ``urls`` point to; empty if they point to the file itself.
        official: Whether these are the bytes that the benchmark's authors published.
        required: Whether the loader needs it.
        note: Anything a user should know.
    """

    role: str
    path: str
    size: int
    sha256: str
    urls: tuple[str, ...] = ()
    member: str = ""
    official: bool = True
    required: bool = True
    note: str = ""


@dataclass(frozen=True)
class Card:
    """One dataset, as its TOML card describes it.

    Attributes:
        name: Name for :func:`gnnkit.data.load`.
        title: Name for people.
        description: What the graphs are and what is to be predicted.
        source: Which loader reads it.
        task: One of ``multilabel``, ``binary``, ``regression``, ``multiclass``.
        metric: One of ``ap``, ``rocauc``, ``rmse``, ``accuracy``, ``hits@20``.
        num_outputs: Width of the model's output.
        licence: Licence of the data.
        homepage: Where it was published.
        citation: BibTeX.
        files: Raw files; none for a generated dataset.
        options: Options with their defaults, of a generated dataset or of one with folds.
        statistics: What :meth:`GraphDataset.statistics` must give (for the default options).
        notes: What a user should know before quoting a number.
    """

    name: str
    title: str
    description: str
    source: str
    task: str
    metric: str
    num_outputs: int
    licence: str
    homepage: str = ""
    citation: str = ""
    files: tuple[DataFile, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the files, each once, in the order of the card."""
        return tuple(dict.fromkeys(file.role for file in self.files))

    def candidates(self, role: str) -> tuple[DataFile, ...]:
        """Files that can play a role, the preferred one first."""
        return tuple(file for file in self.files if file.role == role)


def nearest(word: str, choices: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the choice nearest to ``word``, or nothing."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.4)
    return f" (did you mean {near[0]!r}?)" if near else ""


def card_folder() -> Path:
    """Folder of the cards: inside an installed package, or ``datasets/`` of a source checkout.

    Raises:
        DataError: If neither exists.
    """
    here = Path(__file__).resolve().parent
    folders = (here / "cards", here.parent.parent / "datasets")
    for folder in folders:
        if any(folder.glob("*.toml")):
            return folder
    raise DataError(f"no dataset cards found; looked in {folders[0]} and {folders[1]}. Install gnnkit again.")


def names() -> list[str]:
    """Names of all datasets, sorted."""
    return sorted(path.stem for path in card_folder().glob("*.toml"))


def card(name: str) -> Card:
    """The card of a dataset.

    Raises:
        ConfigError: If there is no such dataset (the message names the nearest one), or its card is not valid.
    """
    known = names()
    if name not in known:
        raise ConfigError(f"unknown dataset {name!r}{nearest(name, known)}; known are {', '.join(known)}")
    return read_card(card_folder() / f"{name}.toml")


def check_source(found: Card, sources: Collection[str], what: str) -> None:
    """Raises ConfigError, naming the datasets that fit, where a card is for none of these loaders."""
    if found.source not in sources:
        known = [other for other in names() if card(other).source in sources]
        raise ConfigError(f"{found.name} is no {what}; such are {', '.join(known)}{nearest(found.name, known)}")


def check_roles(found: Card, roles: Iterable[str]) -> None:
    """Raises ConfigError where a card has no file for a role."""
    lacking = [role for role in roles if not found.candidates(role)]
    if lacking:
        raise ConfigError(f"card of {found.name}: no file has the role {', '.join(lacking)}")


def read_card(path: Path) -> Card:
    """Reads a card from its TOML file.

    Raises:
        ConfigError: If the file is no TOML, a key is unknown or missing, or a value has the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as a dataset card: {error}") from error
    files = table.get("files", [])
    if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
        raise ConfigError(f"{path}: files must be an array of tables ([[files]])")
    table["files"] = [
        _build(DataFile, _with_tuples(entry, ("urls",)), f"{path}: [[files]] number {number}")
        for number, entry in enumerate(files, start=1)
    ]
    result = _build(Card, _with_tuples(table, ("files", "notes")), str(path))
    _check(result, path)
    return result


def _with_tuples(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: tuple(value) if key in keys and isinstance(value, list) else value for key, value in table.items()}


def _build(kind: type[_Record], table: Mapping[str, Any], where: str) -> _Record:
    known = {entry.name: entry for entry in fields(kind)}
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, known)}; known are {', '.join(known)}")
    for key, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if key not in table and required:
            raise ConfigError(f"{where}: key {key!r} is missing")
        if key in table and not _fits(table[key], entry.type):
            raise ConfigError(f"{where}: {key} must be of type {_type_name(entry.type)}, got {table[key]!r:.80}")
    return kind(**table)


def _fits(value: Any, expected: Any) -> bool:
    if expected in (str, int, bool):
        return type(value) is expected
    if expected == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return isinstance(value, get_origin(expected) or expected)


def _type_name(expected: Any) -> str:
    return expected.__name__ if expected in (str, int, bool) else str(expected)


def _check(result: Card, path: Path) -> None:
    if result.name != path.stem:
        raise ConfigError(f"{path}: name is {result.name!r}, expected {path.stem!r} like the file")
    for key, value, choices in (("task", result.task, TASKS), ("metric", result.metric, METRICS)):
        if value not in choices:
            raise ConfigError(f"{path}: {key} is {value!r}{nearest(value, choices)}; expected {', '.join(choices)}")
    for file in result.files:
        relative = Path(file.path)
        if relative.is_absolute() or ".." in relative.parts:
            raise ConfigError(f"{path}: file path {file.path!r} must be relative to the data root, without '..'")
        if len(file.sha256) != 64:
            raise ConfigError(f"{path}: sha256 of {file.path} has {len(file.sha256)} digits, expected 64")
