"""A small work of every kind and shape."""

from __future__ import annotations

from elman.bench.works import Work

__all__ = ["SMALL"]

SMALL = {
    work.name: work
    for work in (
        *(
            Work(name=cell, cell=cell, input_size=3, hidden_size=5, batch=4, steps=3)
            for cell in ("lstm", "gru", "rnn", "rnn-relu", "peephole", "gru-reset-before")
        ),
        Work(name="own", cell="elman.bench.own_cell:OwnCell", input_size=3, hidden_size=5, batch=4, steps=3),
        Work(name="deep", input_size=3, hidden_size=5, num_layers=2, bidirectional=True, batch=4, steps=3),
        Work(name="deep-gru", cell="gru", input_size=3, hidden_size=5, num_layers=2, bidirectional=True, steps=3),
        Work(name="step", kind="inference", input_size=3, hidden_size=5, num_layers=2, batch=1, steps=1),
        Work(name="program", kind="program", input_size=3, input_projection=4, hidden_size=5, batch=6, steps=3),
        Work(name="program-both", kind="program", input_size=3, hidden_size=5, bidirectional=True, batch=6, steps=3),
        *(
            Work(
                name=f"language-{rest}",
                kind="language-model",
                input_size=3,
                hidden_size=5,
                num_layers=layers,
                classes=11,
                batch=4,
                steps=3,
                dropout=dropout,
            )
            for rest, layers, dropout in (("one", 1, 0.0), ("dropped", 2, 0.5))
        ),
        Work(name="word", kind="next-word", input_size=3, hidden_size=5, num_layers=2, classes=11, batch=1, steps=1),
        Work(name="loss", kind="cross-entropy", cell="", input_size=3, classes=11, batch=7, steps=1),
        Work(name="crf", kind="crf", cell="", classes=5, batch=4, steps=3),
        Work(
            name="tagger", kind="tagger", input_size=3, hidden_size=5, bidirectional=True, classes=7, batch=4, steps=3
        ),
    )
}
