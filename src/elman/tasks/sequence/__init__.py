"""What the tasks share whose examples are sequences: classification and memory.

==============  ===============================================================
``config.py``    the network, as people choose it; imports no torch
``model.py``     recurrent layers and a readout, of each step or of the end
``task.py``      loss, evaluation, drawing and gradient flow, whatever is asked
==============  ===============================================================
"""
