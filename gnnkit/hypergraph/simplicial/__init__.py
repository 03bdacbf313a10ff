"""Simplicial complexes of graphs: edges and triangles with features of their own."""

from gnnkit.hypergraph.simplicial.complex import CliqueComplex
from gnnkit.hypergraph.simplicial.conv import SimplicialConv
from gnnkit.hypergraph.simplicial.matrices import boundary_matrices, hodge_laplacian

__all__ = ["CliqueComplex", "SimplicialConv", "boundary_matrices", "hodge_laplacian"]
