"""Numbers about a graph, and pictures of it: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.balanced_forman import balanced_forman
from gnnkit.geometry.diagnostics import commute_time_bound, dirichlet_energy, jacobian_sensitivity
from gnnkit.geometry.forman import augmented_forman, forman
from gnnkit.geometry.jost_liu import jost_liu_bounds
from gnnkit.geometry.node_curvature import node_curvature
from gnnkit.geometry.ollivier import TransportPlan, lin_lu_yau, ollivier_ricci, ollivier_ricci_plan
from gnnkit.geometry.plot import plot
from gnnkit.geometry.resistance import (
    commute_time,
    effective_resistance,
    node_resistance_curvature,
    resistance_curvature,
    total_resistance,
)
from gnnkit.geometry.ricci_flow import ricci_flow
from gnnkit.geometry.sparsify import spectral_sparsify
from gnnkit.geometry.spectrum import cheeger_bounds, laplacian_spectrum, spectral_gap

__all__ = [
    "TransportPlan",
    "augmented_forman",
    "balanced_forman",
    "cheeger_bounds",
    "commute_time",
    "commute_time_bound",
    "dirichlet_energy",
    "effective_resistance",
    "forman",
    "jacobian_sensitivity",
    "jost_liu_bounds",
    "laplacian_spectrum",
    "lin_lu_yau",
    "node_curvature",
    "node_resistance_curvature",
    "ollivier_ricci",
    "ollivier_ricci_plan",
    "plot",
    "resistance_curvature",
    "ricci_flow",
    "spectral_gap",
    "spectral_sparsify",
    "total_resistance",
]
