"""Tiny Shakespeare: 40,000 lines of his plays in one file, for models of characters (Karpathy)."""

from __future__ import annotations

from elman.data.entry import Entry, RemoteFile

__all__ = ["SHAKESPEARE"]

SHAKESPEARE = Entry(
    name="tinyshakespeare",
    description="1.1 million characters of Shakespeare's plays, 65 different (Karpathy 2015)",
    licence="public domain",
    files=(RemoteFile("input.txt", 1115394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),),
    mirrors=(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        "https://raw.githubusercontent.com/sherjilozair/char-rnn-tensorflow/master/data/tinyshakespeare/",
    ),
)
