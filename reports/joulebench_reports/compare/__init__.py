"""Two runs against each other, and baselines that are kept."""
