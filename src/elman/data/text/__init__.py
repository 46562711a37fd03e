"""Running text as numbers, also where it is larger than memory.

==================  =====================================================================
``corpus``          a text: ``load_corpus`` opens any of the kinds below
``source``          what a ``--data`` value is where a text is wanted
``files``           a text file in blocks, checked as it is read
``vocabulary``      words or characters as numbers
``encoding``        from text to ids, and what is noted on the way
``id_files``        the ids on disk: built once, mapped into memory
``pydoc``           the English of Python's own documentation
``ptb``             the Penn Treebank: its three files, their check sums and mirrors
``shakespeare``     Tiny Shakespeare: likewise
==================  =====================================================================
"""
