"""Do the layers that make CPUs faster change what is learned? Short trainings, seed by seed.

  python -m benchmarks.numerics --data_dir=DIR [--reference=cifar] [--runs=10] [--num_epochs=N] [--dtype=float32]

Each seed trains a small network twice, ours as it is, the peer with other parts where CPUs compute otherwise than XLA:
  cifar            a narrow airbench; XLA's convolution, flax's pooling, jax.nn's GELU, automatic gradients of
                   normalisations
  resnet_imagenet  a narrow ResNet-18 on photographs of 112 x 112 (Imagenette, prepared); XLA's convolutions, pooling,
                   and sums in normalisations, and automatic gradients of them
  squad            the tiny reader, on the shortest paragraphs; XLA's products as flax asks for them, flax's dropout
and with automatic gradients of them. Initialisation, order and augmentation are the same, and so is all that is drawn
but dropout, so the first two differ by rounding, which training amplifies: what is compared are the distributions.
`difference` is the mean of ours minus the peer's, with its 95 % interval by Student's t over the seeds.
"""
import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import flax.linen as nn
import jax
from absl import flags

from benchmarks import progress
from benchmarks.convolution import flax_pool
from benchmarks.report import report
from input_pipelines.buckets import BucketOnce
from launchers import command
from layers import convolution, sums
from references.cifar import model as cifar_model
from references.cifar import normalization
from references.cifar.configs import airbench94_muon
from references.resnet_imagenet import model as resnet_model
from references.resnet_imagenet import normalization as resnet_normalization
from references.resnet_imagenet import pooling as resnet_pooling
from references.resnet_imagenet.configs import imagenette
from references.squad import model as squad_model
from references.squad.configs import tiny
from scoring import clocks, statistics
from scoring.problem import Problem
from scoring.tape import Tape
from training import loop, mesh

FLAGS = flags.FLAGS
WIDTHS, BATCH_SIZE = (16, 32, 32), 500  # a network that two cores train an epoch of in a minute


def cifar_config():
  source = airbench94_muon.get_config()
  scale = BATCH_SIZE / source.batch_size  # the source's rates are of losses that are summed over the batch
  rates = {name: getattr(source, name) * scale for name in (
      'head_learning_rate', 'norm_learning_rate', 'whitening_learning_rate', 'weight_decay')}
  return dataclasses.replace(source, widths=WIDTHS, batch_size=BATCH_SIZE, test_time_augmentation='none', **rates)


def resnet_config():
  # of the least size whose first stage has Winograd's convolutions
  return dataclasses.replace(imagenette.get_config(), width=16, warmup_epochs=0.5, image_sizes=(112,),
                             eval_image_size=112, eval_resize=128, eval_every_epochs=100.0)


def squad_config():
  return dataclasses.replace(tiny.get_config(), eval_every_epochs=100.0)


@dataclasses.dataclass(frozen=True)
class First:
  """The first steps of an order of evaluation, which are whole batches; of SQuAD's, the shortest paragraphs."""
  order: BucketOnce
  num_steps: int

  @property
  def batch_size(self) -> int:
    return self.order.batch_size

  @property
  def num_examples(self) -> int:
    return self.num_steps * self.batch_size

  def rows(self, start: int, stop: int):
    return self.order.rows(start, stop)

  def shape_at(self, step: int) -> int:
    return self.order.shape_at(step)


