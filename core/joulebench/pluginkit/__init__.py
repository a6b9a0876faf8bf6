"""``joulebench plugin new`` and ``joulebench plugin check``: the kit of a plugin's author."""
