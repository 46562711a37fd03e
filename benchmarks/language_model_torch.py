"""The program of the preset `ptb` written with torch.nn, to compare perplexities: the same text, batches and options.

    python benchmarks/language_model_torch.py DIR --seed 0

DIR holds ptb.train.txt, ptb.valid.txt and ptb.test.txt. Prints validation and test perplexity after each epoch.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH, STEPS, HIDDEN = 20, 35, 200


class Network(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.5, batch_first=True)
        self.readout = nn.Linear(HIDDEN, vocabulary)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.05, 0.05)

    def forward(self, words: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x = F.dropout(self.embedding(words), 0.5, self.training)
        y, state = self.lstm(x, state)
        return self.readout(F.dropout(y, 0.5, self.training)), state


def read(folder: Path) -> dict[str, Tensor]:
    texts = {
        n: (folder / f"ptb.{n}.txt").read_text().replace("\n", " <eos> ").split() for n in ("train", "valid", "test")
    }
    counts = Counter(texts["train"])
    ids = {word: k for k, word in enumerate(sorted(counts, key=lambda word: (-counts[word], word)))}
    return {name: torch.tensor([ids[word] for word in words]) for name, words in texts.items()}


def train_epoch(network: Network, ids: Tensor, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    size = (len(ids) - 1) // BATCH
    words, targets = ids[: size * BATCH].view(BATCH, size), ids[1 : size * BATCH + 1].view(BATCH, size)
    state, started, windows = None, time.perf_counter(), size // STEPS
    network.train()
    for k in range(windows):
        part = slice(k * STEPS, (k + 1) * STEPS)
        logits, state = network(words[:, part], state)
        state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, part].flatten()) * STEPS
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if (k + 1) % 200 == 0:
            pace = (k + 1) * BATCH * STEPS / (time.perf_counter() - started)
            print(f"epoch {epoch} step {k + 1}/{windows}  {pace:,.0f} words/s", flush=True)


@torch.no_grad()
def perplexity(network: Network, ids: Tensor) -> float:
    total, state = 0.0, None
    network.eval()
    for start in range(0, len(ids) - 1, 500):
        targets = ids[start + 1 : start + 501]
        logits, state = network(ids[None, start : start + len(targets)], state)
        total += float(F.cross_entropy(logits[0], targets, reduction="sum"))
    return math.exp(total / (len(ids) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    ids = read(options.folder)
    network = Network(10_000)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, fused=True)
    for epoch in range(1, options.epochs + 1):
        train_epoch(network, ids["train"], optimizer, epoch)
        figures = {name: perplexity(network, ids[name]) for name in ("valid", "test")}
        print(
            f"seed {options.seed} epoch {epoch}  " + "  ".join(f"{n} {p:.2f}" for n, p in figures.items()), flush=True
        )


if __name__ == "__main__":
    main()
