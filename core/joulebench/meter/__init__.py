"""Arithmetic of energy and its uncertainty: numbers in, numbers out."""
