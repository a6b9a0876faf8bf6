"""What the probes can read here, idle power, and when a block may begin or counts."""
