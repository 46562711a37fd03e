"""Compiled kernels: forward and backward of any cell, fused, through LLVM at run time.

``vectors.py`` writes loops, integers and vectors as machine code, ``functions.py`` the pointwise operations of a
graph, ``gemm.py`` the tiles of a matrix product, ``team.py`` what threads do together. ``kernel.py`` is what
``forward.py`` and ``backward.py`` share: the kernels of a cell, written from its plan; ``dense.py`` are those of linear
layers. ``runtime.py`` compiles, caches and runs them. Others call ``recurrence.py`` and ``products.py``.
"""
