"""From a profile to cells: every combination, runnable or skipped with its reason."""
