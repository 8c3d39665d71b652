"""Images/s of a training step of airbench94_muon on made-up images, ours against its author's in torch, compiled.

  python -m benchmarks.cifar_step --peer_dir=DIR [--batch_size=2000] [--image_size=32] [--dtype=D] [--steps=N]
                                  [--turns=5]

Both compute forward and backward pass and both optimizers on batches that lie on the device, on the accelerator if
there is one (torch needs to see it too), else on the CPU, with float32 parameters. Ours also shifts and mirrors the
images, within the step; the author's code does that once an epoch, and it is left out. The two take turns, in one
process, so what launchers.train does about memory (launchers/memory.py) holds for both.
--peer_dir as of benchmarks.airbench_peer; without one, ours alone.
"""
import dataclasses

import jax
import numpy as np
from absl import flags

from benchmarks import airbench_peer, turns
from benchmarks.report import report
from launchers import command
from references.cifar.cifar10 import Shape
from references.cifar.configs import airbench94_muon
from scoring.problem import Problem

FLAGS = flags.FLAGS
turns.define_flags('images', (2000, 2000), 50, repetitions=5)
flags.DEFINE_string('peer_dir', '', 'checkout of github.com/KellerJordan/cifar10-airbench')
flags.DEFINE_integer('image_size', 32, 'rows and columns', lower_bound=16)
NAME = airbench_peer.FILES[airbench_peer.MUON]
PEERS_LEAST = 28  # rows: three poolings leave 3 x 3 of them, which the author's network pools once more


def ours(images, labels):
  """Ours, as a turn."""
  config = dataclasses.replace(airbench94_muon.get_config(), batch_size=len(labels), compute_dtype=FLAGS.dtype)
  batch = {'image': images, 'label': labels, 'mask': np.ones(len(labels), bool)}
  return turns.ours(config.make_task(''), batch, Shape(FLAGS.image_size, whitening=True))


def theirs(images, labels):
  """The same of the author's network and optimizers, put together as his `main` does."""
  peer = airbench_peer.load(FLAGS.peer_dir)
  import torch
  with airbench_peer.device(torch) as where:
    model = airbench_peer.network(peer, torch, where, FLAGS.dtype)
    model.reset()
    x = torch.tensor(images).to(where).permute(0, 3, 1, 2).half().to(memory_format=torch.channels_last) / 255
    x = torch.nn.functional.interpolate(x, FLAGS.image_size) if FLAGS.image_size != x.shape[-1] else x
  y = torch.tensor(labels).long().to(where)
  filters = [p for p in model.parameters() if len(p.shape) == 4 and p.requires_grad]
  rest = [p for p in model.parameters() if len(p.shape) != 4 and p.requires_grad]
  optimizers = [torch.optim.SGD(rest, lr=1e-3, momentum=0.85, nesterov=True, weight_decay=1e-3, fused=True),
                peer.Muon(filters, lr=0.24, momentum=0.6, nesterov=True)]

  def turn(steps):
    for _ in range(steps):
      peer.F.cross_entropy(model(x), y, label_smoothing=0.2, reduction='sum').backward()
      for optimizer in optimizers:
        optimizer.step()
      model.zero_grad(set_to_none=True)
    if where == 'cuda':
      torch.cuda.synchronize()
  return turn


def main() -> int:
  if FLAGS.peer_dir and FLAGS.image_size < PEERS_LEAST:
    raise Problem(f"--image_size={FLAGS.image_size}: the author's network takes {PEERS_LEAST} or more; leave "
                  '--peer_dir out for ours alone')
  if FLAGS.peer_dir:
    airbench_peer.check(FLAGS.peer_dir)
  turns.begin()
  if FLAGS.peer_dir and FLAGS.dtype == 'float32' and jax.default_backend() != 'cpu':
    raise Problem("--dtype=float32: on a GPU the author's network is float16; leave --peer_dir out for ours alone")
  rng, size = np.random.default_rng(0), FLAGS.batch_size
  images, labels = rng.integers(0, 255, (size, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, size).astype(np.int32)
  sides = [make(images, labels) for make in ([ours, theirs] if FLAGS.peer_dir else [ours])]
  seconds = turns.seconds_a_step(sides, FLAGS.steps, FLAGS.turns)
  report('cifar_step', ours=seconds[0], peer=seconds[1] if FLAGS.peer_dir else None,
         peer_name=f'{NAME}, torch.compile' if FLAGS.peer_dir else None, unit='s/step',
         images_per_second=[round(size / float(np.median(s)), 1) for s in seconds], batch_size=size,
         image_size=FLAGS.image_size, dtype=FLAGS.dtype,
         not_measured={} if FLAGS.peer_dir else {NAME: 'no --peer_dir was given'},
         device=jax.devices()[0].device_kind)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
