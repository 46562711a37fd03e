"""From the step of a cell to a graph that can be differentiated, printed and compiled.

==============  ==========================================================
``graph.py``     the graph: a tuple of nodes in the order of evaluation
``trace.py``     runs a step on symbols and writes the graph down
``schedule.py``  groups the matrix products of a graph into few large ones
==============  ==========================================================

Nothing here knows a cell, a tensor library or a device.
"""
