"""Tables that the terminal, Markdown and the page share."""
