"""For a terminal and for Markdown."""
