"""What elman costs: time, share of the processor's peak and memory of works of fixed shapes, beside other libraries.

================  ======================================================================
``works.py``      what is measured, a row a work
``peers/``        who else does it, a row a peer
``run.py``        numbers first, then time, then memory
``example.py``    weights and inputs, the same for all
``program.py``    a work as something to run again and again
``language.py``   the language model that is measured
``plain.py``      layers and losses in plain torch operations: the reference, and a peer
``parity.py``     are the numbers right?
``timing.py``     in turn
``memory.py``     in a process of its own
``flops.py``      operations that a work needs
``peak.py``       operations that the machine can do
``machine.py``    its name, and what else it does meanwhile
``own_cell.py``   a cell that is in no library
``report.py``     rows, a table
``plot.py``       pictures of rows
================  ======================================================================
"""
