"""SQuAD as `launchers.prepare --dataset=squad` wrote it: questions with their paragraphs, as words, in length buckets.

DATA_DIR/squad/v1.1/daybreak/ holds
  squad.json                 counts, sha256 of the sources, and the fingerprint: sha256 over those of all arrays
  words.txt, word_*.npy      the vocabulary; `squad_words.Vocabulary` says what they are
  SPLIT_words_*.npy          paragraphs, characters of their words, questions, and the row of each question: paragraph,
                             first and last word of its first answer; rows of different length lie one after another
  SPLIT_bert_*.npy, SPLIT_sequences.npy    the same as word pieces, and their windows, where there was a vocabulary
  SPLIT.json                 the source itself, for the answers
"""
import functools
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from input_pipelines import buckets as bucketing
from input_pipelines import squad_json, squad_words
from input_pipelines.source import Streamed
from scoring import squad_metric
from scoring.problem import Problem

TOLD = 'squad.json'
NUM_TRAIN, NUM_EVAL = 87_599, 10_570  # questions
BUCKETS = (128, 192, 256, 400)  # of words in a paragraph; multiples of 64 or 16, as tensor cores like


@dataclass(frozen=True)
class Metadata:
  """What is known of a prepared set without reading its arrays.

  fingerprint: of all arrays; num_train, num_eval: questions; num_words, num_chars: ids of the vocabulary, padding and
  unknown included; num_pieces: of BERT's vocabulary, 0 where there are no word pieces.
  """
  fingerprint: str | None = None
  num_train: int = NUM_TRAIN
  num_eval: int = NUM_EVAL
  num_words: int = 30_000
  num_chars: int = 256
  num_pieces: int = 0


def directory(data_dir) -> Path:
  return Path(data_dir).expanduser() / 'squad' / 'v1.1' / 'daybreak'


def told(data_dir) -> dict:
  """What squad.json says.

  Raises:
    Problem: it is not there, or damaged.
  """
  file = directory(data_dir) / TOLD
  again = f'python -m launchers.prepare --dataset=squad --data_dir={shlex.quote(str(data_dir))}'
  try:
    found = json.loads(file.read_text(encoding='utf-8'))
    _metadata(found)
  except FileNotFoundError:
    raise Problem(f'{data_dir}: no squad there; get it with: {again}') from None
  except (OSError, ValueError, KeyError, TypeError):
    raise Problem(f'{file}: damaged, or of an older version; prepare it again: {again}') from None
  return found


def metadata(data_dir) -> Metadata:
  """What is prepared in `data_dir`; raises as `told`."""
  return _metadata(told(data_dir))


def _metadata(found: dict) -> Metadata:
  train, evaluation = found['splits']['train'], found['splits']['eval']
  return Metadata(found['fingerprint'], train['num_questions'], evaluation['num_questions'], found['num_words'],
                  found['num_chars'], found['num_pieces'])


def vocabulary(data_dir) -> list[str]:
  """id -> word; the first two, padding and unknown, are ''."""
  return (directory(data_dir) / 'words.txt').read_text(encoding='utf-8').split('\n')[:-1]


class Ragged:
  """Rows of different length in one mapped array: `of[n]` is row n."""

  def __init__(self, folder: Path, name: str):
    self.flat, self.starts = _load(folder / f'{name}.npy'), _load(folder / f'{name}_starts.npy')

  def __getitem__(self, n) -> np.ndarray:
    return self.flat[self.starts[n]:self.starts[n + 1]]

  @property
  def lengths(self) -> np.ndarray:
    return np.diff(self.starts)


def _load(file: Path) -> np.ndarray:
  try:
    return np.load(file, mmap_mode='r')
  except (OSError, ValueError, EOFError) as error:
    raise Problem(f'{file}: missing or damaged ({error}); remove {file.parent} and run: python -m launchers.prepare '
                  '--dataset=squad') from None


class Words:
  """The questions of one split as words. `rows`: int32 [N, 3], see this module; `spans`: characters of each word."""

  def __init__(self, data_dir, split: str):
    folder = directory(data_dir)
    self.context, self.question, self.spans = (Ragged(folder, f'{split}_words_{name}')
                                               for name in ('context', 'question', 'spans'))
    self.rows = _load(folder / f'{split}_words_rows.npy')
    self.chars, self.lower, self.stems = (_load(folder / f'word_{name}.npy') for name in ('chars', 'lower', 'stems'))
    self.lengths = self.context.lengths[self.rows[:, 0]]

  def fill(self, batch: dict, row: int, n: int):
    """Writes question `n` into row `row` of a batch's arrays."""
    paragraph, first, last = self.rows[n]
    context, question = self.context[paragraph], self.question[n][:batch['question'].shape[1]]
    batch['context'][row, :len(context)] = context
    batch['question'][row, :len(question)] = question
    batch['context_chars'][row, :len(context)] = self.chars[context]
    batch['question_chars'][row, :len(question)] = self.chars[question]
    for k, same in enumerate((None, self.lower, self.stems)):
      batch['match'][row, :len(context), k] = np.isin(context, question) if same is None else np.isin(
          same[context], same[question])
    if 'start' in batch:
      batch['start'][row], batch['end'][row] = first, last


