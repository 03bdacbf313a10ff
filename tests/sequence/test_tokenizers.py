"""Tokens of nodes, walks and hops: by brute force, exact probabilities, NetworkX."""

import itertools
from collections import Counter, defaultdict
from fractions import Fraction

import networkx as nx
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.sequence import HopTokens, NodeTokens, PatchTokens, WalkTokens
from tests.sequence.batches import whole
from tests.sequence.token_graphs import batch_of, batches, random_graph, same, sets_of

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
ALL = {
    "nodes": NodeTokens(),
    "walks": WalkTokens(2, 3, 2),
    "no-walks": WalkTokens(0, 1, 1),
    "hops": HopTokens(2),
    "patches": PatchTokens(3),
    "lone-patches": PatchTokens(2, 0).eval(),
}
every_tokenizer = pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL)

# From 0 to 1 twice and to 2, a loop at 1, a way back, and 3, which nothing leaves.
SMALL = Graph.from_edge_index(torch.tensor([[0, 0, 0, 1, 1, 2], [1, 1, 2, 1, 3, 0]]), 4)
STEPS = {0: [1, 1, 2], 1: [1, 3], 2: [0], 3: [3]}


class Backwards:
    is_random = True

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        parts = [torch.arange(int(a), int(b)).flip(0) for a, b in itertools.pairwise(ptr)]
        return torch.cat([ptr[:0], *parts])


def philox(counter: tuple[int, ...], key: int) -> tuple[int, ...]:
    """Philox4x32-10 as it is written down in the paper, in Python's integers."""
    word, low, high = list(counter), key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = word[0] * 0xD2511F53, word[2] * 0xCD9E8D57
        word = [second >> 32 ^ word[1] ^ low, second & 0xFFFFFFFF, first >> 32 ^ word[3] ^ high, first & 0xFFFFFFFF]
        low, high = low + 0x9E3779B9 & 0xFFFFFFFF, high + 0xBB67AE85 & 0xFFFFFFFF
    return tuple(word)


