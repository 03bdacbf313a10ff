"""What encodings tell apart: ``GNNKIT_DATA=folder python -m benchmarks.expressivity {untrained,brec}``."""

import argparse
import hashlib
import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.expressivity import untrained
from benchmarks.expressivity.comparison import Protocol, compare
from benchmarks.expressivity.copies import matrix_of
from benchmarks.expressivity.methods import METHODS, Method
from benchmarks.expressivity.networks import HEADS, HIDDEN, LAYERS, OUTPUTS
from benchmarks.measure import RESULTS, commit, environment, write_text
from gnnkit.data import GraphDataset, load
from gnnkit.data.brec import CATEGORIES
from gnnkit.experiment.environment import release_memory

DATA = ("sr25", "csl", "sr16622", "sr261034", "sr281264", "sr291467", "sr401224", "sr361446", "sr351899", "sr351668")
OUTPUT = {name: RESULTS / "speed" / f"expressivity-{name}.json" for name in ("untrained", "brec")}
NETWORK = {"layers": LAYERS, "width": HIDDEN, "heads": HEADS, "outputs": OUTPUTS, "readout": "sum"}
FRAMEWORK = {
    "copies": untrained.COPIES, "checks": untrained.CHECKS, "factor": untrained.FACTOR,
    "tolerance": untrained.TOLERANCE, "directions": untrained.DIRECTIONS, "weights": untrained.WEIGHTS,
}  # fmt: skip


def untrained_row(method: Method, name: str, dataset: GraphDataset, seed: int) -> dict[str, Any]:
    """What a method tells apart in one data set; what fails is a line that says so."""
    row: dict[str, Any] = {"method": method.name, "data": name, "graphs": len(dataset), **method.description()}
    start = time.perf_counter()
    try:
        verdicts = untrained.tell_apart(method, method.transform(), dataset, list(range(len(dataset))), seed)
    except Exception as error:
        traceback.print_exc()
        return row | {"failure": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.perf_counter() - start, 1)
    return row | {key: untrained.summary(verdict, dataset.graph["y"]) for key, verdict in verdicts.items()}


