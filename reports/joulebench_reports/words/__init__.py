"""Words and numbers as every report writes them: units, flags, bytes, times, foreign text."""
