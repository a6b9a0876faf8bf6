"""A run: cells take turns in groups until their intervals are narrow enough; rows are written."""
