"""Profiles: what to measure, in strict and versioned TOML."""
