"""How readers of SQuAD answer: a sample is one array of int32, which the device takes apart."""
import jax
import jax.numpy as jnp
import numpy as np

from input_pipelines import squad, squad_sequences, squad_words
from references.squad.model import best_span
from serving import folding
from serving.served import Served
from training.evaluation import exact_metrics
from training.task import Task

LETTERS = squad_words.MAX_CHARS // 4  # int32 words that hold the characters of a word, a byte each
QUESTION_WORD, CONTEXT_WORD = 1 + LETTERS, 2 + LETTERS  # and one more for what of it the question has


def bert(task: Task, variables, source=None, *, fold: bool) -> Served:
  """Windows of word pieces; the answer is start and end logits, float32 [L, 2], as MLPerf's accuracy-squad.py has it.

  A row: pieces of the question, pieces in all, then the pieces. Types and mask follow from the first two.

  Args:
    source: of the windows, as squad_sequences.Sequences; None: those of the task's evaluation.
    fold: whether biases and GELU are within the products before them; else all is as in evaluation.
  """
  source = source or squad_sequences.Sequences(task.data_dir, 'eval')

  def read(samples, rows):
    length = rows.shape[1] - 2
    for row, n in zip(rows, samples):
      batch = {name: np.zeros((1, length), dtype) for name, dtype in
               (('tokens', np.int32), ('types', np.int32), ('valid', np.bool_))}
      source.fill(batch, 0, n)
      row[:2], row[2:] = (source.asked[n], source.lengths[n]), batch['tokens'][0]

  def answer(params, rows):
    asked, length, tokens = rows[:, :1], rows[:, 1:2], rows[:, 2:]
    place = jnp.arange(tokens.shape[1])
    valid = place < length
    types = (valid & (place >= asked + 2)).astype(jnp.int32)
    batch = {'tokens': tokens, 'types': types, 'valid': valid}
    return jnp.stack(task.logits(params, batch, network, train=False), -1)

  def measure(answers):
    return exact_metrics(task, ({'index': samples, 'start': logits[..., 0], 'end': logits[..., 1]}
                                for samples, logits in answers))

  keep = lambda path: 'qa_outputs' in path  # applied in float32
  params, network = variables['params'], task.network.clone(folded=fold)
  weights = folding.cast(folding.turned(params, keep) if fold else params, jnp.dtype(task.config.compute_dtype), keep)
  return Served(source.lengths, task.data['eval'].order.buckets, lambda length: ((2 + length,), np.int32), read,
                weights, answer, source.rows[:, 0], measure,
                'windows of prepared word pieces; which span of all is best is chosen off the clock', fold)


def from_scratch(task: Task, variables) -> Served:
  """Questions about whole paragraphs; the answer is its first and last word, int32 [2].

  A row: of each word of the question its number and characters, then of each of the paragraph's the same and what of
  it is in the question.
  """
  source, asked = squad.Words(task.data_dir, 'eval'), task.config.max_question

  def read(samples, rows):
    length = (rows.shape[1] - asked * QUESTION_WORD) // CONTEXT_WORD
    for row, n in zip(rows, samples):
      batch = {name: np.zeros((1, *dims), dtype)
               for name, (dims, dtype) in squad.row_fields(length, asked, training=False).items()}
      source.fill(batch, 0, n)
      question, context = np.split(row, [asked * QUESTION_WORD])
      number = lambda name: batch[name][0].view(np.int32)
      question.reshape(asked, -1)[:] = np.column_stack([number('question'), number('question_chars')])
      match = np.pad(batch['match'][0], ((0, 0), (0, 1))).view(np.int32)
      context.reshape(length, -1)[:] = np.column_stack([number('context'), number('context_chars'), match])

  def answer(variables, rows):
    question, context = jnp.split(rows, [asked * QUESTION_WORD], 1)
    question = question.reshape(len(rows), asked, QUESTION_WORD)
    context = context.reshape(len(rows), -1, CONTEXT_WORD)
    letters = lambda x: jax.lax.bitcast_convert_type(x, jnp.uint8).reshape(*x.shape[:2], -1)
    batch = {'question': question[..., 0], 'question_chars': letters(question[..., 1:]),
             'context': context[..., 0], 'context_chars': letters(context[..., 1:1 + LETTERS]),
             'match': letters(context[..., 1 + LETTERS:])[..., :3]}
    return jnp.stack(best_span(*task.logits(variables, batch, train=False), task.longest_answer), -1)

  def measure(answers):
    return exact_metrics(task, ({'index': samples, 'first': spans[:, 0], 'last': spans[:, 1]}
                                for samples, spans in answers))

  dtype, keep = jnp.dtype(task.config.compute_dtype), lambda path: 'pointers' in path  # applied in float32
  return Served(source.lengths, task.data['eval'].order.buckets,
                lambda length: ((asked * QUESTION_WORD + length * CONTEXT_WORD,), np.int32), read,
                folding.cast(variables, dtype, keep), answer, np.arange(len(source.rows)), measure,
                'prepared words, and which of them the question has')
