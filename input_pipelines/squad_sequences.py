"""SQuAD as BERT reads it: sequences of word pieces, a question and a window of its paragraph each."""
import numpy as np

from input_pipelines import buckets as bucketing
from input_pipelines import squad, squad_bert
from input_pipelines.source import Streamed
from scoring.problem import Problem

CLS, SEP = '[CLS]', '[SEP]'


class Sequences:
  """The sequences of one split; `rows`: int32 [N, 5], of each its question, window (start, stop) and answer."""

  def __init__(self, data_dir, split: str):
    if not squad.metadata(data_dir).num_pieces:
      raise Problem(f'{data_dir}: squad was prepared without word pieces; run: python -m launchers.prepare '
                    '--dataset=squad --vocab=FILE, the vocab.txt of an uncased BERT')
    folder = squad.directory(data_dir)
    self.context, self.question, self.spans = (squad.Ragged(folder, f'{split}_bert_{name}')
                                               for name in ('context', 'question', 'spans'))
    self.paragraphs = squad._load(folder / f'{split}_bert_rows.npy')[:, 0]
    self.rows = squad._load(folder / f'{split}_sequences.npy')
    self.special = squad.told(data_dir)['special']
    self.asked = self.question.lengths[self.rows[:, 0]]
    self.lengths = 3 + self.asked + self.rows[:, 2] - self.rows[:, 1]

  def fill(self, batch: dict, row: int, n: int):
    """Writes sequence `n`, [CLS] question [SEP] window [SEP], into row `row` of a batch's arrays."""
    number, start, stop, first, last = self.rows[n]
    question, length = self.question[number], self.lengths[n]
    window = self.context[self.paragraphs[number]][start:stop]
    cls, sep = self.special[CLS], self.special[SEP]
    batch['tokens'][row, :length] = np.concatenate([[cls], question, [sep], window, [sep]])
    batch['types'][row, 2 + len(question):length] = 1
    batch['valid'][row, :length] = True
    if 'start' in batch:
      batch['start'][row], batch['end'][row] = first, last

  def windows(self, n: int) -> tuple[int, list[tuple[int, int]]]:
    """(which of its question's windows sequence `n` is, all of them)."""
    first, stop = np.searchsorted(self.rows[:, 0], [self.rows[n, 0], self.rows[n, 0] + 1])
    return n - first, [tuple(window) for window in self.rows[first:stop, 1:3].tolist()]


def sequences(data_dir, split: str, *, batch_size: int, seed: int, buckets: tuple[int, ...],
              process: tuple[int, int] | None = None) -> Streamed:
  """A split as sequences: tokens, types int32 [B, L], valid bool [B, L]; to train, start and end, int32 [B].

  L is a bucket; sequences have at most 384 pieces. A window without the answer points at [CLS]. `data_dir` '': shapes.
  """
  bucketing.check(buckets)
  training, kept, fingerprint = split == 'train', None, None
  lengths = np.full(squad.NUM_TRAIN if training else squad.NUM_EVAL, squad_bert.MAX_SEQUENCE)
  if data_dir:
    source, fingerprint = Sequences(data_dir, split), squad.metadata(data_dir).fingerprint
    kept, lengths = squad.Kept(source, np.arange(len(source.rows))), source.lengths

  def fields(length):
    return {'tokens': ((length,), np.int32), 'types': ((length,), np.int32), 'valid': ((length,), np.bool_),
            **({'start': ((), np.int32), 'end': ((), np.int32)} if training else {})}

  return squad.streamed(kept, lengths, fields, training, batch_size, seed, buckets, fingerprint, process)


def best_answers(source: Sequences, outputs, *, n_best: int = 20, longest: int = 30) -> dict[int, tuple[int, int]]:
  """Question -> (first, last) piece of its paragraph: the best span of all its windows by the sum of logits.

  As in BERT's run_squad.py: of each window the `n_best` likeliest starts and ends, spans of at most `longest` pieces
  inside the paragraph, a start only in the window where its piece sees most of its surroundings.

  outputs: batches of index int [B] (-1 is padding), start and end, float [B, L].
  """
  found, best = {}, {}
  for batch in outputs:
    for n, start, end in zip(*(np.asarray(batch[name]) for name in ('index', 'start', 'end'))):
      if n < 0:
        continue
      number, first, stop = source.rows[n, :3]
      shift = source.asked[n] + 2
      starts, ends = (np.argsort(-x, kind='stable')[:n_best] - shift for x in (start, end))
      inside = lambda x: (x >= 0) & (x < stop - first)
      own, windows = source.windows(n)
      starts, ends = starts[inside(starts)], ends[inside(ends)]
      starts = starts[squad_bert.best_context(own, windows)[starts]]
      size = ends[None] - starts[:, None]
      sums = start[starts + shift][:, None] + end[ends + shift][None]
      score = np.where((size >= 0) & (size < longest), sums, -np.inf)
      if score.size and score.max() > best.get(number, -np.inf):
        at = np.unravel_index(score.argmax(), score.shape)
        best[number] = score.max()
        found[int(number)] = int(starts[at[0]] + first), int(ends[at[1]] + first)
      found.setdefault(int(number), (-1, -1))
  return found
