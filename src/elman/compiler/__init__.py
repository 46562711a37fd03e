"""From the step of a cell to a graph that is differentiated and run.

================  ===========================================================================================
``graph.py``      the graph: a tuple of nodes in the order of evaluation
``trace.py``      runs a step on symbols and writes the graph down
``adjoint.py``    derives the backward step, whose repetition is BPTT
``noise.py``      recurrent dropout and zoneout, as other equations of the same cell
``schedule.py``   groups the matrix products of a graph into few large ones
``equations.py``  both steps as equations: trees of ``expression.py``, named by ``values.py`` and ``usage.py`` (who
                  reads what), of forward values and of what ``gradients.py`` makes of an adjoint
``unfolding.py``  the loss over a few steps: every path of the gradient, a product of ``jacobians.py``
``notation.py``   writes trees as text, LaTeX and MathML; ``typeset.py`` makes documents of them and of ``drawing.py``
================  ===========================================================================================

Nothing here knows a cell, a tensor library or a device.
"""
