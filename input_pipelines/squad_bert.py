"""Text as BERT's word pieces, in windows of a paragraph, as BERT's own fine-tuning cuts them.

Source of the windows and of what counts as a piece's best one: google-research/bert, run_squad.py (step of windows 128,
384 pieces a sequence, 64 of the question). Pieces keep their characters, so an answer is cut out of the text itself.
"""
from pathlib import Path

import numpy as np

from scoring.problem import Problem

MAX_SEQUENCE, MAX_QUESTION, STEP = 384, 64, 128
SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]')


def tokenizer(vocab):
  """BERT's uncased tokenizer over a vocabulary file.

  Raises:
    Problem: the package is missing, or the file is no such vocabulary.
  """
  try:
    from tokenizers import BertWordPieceTokenizer
  except ImportError:
    raise Problem("--vocab: the package tokenizers is not installed; pip install -e '.[data]'") from None
  path = Path(vocab)
  try:
    lines = path.read_text(encoding='utf-8').removesuffix('\n').split('\n')  # a piece may be another line end
  except (OSError, UnicodeDecodeError) as error:
    raise Problem(f'--vocab={path}: cannot read ({error}); name the vocab.txt of an uncased BERT') from None
  if len(set(lines)) != len(lines) or not set(SPECIAL) <= set(lines) or lines[0] != '[PAD]':
    raise Problem(f'--vocab={path}: is no WordPiece vocabulary (one piece a line, each once, [PAD] first, with '
                  f'{", ".join(SPECIAL)}); name the vocab.txt of an uncased BERT')
  return BertWordPieceTokenizer({piece: n for n, piece in enumerate(lines)}, lowercase=True)


def pieces(made, text: str) -> tuple[np.ndarray, np.ndarray]:
  """(ids: int32 [L], where each begins and ends in the text, in characters: int32 [L, 2])."""
  found = made.encode(text, add_special_tokens=False)
  return np.array(found.ids, np.int32), np.array(found.offsets, np.int32).reshape(-1, 2)


def windows(length: int, question: int) -> list[tuple[int, int]]:
  """The windows, start <= piece < stop, of a paragraph of `length` pieces beside a question of so many."""
  room, found, start = MAX_SEQUENCE - 3 - question, [], 0
  while True:
    found.append((start, min(start + room, length)))
    if found[-1][1] == length:
      return found
    start += min(room, STEP)


def best_context(own: int, spans: list[tuple[int, int]]) -> np.ndarray:
  """Of each piece of window `own`, whether it sees most of its surroundings there: bool [stop - start].

  How much it sees is the smaller of what lies left and right of it, and a hundredth of the window's length; of equals
  the first window has it.
  """
  at = np.arange(*spans[own])
  seen = [np.where((at >= a) & (at < b), np.minimum(at - a, b - 1 - at) + 0.01 * (b - a), -1) for a, b in spans]
  return np.argmax(seen, 0) == own


def answer(first: int, last: int, window: tuple[int, int], question: int) -> tuple[int, int]:
  """Positions in the sequence of the answer's pieces first <= p <= last; (0, 0), which is [CLS], outside the window."""
  start, stop = window
  if not start <= first <= last < stop:
    return 0, 0
  shift = question + 2 - start
  return first + shift, last + shift
