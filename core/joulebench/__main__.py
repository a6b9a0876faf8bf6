"""``python -m joulebench``."""

from joulebench.cli import main

main()
