"""Tables of records beside published figures.

Nothing is measured here: a value is the record's or the published one, and where a method was run with several seeds
the mean and the sample standard deviation over these, and only these.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnnkit._construct import unknown_key
from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment.published import Published, load_published
from gnnkit.experiment.record import read_record

Format = Literal["md", "tex"]

_COLUMNS = ("Method", "Test", "Val", "Seeds", "Params", "Epochs", "Protocol", "Source")
_SPREADS = {None: "", "std": "", "95ci": " (95 % interval)", "2se": " (2 s.e.)"}


@dataclass(frozen=True)
class Row:
    """One line of a table: its sort key, its cells, and whether gnnkit measured it."""

    value: float
    cells: tuple[str, ...]
    own: bool


@dataclass(frozen=True)
class Table:
    """One table: a data set and a metric, rows best first, and what must be said below it."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def render(self, style: Format = "md") -> str:
        """The table as Markdown or LaTeX (``tabular``, to be used with ``booktabs``)."""
        return _markdown(self) if style == "md" else _latex(self)


def make_tables(name: str, *, results: Path, published: Path, methods: str = "all") -> list[Table]:
    """Builds the tables of one name, one per data set and metric.

    Args:
        name: A folder of ``results`` or a data set of the published figures; case does not matter.
        results: Folder of folders of records.
        published: The published figures.
        methods: Show only published methods whose name contains this, in any case; ``all``: every one.

    Raises:
        ConfigError: If there is neither a folder nor a data set of this name.
        DataError: If a record is damaged, or two records are of the same method, configuration and seed.
    """
    figures = load_published(published)
    folders = {path.name: path for path in sorted(results.iterdir()) if path.is_dir()} if results.is_dir() else {}
    folder = next((path for key, path in folders.items() if key.casefold() == name.casefold()), None)
    records = [] if folder is None else [(path, read_record(path)) for path in sorted(folder.glob("*.json"))]
    datasets = {figure.dataset.casefold() for figure in figures}
    if not records and name.casefold() not in datasets:
        known = {*folders, *(figure.dataset.lower() for figure in figures)}
        raise ConfigError(str(unknown_key(name, known, "table", "name")) if folder is None else f"{folder} is empty")
    cells = {(record["dataset"], record["metric"]) for _, record in records}
    if not records:
        cells = {(figure.dataset, figure.metric) for figure in figures if figure.dataset.casefold() == name.casefold()}
    return [_make_table(cell, records, figures, methods) for cell in sorted(cells)]


def _make_table(
    cell: tuple[str, str], records: Sequence[tuple[Path, dict[str, Any]]], figures: Sequence[Published], methods: str
) -> Table:
    dataset, metric = cell
    own = [(path, record) for path, record in records if (record["dataset"], record["metric"]) == cell]
    quoted = [f for f in figures if f.dataset.casefold() == dataset.casefold() and f.metric == metric]
    shown = [f for f in quoted if methods == "all" or methods.casefold() in f.method.casefold()]
    directions = {record["higher_is_better"] for _, record in own} | {figure.higher_is_better for figure in quoted}
    if len(directions) != 1:
        raise DataError(f"{dataset}, {metric}: the rows disagree on whether higher is better")
    higher = directions.pop()
    groups = _groups(own)
    rows = [_own_row(group, _setting(group, groups)) for group in groups] + [_published_row(f) for f in shown]
    rows.sort(key=lambda row: (-row.value if higher else row.value, not row.own, row.cells))
    title = f"{dataset}: {metric} ({'higher' if higher else 'lower'} is better)"
    return Table(title, tuple(rows), _notes(groups, shown, hidden=len(quoted) - len(shown)))


