"""Numbers about a graph, and pictures of it: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.balanced_forman import balanced_forman
from gnnkit.geometry.diagnostics import commute_time_bound, dirichlet_energy, jacobian_sensitivity
from gnnkit.geometry.forman import augmented_forman, forman
from gnnkit.geometry.jost_liu import jost_liu_bounds
from gnnkit.geometry.node_curvature import node_curvature
from gnnkit.geometry.ollivier import TransportPlan, lin_lu_yau, ollivier_ricci, ollivier_ricci_plan
from gnnkit.geometry.plot import plot
from gnnkit.geometry.ricci_flow import ricci_flow

__all__ = [
    "TransportPlan",
    "augmented_forman",
    "balanced_forman",
    "commute_time_bound",
    "dirichlet_energy",
    "forman",
    "jacobian_sensitivity",
    "jost_liu_bounds",
    "lin_lu_yau",
    "node_curvature",
    "ollivier_ricci",
    "ollivier_ricci_plan",
    "plot",
    "ricci_flow",
]
