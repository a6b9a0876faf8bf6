"""The plugins that come with joulebench: a folder each, and what several of them share in ``shared``."""
