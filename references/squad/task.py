"""Questions about paragraphs, learned from SQuAD alone: which reader, which schedule, and when it counts as learned."""
import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from input_pipelines import squad
from references.squad import optimizer as optimizers
from references.squad import serving
from references.squad.model import Reader, best_span
from references.squad.vectors import read_vectors
from scoring.problem import Problem
from training.config import Config as BaseConfig
from training.task import Target, Task


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
  """A recipe for a reader trained from nothing, or from word vectors.

  Attributes:
    num_words, num_chars: so many of the most frequent are known, padding and unknown included.
    word_vectors, vector_width: a file of word vectors (GloVe's or fastText's text format), kept as they are beside the
      learned ones, and how many numbers a line of it has; '' and 0: none.
    word_width, char_width: of a word's learned vector, and of what its characters give.
    width, num_heads, encoder_convs, model_blocks, model_convs, passes: sizes of the network; see model.Reader.
    dropout: of everything; layers are left out with up to this probability.
    word_dropout: the share of words that training shows as unknown, so that their characters are learned to be used.
    average_decay: the evaluated parameters are an exponential moving average, whose decay rises to this; 0: none.
    optimizer: `adamw` or `lamb`; see references/squad/optimizer.py.
    learning_rate, warmup_fraction: it rises linearly over that part of the schedule and then falls linearly to 0.
    beta_1, beta_2, epsilon: of Adam, and of LAMB.
    weight_decay: decoupled, of matrices only.
    gradient_clip_norm: the gradient as a whole is clipped to it; 0: not.
    buckets, max_question: lengths, in words, that paragraphs are padded to, and that questions are cut to.
    num_epochs, eval_every_epochs: the schedule, and when to look.
    compute_dtype: `float32` or `bfloat16`; parameters, loss and softmaxes are float32 either way.
    eval_batch_size: how many rows are evaluated at once; no metric depends on it.
    target_f1, stop: what counts as learned, 0..1, and whether that ends the run (`first_hit`) or the schedule (`end`).
  """
  num_words: int = 30_000
  num_chars: int = 200
  word_vectors: str = ''
  vector_width: int = 0
  word_width: int = 128
  char_width: int = 96
  width: int = 128
  num_heads: int = 8
  encoder_convs: int = 4
  model_blocks: int = 7
  model_convs: int = 2
  passes: int = 3
  dropout: float = 0.1
  word_dropout: float = 0.0
  average_decay: float = 0.9999
  optimizer: str = 'adamw'
  learning_rate: float = 1e-3
  warmup_fraction: float = 0.05
  beta_1: float = 0.8
  beta_2: float = 0.999
  epsilon: float = 1e-7
  weight_decay: float = 3e-4
  gradient_clip_norm: float = 5.0
  buckets: tuple[int, ...] = squad.BUCKETS
  max_question: int = 40
  num_epochs: float = 20.0
  compute_dtype: str = 'bfloat16'
  eval_batch_size: int = 64
  eval_every_epochs: float = 1.0
  target_f1: float = 0.75
  stop: str = 'first_hit'

  def __post_init__(self):
    super().__post_init__()
    optimizers.check(self)
    if bool(self.word_vectors) != bool(self.vector_width):
      raise Problem(f'word_vectors={self.word_vectors!r}, vector_width={self.vector_width}: give both or neither')
    self.check({}, (
        ('num_words', 2, 1 << 24), ('num_chars', 2, 256), ('word_width', 1, 4096), ('width', 2, 4096),
        ('char_width', 0, 4096), ('vector_width', 0, 4096), ('num_heads', 0, 256), ('encoder_convs', 0, 64),
        ('model_blocks', 1, 64), ('model_convs', 0, 64), ('passes', 1, 16), ('word_dropout', 0, 0.9),
        ('average_decay', 0, 0.999999), ('max_question', 1, 512)))
    if self.width % max(self.num_heads, 1) or self.width % 2:
      raise Problem(f'width={self.width}, num_heads={self.num_heads}: the width is even, and divides over the heads')

  def make_task(self, data_dir: str) -> Task:
    """The task on the data prepared in `data_dir`; '' makes one that can be looked at and compiled, but not trained."""
    return FromScratch(self, data_dir)


def check_file(field: str, path: str):
  """Raises Problem unless the file is there: better now than after minutes of compilation."""
  if not Path(path).expanduser().is_file():
    raise Problem(f'{field}={path}: no such file; say --config.{field}=FILE')


class Answering(Task):
  """What every reader of SQuAD shares: its schedule, its optimizer, the F1 of the texts it answers with."""
  benchmark = 'squad'

  def __init__(self, config, data_dir: str, train, evaluation, num_questions: int):
    self.config = config
    self.data = {'train': train, 'eval': evaluation}
    self.answers = squad.Answers(data_dir)
    steps = lambda epochs: math.ceil(round(epochs * train.order.epoch_examples / config.batch_size, 6))
    self.num_steps = steps(config.num_epochs)
    self.target = Target('f1', config.target_f1, num_questions, every_steps=steps(config.eval_every_epochs),
                         stop=config.stop)
    self.hyperparameters = optimizers.hyperparameters(config, self.num_steps)
    self.optimizer = optimizers.optimizer(self.hyperparameters)

  def scored(self, texts: dict[int, str]):
    """Sums of F1 and exact match of the texts, question number -> answer; counts the questions that have one."""
    f1, exact = self.answers.scores(lambda n: texts.get(n, ''))
    return {'f1': (f1, len(texts)), 'exact_match': (exact, len(texts))}


