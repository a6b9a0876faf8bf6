"""Charts: Vega-Lite templates, and the functions that put the data in."""
