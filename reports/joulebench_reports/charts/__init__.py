"""Vega-Lite specifications of every chart, with the data put in."""