class FromScratch(Answering):
  """A QANet-like reader of words and characters."""
  longest_answer = 30  # words

  def __init__(self, config: Config, data_dir: str):
    self.data_dir = data_dir
    found = squad.metadata(data_dir) if data_dir else squad.Metadata()
    data = lambda split, size: squad.words(data_dir, split, batch_size=size, seed=config.seed, buckets=config.buckets,
                                           max_question=config.max_question)
    super().__init__(config, data_dir, data('train', config.batch_size), data('eval', config.eval_batch_size),
                     found.num_eval)
    self.num_words = min(config.num_words, found.num_words)
    self.model_name = f'QANet-like {config.width}x{config.model_blocks}x{config.passes}'
    self.tricks = {'pretrained_word_vectors': config.word_vectors} if config.word_vectors else {}
    self.network = Reader(
        self.num_words, config.num_chars, config.word_width, config.char_width, config.vector_width, config.width,
        config.num_heads, config.encoder_convs, config.model_blocks, config.model_convs, config.passes, config.dropout,
        jnp.dtype(config.compute_dtype))
    if config.word_vectors and data_dir:
      check_file('word_vectors', config.word_vectors)
      self.import_variables = self._with_vectors

  def init(self, key):
    text = lambda length: (jnp.zeros((1, length), jnp.int32), jnp.zeros((1, length, 16), jnp.uint8))
    variables = dict(self.network.init(key, *text(8), *text(4), jnp.zeros((1, 8, 3)), train=False))
    if self.config.average_decay:
      variables['average'] = variables['params']
    return variables

  def _with_vectors(self, variables):
    words = squad.vocabulary(self.data_dir)[:self.num_words]
    return {**variables, 'vectors': {'embed': {'table': read_vectors(
        self.config.word_vectors, words, self.config.vector_width)}}}

  def logits(self, variables, batch, **more):
    """(start, end): float32 [B, L]."""
    letters = lambda name: jnp.where(batch[name] < self.config.num_chars, batch[name], 1)
    return self.network.apply(variables, batch['context'], letters('context_chars'), batch['question'],
                              letters('question_chars'), batch['match'], **more)

  def prepare(self, batch, keys, shape):
    """Shows some words as unknown."""
    del shape
    if not self.config.word_dropout:
      return batch
    def drop(name, number):
      key = jax.vmap(jax.random.fold_in, (0, None))(keys.view, number)
      hidden = jax.vmap(lambda k: jax.random.bernoulli(k, self.config.word_dropout, batch[name].shape[1:]))(key)
      return jnp.where(hidden & (batch[name] > 0), 1, batch[name])
    return {**batch, 'context': drop('context', 0), 'question': drop('question', 1)}

  def loss(self, params, model_state, batch, key):
    frozen = {name: x for name, x in model_state.items() if name != 'average'}
    start, end = self.logits({'params': params, **frozen}, batch, train=True, rngs={'dropout': key})
    cross = optax.softmax_cross_entropy_with_integer_labels
    loss = (cross(start, batch['start']) + cross(end, batch['end'])).mean()
    right = (start.argmax(1) == batch['start']) & (end.argmax(1) == batch['end'])
    return loss, (model_state, {'train_exact': (right.sum().astype(jnp.float32), jnp.float32(len(right)))})

  def after_update(self, state):
    """Moves the average of the parameters; while young it forgets faster, as TensorFlow's moving averages do."""
    if not self.config.average_decay:
      return state
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(self.config.average_decay, (1 + step) / (10 + step))
    average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.model_state['average'], state.params)
    return dataclasses.replace(state, model_state={**state.model_state, 'average': average})

  def eval_variables(self, state):
    kept = {name: x for name, x in state.model_state.items() if name != 'average'}
    return {'params': state.model_state.get('average', state.params), **kept}

  def evaluate(self, variables, batch):
    """The best span of each row."""
    first, last = best_span(*self.logits(variables, batch, train=False), self.longest_answer)
    return {'index': jnp.where(batch['mask'], batch['index'], -1), 'first': first, 'last': last}

  def serve(self, variables, *, fold):
    del fold  # there is no batch normalisation
    return serving.from_scratch(self, variables)

  def finish(self, outputs):
    words, texts = squad.Words(self.data_dir, 'eval'), {}
    for batch in outputs:
      for n, first, last in zip(*(np.asarray(batch[name]).tolist() for name in ('index', 'first', 'last'))):
        if n >= 0:
          spans = words.spans[words.rows[n, 0]]
          texts[n] = self.answers.questions[n].context[spans[first, 0]:spans[min(last, len(spans) - 1), 1]]
    return self.scored(texts)
