"""The core on real CIFAR-10, where the environment names it: 32 x 32 colour images, both ways to hold them."""
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from input_pipelines.source import Once, Resident, Shuffled
from references.cifar.model import GroupNet
from scoring import clocks
from tests.training.toys import ToyConfig, train
from training.task import Target, Task

TRAIN = 2000


def images(folder, name, count):
  """{'image': uint8 [N, 32, 32, 3], 'label': int32 [N]} of a file in the official binary layout."""
  raw = np.fromfile(Path(folder) / 'cifar-10-batches-bin' / name, np.uint8).reshape(-1, 3073)[:count]
  return {'image': raw[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), 'label': raw[:, 0].astype(np.int32)}


class Cifar(Task):
  benchmark, model_name, hyperparameters = 'cifar10', 'GroupNet-16-16-32', {}

  def __init__(self, folder, config):
    self.network, self.num_steps = GroupNet((16, 16, 32), 10), config.num_steps
    self.optimizer = optax.adam(0.01)
    self.target = Target('accuracy', 1.1, 10000, every_steps=config.num_steps)

    def split(name, count, order):
      spec = {'image': jax.ShapeDtypeStruct((count, 32, 32, 3), jnp.uint8),
              'label': jax.ShapeDtypeStruct((count,), jnp.int32)}
      return Resident(spec, lambda: images(folder, name, count), order)
    self.data = {'train': split('data_batch_1.bin', TRAIN, Shuffled(TRAIN, config.batch_size, config.seed)),
                 'eval': split('test_batch.bin', 10000, Once(10000, config.eval_batch_size))}

  def init(self, key):
    return self.network.init(key, jnp.zeros((1, 32, 32, 3)), train=False)

  def loss(self, params, model_state, batch, key):
    logits, updates = self.network.apply({'params': params, **model_state}, batch['image'] / 255.0, train=True,
                                         mutable=['batch_stats'])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch['label']).mean(), (updates, {})

  def evaluate(self, variables, batch):
    logits = self.network.apply(variables, batch['image'] / 255.0, train=False)
    right = (logits.argmax(-1) == batch['label']) & batch['mask']
    return {'accuracy': (right.sum(), batch['mask'].sum())}


def test_a_small_network_learns_real_images_and_counts_all_ten_thousand(data_dir):
  results = []
  for eval_batch_size in (512, 3000):
    config = ToyConfig(batch_size=100, num_steps=60, eval_batch_size=eval_batch_size)
    _, tape = train(Cifar(data_dir, config), config)
    results.append(clocks.evaluations(tape.events)[-1])
  assert results[0]['num_evaluated'] == 10000
  assert results[0]['metrics']['accuracy'] > 0.25, 'chance is 0.1'
  assert results[0]['metrics'] == results[1]['metrics']
