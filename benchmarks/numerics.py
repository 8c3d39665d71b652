"""Do the kernels that make CPUs faster change what is learned? Error rates of short CIFAR-10 trainings, seed by seed.

  python -m benchmarks.numerics --data_dir=DIR [--runs=10] [--num_epochs=1.0] [--dtype=float32]

Each seed trains a narrow airbench twice, ours with references/cifar's own convolution, pooling and GELU, the peer with
XLA's convolution, flax's pooling and jax.nn's GELU, and their own gradients. Initialisation, order and augmentation are
the same, so the two differ by rounding, which training amplifies: what is compared are the distributions. `difference`
is the mean of ours minus the peer's, with its 95 % interval by Student's t over the seeds.
"""
import contextlib
import dataclasses
import os
import tempfile
from unittest import mock

import flax.linen as nn
import jax
from absl import flags

from benchmarks import progress
from benchmarks.report import report
from launchers import command
from layers.convolution import _plain
from references.cifar import cifar10, model
from references.cifar.configs import airbench94_muon
from scoring import clocks, statistics
from scoring.tape import Tape
from training import loop, mesh

FLAGS = flags.FLAGS
WIDTHS, BATCH_SIZE = (16, 32, 32), 500  # a network that two cores train an epoch of in a minute


def config(seed: int):
  source = airbench94_muon.get_config()
  scale = BATCH_SIZE / source.batch_size  # the source's rates are of losses that are summed over the batch
  rates = {name: getattr(source, name) * scale for name in (
      'head_learning_rate', 'norm_learning_rate', 'whitening_learning_rate', 'weight_decay')}
  return dataclasses.replace(source, seed=seed, widths=WIDTHS, batch_size=BATCH_SIZE, num_epochs=FLAGS.num_epochs,
                             compute_dtype=FLAGS.dtype, test_time_augmentation='none', stop='end', **rates)


def max_pool(x):
  return nn.max_pool(x, (2, 2), (2, 2))


def conv3x3(x, kernel, size, pool=False):
  y = _plain(x, kernel, size)
  return max_pool(y) if pool else y


def gelu(x):
  return jax.nn.gelu(x, approximate=False)


@contextlib.contextmanager
def as_defined():
  """The network of XLA's, flax's and jax.nn's own parts, as long as this is open."""
  with mock.patch.multiple(model, conv3x3=conv3x3, max_pool=max_pool, gelu=gelu), \
      mock.patch.dict(cifar10.ACTIVATIONS, gelu=gelu):
    yield


def error_rate(seed: int) -> float:
  """Per cent of test images that are wrong after training with that seed."""
  task, tape = config(seed).make_task(os.path.expanduser(FLAGS.data_dir)), Tape()
  tape.event('process', target=dataclasses.asdict(task.target), division='closed', resumed=None)
  loop.run(task, task.config, mesh.make_mesh(jax.devices()[:1]), tape)
  return 100 * (1 - clocks.evaluations(tape.events)[-1]['metrics']['accuracy'])


def main(argv: list[str], doc: str) -> int:
  if command.help_wanted(argv):
    return command.print_help(doc)
  command.parse(argv)
  found = {'ours': [], 'peer': []}
  with tempfile.TemporaryDirectory() as cache:
    jax.config.update('jax_compilation_cache_dir', cache)  # each seed is the same program
    for seed in range(FLAGS.runs):
      for side, parts in (('ours', contextlib.nullcontext), ('peer', as_defined)):
        with parts():
          found[side].append(round(error_rate(seed), 2))
      progress.say(f'seed {seed}: {found["ours"][-1]:.2f} % against {found["peer"][-1]:.2f} % wrong')
  apart = statistics.describe([a - b for a, b in zip(*found.values())])
  report('numerics', **found, peer_name="XLA's, flax's and jax.nn's parts", unit='% wrong', dtype=FLAGS.dtype,
         difference={key: apart[key] for key in ('mean', 'interval', 'sd', 'min', 'max')},
         sides={side: {key: told[key] for key in ('mean', 'sd', 'interval')}
                for side, told in ((side, statistics.describe(values)) for side, values in found.items())},
         platform=jax.default_backend(), jax=jax.__version__)
  return 0


if __name__ == '__main__':
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'where launchers.prepare put CIFAR-10')
  flags.DEFINE_integer('runs', 10, 'seeds', lower_bound=2)
  flags.DEFINE_float('num_epochs', 1.0, 'epochs', lower_bound=0.01)
  flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'what the network computes in')
  command.run(main, __doc__)
