"""Labelled sequences in memory: pictures row by row, or an array of sequences.

==================  =====================================================================
``source``          what a ``--data`` value is: ``load_labelled`` opens any of the kinds below
``sequences``       ``LabelledSequences``, ``LabelledData``, hold-out, batches
``digits``          the 1,797 scans that come with scikit-learn
``mnist``           MNIST: its four files, their check sums and mirrors
``idx``             the idx file format
``idx_folder``      a folder of idx pairs: images and labels
``image_folder``    a folder of images with a sub-folder for each class
``images``          one picture file, brought into the form of the training images
``arrays``          an ``.npz`` of sequences
==================  =====================================================================
"""
