"""The same made-up weights for torchvision's ResNet-50 and ours, by name, so that neither has to be stored."""
import re
import zlib

import jax
import numpy as np

from references.resnet_imagenet.configs.mlperf_1632 import get_config
from references.resnet_imagenet.model import ResNet
from training.config import to_text

BATCH, SIZE = 4, 64


def torch_name(path: str) -> str:
  """torchvision's name of our parameter or statistic, such as stage1_block2/conv1/kernel."""
  *module, leaf = path.split('/')
  module = '/'.join(module)
  for ours, theirs in ((r'^stem$', 'conv1'), (r'^norm$', 'bn1'), (r'^head$', 'fc'),
                       (r'^stage(\d)_block(\d+)/', lambda m: f'layer{m[1]}.{int(m[2]) - 1}.'),
                       ('conv_skip$', 'downsample.0'), ('norm_skip$', 'downsample.1'), (r'norm(\d)$', r'bn\1')):
    module = re.sub(ours, theirs, module)
  return module + {'kernel': '.weight', 'scale': '.weight', 'bias': '.bias', 'mean': '.running_mean',
                   'var': '.running_var'}[leaf]


def to_ours(x: np.ndarray) -> np.ndarray:
  """torch's layout of a weight as ours: OIHW -> HWIO, [out, in] -> [in, out]."""
  return np.ascontiguousarray(x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T if x.ndim == 2 else x)


def made(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """float32 values of a tensor of torch's, the same for the same name."""
  rng = np.random.Generator(np.random.Philox(key=[zlib.crc32(name.encode()), 0]))
  x = rng.standard_normal(shape).astype(np.float32)
  if len(shape) > 1:
    return x * np.float32(np.sqrt(2 / np.prod(shape[1:])))
  if name.endswith('bn3.weight'):
    return 0.2 + 0.02 * np.abs(x)  # so that sums over 16 blocks stay of the size that trained ones have
  return 1 + 0.1 * np.abs(x) if name.endswith(('weight', 'running_var')) else 0.1 * x


def network(**kwargs) -> ResNet:
  """ResNet-50 in float32, normalising over the whole batch as torch does."""
  config = get_config()
  assert 'depth = 50\n' in to_text(config)
  return ResNet(config.depth, config.num_classes, dtype=np.float32, **kwargs)


def variables():
  """Our variables, filled with what `made` gives under torchvision's names."""
  shapes = jax.eval_shape(lambda: network().init(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3)), train=False))

  def fill(path, x):
    name = torch_name('/'.join(key.key for key in path[1:]))
    inverse = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(x.shape), range(len(x.shape)))
    return to_ours(made(name, tuple(x.shape[axis] for axis in inverse)))
  return jax.tree_util.tree_map_with_path(fill, shapes)


def batch() -> tuple[np.ndarray, np.ndarray]:
  """(images float32 [4, 64, 64, 3], labels int32 [4])."""
  rng = np.random.default_rng(7)
  return rng.standard_normal((BATCH, SIZE, SIZE, 3)).astype(np.float32), rng.integers(0, 1000, BATCH).astype(np.int32)
