"""joulebench from Python: ``joulebench.run`` and ``joulebench.load`` give a :class:`~.result.Result`."""
