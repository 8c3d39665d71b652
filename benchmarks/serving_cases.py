"""What the benchmarks of inference ask: each reference with made-up weights and samples, and the same in torch."""
import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import serving_peers
from references.cifar.configs import digits, no_tta
from references.resnet_imagenet.configs import mlperf_1632
from references.squad.configs import bert_base
from serving.served import Served
from training.step import init_state

NUM_SAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Case:
  """A reference and the length that its samples have.

  Attributes:
    served: (compute dtype) -> ours, of NUM_SAMPLES made-up samples.
    network: (torch, dtype) -> the same in torch.
    bucket: length of the samples; 0 where all are of one shape.
  """
  served: Callable[[str], Served]
  network: Callable
  bucket: int = 0

  def rows(self, n: int) -> np.ndarray:
    """The first n samples."""
    served = self.served('float32')
    dims, dtype = served.row(self.bucket)
    rows = np.zeros((n, *dims), dtype)
    served.read(range(n), rows)
    return rows


def made(config, dtype: str):
  """(task, variables): of a recipe computed in `dtype`, without its data."""
  task = dataclasses.replace(config, compute_dtype=dtype).make_task('')
  state = jax.jit(functools.partial(init_state, task))(np.uint32(0))
  return task, jax.device_get(task.eval_variables(state))


def images(config) -> Callable[[str], Served]:
  @functools.cache
  def served(dtype: str) -> Served:
    def read(samples, rows):
      rows[:] = [np.random.default_rng(n).integers(0, 256, rows.shape[1:], np.uint8) for n in samples]
    task, variables = made(config, dtype)
    return dataclasses.replace(task.serve(variables, fold=True), lengths=np.zeros(NUM_SAMPLES, int), read=read)
  return served


class Windows:
  """Sequences as input_pipelines/squad_sequences.py has them, all of one length, no padding."""

  def __init__(self, length: int):
    self.lengths, self.asked = np.full(NUM_SAMPLES, length), np.full(NUM_SAMPLES, 10)
    self.rows = np.arange(NUM_SAMPLES)[:, None]

  def fill(self, batch, row, n):
    batch['tokens'][row] = np.random.default_rng(n).integers(1000, 30_000, batch['tokens'].shape[1])


def windows(length: int, num_layers: int) -> Callable[[str], Served]:
  @functools.cache
  def served(dtype: str) -> Served:
    from references.squad import serving
    task, variables = made(dataclasses.replace(bert_base.get_config(), init_from='', num_layers=num_layers), dtype)
    return serving.bert(task, variables, Windows(length), fold=True)
  return served


def known(names) -> bool:
  return set(names) <= set(cases(quick=True))


def cases(*, quick: bool) -> dict[str, Case]:
  """By name; `quick`: two layers of BERT's twelve."""
  layers = 2 if quick else 12
  return {'digits': Case(images(digits.get_config()), serving_peers.digits),
          'airbench': Case(images(no_tta.get_config()), serving_peers.airbench('AIRBENCH94_MUON')),
          'resnet50': Case(images(mlperf_1632.get_config()), serving_peers.resnet50),
          **{f'bert_base_{length}': Case(windows(length, layers), serving_peers.bert(layers), length)
             for length in (128, 384)}}


CHOICE = f'must be of {", ".join(cases(quick=True))}'
