"""What touches sensors: the sampler's process, reads at edges, calibration, cross-checks."""
