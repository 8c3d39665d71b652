"""Batch normalisation folded into the convolution before it: at inference it is a multiplication and an addition."""
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def fold(params: Mapping, batch_stats: Mapping, conv_of: Callable[[str], str], epsilon: float) -> dict:
  """Parameters without normalisations: each one's convolution gets its kernel scaled and a bias, in float32.

  A maximum between the two may stay there: scales are positive, or where the normalisation has learned scales nothing
  but an addition stands between.

  Args:
    batch_stats: running mean and var of each normalisation, at the same path as its parameters.
    conv_of: name of a normalisation -> name of its convolution, which lies beside it.
  """
  folded = {name: dict(x) if isinstance(x, Mapping) else x for name, x in params.items()}
  for name, stats in batch_stats.items():
    if 'mean' not in stats:
      folded[name] = fold(params[name], stats, conv_of, epsilon)
      continue
    norm, conv = folded.pop(name), conv_of(name)
    scale = norm.get('scale', 1.0) * jax.lax.rsqrt(stats['var'] + epsilon)
    folded[conv] = {'kernel': folded[conv]['kernel'] * scale, 'bias': norm['bias'] - stats['mean'] * scale}
  return folded


def cast(params, dtype, keep: Callable[[str], bool] = lambda path: False):
  """Parameters of two dimensions or more in the type that they are computed in, except where `keep(path)`."""
  def one(path, x):
    return x if x.ndim < 2 or keep(jax.tree_util.keystr(path)) else jnp.asarray(x, dtype)
  return jax.tree_util.tree_map_with_path(one, params)
