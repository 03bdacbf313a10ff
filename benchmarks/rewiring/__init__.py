"""Curvature, resistance and rewiring: speed against peers, and what each method does to real graphs."""
