"""Benchmarks of joulebench itself: ``make bench``, or ``python -m bench NAME``.

Speed is measured here and never asserted in a test. Run them with nothing else on the machine.
"""