def _groups(records: Sequence[tuple[Path, dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Records that differ in nothing but the seed, by seed."""
    groups: dict[str, dict[int, tuple[Path, dict[str, Any]]]] = defaultdict(dict)
    for path, record in records:
        config = {**record["config"], "train": {k: v for k, v in record["config"]["train"].items() if k != "seed"}}
        seeds = groups[repr(_sorted(config))]
        if record["seed"] in seeds:
            raise DataError(
                f"{path} and {seeds[record['seed']][0]} are records of the same configuration and seed; delete one"
            )
        seeds[record["seed"]] = (path, record)
    return [[seeds[seed][1] for seed in sorted(seeds)] for seeds in groups.values()]


def _own_row(group: Sequence[dict[str, Any]], setting: str) -> Row:
    first = group[0]
    test, val = ([record["final"][split] for record in group] for split in ("test", "val"))
    params = {record["parameters"]["total"] for record in group}
    epochs = str(first["epochs"]) if not first["short_schedule"] else f"{first['epochs']}, short schedule"
    if any(record["stopped_early"] for record in group):
        epochs += ", stopped early"
    protocol = first["protocol"] + (f"; {first['schedule']}" if first["epochs"] != first["protocol_epochs"] else "")
    if (orders := first.get("eval_orders", 1)) > 1:
        protocol += f"; evaluation averages over {orders} random orders"
    cells = (
        first["method"] + setting,
        _mean(test),
        _mean(val),
        f"{len(group)} ({', '.join(str(record['seed']) for record in group)})",
        " / ".join(f"{count:,}" for count in sorted(params)),
        epochs,
        protocol,
        "gnnkit, measured",
    )
    return Row(statistics.fmean(test), cells, own=True)


def _published_row(figure: Published) -> Row:
    spread = "" if figure.spread is None else f" ± {figure.spread:.4f}{_SPREADS.get(figure.spread_kind, '')}"
    cells = (
        figure.method,
        f"{figure.value:.4f}{spread}",
        "-",
        "-" if figure.seeds is None else str(figure.seeds),
        "-" if figure.params is None else f"{figure.params:,}",
        "-",
        figure.protocol,
        f"{figure.standing}: {figure.source}" + (f" ({figure.note})" if figure.note else ""),
    )
    return Row(figure.value, cells, own=False)


def _setting(group: Sequence[dict[str, Any]], groups: Iterable[Sequence[dict[str, Any]]]) -> str:
    """Options of the data that tell groups apart, such as a ring size."""
    options = [other[0]["config"]["data"].get("options", {}) for other in groups]
    mine = group[0]["config"]["data"].get("options", {})
    varying = [key for key in sorted(mine) if any(other.get(key) != mine[key] for other in options)]
    return f" ({', '.join(f'{key} = {mine[key]}' for key in varying)})" if varying else ""


def _mean(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def _notes(groups: Sequence[Sequence[dict[str, Any]]], shown: Sequence[Published], *, hidden: int) -> tuple[str, ...]:
    records = [record for group in groups for record in group]
    notes = []
    if not records:
        notes.append(
            "There is no gnnkit record for this table yet; `gnnkit run CONFIG --record benchmarks/results` makes one."
        )
    else:
        notes.append("gnnkit rows: test at the best validation epoch; ± is the sample standard deviation over seeds.")
    if any(record["short_schedule"] for record in records):
        notes.append("A short schedule has fewer epochs than the protocol: such a row is no reproduction of it.")
    for record in records:
        if record["data"].get("official") is False:
            notes.append(f"Data are not the official files: {_words(record['data'].get('notes'))}")
    if any("transcribed" in figure.standing for figure in shown):
        notes.append('"transcribed": extracted from the paper by software; check it before quoting.')
    if any(figure.verified == "quoted" for figure in shown):
        notes.append('"quoted": from another work than the method\'s own.')
    if hidden:
        notes.append(f"{hidden} published row(s) are left out by --published.")
    notes += [f"Environment: {_environment(record)}" for record in records]
    return tuple(dict.fromkeys(notes))


def _environment(record: dict[str, Any]) -> str:
    environment = record["environment"]
    names = ("gnnkit", "torch", "torch-geometric", "python")
    versions = ", ".join(f"{name} {environment['versions'].get(name) or 'absent'}" for name in names)
    machine = environment["machine"]
    loaded = [name for name, state in environment["backend"].items() if state["loaded"]]
    git = environment.get("git")
    commit = f"commit {git['commit'][:12]}{' with local changes' if git['dirty'] else ''}" if git else "no commit"
    return (
        f"{versions}; {machine['gpu'] or machine['cpu']}, {machine['torch_threads']} threads; "
        f"native libraries: {', '.join(loaded) or 'none'}; {commit}."
    )


def _markdown(table: Table) -> str:
    lines = [f"## {table.title}", "", _line(_COLUMNS), _line("---" for _ in _COLUMNS)]
    for row in table.rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row.cells]
        lines.append(_line([f"**{cells[0]}**", f"**{cells[1]}**", *cells[2:]] if row.own else cells))
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes), ""])


def _latex(table: Table) -> str:
    lines = [f"% {table.title}", f"\\begin{{tabular}}{{{'l' * len(_COLUMNS)}}}", "\\toprule"]
    lines += [_tex_line(_COLUMNS), "\\midrule"]
    for row in table.rows:
        cells = [_escape(cell) for cell in row.cells]
        lines.append(
            _tex_line([f"\\textbf{{{cells[0]}}}", f"\\textbf{{{cells[1]}}}", *cells[2:]] if row.own else cells)
        )
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in table.notes), ""])


_TEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "±": "$\\pm$",
    "\u2013": "--",
    "\n": " ",
}


def _escape(cell: str) -> str:
    return "".join(_TEX.get(character, character) for character in cell)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tex_line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _words(notes: Any) -> str:
    return "; ".join(notes) if isinstance(notes, list) and notes else "see the data set's card"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value)]
    return value
