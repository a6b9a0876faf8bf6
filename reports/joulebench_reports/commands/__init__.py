"""The commands that reports add to joulebench."""