@dataclass(frozen=True)
class Kept:
  """A part of a split: its record `index` is `source`'s record `numbers[index]`."""
  source: Any
  numbers: np.ndarray

  @property
  def lengths(self) -> np.ndarray:
    return self.source.lengths[self.numbers]


def words(data_dir, split: str, *, batch_size: int, seed: int, buckets: tuple[int, ...], max_question: int,
          process: tuple[int, int] | None = None) -> Streamed:
  """A split as words: context int32 [B, L], question [B, Q], characters uint8 [B, ..., 16], match uint8 [B, L, 3].

  L is a bucket. Training leaves out paragraphs longer than the last bucket, and questions whose answer is not cut out
  of words; evaluation has a bucket for each. Questions are cut to `max_question` words. `data_dir` '': shapes only.
  """
  bucketing.check(buckets)
  training = split == 'train'
  if not data_dir:
    lengths, source, fingerprint = np.full(NUM_TRAIN if training else NUM_EVAL, buckets[-1]), None, None
  else:
    source, fingerprint = Words(data_dir, split), metadata(data_dir).fingerprint
    fits = (source.lengths <= buckets[-1]) & (source.rows[:, 1] >= 0)
    source = Kept(source, np.flatnonzero(fits | (not training)))
    lengths = source.lengths
    if not len(lengths):
      raise Problem(f'buckets={buckets}: every paragraph of {split} is longer')
  fields = functools.partial(row_fields, max_question=max_question, training=training)
  return streamed(source, lengths, fields, training, batch_size, seed, buckets, fingerprint, process)


def streamed(kept, lengths, fields, training: bool, batch_size: int, seed: int, buckets, fingerprint,
             process) -> Streamed:
  """Records of like length, batched: `kept` fills the rows, `fields` says of a length what a row holds."""
  buckets = bucketing.edges(buckets, int(lengths.max()))
  order = bucketing.BucketShuffled(len(lengths), batch_size, seed, lengths=lengths, buckets=buckets) if training else \
      bucketing.BucketOnce(lengths, batch_size, buckets)
  fields = lambda length, own=fields: {**own(length), 'index': ((), np.int32), 'epoch': ((), np.int32),
                                       'mask': ((), np.bool_)}
  spec = lambda length: {name: jax.ShapeDtypeStruct((batch_size, *dims), dtype)
                         for name, (dims, dtype) in fields(length).items()}
  return Streamed(spec, Batches(order, kept, fields, process), order, order.shape_at, fingerprint)


def row_fields(length: int, max_question: int, training: bool) -> dict[str, tuple[tuple[int, ...], type]]:
  """name -> (shape of a row, dtype)."""
  letters = squad_words.MAX_CHARS
  return {'context': ((length,), np.int32), 'context_chars': ((length, letters), np.uint8),
          'question': ((max_question,), np.int32), 'question_chars': ((max_question, letters), np.uint8),
          'match': ((length, 3), np.uint8),
          **({'start': ((), np.int32), 'end': ((), np.int32)} if training else {})}


@dataclass(frozen=True)
class Batches:
  """(start, stop) -> the batches of those steps, this process's rows; see Streamed."""
  order: bucketing.BucketShuffled | bucketing.BucketOnce
  kept: Kept
  fields: Callable[[int], dict]
  process: tuple[int, int] | None

  def __call__(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
    number, count = self.process or (jax.process_index(), jax.process_count())
    size = self.order.batch_size // count
    for step in range(start, stop):
      index, epoch = (x[0][number * size:(number + 1) * size] for x in self.order.rows(step, step + 1))
      fields = self.fields(self.order.shape_at(step))
      batch = {name: np.zeros((size, *dims), dtype) for name, (dims, dtype) in fields.items()}
      for row, n in enumerate(index):
        if n >= 0:
          self.kept.source.fill(batch, row, self.kept.numbers[n])
      yield {**batch, 'index': index, 'epoch': epoch, 'mask': index >= 0}


class Padding(NamedTuple):
  """Shares of padding, 0..1, of a split in batches of one length and in buckets."""
  split: str
  before: float
  after: float
  buckets: tuple[int, ...]


def padding(data_dir, batch_size: int = 32) -> list[Padding]:
  """How much is padded in the first epoch of training and in evaluation."""
  found = []
  for split in ('train', 'eval'):
    order = words(data_dir, split, batch_size=batch_size, seed=0, buckets=BUCKETS, max_question=1, process=(0, 1)).order
    steps = order.num_steps if split == 'eval' else order.epoch_examples // batch_size
    found.append(Padding(split, *bucketing.padded_share(order, steps), order.buckets))
  return found


class Answers:
  """What people answered to each question of the evaluation split; read when first asked for."""

  def __init__(self, data_dir):
    self.data_dir = data_dir

  @cached_property
  def questions(self) -> list[squad_json.Question]:
    return squad_json.read(directory(self.data_dir) / 'eval.json')

  def scores(self, texts: Callable[[int], str]) -> tuple[float, int]:
    """(sum of F1, sum of exact matches) over all questions, of the text that `texts` gives for each number."""
    total, exact = 0.0, 0
    for n, question in enumerate(self.questions):
      answers = [text for text, _ in question.answers]
      total += squad_metric.f1(texts(n), answers)
      exact += squad_metric.exact(texts(n), answers)
    return total, exact
