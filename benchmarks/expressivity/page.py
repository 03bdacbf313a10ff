"""The sections of the page of benchmarks that are about expressivity."""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.rewiring.page import cell
from gnnkit.data.brec import CATEGORIES

Content = dict[str, Any]


def untrained_section(content: Content, measured_on: str) -> Iterator[str]:
    """What is told apart without training."""
    settings, network = content["framework"], content["network"]
    yield from ("## What encodings tell apart without training", "", measured_on)
    yield (
        "Pairs of graphs told apart: by the multisets of feature rows alone / through a graph network with random "
        f"float64 weights ({network['layers']} layers of width {network['width']}, sum over nodes; any of "
        f"{settings['weights']} draws). Two graphs count as told apart where they differ by more than "
        f"{settings['factor']:g} times what {settings['copies'] - 1} relabelled copies of either do, and by more than "
        f"{settings['tolerance']:g} of the largest value; so features that depend on the order of nodes or on a "
        "draw gain nothing. An exclamation mark: copies of a graph that had no part in this were told apart from it, "
        f"or graphs of one class of CSL were, which no sound method does. Seed {settings['seed']}."
    )
    names = list(dict.fromkeys(row["data"] for row in content["rows"]))
    rows = {(row["method"], row["data"]): row for row in content["rows"]}
    for name in ("csl", "brec"):
        if name in names:
            names.append(names.pop(names.index(name)))
    heads = [_head(name, content["rows"]) for name in names]
    yield from ("", f"| method | {' | '.join(heads)} |", "|---" * (len(names) + 1) + "|")
    for method in dict.fromkeys(row["method"] for row in content["rows"]):
        cells = [_untrained_cell(rows.get((method, name))) for name in names]
        yield f"| {_title(content['rows'], method)} | {' | '.join(cells)} |"
    if "brec" in names:
        yield from ("", "The pairs of BREC by category, in the same way:", "")
        yield from _category_head()
        for row in content["rows"]:
            if row["data"] == "brec" and "failure" not in row:
                features, outputs = row["features"], row["network"]
                parts = [
                    f"{features['categories'][category.name]} / {outputs['categories'][category.name]}"
                    for category in CATEGORIES
                ]
                whole = f"{features['apart']} / {outputs['apart']}"
                yield f"| {_title(content['rows'], row['method'])} | {' | '.join(parts)} | {whole} |"


def _head(name: str, rows: list[Content]) -> str:
    pairs = next((row["features"]["pairs"] for row in rows if row["data"] == name and "features" in row), None)
    if name == "csl":
        return "csl, classes (45), graphs (10,125)"
    return name if pairs is None else f"{name} ({pairs:,})"


def _untrained_cell(row: Content | None) -> str:
    if row is None:
        return ""
    if "failure" in row:
        return f"**failed**: {cell(row['failure'])}"
    parts = []
    for key in ("features", "network"):
        found = row[key]
        classes = found.get("classes")
        mistaken = found["mistaken_copies"] + (classes["mistaken"] if classes else 0)
        counts = f"{classes['apart']}, {found['apart']:,}" if classes else f"{found['apart']:,}"
        parts.append(f"{counts}!({mistaken:,})" if mistaken else counts)
    return " / ".join(parts)


def brec_section(content: Content, measured_on: str) -> Iterator[str]:
    """BREC's own comparison."""
    protocol, network = content["protocol"], content["network"]
    yield from ("## BREC", "", measured_on)
    yield (
        "Pairs that a trained network distinguishes, by the reliable paired comparison of Wang and Zhang (ICML 2024): "
        f"for each pair a network ({network['layers']} layers of width {network['width']}, sum over nodes, "
        f"{network['outputs']} outputs) is trained anew with the cosine embedding loss on {protocol['copies']} "
        f"relabelled copies of both graphs (Adam, learning rate {protocol['learning_rate']:g}, weight decay "
        f"{protocol['weight_decay']:g}, {protocol['batch']} graphs in a step, {protocol['epochs']} epochs or until the "
        f"loss is below {protocol['loss_threshold']:g}); then T^2 between the copies must exceed "
        f"{protocol['threshold']:g}. T^2 is computed as the authors' program does it, without the factor "
        f"{protocol['copies']} of the test statistic, and with a spread of {protocol['rounding']:g} of the size of the "
        "outputs for rounding, since it is not defined where all copies of a graph give the same outputs. The program "
        "takes a pseudo-inverse, which leaves out directions whose spread is below "
        f"{network['outputs'] * torch.finfo(torch.float32).eps:.0e} of the largest (all of them, and T^2 is 0, where "
        "copies give the same outputs); that count has a column of its own. Where T^2 between copies "
        "of one graph exceeds the bound too, the pair is unreliable and does not count. The features of every copy are "
        "computed from that copy; random ones "
        f"are drawn once for each. Seed {protocol['seed']}."
    )
    yield ""
    yield from _category_head(" | by the pseudo-inverse | unreliable | time, s")
    for row in content["rows"]:
        name = _title(content["rows"], row["method"])
        if "failure" in row:
            name += f" (**failed** on {row['failed']} of {row['tried']} pairs: {cell(row['failure'])})"
        if "counted" not in row:
            yield f"| {name} |{' |' * (len(CATEGORIES) + 4)}"
            continue
        parts = []
        for category in CATEGORIES:
            tried = row["tried_categories"][category.name]
            partly = "" if tried == category.pairs else f" of {tried}"
            parts.append(f"{row['categories'][category.name]}{partly}")
        whole = f"{row['counted']}" + ("" if row["pairs"] == 400 else f" of {row['pairs']}")
        more = f"{row['plain']['counted']} | {row['unreliable']} | {row['seconds']:,.0f}"
        yield f"| {name} | {' | '.join(parts)} | {whole} | {more} |"


def _category_head(more: str = "") -> Iterator[str]:
    heads = [f"{category.title} ({category.pairs})" for category in CATEGORIES]
    yield f"| method | {' | '.join(heads)} | all (400){more} |"
    yield "|---" * (len(CATEGORIES) + 2 + more.count("|")) + "|"


def _title(rows: list[Content], method: str) -> str:
    row = next(row for row in rows if row["method"] == method)
    settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
    return f"{method} ({settings})" if settings else method
