"""Toy tasks that use every seam of the core, and a runner that keeps their tape in memory."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from input_pipelines.source import Once, Resident, Shuffled, Streamed
from scoring.tape import Tape
from training import loop, mesh
from training.config import Config
from training.pod import Pod
from training.task import Target, Task

NUM_TRAIN, NUM_EVAL, FEATURES = 96, 50, 6


@dataclasses.dataclass(frozen=True)
class ToyConfig(Config):
  batch_size: int = 16
  num_steps: int = 24
  every_steps: int = 6
  eval_batch_size: int = 16
  learning_rate: float = 0.1
  target_value: float = 2.0  # out of reach
  stop: str = 'first_hit'
  remainder: str = 'carry'


def points(count, seed):
  """Two noisy half-spaces: {'x': float32 [N, F], 'label': int32 [N]}."""
  rng = np.random.default_rng(seed)
  x = rng.normal(3.0, 2.0, (count, FEATURES)).astype(np.float32)
  return {'x': x, 'label': (x[:, 0] > x[:, 1]).astype(np.int32)}


class Line(Task):
  """Logistic regression on resident points, with a random key in its loss and none of the optional seams."""
  benchmark, model_name = 'toy', 'line'

  def __init__(self, config: ToyConfig):
    self.config, self.num_steps = config, config.num_steps
    self.hyperparameters = {'opt_name': 'sgd', 'opt_base_learning_rate': config.learning_rate}
    self.optimizer = optax.sgd(self.hyperparameters['opt_base_learning_rate'], momentum=0.9)
    self.target = Target('accuracy', config.target_value, NUM_EVAL, config.every_steps, stop=config.stop)
    self.order = Shuffled(NUM_TRAIN, config.batch_size, config.seed, config.remainder)
    self.loads = []
    self.data = {'train': self.resident('train', NUM_TRAIN, self.order),
                 'eval': self.resident('eval', NUM_EVAL, Once(NUM_EVAL, config.eval_batch_size))}

  def resident(self, split, count, order):
    spec = {'x': jax.ShapeDtypeStruct((count, FEATURES), np.float32),
            'label': jax.ShapeDtypeStruct((count,), np.int32)}

    def load():
      self.loads.append(split)
      return points(count, seed=len(split))
    return Resident(spec, load, order)

  def init(self, key):
    return {'params': {'w': 0.3 * jax.random.normal(key, (FEATURES,)), 'b': jnp.zeros(())}}

  def logits(self, variables, batch):
    return batch['x'] @ variables['params']['w'] + variables['params']['b']

  def loss(self, params, model_state, batch, key):
    logits = self.logits({'params': params, **model_state}, batch)
    right = (logits > 0) == (batch['label'] > 0)
    loss = optax.sigmoid_binary_cross_entropy(logits, batch['label']).mean()
    return loss, (model_state, {'train_accuracy': (right.sum().astype(jnp.float32), jnp.float32(len(right)))})

  def evaluate(self, variables, batch):
    right = ((self.logits(variables, batch) > 0) == (batch['label'] > 0)) & batch['mask']
    return {'accuracy': (right.sum(), batch['mask'].sum())}


class Seams(Line):
  """The same with everything optional: set-up from data, augmentation, dropout, averages, a metric made on the host."""

  def init(self, key):
    variables = super().init(key)
    return {**variables, 'scale': {'mean': jnp.zeros(FEATURES), 'std': jnp.ones(FEATURES)},
            'average': jax.tree.map(jnp.copy, variables['params']), 'updates': {'count': jnp.float32(0)}}

  def init_from_data(self, variables, sample):
    return {**variables, 'scale': {'mean': sample['x'].mean(0), 'std': sample['x'].std(0)}}

  def prepare(self, batch, keys, shape):
    flip = jax.vmap(jax.random.bernoulli)(keys.record) ^ (batch['epoch'] % 2 == 1)
    noise = jax.vmap(lambda k: jax.random.normal(k, (FEATURES,)))(keys.view)
    return {**batch, 'x': batch['x'] + 0.1 * noise + jnp.where(flip, 0.01, -0.01)[:, None]}

  def logits(self, variables, batch):
    x = (batch['x'] - variables['scale']['mean']) / variables['scale']['std']
    return super().logits(variables, {'x': x})

  def loss(self, params, model_state, batch, key):
    kept = jax.random.bernoulli(key, 0.9, batch['x'].shape)
    loss, (model_state, sums) = super().loss(params, model_state, {**batch, 'x': batch['x'] * kept}, key)
    count = model_state['updates']['count'] + 1
    return loss, ({**model_state, 'updates': {'count': count}}, sums)

  def after_update(self, state):
    average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, state.model_state['average'], state.params)
    return dataclasses.replace(state, model_state={**state.model_state, 'average': average})

  def eval_variables(self, state):
    return {'params': state.model_state['average'], 'scale': state.model_state['scale']}

  def evaluate(self, variables, batch):
    return {'score': self.logits(variables, batch), 'label': batch['label'], 'index': batch['index']}

  def finish(self, outputs):
    """Joins each pair of neighbouring records to one question, answered by its higher score."""
    rows = {}
    for batch in outputs:
      for index, score, label in zip(batch['index'], batch['score'], batch['label']):
        if index >= 0:
          assert index not in rows, 'a record was evaluated twice'
          rows[int(index)] = (float(score), int(label))
    right = sum((score > 0) == (label > 0) for score, label in rows.values())
    pairs = [max(rows[i], rows[i + 1])[1] for i in range(0, len(rows), 2)]
    return {'accuracy': (right, len(rows)), 'pairs': (sum(pairs), len(pairs))}


class Buckets(Line):
  """Streamed sequences in two lengths: even steps short, odd steps long; evaluation too."""
  lengths = (4, 8)

  def __init__(self, config):
    super().__init__(config)
    self.asked = []
    shape_at = lambda step: self.lengths[step % 2]
    self.data = {
        'train': Streamed(self.spec(config.batch_size), self.batches('train', NUM_TRAIN, self.order, shape_at),
                          self.order, shape_at),
        'eval': Streamed(self.spec(config.eval_batch_size),
                         self.batches('eval', NUM_EVAL, Once(NUM_EVAL, config.eval_batch_size), shape_at),
                         Once(NUM_EVAL, config.eval_batch_size), shape_at)}

  def spec(self, size):
    return lambda length: {'x': jax.ShapeDtypeStruct((size, length), np.float32),
                           'label': jax.ShapeDtypeStruct((size,), np.int32),
                           'index': jax.ShapeDtypeStruct((size,), np.int32),
                           'epoch': jax.ShapeDtypeStruct((size,), np.int32),
                           'mask': jax.ShapeDtypeStruct((size,), bool)}

  def batches(self, split, count, order, shape_at):
    def make(start, stop):
      self.asked.append((split, start, stop))
      values = points(count, seed=len(split))
      for step, index, epoch in zip(range(start, stop), *order.rows(start, stop)):
        x = np.resize(values['x'][np.maximum(index, 0)], (len(index), shape_at(step)))
        yield {'x': x, 'label': values['label'][np.maximum(index, 0)], 'index': index, 'epoch': epoch,
               'mask': index >= 0}
    return make

  def logits(self, variables, batch):
    x = batch['x'].mean(1, keepdims=True) * jnp.ones(FEATURES)
    return x @ variables['params']['w'] + variables['params']['b']


class StreamedLine(Line):
  """Line, its data through the host instead of resident."""

  def __init__(self, config):
    super().__init__(config)
    self.data = {split: self.streamed(split, data) for split, data in self.data.items()}

  def streamed(self, split, data):
    size, order = data.order.batch_size, data.order
    spec = {name: jax.ShapeDtypeStruct((size, *s.shape[1:]), s.dtype) for name, s in data.spec.items()}
    row = jax.ShapeDtypeStruct((size,), np.int32)
    mask = jax.ShapeDtypeStruct((size,), bool)

    def batches(start, stop):
      arrays = data.load()
      for index, epoch in zip(*order.rows(start, stop)):
        yield {**{name: x[np.maximum(index, 0)] for name, x in arrays.items()}, 'index': index, 'epoch': epoch,
               'mask': index >= 0}
    return Streamed(lambda shape: {**spec, 'index': row, 'epoch': row, 'mask': mask}, batches, order)


class StoppedAfter(Pod):
  """A pod that is asked to stop once it was asked so many times."""

  def __init__(self, asks):
    super().__init__()
    self.asks = asks

  def preempted(self, step):
    self.asks -= 1
    return self.asks < 0


def begin(task, *, text='', resumed=None, path=None):
  """A tape with what the core needs of a process event."""
  tape = Tape(path, text=text)
  target = {'metric': task.target.metric, 'value': task.target.value, 'num_examples': task.target.num_examples}
  tape.event('process', target=target, division='closed', resumed=resumed)
  return tape


def train(task, config, *, devices=1, tape=None, **options):
  """Runs a task; (state, tape)."""
  tape = tape or begin(task)
  state = loop.run(task, config, mesh.make_mesh(jax.devices()[:devices]), tape, **options)
  return state, tape


def leaves(tree):
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def assert_close(a, b, relative=1e-5):
  """Each tensor agrees within `relative` of its norm."""
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    norm = np.linalg.norm(a[name].astype(np.float64))
    difference = np.linalg.norm(a[name].astype(np.float64) - b[name].astype(np.float64))
    assert difference <= relative * max(norm, 1e-12), (name, difference / norm)


def assert_same(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
