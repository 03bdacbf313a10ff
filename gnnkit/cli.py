"""The gnnkit command.

Exit codes: 0 done; 1 ``data verify`` found a fault; 2 an error in what was asked (one message, no traceback);
130 or 143 interrupted by SIGINT or SIGTERM after a checkpoint.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gnnkit.errors import ConfigError, GnnkitError

# Every transform that `gnnkit rewire --method` offers, with its class in gnnkit.rewire.
_REWIRINGS = {
    "afr": "AFR",
    "borf": "BORF",
    "digl": "DigL",
    "expander": "Expander",
    "fosr": "FoSR",
    "gtr": "GTR",
    "k-hop": "KHop",
    "laser": "LASER",
    "random-edges": "RandomEdges",
    "sdrf": "SDRF",
    "spectral-sparsify": "SpectralSparsify",
    "virtual-node": "VirtualNode",
}

# Every encoding that `gnnkit encode --encoding` offers, with its class in gnnkit.encodings and the arguments of its
# constructor that the name decides.
_ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "elene": ("EgoDegrees", {}),
    "grf": ("GraphRandomFeatures", {}),
    "heat": ("HeatKernel", {}),
    "hops": ("HopDistances", {}),
    "igel": ("EgoDegrees", {"degrees": "total"}),
    "lap": ("LaplacianEigenvectors", {}),
    "lcp": ("CurvatureProfile", {}),
    "ldp": ("DegreeProfile", {}),
    "resistance": ("ResistanceEmbedding", {}),
    "rfp": ("RandomFeaturePropagation", {}),
    "rrwp": ("RelativeRandomWalk", {}),
    "rwse": ("RandomWalk", {}),
    "sparse-grf": ("SparseGraphRandomFeatures", {}),
}
# What else these are called.
_ENCODING_ALIASES = {
    "curvature-profile": "lcp",
    "degree-profile": "ldp",
    "ego-degrees": "elene",
    "graph-random-features": "grf",
    "heat-kernel": "heat",
    "hop-distances": "hops",
    "laplacian-eigenvectors": "lap",
    "lappe": "lap",
    "random-feature-propagation": "rfp",
    "random-walk": "rwse",
    "relative-random-walk": "rrwp",
    "resistance-embedding": "resistance",
    "rwpe": "rwse",
    "sparse-graph-random-features": "sparse-grf",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name; ``None``: those of the process.

    Returns:
        The exit code. Errors that gnnkit raises on purpose become one message on standard error.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser(argv).parse_args(argv)
    # `--debug` and `--quiet` may stand before or after the sub-command, and set nothing where they do not stand.
    debug, quiet = getattr(arguments, "debug", False), getattr(arguments, "quiet", False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("gnnkit").setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except GnnkitError as error:
        if debug:
            raise
        print(f"gnnkit{_place()}: {error}", file=sys.stderr)
        number = getattr(error, "signal_number", None)
        return 2 if number is None else 128 + number
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"gnnkit{_place()}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`gnnkit table ... | head`); nobody is left to be told.
        sys.stderr.close()
        return 0


def _place() -> str:
    """Which process speaks, where ``torchrun`` started several."""
    from gnnkit.experiment.launch import started

    try:
        rank, count = started()
    except ConfigError:
        return ""
    return f" [process {rank}]" if count > 1 else ""


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks and debug lines"
    )
    common.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help="show errors and warnings only")
    parser = argparse.ArgumentParser(
        prog="gnnkit", description="A message-passing toolkit for PyTorch.", parents=[common]
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_info(commands, common)
    _add_run(commands, common)
    _add_table(commands, common)
    _add_data(commands, common)
    _add_rewire(commands, common, argv)
    _add_encode(commands, common, argv)
    return parser


def _add_info(commands: Any, common: argparse.ArgumentParser) -> None:
    info = commands.add_parser("info", parents=[common], help="versions, and which native libraries are active")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(command=_info)


def _add_run(commands: Any, common: argparse.ArgumentParser) -> None:
    run = commands.add_parser("run", parents=[common], help="train what a configuration describes, or resume it")
    run.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file, such as benchmarks/tables/*/*.toml")
    run.add_argument("--seed", type=int, help="instead of train.seed")
    run.add_argument("--epochs", type=int, help="instead of train.epochs; fewer are recorded as a short schedule")
    run.add_argument("--data", type=Path, metavar="ROOT", help="folder of the raw files (default: GNNKIT_DATA)")
    run.add_argument("--out", type=Path, help="folder of the run (default: runs/TABLE/NAME/seedK)")
    run.add_argument("--record", type=Path, metavar="PATH", help="also write the record to this .json file, or to "
                     "PATH/TABLE/NAME-seedK.json")  # fmt: skip
    how = run.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="insist on a checkpoint (one that is there is always used)")
    how.add_argument("--restart", action="store_true", help="forget the run that the folder holds")
    run.add_argument("--progress", action=argparse.BooleanOptionalAction, help="a bar (default: on a terminal)")
    run.set_defaults(command=_run)


def _add_table(commands: Any, common: argparse.ArgumentParser) -> None:
    table = commands.add_parser("table", parents=[common], help="records beside published figures")
    table.add_argument("name", metavar="NAME", help="a folder of the results, or a data set")
    table.add_argument("--format", choices=("md", "tex"), default="md")
    table.add_argument("--published", default="all", metavar="METHOD", help="only published methods named like this")
    table.add_argument("--results", type=Path, help="folder of records (default: benchmarks/results)")
    table.set_defaults(command=_table)


def _add_data(commands: Any, common: argparse.ArgumentParser) -> None:
    data = commands.add_parser("data", help="list, fetch and check data sets")
    actions = data.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="all data sets, and which are here")
    listing.add_argument("--data", type=Path, metavar="ROOT", help="folder of the raw files (default: GNNKIT_DATA)")
    listing.set_defaults(command=_data_list)
    for name, command, help_text in (
        ("get", _data_get, "fetch a data set's files and process them"),
        ("verify", _data_verify, "compare a data set's files and statistics with its card"),
    ):
        action = actions.add_parser(name, parents=[common], help=help_text)
        action.add_argument("name", metavar="NAME")
        action.add_argument("--data", type=Path, metavar="ROOT", help="folder of the raw files (default: GNNKIT_DATA)")
        action.set_defaults(command=command)


def _add_rewire(commands: Any, common: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    rewire = commands.add_parser(
        "rewire",
        parents=[common],
        help="add and remove edges of the graphs in a file",
        description="Formats by suffix: .csv, .tsv, .txt (edge lists), .npz (edge_index, or a SciPy matrix), .graphml, "
        ".pt (PyTorch Geometric). Add --help after --method to see the options of a method.",
        allow_abbrev=False,
    )
    _add_files(rewire)
    rewire.add_argument("--method", required=True, choices=_REWIRINGS, metavar="METHOD", help=", ".join(_REWIRINGS))
    rewire.add_argument("--plot", type=Path, metavar="FILE", help="picture of before and after: .png, .pdf or .svg")
    rewire.add_argument("--undirected", action="store_true", help="take every edge of the file for an undirected one")
    rewire.set_defaults(command=_rewire)
    method = _chosen(argv, "rewire", "--method")
    if method is not None and method in _REWIRINGS:
        # Only now: this loads what other commands do without.
        from gnnkit.rewire.commands import add_method_options

        try:
            add_method_options(rewire, _REWIRINGS[method], method)
        except ConfigError as error:
            rewire.error(str(error))


def _add_encode(commands: Any, common: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    encode = commands.add_parser(
        "encode",
        parents=[common],
        help="add positional or structural features to the graphs in a file",
        description="Formats by suffix. IN: .csv, .tsv, .txt (edge lists), .npz (edge_index, or a SciPy matrix), "
        ".graphml, .pt (PyTorch Geometric). OUT: .pt (the data with the new attributes), .npz and .safetensors (each "
        "attribute by name), .csv and .tsv (a line per node). Add --help after --encoding to see the options of an "
        "encoding.",
        allow_abbrev=False,
    )
    _add_files(encode)
    names = ", ".join(_ENCODINGS)
    encode.add_argument(
        "--encoding", required=True, choices=[*_ENCODINGS, *_ENCODING_ALIASES], metavar="NAME", help=names
    )
    edges = encode.add_mutually_exclusive_group()
    edges.add_argument("--undirected", action="store_true", help="take every edge of the file for an undirected one")
    edges.add_argument("--directed", action="store_true", help="take every edge of the file as it is")
    encode.set_defaults(command=_encode)
    chosen = _chosen(argv, "encode", "--encoding")
    encoding = _ENCODING_ALIASES.get(chosen, chosen) if chosen else None
    if encoding is not None and encoding in _ENCODINGS:
        from gnnkit.encodings.commands import add_encoding_options

        class_name, fixed = _ENCODINGS[encoding]
        try:
            add_encoding_options(encode, class_name, encoding, fixed)
        except ConfigError as error:
            encode.error(str(error))


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", type=Path, metavar="IN", help="file with the graph or graphs")
    command.add_argument("output", type=Path, metavar="OUT", help="file that is written")
    command.add_argument("--force", action="store_true", help="write over files that exist")
    command.add_argument("--num-nodes", type=int, metavar="N", help="of an edge list, whose nodes are numbers below")
    command.add_argument("--num-workers", type=int, metavar="N", help="processes, for a file of many graphs")
    command.add_argument("--cache", type=Path, metavar="FOLDER", help="folder where results are kept")


def _chosen(argv: Sequence[str], command: str, option: str) -> str | None:
    """What ``option`` names, which tells what other options there are, before they can be parsed."""
    if command not in argv:
        return None
    first = argparse.ArgumentParser(prog=f"gnnkit {command}", add_help=False, allow_abbrev=False)
    first.add_argument(option, dest="chosen")
    return first.parse_known_args(argv)[0].chosen


def _rewire(arguments: argparse.Namespace) -> int:
    from gnnkit.rewire.commands import rewire_file

    print(rewire_file(arguments, _REWIRINGS[arguments.method], quiet=getattr(arguments, "quiet", False)))
    return 0


def _encode(arguments: argparse.Namespace) -> int:
    from gnnkit.encodings.commands import encode_file

    name: str = arguments.encoding
    class_name, fixed = _ENCODINGS[_ENCODING_ALIASES.get(name) or name]
    print(encode_file(arguments, class_name, fixed, quiet=getattr(arguments, "quiet", False)))
    return 0


def _info(arguments: argparse.Namespace) -> int:
    import gnnkit
    from gnnkit.experiment import environment

    versions, machine, libraries = environment.versions(), environment.machine(), gnnkit.backend_info()
    if arguments.json:
        print(json.dumps({"versions": versions, "machine": machine, "libraries": libraries}, indent=2))
        return 0
    for name, version in versions.items():
        print(f"{name:<16} {version or 'not installed'}")
    print(f"{'machine':<16} {machine['cpu']}, {machine['cores']} cores, {machine['torch_threads']} torch threads")
    print(f"{'gpu':<16} {machine['gpu'] or 'none'}")
    for name, state in libraries.items():
        active = f"loaded from {state['path']}" if state["loaded"] else f"not loaded: {state['reason']}"
        print(f"{name + ' library':<16} {active}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from gnnkit.experiment.config import load_config
    from gnnkit.experiment.launch import started
    from gnnkit.experiment.record import record_name, write_record
    from gnnkit.experiment.run import train

    path: Path = arguments.config
    config = load_config(path).override(seed=arguments.seed, epochs=arguments.epochs)
    out = arguments.out or Path("runs") / config.table / path.stem / f"seed{config.train.seed}"
    record = train(
        config,
        out,
        data_root=arguments.data,
        resume=arguments.resume or None,
        restart=arguments.restart,
        progress=False if getattr(arguments, "quiet", False) else arguments.progress,
        config_folder=path.resolve().parent,
        resume_command=_resume_command(arguments, out),
    )
    if started()[0] != 0:
        return 0
    written = out / "record.json"
    if arguments.record is not None:
        name = record_name(config, path.stem)
        written = arguments.record if arguments.record.suffix == ".json" else arguments.record / config.table / name
        write_record(written, record)
    final = record["final"]
    print(
        f"{record['method']} on {record['dataset']}, seed {record['seed']}, schedule {record['schedule']}: "
        f"test {record['metric']} {final['test']:.4f} at the best validation epoch {final['best_epoch']} "
        f"(val {final['val']:.4f}); {record['parameters']['total']:,} parameters, "
        f"{record['timing']['wall_seconds']:.1f} s. Record: {written}"
    )
    return 0


def _resume_command(arguments: argparse.Namespace, out: Path) -> str:
    from gnnkit.experiment.launch import launcher

    words = [*launcher(), "run", str(arguments.config)]
    for name in ("seed", "epochs", "data", "record"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join([*words, "--out", str(out), "--resume"])


def _table(arguments: argparse.Namespace) -> int:
    from gnnkit.experiment.published import benchmarks_folder
    from gnnkit.experiment.table import make_tables

    benchmarks = benchmarks_folder()
    tables = make_tables(
        arguments.name,
        results=arguments.results or benchmarks / "results",
        published=benchmarks / "published.toml",
        methods=arguments.published,
    )
    print("\n".join(table.render(arguments.format) for table in tables), end="")
    return 0


def _data_list(arguments: argparse.Namespace) -> int:
    from gnnkit.data import list_datasets

    for summary in list_datasets(root=arguments.data):
        print(summary)
    return 0


def _data_get(arguments: argparse.Namespace) -> int:
    from gnnkit.data import get

    print(get(arguments.name, root=arguments.data, progress=not getattr(arguments, "quiet", False)))
    return 0


def _data_verify(arguments: argparse.Namespace) -> int:
    from gnnkit.data import verify

    result = verify(arguments.name, root=arguments.data)
    print(result)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
