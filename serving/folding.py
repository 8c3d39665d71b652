"""Batch normalisation folded: in inference it is a multiplication, which kernels can take, and an addition."""
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def fold(params: Mapping, batch_stats: Mapping, conv_of: Callable[[str], str], epsilon: float, dtype) -> dict:
  """Parameters whose normalisations are a `bias` and, unless the kernels of their convolutions have it, a `scale`.

  Kernels that are computed in bfloat16 stay as they are: scaled, each weight would be rounded to another value, which
  changed the first answer of 3 in 2,000 images of CIFAR-10; their scales are applied in float32.

  Args:
    batch_stats: running mean and var of each normalisation, at the same path as its parameters.
    conv_of: name of a normalisation -> name of its convolution, which lies beside it; between the two may be a maximum,
      as scales that are not learned are positive.
    epsilon: of the normalisations. dtype: that convolutions are computed in.
  """
  folded = {name: dict(x) if isinstance(x, Mapping) else x for name, x in params.items()}
  for name, stats in batch_stats.items():
    if 'mean' not in stats:
      folded[name] = fold(params[name], stats, conv_of, epsilon, dtype)
      continue
    norm, conv = folded[name], folded[conv_of(name)]
    scale = norm.get('scale', 1.0) * jax.lax.rsqrt(stats['var'] + epsilon)
    folded[name] = {'bias': norm['bias'] - stats['mean'] * scale}
    if dtype == jnp.float32:
      conv['kernel'] = conv['kernel'] * scale
    else:
      folded[name]['scale'] = scale
  return folded


def cast(params, dtype, keep: Callable[[str], bool] = lambda path: False):
  """Parameters of two dimensions or more in the type that they are computed in, except where `keep(path)`."""
  def one(path, x):
    return x if x.ndim < 2 or keep(jax.tree_util.keystr(path)) else jnp.asarray(x, dtype)
  return jax.tree_util.tree_map_with_path(one, params)
