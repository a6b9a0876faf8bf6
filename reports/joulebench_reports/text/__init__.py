"""A report, or a comparison, for a terminal and as Markdown."""
