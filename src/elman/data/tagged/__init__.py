"""Sequences with a tag on every token: words of sentences, characters of text.

==================  =====================================================================
``sentences``       ``Sentence``, and a data set of them: ``TaggedData``
``source``          what a ``--data`` value is where tags are wanted: ``load_tagged``
``folders``         which file of a folder is which split
``columns``         a file with a token a line: CoNLL columns and CoNLL-U
``lines``           the lines of a text file, checked one by one
``schemes``         spans as tags, BIO and BIOES: found out, converted, read back
``spelling``        the tags of a data set's files brought into one scheme
``split``           sentences held out
``batches``         sequences of like length in one batch
``vectors``         pretrained vectors of words
``characters``      running text as sequences of its characters
``python_tokens``   the tokens of Python's own source
``conll2000``       the chunking task of CoNLL-2000: its files, check sums and mirrors
==================  =====================================================================
"""
