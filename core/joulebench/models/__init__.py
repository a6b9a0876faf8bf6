"""Models and texts by name; fetches by hash; the store of what was converted and compressed."""