def untrained_brec_row(method: Method, dataset: GraphDataset, seed: int) -> dict[str, Any]:
    """What a method tells apart among the pairs of BREC without training, by category."""
    row: dict[str, Any] = {"method": method.name, "data": "brec", "graphs": len(dataset), **method.description()}
    start = time.perf_counter()
    found: dict[str, list[int]] = {"features": [], "network": []}
    mistaken = dict.fromkeys(found, 0)
    number = 0
    try:
        transform = method.transform()
        for number in range(len(dataset) // 2):
            for key, verdict in untrained.tell_apart(
                method, transform, dataset, [2 * number, 2 * number + 1], seed
            ).items():
                found[key] += [number] if bool(verdict.apart[0, 1]) else []
                mistaken[key] += int((verdict.copies > 1).sum())
    except Exception as error:
        traceback.print_exc()
        return row | {"failure": f"pair {number}: {type(error).__name__}: {error}"}
    row["seconds"] = round(time.perf_counter() - start, 1)
    for key, numbers in found.items():
        row[key] = {"pairs": len(dataset) // 2, "apart": len(numbers), "mistaken_copies": mistaken[key]}
        row[key]["categories"] = by_category(numbers)
    return row


def by_category(numbers: Sequence[int]) -> dict[str, int]:
    """How many of the pairs of BREC are of each category."""
    counts, begin = {}, 0
    for category in CATEGORIES:
        counts[category.name] = sum(begin <= number < begin + category.pairs for number in numbers)
        begin += category.pairs
    return counts


def brec_row(
    method: Method, dataset: GraphDataset, numbers: Sequence[int], protocol: Protocol, work: Path
) -> dict[str, Any]:
    """BREC's own comparison of pairs; each pair is kept under ``work``, and not done again where it is there."""
    description = method.description()
    row: dict[str, Any] = {"method": method.name, **description}
    key = json.dumps([description, NETWORK, protocol.settings(), dataset.content_hash], sort_keys=True)
    folder = work / f"{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    outcomes: dict[int, dict[str, Any]] = {}
    failures: list[str] = []
    transform = None
    for number in numbers:
        path = folder / f"{number:04d}.json"
        kept = _kept(path)
        if kept is None:
            try:
                transform = transform or method.transform()
                first, second = (matrix_of(dataset, 2 * number + place) for place in (0, 1))
                kept = asdict(compare(method, transform, first, second, number, protocol)) | {"commit": commit()}
            except Exception as error:
                if not failures:
                    traceback.print_exc()
                failures.append(f"pair {number}: {type(error).__name__}: {error}")
                continue
            write_text(path, json.dumps(kept) + "\n")
            release_memory()
        outcomes[number] = kept
    row |= {"tried": len(numbers), "pairs": len(outcomes)}
    if failures:
        row |= {"failed": len(failures), "failure": failures[0]}
    if not outcomes:
        return row
    told = [number for number, outcome in outcomes.items() if outcome["test"]["distinguished"]]
    unreliable = [number for number, outcome in outcomes.items() if not outcome["test"]["reliable"]]
    counted = sorted(set(told) - set(unreliable))
    plain = [outcome["plain"] for outcome in outcomes.values()]
    row |= {
        "counted": len(counted),
        "distinguished": len(told),
        "unreliable": len(unreliable),
        "plain": {
            "counted": sum(test["distinguished"] and test["reliable"] for test in plain),
            "distinguished": sum(test["distinguished"] for test in plain),
            "unreliable": sum(not test["reliable"] for test in plain),
        },
        "categories": by_category(counted),
        "tried_categories": by_category(list(outcomes)),
        "seconds": round(sum(outcome["seconds"] for outcome in outcomes.values()), 1),
        "commits": sorted({str(outcome["commit"]) for outcome in outcomes.values()}),
        "distinguished_pairs": ranges(told),
        "unreliable_pairs": ranges(unreliable),
    }
    return row


def _kept(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        # Files are written whole; one that is damaged was damaged later, and is made again.
        return None


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: ``0-2, 5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in parts)


def show(row: dict[str, Any]) -> None:
    """One line on the screen."""
    where = f"{row['method']:26s} {row.get('data', 'brec'):9s}"
    if "seconds" not in row:
        print(f"{where} FAILED: {row['failure']}", flush=True)
        return
    if "counted" in row:
        counts = " ".join(f"{name} {count}" for name, count in row["categories"].items())
        print(
            f"{where} {row['counted']} of {row['pairs']} pairs ({row['distinguished']} distinguished, "
            f"{row['unreliable']} unreliable, {row['plain']['counted']} by the pseudo-inverse): "
            f"{counts}  {row['seconds']} s",
            flush=True,
        )
        return
    parts = [
        f"{key} {row[key]['apart']:,} of {row[key]['pairs']:,} ({row[key]['mistaken_copies']} copies mistaken)"
        for key in ("features", "network")
    ]
    print(f"{where} {', '.join(parts)}  {row['seconds']} s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    names = [method.name for method in METHODS]
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--methods", nargs="*", default=names, choices=names, metavar="NAME", help="default all")
    common.add_argument("--json", type=Path, default=None, metavar="PATH", help="where to write; default: the results")
    common.add_argument("--threads", type=int, default=1, help="of torch; default 1")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expressivity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    without = commands.add_parser("untrained", parents=[common], help="by the features, and with random weights")
    without.add_argument("--data", nargs="*", default=[*DATA, "brec"], choices=[*DATA, "brec"], metavar="NAME")
    without.add_argument("--seed", type=int, default=0)
    trained = commands.add_parser("brec", parents=[common], help="BREC's reliable paired comparison")
    trained.add_argument("--pairs", type=int, nargs="*", default=None, help="numbers of pairs; default all")
    trained.add_argument("--seed", type=int, default=Protocol.seed)
    trained.add_argument(
        "--work", type=Path, default=Path("runs/expressivity"), metavar="FOLDER",
        help="where finished pairs are kept; default runs/expressivity",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    methods = [method for method in METHODS if method.name in chosen.methods]
    content: dict[str, Any] = {"kind": f"expressivity-{chosen.command}", "network": NETWORK}
    if chosen.command == "untrained":
        whole = chosen.data == [*DATA, "brec"]
        content |= {"framework": FRAMEWORK | {"seed": chosen.seed}, "checksums": {}, "rows": []}
        for name in chosen.data:
            dataset = load(name, progress=False)
            content["checksums"] |= dataset.checksums
            for method in methods:
                row = (
                    untrained_brec_row(method, dataset, chosen.seed)
                    if name == "brec"
                    else untrained_row(method, name, dataset, chosen.seed)
                )
                content["rows"].append(row)
                show(row)
    else:
        dataset = load("brec", progress=False)
        numbers = list(range(len(dataset) // 2)) if chosen.pairs is None else chosen.pairs
        whole = chosen.pairs is None
        protocol = Protocol(seed=chosen.seed)
        content |= {"protocol": protocol.settings(), "checksums": dataset.checksums, "rows": []}
        for method in methods:
            row = brec_row(method, dataset, numbers, protocol, chosen.work)
            content["rows"].append(row)
            show(row)
    # At the end, when the load is that of the run itself.
    content["environment"] = environment()
    # A part must not take the place of the whole.
    target = chosen.json or (OUTPUT[chosen.command] if whole and len(methods) == len(METHODS) else None)
    if target is not None:
        write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return 1 if any("failure" in row for row in content["rows"]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
