"""Captions as token ids: words, a vocabulary, an end and padding."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Vocabulary"]

PADDING, UNKNOWN, END = "<pad>", "<exc>", "<eos>"
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]")


@dataclass(frozen=True)
class Vocabulary:
    """The words that token ids stand for: 0 is padding, 1 a word that is not known, 2 the end, then words.

    Arguments:
        words: All words, in the order of their ids.

    Example:
        >>> known = Vocabulary.of(["a red bird.", "A blue bird."], at_least=2)
        >>> known.words
        ('<pad>', '<exc>', '<eos>', '.', 'a', 'bird')
        >>> ids = known.encode(["a green bird."], length=6)
        >>> ids.tolist(), known.decode(ids)
        ([[4, 1, 5, 3, 2, 0]], ['a <exc> bird .'])
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, captions: Iterable[str], at_least: int = 3) -> "Vocabulary":
        """The words that stand in captions so many times, the most frequent first, then by the alphabet."""
        counts = Counter(word for caption in captions for word in WORD.findall(caption.lower()))
        frequent = sorted((word for word, num in counts.items() if num >= at_least), key=lambda w: (-counts[w], w))
        return cls((PADDING, UNKNOWN, END, *frequent))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[str], length: int) -> np.ndarray:
        """Token ids ``(N, length)``: at most ``length - 1`` words, the end, padding."""
        number = {word: i for i, word in enumerate(self.words)}
        out = np.zeros((len(captions), length), np.int64)
        for row, caption in enumerate(captions):
            words = WORD.findall(caption.lower())[: length - 1]
            ids = [number.get(word, number[UNKNOWN]) for word in words]
            out[row, : len(ids) + 1] = [*ids, number[END]]
        return out

    def decode(self, ids: np.ndarray) -> list[str]:
        """Texts of token ids ``(N, length)``, each up to its end."""
        out = []
        for row in np.asarray(ids):
            words = [self.words[i] for i in row.tolist()]
            stop = min((words.index(mark) for mark in (END, PADDING) if mark in words), default=len(words))
            out.append(" ".join(words[:stop]))
        return out
