"""Finds, checks and holds plugins; the only package that touches pluggy."""
