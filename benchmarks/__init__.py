"""Speed against peers, benchmark tables, and the demonstration."""
