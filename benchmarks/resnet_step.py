"""Images/s of a ResNet-50 training step on made-up images, against torchvision's in torch, compiled, on this machine.

  python -m benchmarks.resnet_step [--dtype=D] [--batch_size=N] [--image_size=224] [--steps=N] [--turns=7]

Both train with momentum and float32 parameters whatever the network computes in, label smoothing 0.1, normalisation
over the whole batch, channels last, on the accelerator if there is one (torch needs to see it too), else on the CPU.
Batches are on the device before the clock runs. The two take turns, so that what else the machine does falls on both.
The peer needs the extra `peers` and torchvision.
"""
import dataclasses

import jax
import numpy as np
from absl import flags

from benchmarks import extras, turns
from benchmarks.report import report
from launchers import command
from references.resnet_imagenet.configs import mlperf_1632
from tests.references import vision_ops

FLAGS = flags.FLAGS
turns.define_flags('images', (16, 256), 20)
flags.DEFINE_integer('image_size', 224, 'rows and columns', lower_bound=1)


def ours(images, labels):
  """Ours, as a turn."""
  config = dataclasses.replace(mlperf_1632.get_config(), optimizer='sgd', batch_size=len(labels),
                               gradient_accumulation_steps=1, batch_norm_group_size=0, compute_dtype=FLAGS.dtype)
  return turns.ours(config.make_task(''), {'image': images, 'label': labels}, images.shape[1])


def theirs(images, labels):
  """The same of torchvision's network."""
  import torch
  vision_ops.declare(torch)
  from torchvision.models import resnet50
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  torch.set_float32_matmul_precision('high')  # on GPUs TF32, as jax has it by default
  net = resnet50().to(device, memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5, fused=True)
  mean = torch.tensor([123.68, 116.78, 103.94], device=device).view(1, 3, 1, 1)
  x = torch.tensor(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
  y = torch.tensor(labels).long().to(device)

  def loss():
    with torch.autocast(device, torch.bfloat16, enabled=FLAGS.dtype == 'bfloat16'):
      logits = net(x - mean)
    return torch.nn.functional.cross_entropy(logits.float(), y, label_smoothing=0.1)
  compiled = torch.compile(loss)

  def turn(steps):
    for _ in range(steps):
      optimizer.zero_grad(set_to_none=True)
      compiled().backward()
      optimizer.step()
    if device == 'cuda':
      torch.cuda.synchronize()
  return turn


def main() -> int:
  extras.need('peers', 'torch', 'torchvision')
  turns.begin()
  size = FLAGS.batch_size
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (size, FLAGS.image_size, FLAGS.image_size, 3), dtype=np.uint8)
  labels = rng.integers(0, 1000, size).astype(np.int32)
  seconds = turns.seconds_a_step([make(images, labels) for make in (ours, theirs)], FLAGS.steps, FLAGS.turns)
  report('resnet_step', ours=seconds[0], peer=seconds[1], peer_name='torchvision resnet50, torch.compile',
         unit='s/step', images_per_second=[round(size / float(np.median(s)), 1) for s in seconds], batch_size=size,
         dtype=FLAGS.dtype, image_size=FLAGS.image_size, device=jax.devices()[0].device_kind)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
