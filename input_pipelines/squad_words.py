"""Text as words: runs of letters, runs of digits, and every other character by itself, so that answers can be cut out.

Nearly every answer of SQuAD begins and ends at such a cut; `launchers.prepare` prints how many.
"""
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

PADDING, UNKNOWN = 0, 1
MAX_CHARS = 16  # of a word; what follows is cut off
MAX_ALPHABET = 256  # ids of characters are bytes
_WORD = re.compile(r'[^\W\d_]+|\d+|[^\s]')
# Suffixes of inflection, longest first, and what must be left: crude beside Porter's (1980), and enough to tell that
# two words of one text belong together.
_SUFFIXES = ('ations', 'ation', 'ments', 'ment', 'ings', 'ing', 'ions', 'ion', 'ies', 'ied', 'ers', 'er', 'ed', 'es',
             'ly', 's', 'e', 'y')


def words(text: str) -> tuple[list[str], np.ndarray]:
  """(the words of a text, where each begins and ends: int32 [L, 2], in characters)."""
  found = list(_WORD.finditer(text))
  return [m.group() for m in found], np.array([m.span() for m in found], np.int32).reshape(-1, 2)


def stem(word: str) -> str:
  """What is left of a word in lower case without its inflection: at least three letters."""
  word = word.lower()
  cut = next((s for s in _SUFFIXES if word.endswith(s) and len(word) - len(s) >= 3), '')
  word = word[:len(word) - len(cut)]
  return word[:-1] if cut and len(word) > 3 and word[-1] == word[-2] else word


def token_span(spans: np.ndarray, start: int, stop: int) -> tuple[int, int]:
  """(first, last) of the words that touch the characters start <= c < stop; (-1, -1) if none does."""
  touched = np.flatnonzero((spans[:, 1] > start) & (spans[:, 0] < stop))
  return (int(touched[0]), int(touched[-1])) if len(touched) else (-1, -1)


class Vocabulary:
  """Words and characters as numbers.

  The words of the training split come first, by falling frequency, so that a model may know the first so many only;
  those of the other split follow, which no model knows, but whose characters can be looked up.

  Attributes:
    words: id -> word; 0 is padding and 1 an unknown word.
    num_trained: ids below it are padding, unknown, or words of the training split.
    alphabet: id -> character, by falling frequency in the training split.
    chars: uint8 [V, MAX_CHARS], the characters of each word.
    lower, stems: int32 [V], equal for words that are equal in lower case, or have one stem.
  """

  def __init__(self, training: Iterable[list[str]], others: Iterable[list[str]]):
    counts = Counter(word for text in training for word in text)
    trained = sorted(counts, key=lambda word: (-counts[word], word))
    rest = sorted({word for text in others for word in text} - counts.keys())
    self.words = ['', ''] + trained + rest
    self.num_trained = 2 + len(trained)
    letters = Counter()
    for word, count in counts.items():
      letters.update({letter: word.count(letter) * count for letter in set(word)})
    self.alphabet = ['', ''] + sorted(letters, key=lambda c: (-letters[c], c))[:MAX_ALPHABET - 2]
    self._ids = {word: n for n, word in enumerate(self.words) if n > UNKNOWN}
    number = {letter: n for n, letter in enumerate(self.alphabet) if n > UNKNOWN}
    self.chars = np.zeros((len(self.words), MAX_CHARS), np.uint8)
    for n, word in enumerate(self.words):
      self.chars[n, :len(word)] = [number.get(letter, UNKNOWN) for letter in word[:MAX_CHARS]]
    self.lower, self.stems = (_classes(map(change, self.words)) for change in (str.lower, stem))

  def ids(self, text: list[str]) -> np.ndarray:
    """int32 [L] of words that are all known here."""
    return np.array([self._ids[word] for word in text], np.int32)


def _classes(names: Iterable[str]) -> np.ndarray:
  """Equal numbers for equal names: int32 [N]."""
  numbers = {}
  return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
