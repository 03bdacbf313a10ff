"""Thrown at every operator: a valid call must equal the reference, any other raise an error of gnnkit; nothing crashes.

``GNNKIT_FUZZ_EXAMPLES`` sets the number of calls per operator (default 100). Run under sanitizers by ``make sanitize``.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph, ops
from gnnkit.errors import GnnkitError
from gnnkit.ops._library import references
from tests.ops.fuzz_entries import ENTRIES
from tests.ops.kernels import EMULATED
from tests.ops.mutations import mutated
from tests.ops.recorder import Recorder, as_tuple
from tests.ops.terms import AMPLIFIES, assert_close_in_terms
from tests.tolerances import assert_close

bounded = settings(
    max_examples=int(os.environ.get("GNNKIT_FUZZ_EXAMPLES", "100")),
    deadline=None,
    derandomize=True,
    database=None,
    # One run fixes the seed and blocks the network once for all its examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
# torch's own errors for sizes beyond the memory of any machine; through the stable ABI their text is lost.
TOO_LARGE = ("allocate memory", "out of memory", "overflow", "new_empty", "new_zeros")
pytestmark = [
    # torch says once per process that these kinds of tensors may change.
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
]
every_entry = pytest.mark.parametrize("name", ENTRIES)
# How many results must be finite where those of the reference are, and nowhere else. What the maximum and the sum are
# where a logit is NaN is nobody's business: the result is NaN. Dense products bring what is not finite to gradients of
# all tokens of a chunk, the kernel only to those that it has to do with.
INTERNAL_RESULTS = {"attention": 1, "ssd_backward": 0}
# Operators whose front is not in gnnkit.ops: test_cycle_operators, test_transport_operators, test_laplacian_operators,
# test_feature_operators, test_token_operators, test_node_sets, test_root_operators.
FUZZED_ELSEWHERE = {
    "balanced_forman",
    "borf",
    "chebyshev_diagonal",
    "chebyshev_filter",
    "edge_cycles",
    "ego_degrees",
    "eliminate",
    "eliminated_resistance",
    "fosr",
    "frontier_sets",
    "gather_rows",
    "graph_random_features",
    "greedy_partition",
    "gtr",
    "k_hop_sample",
    "laplacian_solve",
    "least_product",
    "neighbor_sample",
    "ollivier",
    "ollivier_plan",
    "ollivier_sinkhorn",
    "ollivier_weighted",
    "ollivier_weighted_plan",
    "ppr_push",
    "return_probabilities",
    "orthonormal_columns",
    "root_distance",
    "sdrf",
    "second_eigenpair",
    "sketch_sums",
    "squared_distances",
    "substitute",
    "supporting_edges",
    "traversal_order",
    "walk_pairs",
    "walk_sets",
    "walk_tokens",
}


def test_every_operator_has_an_entry():
    assert set(ops.__all__) | {"Graph", "Graph.from_edge_index"} == set(ENTRIES)


@every_entry
@bounded
@given(st.data())
def test_error_or_right_answer(name, data):
    call, draw_arguments = ENTRIES[name]
    arguments = draw_arguments(data.draw)
    for changed in data.draw(st.lists(st.sampled_from(list(arguments)), max_size=2, unique=True)):
        arguments[changed] = data.draw(mutated(arguments[changed]))
    with Recorder() as recorder:
        try:
            result = call(**arguments)
            gradients(result, arguments)
        except GnnkitError:
            return
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            return
    if isinstance(result, Graph):
        check_graph(result, arguments)
    for func, given_arguments, found in recorder.calls:
        check_call(func, given_arguments, found)


@every_entry
@bounded
@given(st.data())
def test_raw_operators_survive_nonsense(name, data):
    """Past the public functions: no promise but that nothing crashes or reads what is not its own."""
    if EMULATED:
        pytest.skip("kernels of a GPU trust what the public functions have checked")
    call, draw_arguments = ENTRIES[name]
    arguments = draw_arguments(data.draw)
    with Recorder() as recorder:
        gradients(call(**arguments), arguments)
    if not recorder.calls:
        return
    func, given_arguments, _ = recorder.calls[data.draw(st.integers(0, len(recorder.calls) - 1))]
    wrong = list(given_arguments)
    for place in data.draw(st.lists(st.integers(0, len(wrong) - 1), min_size=1, max_size=3, unique=True)):
        wrong[place] = data.draw(mutated(wrong[place]))
    try:
        found = func(*wrong)
    except Exception:
        return
    assert all(isinstance(value, Tensor) for value in as_tuple(found))


def test_raw_operators_are_all_reached():
    """Every operator of the library, gradients too, is called by one of the entries."""
    reached = set()

    @bounded
    @given(st.data())
    def call_entry(name, data):
        call, draw_arguments = ENTRIES[name]
        arguments = draw_arguments(data.draw)
        with Recorder() as recorder:
            gradients(call(**arguments), arguments)
        reached.update(func._schema.name.removeprefix("gnnkit::") for func, *_ in recorder.calls)

    # One by one: all of them in one example would be more choices than hypothesis varies well.
    for name in ENTRIES:
        call_entry(name)
    assert reached == set(references) - FUZZED_ELSEWHERE


def is_too_large(error: RuntimeError) -> bool:
    return any(word in str(error) for word in TOO_LARGE)


def gradients(result, arguments) -> None:
    """Runs the backward pass, twice over where that is possible, for every argument that asks for it."""
    wanted = [value for value in arguments.values() if isinstance(value, Tensor) and value.requires_grad]
    results = [value for value in as_tuple(result) if isinstance(value, Tensor) and value.requires_grad]
    if not wanted or not results or results[0].device.type == "meta":
        return
    torch.autograd.grad(results[0].double().sum(), wanted, allow_unused=True)


def check_call(func, arguments, found) -> None:
    """One operator against its reference."""
    tensors = [value for value in (*arguments, *as_tuple(found)) if isinstance(value, Tensor)]
    name = func._schema.name.removeprefix("gnnkit::")
    is_meta = any(value.device.type == "meta" for value in tensors)
    try:
        expected = references[name](*arguments)
    except NotImplementedError:
        # torch.bincount cannot do without values.
        assert is_meta
        assert all(value.device.type == "meta" for value in as_tuple(found))
        return
    except RuntimeError as error:
        # Rows of 2^40 elements, of which there are none, have statistics by segment that need the memory.
        if not is_too_large(error):
            raise
        return
    for place, (actual, wanted) in enumerate(zip(as_tuple(found), as_tuple(expected), strict=True)):
        assert actual.shape == wanted.shape
        assert actual.dtype == wanted.dtype
        if is_meta:
            assert actual.device.type == "meta"
        elif not actual.is_floating_point():
            assert torch.equal(actual, wanted)
        elif name not in AMPLIFIES:
            finite = wanted.isfinite()
            if place < INTERNAL_RESULTS.get(name, 99):
                assert torch.equal(finite, actual.isfinite())
            assert_close(actual[finite], wanted[finite])
    if name in AMPLIFIES and not is_meta:
        assert_close_in_terms(name, arguments, as_tuple(found), as_tuple(expected))


def check_graph(graph: Graph, arguments) -> None:
    """Valid, whole, and of the edges that were given."""
    if graph.device.type == "meta" or graph.num_src > 2**20:  # a transpose has a boundary for each source
        return
    Graph(graph.rowptr, graph.col, graph.edge_id, graph.num_src)
    turned = graph.transpose()
    Graph(turned.rowptr, turned.col, turned.edge_id, turned.num_src)
    assert torch.equal(turned.edge_index, graph.edge_index.flip(0))
    if "edge_index" in arguments:
        assert torch.equal(graph.edge_index, arguments["edge_index"])
