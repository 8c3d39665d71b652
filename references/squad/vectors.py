"""Word vectors in the text formats of GloVe and fastText: a word and its numbers a line, separated by spaces."""
from pathlib import Path

import numpy as np

from scoring.problem import Problem


def read_vectors(path, words: list[str], width: int) -> np.ndarray:
  """The vectors of `words`, float32 [len(words), width]; a word that the file lacks, also in lower case, has zeros.

  fastText's first line, which counts words and numbers, is passed over. A word may hold spaces (GloVe's do),
  though not on the first line, which tells the width; of a word given twice the last counts.

  Raises:
    Problem: the file cannot be read, a line has another number of numbers than `width`, or one that is no number; it
      has none of the words.
  """
  file = Path(path).expanduser()
  rows = {}
  for n, word in enumerate(words):
    if word:
      rows.setdefault(word, []).append(n)
  table, exactly = np.zeros((len(words), width), np.float32), np.zeros(len(words), bool)
  lower, started = {}, False
  for n, word in enumerate(words):
    lower.setdefault(word.lower(), []).append(n)
  try:
    with open(file, encoding='utf-8', newline='\n') as lines:
      for number, line in enumerate(lines, 1):
        parts = line.rstrip().split(' ')
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
          continue
        word, values = ' '.join(parts[:-width]), parts[-width:]
        if len(parts) <= width or len(parts) > width + (5 if started else 1):
          raise Problem(f'{file}, line {number}: has {len(parts) - 1} numbers, and vector_width is {width}; say '
                        '--config.vector_width=N, or name another file')
        started = True
        known, alike = rows.get(word, ()), lower.get(word, ())
        if not known and not alike:
          continue
        vector = _numbers(file, number, values)
        for n in alike:
          if not exactly[n]:
            table[n] = vector
        for n in known:
          table[n], exactly[n] = vector, True
  except (OSError, UnicodeDecodeError) as error:
    raise Problem(f'{file}: cannot read ({error}); name a file of word vectors in text form') from None
  if not table.any():
    raise Problem(f'{file}: holds a vector of none of the {len(words):,} words; name a file of English word vectors')
  return table


def _numbers(file, number: int, values: list[str]) -> np.ndarray:
  try:
    vector = np.array(values, np.float32)
  except ValueError:
    vector = None
  if vector is None or not np.isfinite(vector).all():
    raise Problem(f'{file}, line {number}: holds what is no number; get the file again')
  return vector
