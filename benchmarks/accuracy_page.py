"""The sections of the page of benchmarks that are about what models learn."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.state_tracking import Settings, table

Content = dict[str, Any]


def state_tracking_section(content: Content, measured_on: str) -> Iterator[str]:
    """Words of S3."""
    settings = Settings(**content["settings"])
    yield from (f"## {content['title']}", "", measured_on)
    yield f"Mean over {len(settings.seeds)} seeds of the share at all places of a word, and the lowest of the seeds."
    yield from ("", table(content["models"], settings))


def hypergraph_nodes_section(content: Content, measured_on: str) -> Iterator[str]:
    """Documents in HyperGCN's hypergraphs."""
    yield from ("## Nodes of hypergraphs", "", measured_on)
    yield "Test accuracy of the last epoch: mean and standard deviation over splits that come with the data."
    yield from ("", "| data | method | accuracy, % | splits | epochs | parameters |", "|---" * 6 + "|")
    for row in content["rows"]:
        runs, deviation = row["runs"], row["test_accuracy_std"]
        spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
        epochs, protocol = row["settings"]["epochs"], row["epochs_of_the_protocol"]
        schedule = f"{epochs} of {protocol}" + (", **short schedule**" if epochs < protocol else "")
        yield (
            f"| {row['data']} | {row['method']} | {100 * row['test_accuracy_mean']:.2f}{spread} | {len(runs)} | "
            f"{schedule} | {runs[0]['parameters']:,} |"
        )


def edge_learning_section(content: Content, measured_on: str) -> Iterator[str]:
    """Classification of graphs while edges are dropped."""
    yield from ("## Edge learning on dual hypergraphs", "", measured_on)
    yield (
        f"Test accuracy, mean and standard deviation over folds: {content['protocol']}. Folds are "
        f"{content['folds']}. **{content['schedule'][:1].upper()}{content['schedule'][1:]}**."
    )
    yield from ("", "| data | model | accuracy | folds | parameters |", "|---" * 5 + "|")
    for row in content["table"]:
        yield (
            f"| {row['dataset']} | {row['model']} | {row['mean_accuracy']:.4f} ± {row['std_accuracy']:.4f} | "
            f"{row['folds']} | {row['parameters']:,} |"
        )


def reconstruction_section(content: Content, measured_on: str) -> Iterator[str]:
    """Types of edges from the clusters of edges."""
    yield from ("## Types of edges, reconstructed from clusters", "", measured_on)
    schedule = content["schedule"]
    yield (
        "Test accuracy of the types of all edges of a graph, after HyperCluster has pooled them into a share of their "
        f"mean number; one seed. {schedule[:1].upper()}{schedule[1:]}."
    )
    header = "| data | model | share | clusters | accuracy | the most frequent type | best epoch | parameters |"
    yield from ("", header, "|---" * 8 + "|")
    for row in content["rows"]:
        yield (
            f"| {row['dataset']} | {row['model']} | {row['ratio']:.0%} | {row['clusters']} | "
            f"{row['test']['accuracy']:.4f} | {row['majority_accuracy']:.4f} | {row['epoch']} of {row['epochs_run']} | "
            f"{row['parameters']:,} |"
        )


def nodes_section(records: Sequence[Content]) -> Iterator[str]:
    """Nodes of one graph, trained on the whole graph or on samples of it."""
    yield from ("## Whole graphs, GraphSAINT and shaDow", "")
    yield from sorted({environment_of(record) for record in records})
    yield (
        "Test metric at the best validation epoch: mean and sample standard deviation over seeds (of weights, dropout "
        "and sampler), all on one split. Time is the median over all epochs of all seeds, the scoring of validation "
        "and test included, for which shaDow takes a subgraph of every node; what is computed once is in the first "
        "epoch or before it. Memory is the largest that was resident while training, data and libraries included: the "
        "median, lowest and highest of the seeds. It depends on how the heap of the C library falls into pieces, which "
        "differs from run to run. **Taken beside other work on the machine**: times are rough."
    )
    yield from ("", f"| {' | '.join(NODE_COLUMNS)} |", "|---" * len(NODE_COLUMNS) + "|")
    groups: dict[tuple[str, str, str], list[Content]] = defaultdict(list)
    for record in records:
        groups[record["dataset"], record["method"], record["protocol"]].append(record)
    for key in sorted(groups):
        yield f"| {' | '.join(node_cells(groups[key]))} |"


NODE_COLUMNS = (
    *("data", "method", "protocol", "metric", "test", "seeds", "epochs", "steps of one", "s/epoch", "memory, MB"),
    "parameters",
)


def node_cells(records: Sequence[Content]) -> tuple[str, ...]:
    """One row: runs that differ in their seeds."""
    first = records[0]
    test = [record["final"]["test"] for record in records]
    spread = f" ± {statistics.stdev(test):.4f}" if len(test) > 1 else ""
    epochs = str(first["epochs"])
    if first["short_schedule"]:
        epochs += f" of {first['protocol_epochs']}, **short schedule**"
    if stopped := [record["epochs_run"] for record in records if record["stopped_early"]]:
        epochs += f", {len(stopped)} stopped early, after {min(stopped)} at the least"
    # Such a run had not come to its best yet.
    if last := sum(record["final"]["best_epoch"] == record["epochs_run"] for record in records):
        epochs += f", the last one best for {last}"
    seconds = statistics.median(value for record in records for value in record["timing"]["epoch_seconds"])
    memory = [record["training_memory_bytes"] for record in records]
    return (
        first["dataset"],
        first["method"],
        first["protocol"],
        first["metric"],
        f"{statistics.fmean(test):.4f}{spread}",
        str(len(records)),
        epochs,
        str(first["steps_per_epoch"]),
        f"{seconds:.2f}",
        "?" if None in memory else _megabytes(memory),
        f"{first['parameters']['total']:,}",
    )


def _megabytes(sizes: Sequence[int]) -> str:
    low, middle, high = (f"{size / 1e6:,.0f}" for size in (min(sizes), statistics.median(sizes), max(sizes)))
    return f"{middle} ({low} to {high})"


def environment_of(record: Content) -> str:
    """One sentence about where a record was made."""
    environment = record["environment"]
    machine, git = environment["machine"], environment.get("git")
    threads = machine["torch_threads"]
    where = f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''} of {machine['cores']} cores"
    commit = f", commit {git['commit'][:12]}{' with local changes' if git['dirty'] else ''}" if git else ""
    return f"{where}, torch {environment['versions']['torch']}{commit}."
