"""Compiled kernels: forward and backward of any cell, fused, through LLVM at run time.

===================  =================================================================================
``vectors.py``        writes loops, integers, addresses and vectors of numbers as machine code
``functions.py``      the pointwise operations of a graph on vectors
``gemm.py``           tiles of a matrix product
``team.py``           what the threads of a kernel do together
``kernel.py``         what the kernels of a cell share; they are written from its plan
``forward.py``        all steps of a cell
``backward.py``       back-propagation through them, and ``chunk.py`` its large products
``dense.py``          what the kernels of linear layers share: ``linear.py``, ``cross_entropy.py``
``philox.py``         draws random numbers
``runtime.py``        the host, the compiler, the cache on disk, the threads
``layout.py``         what the shapes of a call decide
``memory.py``         tensors as kernels read them
``recurrence.py``     cells over time, for others to call
``products.py``       linear layers, for others to call
``draws.py``          random choices, for others to call
``peak.py``           what the processor can do at most
``expectation.py``    how near to that a run should come
===================  =================================================================================
"""
