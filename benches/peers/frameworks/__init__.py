"""Python frameworks as peers of the benchmarks: `worker.py` runs one of them.

`cases` reads a case id, `inputs` draws its inputs, `with_<framework>` runs it, `reference` checks
the result, and `protocol` talks to the benchmarks. `cases` and `protocol` work without numpy.
"""
