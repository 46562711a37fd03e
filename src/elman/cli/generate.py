"""``elman generate``: text out of a language model, as it comes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial

from elman.cli.arguments import RunPath, parse
from elman.errors import OptionError, describe

__all__ = ["main"]

_SHOWN = 10  # unknown words


def main(argv: Sequence[str]) -> int:
    """Run ``elman generate RUN``."""
    return parse(generate, argv, "generate")


def generate(
    run: RunPath,
    *,
    prompt: str = "",  # None would be what the word None is read as
    length: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    threads: int | None = None,
) -> int:
    """Write text with a trained language model, from nothing or on from a prompt, word by word; Ctrl-C ends it.

    Standard output holds the prompt and the text, and nothing else. What the model does not know is never written. At
    word level words are what whitespace sets apart, so punctuation in a prompt stands between spaces, too.

    Args:
        run: The run directory.
        prompt: What the text begins with; - reads standard input, up to its last line's end.
        length: Words to write, ends of lines among them; characters for a model of characters.
        temperature: Under 1 likely words become likelier, over 1 unlikely ones; 0 always takes the likeliest.
        top_k: Draw from so many of the likeliest words; none: from all.
        top_p: Draw from the fewest likeliest words that have this probability together; none: from all.
        seed: The same seed gives the same text; none: a new one, which standard error says.
        threads: CPU threads, which the text does not depend on; none: PyTorch's choice.
    """
    if length < 1:
        raise OptionError(describe("--length", expected="at least 1", got=str(length)))
    if seed is not None and not 0 <= seed < 2**63:
        raise OptionError(describe("--seed", expected="0 or more and under 2^63", got=str(seed)))
    import torch
    from rich.console import Console

    from elman.cli.texts import Page, standard_input, visible
    from elman.cli.threads import using_threads
    from elman.tasks import Sampling, load_language_model, read
    from elman.tasks import generate as words_after
    from elman.tasks.language_model.scoring import unknown_words

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    with using_threads(threads):
        model = load_language_model(run)
        text = "".join(standard_input()).removesuffix("\n") if prompt == "-" else prompt
        say = partial(Console(stderr=True).print, highlight=False, markup=False, soft_wrap=True)
        if unknown := unknown_words(model.vocabulary, text):
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            say(f"Unknown to the model, read as <unk>: {visible(' '.join(unknown[:_SHOWN]))}{more}")
        if seed is None:
            seed = secrets.randbits(32)
            if temperature > 0:
                say(f"--seed {seed} writes this text again.")
        # Between words the model sets the space itself.
        shown = text.rstrip(" \t") if model.vocabulary.level == "word" else text
        page = Page()
        page.write(shown, "bold")
        generator = torch.Generator().manual_seed(seed)
        try:
            for word in words_after(model, read(model, text), length, sampling=sampling, generator=generator):
                page.write(word.text)
        finally:
            page.end_line()
    return 0
