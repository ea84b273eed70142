"""BERT's tokenizer: lower case without accents, split at spaces and punctuation, then the longest known pieces.

Devlin et al. 2018, Wu et al. 2016 (WordPiece).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_LONGEST = 100  # characters of a word; a longer one is unknown


@dataclass(frozen=True)
class WordPiece:
    """vocabulary: piece to id; pieces inside a word begin with ##."""

    vocabulary: Mapping[str, int]

    def ids(self, text: str) -> list[int]:
        """The ids of a text, between those of [CLS] and [SEP]."""
        pieces = [piece for word in words(text) for piece in self._pieces(word)]
        return [self.vocabulary[piece] for piece in ("[CLS]", *pieces, "[SEP]")]

    def feeds(self, text: str, length: int) -> dict[str, np.ndarray]:
        """int64 [1, length] `input_ids`, `attention_mask`, `token_type_ids`: padded, or cut before the last [SEP]."""
        ids = self.ids(text)
        if len(ids) > length:
            ids = [*ids[: length - 1], ids[-1]]
        padded = np.full((1, length), self.vocabulary["[PAD]"], np.int64)
        padded[0, : len(ids)] = ids
        mask = (np.arange(length) < len(ids)).astype(np.int64)[None]
        return {"input_ids": padded, "attention_mask": mask, "token_type_ids": np.zeros_like(padded)}

    def _pieces(self, word: str) -> list[str]:
        if len(word) > _LONGEST:
            return ["[UNK]"]
        pieces: list[str] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.vocabulary), None)
            if end is None:
                return ["[UNK]"]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces


def words(text: str) -> Iterator[str]:
    """The words of a text; every mark of punctuation and every Chinese character is a word of its own."""
    plain = unicodedata.normalize("NFD", text.lower())
    word = ""
    for character in plain:
        category = unicodedata.category(character)
        if category == "Mn" or (category in ("Cc", "Cf") and not character.isspace()):
            continue  # accents and control characters
        alone = _is_punctuation(character, category) or "\u4e00" <= character <= "\u9fff"
        if word and (alone or character.isspace()):
            yield word
            word = ""
        if alone:
            yield character
        elif not character.isspace():
            word += character
    if word:
        yield word


def _is_punctuation(character: str, category: str) -> bool:
    """Unicode's punctuation, and whatever of ASCII is neither letter, digit nor space, such as $ and ^."""
    return category.startswith("P") or (
        character.isascii() and character.isprintable() and not character.isalnum() and not character.isspace()
    )
