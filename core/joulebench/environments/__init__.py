"""Interpreters of plugins whose libraries exclude the others: made, asked, kept."""
