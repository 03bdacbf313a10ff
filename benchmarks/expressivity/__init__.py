"""What encodings and models can tell apart: strongly regular graphs, CSL and BREC."""
