"""The sections of the page of benchmarks that are about what models learn."""

from collections.abc import Iterator
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
