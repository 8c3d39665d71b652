"""LoadGen's log of answers, and accuracy.txt as MLCommons' own scripts print it.

The lines are those of accuracy-imagenet.py (--dtype int32) and of SQuAD's evaluate-v1.1.py as accuracy-squad.py calls
it; the shortening is that of truncate_accuracy_log.py (mlcommons/inference at b66003e1).
"""
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scoring.problem import Problem

UNVERIFIED = 'Result not verified by MLCommons Association.'
SHOWN = 4096  # bytes that are left of a log at either end


def read(path) -> Iterator[tuple[int, bytes]]:
  """(index of the sample, bytes of the answer), in the order in which they were given.

  Raises:
    Problem: the log is missing, shortened, or not LoadGen's.
  """
  try:
    with open(path, encoding='utf-8') as file:
      if next(file, '').strip() != '[':
        raise ValueError('line 1')
      for number, line in enumerate(file, 2):
        if line.strip() == ']':
          if file.read().strip():
            raise ValueError(f'what follows line {number}')
          return
        entry = json.loads(line.strip().removesuffix(','))
        yield int(entry['qsl_idx']), bytes.fromhex(entry['data'])
      raise ValueError('its end')
  except (ValueError, KeyError, TypeError) as error:
    raise Problem(f'{path}: not a whole log of answers ({error}); run the scenario in accuracy mode again') from None
  except OSError as error:
    raise Problem(f'{path}: cannot read the answers ({error.strerror}); run the scenario in accuracy mode') from None


def digest(answers: Iterable[tuple[int, bytes]]) -> str:
  """sha256 over all answers by sample, whatever the order in which they came, and however often."""
  total = hashlib.sha256()
  for sample, answer in sorted(set(answers)):
    total.update(int(sample).to_bytes(8, 'little') + answer)
  return total.hexdigest()


def image_scores(path, labels: Sequence[int]) -> dict:
  """`accuracy`, `top5_accuracy` (fractions; None where an answer holds fewer than five), `good` and `total` of images.

  path: a log whose answers are classes in little-endian int32, the most likely first; labels: by index of the sample.

  Of a sample that was answered more than once, as LoadGen asks to fill up a query of several, the first counts.

  Raises:
    Problem: an answer is not such a list, or a sample has none.
  """
  good, in_five, seen, fewest = 0, 0, set(), 5
  for index, data in read(path):
    if not 0 <= index < len(labels):
      raise Problem(f'{path}: sample {index} is none of {len(labels)}; run the scenario in accuracy mode again')
    if index in seen:
      continue
    if not data or len(data) % 4:
      raise Problem(f'{path}: the answer to sample {index} has {len(data)} bytes, which are no int32; run again')
    classes = struct.unpack(f'<{len(data) // 4}i', data)
    seen.add(index)
    good += classes[0] == labels[index]
    in_five += labels[index] in classes[:5]
    fewest = min(fewest, len(classes))
  if len(seen) != len(labels) or not seen:
    raise Problem(f'{path}: answered are {len(seen)} of {len(labels)}; run the scenario in accuracy mode again')
  return {'accuracy': good / len(seen), 'top5_accuracy': in_five / len(seen) if fewest == 5 else None, 'good': good,
          'total': len(seen)}


def image_text(good: int, total: int) -> str:
  """accuracy.txt of images."""
  return f'accuracy={100.0 * good / total:.3f}%, good={good}, total={total}\n{UNVERIFIED}\n'


def squad_text(exact_match: float, f1: float) -> str:
  """accuracy.txt of SQuAD; both scores in percent."""
  return json.dumps({'exact_match': exact_match, 'f1': f1}) + f'\n{UNVERIFIED}\n'


def shortened(log: bytes) -> bytes:
  """A log of answers as an entry holds it: its first and last 4 KiB, a whole one where it is smaller."""
  return log if len(log) < SHOWN else log[:SHOWN] + b'\n\n...\n\n' + log[-SHOWN:]


def with_hash(text: str, log: bytes) -> str:
  """accuracy.txt with the digest of the whole log, which is what makes the shortened one stand for it."""
  return f'{text}\nhash={hashlib.sha256(log).hexdigest()}\n'


def read_bytes(path) -> bytes:
  """A whole log of answers; raises Problem where it cannot be read."""
  try:
    return Path(path).read_bytes()
  except OSError as error:
    raise Problem(f'{path}: cannot read the answers ({error.strerror}); run the scenario in accuracy mode') from None
