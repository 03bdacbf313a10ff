"""The library GraphRicciCurvature, where it is installed."""

import sys
import types
from typing import Any

import pytest


def graph_ricci_curvature(graph: Any, alpha: float) -> Any:
    """Its exact curvatures of a graph, in one process; skips the test where it is not installed."""
    # Looked for at import, and used for plots of communities alone.
    if "community" not in sys.modules:
        stub = types.ModuleType("community")
        stub.__dict__["community_louvain"] = types.ModuleType("community.community_louvain")
        sys.modules.update({"community": stub, "community.community_louvain": stub.__dict__["community_louvain"]})
    library = pytest.importorskip("GraphRicciCurvature.OllivierRicci")
    return library.OllivierRicci(graph, alpha=alpha, method="OTD", proc=1)