def evaluated_in_part(task):
  """The task with a tenth of its evaluation: all 10,570 answers take a tiny reader longer than what it learns here."""
  data = task.data['eval']
  order = First(data.order, max(1, data.order.num_steps // 10))
  task.data['eval'] = dataclasses.replace(data, order=order)
  task.target = dataclasses.replace(task.target, num_examples=order.num_examples)
  return task


def gelu(x):
  return jax.nn.gelu(x, approximate=False)


def convolve(x, kernel, stride, padding):
  return convolution.by_xla(x, kernel, stride, padding)


class Dropout(squad_model.Dropout):
  @nn.compact
  def __call__(self, x, train):
    return nn.Dropout(self.rate, broadcast_dims=self.broadcast_dims, deterministic=not train)(x)


class Parts(NamedTuple):
  """A config, how long it trains by default, the patches that put a peer's parts in, what those are called, and what
  is evaluated of its task."""
  config: Callable
  num_epochs: float
  patches: tuple
  name: str
  evaluated: Callable = lambda task: task


PARTS = {
    'cifar': Parts(
        cifar_config, 1.0, (mock.patch.multiple(cifar_model, by_onednn=convolution.by_xla, max_pool=flax_pool,
                                                gelu=gelu,
                                                normalized=normalization.normalized.__wrapped__),
                            mock.patch.dict(cifar_model.ACTIVATIONS, gelu=gelu)), "XLA's, flax's and jax.nn's parts"),
    'resnet_imagenet': Parts(
        resnet_config, 4.0, (mock.patch.multiple(
            resnet_model, convolve=convolve, max_pool=resnet_pooling.windows,
            # not the jitted one, which keeps what it was traced with
            normalized_by_group=resnet_normalization.normalized_by_group.__wrapped__), mock.patch.object(
                resnet_normalization, '_by_group', resnet_normalization._by_group.fun),
            mock.patch.object(sums, 'pair', sums.plain)),
        "XLA's parts"),
    'squad': Parts(
        squad_config, 0.06, (mock.patch.multiple(squad_model, Dense=nn.Dense, Dropout=Dropout),),
        "XLA's products and flax's dropout", evaluated_in_part),
}


@contextlib.contextmanager
def as_defined(reference: str):
  """The network of parts that are none of ours, as long as this is open."""
  with contextlib.ExitStack() as stack:
    for patch in PARTS[reference].patches:
      stack.enter_context(patch)
    yield


def error_rate(config) -> float:
  """Per cent by which accuracy, or F1, falls short of 1 after training."""
  task, tape = PARTS[FLAGS.reference].evaluated(config.make_task(os.path.expanduser(FLAGS.data_dir))), Tape()
  tape.event('process', target=dataclasses.asdict(task.target), division='closed', resumed=None)
  loop.run(task, task.config, mesh.make_mesh(jax.devices()[:1]), tape)
  return 100 * (1 - clocks.evaluations(tape.events)[-1]['metrics'][task.target.metric])


def main() -> int:
  parts = PARTS[FLAGS.reference]
  source, num_epochs = parts.config(), FLAGS.num_epochs or parts.num_epochs
  least = getattr(source, 'warmup_epochs', 0)
  if num_epochs <= least:
    raise Problem(f'--num_epochs={FLAGS.num_epochs:g}: {FLAGS.reference} takes more than {least:g}, its warm-up')
  config = dataclasses.replace(source, num_epochs=num_epochs, compute_dtype=FLAGS.dtype, stop='end')
  found = {'ours': [], 'peer': []}
  with tempfile.TemporaryDirectory() as cache:
    jax.config.update('jax_compilation_cache_dir', cache)  # the same program each seed, but for oneDNN's
    for seed in range(FLAGS.runs):
      for side, network in (('ours', contextlib.nullcontext()), ('peer', as_defined(FLAGS.reference))):
        with network:
          found[side].append(round(error_rate(dataclasses.replace(config, seed=seed)), 2))
      progress.say(f'seed {seed}: {found["ours"][-1]:.2f} % against {found["peer"][-1]:.2f} % wrong')
  apart = statistics.describe([a - b for a, b in zip(*found.values())], least=-math.inf)
  report('numerics', **found, peer_name=parts.name, unit='% wrong', reference=FLAGS.reference,
         dtype=FLAGS.dtype, num_epochs=num_epochs,
         difference={key: apart[key] for key in ('mean', 'interval', 'sd', 'min', 'max')},
         sides={side: {key: told[key] for key in ('mean', 'sd', 'interval')}
                for side, told in ((side, statistics.describe(values)) for side, values in found.items())},
         platform=jax.default_backend())
  return 0


if __name__ == '__main__':
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'where launchers.prepare put its data')
  flags.DEFINE_enum('reference', 'cifar', list(PARTS), 'what is trained')
  flags.DEFINE_integer('runs', 10, 'seeds', lower_bound=2)
  flags.DEFINE_float('num_epochs', 0, 'epochs; 0: as many as two cores train in a minute or two', lower_bound=0)
  flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'what the network computes in')
  command.script(main, __doc__)
