"""The digits network and its training step written again in torch, to compare numerics with.

  python -m tests.references.torch_groupnet      writes the golden arrays that `make test` checks (needs torch)
"""
from pathlib import Path

import jax
import numpy as np
import torch
import torch.nn.functional as F

from input_pipelines import digits
from references.cifar.configs.digits import get_config
from training.step import init_state

GOLDEN = Path(__file__).parent / 'golden' / 'groupnet_torch.npz'


def flat(tree, prefix: str) -> dict:
  return {f'{prefix}/' + '/'.join(k.key for k in path): np.asarray(x)
          for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


class Net:
  """weights: name -> tensor, convolutions as flax stores them [H, W, in, out]."""

  def __init__(self, params, batch_stats):
    tensors = lambda tree, prefix: {k: torch.tensor(v) for k, v in flat(tree, prefix).items()}
    self.weights = tensors(params, 'params')
    self.running = tensors(batch_stats, 'batch_stats')
    for tensor in self.weights.values():
      tensor.requires_grad_(True)

  def __call__(self, images, train: bool):
    """images: float [B, H, W, C] -> logits [B, 10]."""
    x = images.permute(0, 3, 1, 2)
    for group in range(2):
      for layer in range(2):
        w = self.weights[f'params/ConvGroup_{group}/Conv_{layer}/kernel']
        x = F.conv2d(x, w.permute(3, 2, 0, 1), padding='same')
        x = F.max_pool2d(x, 2) if layer == 0 else x
        name = f'ConvGroup_{group}/BatchNorm_{layer}'
        mean, var = (self.running[f'batch_stats/{name}/{k}'] for k in ('mean', 'var'))
        if train:
          batch_mean, batch_var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
          mean.copy_(0.6 * mean + 0.4 * batch_mean.detach())
          var.copy_(0.6 * var + 0.4 * batch_var.detach())
          use_mean, use_var = batch_mean, batch_var
        else:
          use_mean, use_var = mean, var
        x = (x - use_mean[:, None, None]) / torch.sqrt(use_var + 1e-5)[:, None, None]
        x = F.gelu(x + self.weights[f'params/{name}/bias'][:, None, None], approximate='tanh')
    return x.amax((2, 3)) @ self.weights['params/Dense_0/kernel']


def start():
  """(params, batch_stats, images float [32, 8, 8, 1], labels) that both sides begin from."""
  state = init_state(get_config().make_task(''), np.uint32(0))
  rows = digits.load()['train']
  images = (rows['image'][:32] / np.float32(digits.MAXIMUM)).astype(np.float32)
  return state.params, state.model_state['batch_stats'], images, rows['label'][:32]


def main():
  params, batch_stats, images, labels = start()
  net = Net(params, batch_stats)
  before = {**flat(params, 'params'), **{k: v.numpy().copy() for k, v in net.running.items()}}
  loss = F.cross_entropy(net(torch.tensor(images), True), torch.tensor(labels).long(), label_smoothing=0.1)
  loss.backward()
  gradient = net.weights['params/ConvGroup_0/Conv_0/kernel'].grad.numpy()
  with torch.no_grad():
    logits = net(torch.tensor(images), False).numpy()
  np.savez_compressed(GOLDEN, images=images, labels=labels, loss=loss.item(), logits=logits,
                      first_kernel_gradient=gradient, **before)
  print(f'wrote {GOLDEN}, torch {torch.__version__}')


if __name__ == '__main__':
  main()
