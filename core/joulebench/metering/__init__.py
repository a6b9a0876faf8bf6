"""``joulebench.measure``: the energy, time and memory of any block of code or command."""
