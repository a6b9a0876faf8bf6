"""The engine in Amaranth: weights stream from memory, a matrix–vector product comes out.

:mod:`~joulebench_plugins.fpga.engine.gemv` puts it together; ``docs/fpga-engine.md`` draws it. Only modules
that need a design import from here: Amaranth is an extra.
"""