def walked(graph: Graph, node: int, length: int, repeat: int, num_walks: int, seed: int) -> list[int]:
    """A token, walk by walk and step by step."""
    source, target = graph.edge_index.tolist()
    visited = {node}
    for walk in range(num_walks):
        at = node
        for step in range(length):
            leaving = sorted(t for s, t in zip(source, target, strict=True) if s == at)
            words = philox((step // 2, walk, node, length * 2**16 + repeat), seed % 2**64)[step % 2 * 2 :]
            chance = (words[0] << 32 | words[1]) >> 11
            at = leaving[chance * len(leaving) >> 53] if leaving else at
            visited.add(at)
    return sorted(visited)


def set_probabilities(start: int, length: int) -> dict[frozenset[int], Fraction]:
    """Of what one walk over ``SMALL`` visits."""
    found: dict[frozenset[int], Fraction] = defaultdict(Fraction)
    paths = {(start,): Fraction(1)}
    for _ in range(length):
        longer: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
        for path, chance in paths.items():
            for node in STEPS[path[-1]]:
                longer[*path, node] += chance / len(STEPS[path[-1]])
        paths = longer
    for path, chance in paths.items():
        found[frozenset(path)] += chance
    return found


def check_distribution(found: Counter, wanted: dict, count: int) -> None:
    assert set(found) <= set(wanted), "nothing that cannot be"
    sets = [key for key, chance in wanted.items() if chance > 0]
    expected = [float(wanted[key] * count) for key in sets]
    assert min(expected) > 5
    if len(sets) > 1:
        assert scipy.stats.chisquare([found[key] for key in sets], expected).pvalue > 1e-3


@every_tokenizer
@few
@given(batch=batches())
def test_all_give_tokens_that_stay_in_their_graph(tokenizer, batch):
    graph, ptr = batch
    tokens = tokenizer(graph, ptr, seed=5)
    assert tokens.num_nodes == graph.num_nodes
    assert tokens.num_sequences == (len(ptr) - 1 if tokens.level == "graph" else graph.num_nodes)
    number = torch.repeat_interleave(ptr.diff())
    of_sequence = torch.arange(len(ptr) - 1) if tokens.level == "graph" else number
    of_token = of_sequence.repeat_interleave(tokens.offsets.diff())
    assert torch.equal(number[tokens.members], of_token[tokens.token_of_member])
    for token in itertools.chain.from_iterable(sets_of(tokens)):
        assert token == sorted(set(token))


@every_tokenizer
def test_all_repeat_themselves_and_follow_the_seed(tokenizer):
    graph = random_graph(60, 200)
    ptr = torch.tensor([0, 60])
    found = tokenizer(graph, ptr, seed=1)
    assert same(found, tokenizer(graph, ptr, seed=1))
    assert same(found, tokenizer(graph, ptr, seed=2)) == (not tokenizer.is_random)
    narrow = Graph.from_edge_index(graph.edge_index.int(), 60)
    assert same(found, tokenizer(narrow, ptr.int(), seed=1))


@every_tokenizer
@pytest.mark.parametrize("sizes", [(), (0,), (0, 3, 0), (1,)])
def test_all_take_graphs_without_edges_and_without_nodes(tokenizer, sizes):
    graph, ptr = batch_of([random_graph(size, 0) for size in sizes])
    tokens = tokenizer(graph, ptr)
    if tokens.level == "node":
        assert all(token == [node] for node, sequence in enumerate(sets_of(tokens)) for token in sequence)
    else:
        assert sorted(tokens.members.tolist()) == list(range(graph.num_nodes))


@every_tokenizer
def test_all_refuse_what_is_no_batch(tokenizer):
    graph = random_graph(6, 12)
    for wrong in ([0, 5], [0, 7], [1, 6], [0, 4, 2, 6]):
        with pytest.raises(IndexRangeError, match="ptr must"):
            tokenizer(graph, torch.tensor(wrong))
    with pytest.raises(DataError, match="edges must stay within a graph"):
        tokenizer(graph, torch.tensor([0, 3, 6]))
    with pytest.raises(ShapeError, match=r"must be a gnnkit\.Graph"):
        tokenizer(graph.edge_index, torch.tensor([0, 6]))
    bipartite = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=1, num_dst=2)
    with pytest.raises(ShapeError, match="no single number of nodes"):
        tokenizer(bipartite, torch.tensor([0, 1]))


def test_node_tokens_are_in_the_order_given():
    graph, ptr = batch_of([random_graph(3, 4), random_graph(0, 0), random_graph(2, 1)])
    assert sets_of(NodeTokens()(graph, ptr)) == [[[0], [1], [2]], [], [[3], [4]]]
    backwards = NodeTokens(Backwards())
    assert sets_of(backwards(graph, ptr)) == [[[2], [1], [0]], [], [[4], [3]]]
    assert (backwards.is_random, NodeTokens().is_random) == (True, False)
    assert backwards(graph, ptr).kind is None
    with pytest.raises(ShapeError, match="must give all 5 nodes"):
        NodeTokens(lambda *_, **__: torch.arange(3))(graph, ptr)  # type: ignore[arg-type]


@pytest.mark.parametrize(("m", "M", "s"), [(3, 2, 2), (1, 4, 3), (5, 1, 1), (0, 2, 2)])
@pytest.mark.parametrize("seed", [0, -3, 2**70 + 1])
def test_walks_equal_those_one_by_one(m, M, s, seed):
    graph = random_graph(9, 20)
    tokens = WalkTokens(m, M, s)(graph, whole(graph), seed=seed)
    lengths = [length for length in range(m, 0, -1) for _ in range(s)]
    wanted = [[*(walked(graph, v, length, n % s, M, seed) for n, length in enumerate(lengths)), [v]] for v in range(9)]
    assert sets_of(tokens) == wanted
    assert tokens.kind is not None
    assert tokens.kind.tolist() == [*lengths, 0] * 9
    assert tokens.offsets.tolist() == list(range(0, 9 * (m * s + 1) + 1, m * s + 1))


@pytest.mark.parametrize("start", range(4))
def test_one_walk_visits_sets_with_their_probabilities(start):
    copies, length = 4000, 3
    graph, ptr = batch_of([SMALL] * copies)
    sequences = sets_of(WalkTokens(length, 1, 1)(graph, ptr, seed=7))[start::4]
    for place, steps in enumerate(range(length, 0, -1)):
        found = Counter(
            frozenset(node - 4 * copy for node in sequence[place]) for copy, sequence in enumerate(sequences)
        )
        check_distribution(found, set_probabilities(start, steps), copies)


def test_walks_of_a_token_and_tokens_of_a_length_are_independent():
    """Unions of two walks, and pairs of such tokens: so every order of the tokens is as likely as any other."""
    copies = 6000
    graph, ptr = batch_of([SMALL] * copies)
    one = set_probabilities(0, 2)
    union: dict[frozenset[int], Fraction] = defaultdict(Fraction)
    for (a, p), (b, q) in itertools.product(one.items(), repeat=2):
        union[a | b] += p * q
    pairs = {(a, b): p * q for (a, p), (b, q) in itertools.product(union.items(), repeat=2)}
    sequences = sets_of(WalkTokens(2, 2, 2)(graph, ptr, seed=3))[::4]
    found = Counter(
        tuple(frozenset(node - 4 * copy for node in token) for token in sequence[:2])
        for copy, sequence in enumerate(sequences)
    )
    likely = {pair: chance for pair, chance in pairs.items() if chance * copies > 5}
    rest = Counter({pair: count for pair, count in found.items() if pair not in likely})
    assert set(rest) <= set(pairs)
    likely["rest"] = 1 - sum(likely.values())
    merged = Counter({pair: count for pair, count in found.items() if pair in likely})
    merged["rest"] = rest.total()
    if likely["rest"] * copies <= 5:
        del likely["rest"], merged["rest"]
    check_distribution(merged, likely, merged.total())


def test_walks_stay_at_sinks_and_follow_edges_forward():
    chain = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    ptr = torch.tensor([0, 3])
    forward = [[[0, 1, 2], [0, 1], [0]], [[1, 2], [1, 2], [1]], [[2], [2], [2]]]
    assert sets_of(WalkTokens(2, 3, 1)(chain, ptr)) == forward
    backward = sets_of(WalkTokens(2, 3, 1)(chain.transpose(), ptr))
    assert backward[2] == [[0, 1, 2], [1, 2], [2]]


def test_walks_in_batches_have_their_own_numbers():
    graph, ptr = batch_of([random_graph(30, 120)] * 2)
    sequences = sets_of(WalkTokens(3, 2, 2)(graph, ptr))
    assert sequences[:30] != [[[node - 30 for node in token] for token in sequence] for sequence in sequences[30:]]
    first = random_graph(30, 120)
    assert sequences[:30] == sets_of(WalkTokens(3, 2, 2)(first, whole(first)))


@few
@given(batch=batches())
def test_hops_are_ego_graphs(batch):
    graph, ptr = batch
    network = nx.MultiDiGraph(list(zip(*graph.edge_index.tolist(), strict=True)))
    network.add_nodes_from(range(graph.num_nodes))
    tokens = HopTokens(3)(graph, ptr)
    wanted = [[sorted(nx.ego_graph(network, v, h)) for h in (3, 2, 1, 0)] for v in range(graph.num_nodes)]
    assert sets_of(tokens) == wanted
    assert tokens.kind is not None
    assert tokens.kind.tolist() == [3, 2, 1, 0] * graph.num_nodes


def test_hops_beyond_the_diameter_are_whole_components():
    graph = random_graph(12, 30)
    far = sets_of(HopTokens(50)(graph, whole(graph)))
    assert all(sequence[0] == sequence[30] for sequence in far)
    assert [sequence[-4:] for sequence in far] == sets_of(HopTokens(3)(graph, whole(graph)))


@pytest.mark.parametrize("tokenizer", [HopTokens(2), WalkTokens(2, 400, 1)], ids=["hops", "all-walks"])
def test_renumbering_nodes_renumbers_tokens(tokenizer):
    """So many walks visit all that can be visited."""
    graph, permutation = random_graph(15, 25), torch.randperm(15)
    renamed = Graph.from_edge_index(permutation[graph.edge_index], 15)
    found, other = sets_of(tokenizer(graph, whole(graph))), sets_of(tokenizer(renamed, whole(graph)))
    for node in range(15):
        assert [sorted(permutation[token].tolist()) for token in found[node]] == other[int(permutation[node])]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WalkTokens(-1, 1, 1), "max_length must be an integer of at least 0, got -1"),
        (lambda: WalkTokens(2**16, 1, 1), r"max_length must be below 2\^16"),
        (lambda: WalkTokens(1, 0, 1), "num_walks must be an integer of at least 1"),
        (lambda: WalkTokens(1, 2**17, 1), r"num_walks must be at most 2\^16, got 131072"),
        (lambda: WalkTokens(1, 1, 0), "repeats must be an integer of at least 1"),
        (lambda: WalkTokens(1, 1, 1.0), "repeats must be an integer"),  # type: ignore[arg-type]
        (lambda: WalkTokens(1, 1, 2**16 + 1), "repeats must be at most"),
        (lambda: HopTokens(0), "num_hops must be an integer of at least 1"),
        (lambda: WalkTokens(1, 1, 1)(SMALL, torch.tensor([0, 4]), seed=1.5), "seed must be an integer"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_settings_are_printed():
    assert [repr(tokenizer) for tokenizer in (NodeTokens(), WalkTokens(3, 4, 2), HopTokens(2))] == [
        "NodeTokens(ordering=None)",
        "WalkTokens(3, 4, 2)",
        "HopTokens(2)",
    ]
