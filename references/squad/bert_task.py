"""Fine-tuning BERT on SQuAD: which BERT, from which weights, which schedule."""
import dataclasses

import jax.numpy as jnp
import optax

from input_pipelines import squad, squad_sequences
from references.squad import optimizer as optimizers
from references.squad import serving, weights
from references.squad.bert import Bert, Sizes
from references.squad.task import Answering, check_file
from scoring.problem import Problem
from training.config import Config as BaseConfig
from training.task import Task


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
  """A recipe for fine-tuning an uncased BERT.

  Attributes:
    init_from: a safetensors file in transformers' layout; '': random weights, which learn little from SQuAD alone.
    num_layers, width, num_heads, feed_forward, vocabulary: sizes of the BERT.
    dropout: of embeddings, attention weights and every layer's changes.
    gradient_checkpointing: computes each layer again in the backward pass, which saves memory.
    optimizer: `adamw` or `lamb`; see references/squad/optimizer.py.
    learning_rate, warmup_fraction: it rises linearly over that part of the schedule and then falls linearly to 0.
    beta_1, beta_2, epsilon: of Adam, and of LAMB.
    weight_decay: decoupled, of matrices only.
    gradient_clip_norm: the gradient as a whole is clipped to it; 0: not.
    buckets: lengths, in word pieces, that sequences are padded to.
    num_epochs, eval_every_epochs: the schedule, and when to look.
    compute_dtype: `float32` or `bfloat16`; parameters, loss and softmaxes are float32 either way.
    eval_batch_size: how many rows are evaluated at once; no metric depends on it.
    target_f1, stop: what counts as learned, 0..1, and whether that ends the run (`first_hit`) or the schedule (`end`).
  """
  init_from: str = ''
  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  feed_forward: int = 3072
  vocabulary: int = 30_522
  dropout: float = 0.1
  gradient_checkpointing: bool = False
  optimizer: str = 'adamw'
  learning_rate: float = 3e-5
  warmup_fraction: float = 0.1
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6
  weight_decay: float = 0.01
  gradient_clip_norm: float = 1.0
  buckets: tuple[int, ...] = (128, 192, 256, 384)
  num_epochs: float = 2.0
  compute_dtype: str = 'bfloat16'
  eval_batch_size: int = 64
  eval_every_epochs: float = 0.5
  target_f1: float = 0.88
  stop: str = 'first_hit'

  def __post_init__(self):
    super().__post_init__()
    optimizers.check(self)
    self.check({}, [(name, 1, 1 << 24) for name in ('num_layers', 'width', 'num_heads', 'feed_forward', 'vocabulary')])
    if self.width % self.num_heads:
      raise Problem(f'width={self.width}, num_heads={self.num_heads}: the width divides over the heads')

  def make_task(self, data_dir: str) -> Task:
    """The task on the data prepared in `data_dir`; '' makes one that can be looked at and compiled, but not trained."""
    return FineTuning(self, data_dir)


class FineTuning(Answering):
  """A BERT that points at where answers start and end."""

  def __init__(self, config: Config, data_dir: str):
    self.data_dir = data_dir
    found = squad.metadata(data_dir) if data_dir else squad.Metadata()
    if found.num_pieces > config.vocabulary:
      raise Problem(f'vocabulary={config.vocabulary}: squad was prepared with {found.num_pieces} word pieces; prepare '
                    f"it with this BERT's own vocab.txt, or say --config.vocabulary={found.num_pieces}")
    data = lambda split, size: squad_sequences.sequences(data_dir, split, batch_size=size, seed=config.seed,
                                                         buckets=config.buckets)
    super().__init__(config, data_dir, data('train', config.batch_size), data('eval', config.eval_batch_size),
                     found.num_eval)
    self.model_name = f'BERT {config.num_layers}x{config.width}'
    self.tricks = {'pretrained_weights': config.init_from} if config.init_from else {}
    sizes = Sizes(config.num_layers, config.width, config.num_heads, config.feed_forward, config.vocabulary)
    self.network = Bert(sizes, config.dropout, jnp.dtype(config.compute_dtype), config.gradient_checkpointing)
    if config.init_from and data_dir:
      check_file('init_from', config.init_from)
      self.import_variables = lambda variables: {**variables, 'params': weights.load(
          config.init_from, variables['params'])}

  def init(self, key):
    token = jnp.zeros((1, 8), jnp.int32)
    return self.network.init(key, token, token, token == 0, train=False)

  def logits(self, params, batch, network=None, **more):
    """(start, end): float32 [B, L]."""
    return (network or self.network).apply({'params': params}, batch['tokens'], batch['types'], batch['valid'], **more)

  def loss(self, params, model_state, batch, key):
    start, end = self.logits(params, batch, train=True, rngs={'dropout': key})
    cross = optax.softmax_cross_entropy_with_integer_labels
    loss = (cross(start, batch['start']) + cross(end, batch['end'])).mean() / 2
    right = (start.argmax(1) == batch['start']) & (end.argmax(1) == batch['end'])
    return loss, (model_state, {'train_exact': (right.sum().astype(jnp.float32), jnp.float32(len(right)))})

  def evaluate(self, variables, batch):
    """The logits of each row: which span is best takes all windows of a question."""
    start, end = self.logits(variables['params'], batch, train=False)
    return {'index': jnp.where(batch['mask'], batch['index'], -1), 'start': start, 'end': end}

  def serve(self, variables, *, fold):
    return serving.bert(self, variables, fold=fold)

  def finish(self, outputs):
    source = squad_sequences.Sequences(self.data_dir, 'eval')
    texts = {}
    for number, (first, last) in squad_sequences.best_answers(source, outputs).items():
      spans = source.spans[source.paragraphs[number]]
      context = self.answers.questions[number].context
      texts[number] = context[spans[first, 0]:spans[last, 1]] if first >= 0 else ''
    return self.scored(texts)

