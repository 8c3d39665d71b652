"""Parameters as inference takes them: normalisations folded, kernels turned, each in the type it is computed in."""
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def fold(params: Mapping, batch_stats: Mapping, conv_of: Callable[[str], str], epsilon: float) -> dict:
  """Parameters whose convolutions have a `bias`, and the scale of their normalisations, which are gone.

  Args:
    batch_stats: running mean and var of each normalisation, at the same path as its parameters.
    conv_of: name of a normalisation -> name of its convolution, which lies beside it; between the two may be a maximum,
      as scales that are not learned are positive.
    epsilon: of the normalisations.
  """
  folded = {name: dict(x) if isinstance(x, Mapping) else x for name, x in params.items()}
  for name, stats in batch_stats.items():
    if 'mean' not in stats:
      folded[name] = fold(params[name], stats, conv_of, epsilon)
      continue
    norm, conv = folded.pop(name), folded[conv_of(name)]
    scale = norm.get('scale', 1.0) * jax.lax.rsqrt(stats['var'] + epsilon)
    conv.update(kernel=conv['kernel'] * scale, bias=norm['bias'] - stats['mean'] * scale)
  return folded


def turned(params, keep: Callable[[str], bool]):
  """Parameters whose kernels have their last two axes the other way round, as products.py does, but if `keep(path)`."""
  def one(path, x):
    path = jax.tree_util.keystr(path)
    return x.swapaxes(-1, -2) if 'kernel' in path and not keep(path) else x
  return jax.tree_util.tree_map_with_path(one, params)


def cast(params, dtype, keep: Callable[[str], bool] = lambda path: False):
  """Parameters of two dimensions or more in the type that they are computed in, except where `keep(path)`."""
  def one(path, x):
    return x if x.ndim < 2 or keep(jax.tree_util.keystr(path)) else jnp.asarray(x, dtype)
  return jax.tree_util.tree_map_with_path(one, params)
