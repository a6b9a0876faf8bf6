"""From a session's tables to figures: sums, times, energies, phases, readings over time."""
