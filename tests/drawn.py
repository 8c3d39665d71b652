"""Variables of a network that has learned, without a program that makes them: to compile one takes seconds."""
import jax
import jax.numpy as jnp
import numpy as np


def drawn(init, *arguments, seed: int = 0):
  """What `init(key, *arguments)` makes, of which nothing is as initialised: numpy arrays of its shapes and types.

  Kernels are normal and keep the size of what goes through, scales and variances are from 0.5 to 1.5, all else, means
  and biases, from -0.1 to 0.1; integers are 0.
  """
  dice = np.random.default_rng(seed)

  def one(path, x):
    name = jax.tree_util.keystr(path)
    if not jnp.issubdtype(x.dtype, jnp.floating):
      made = np.zeros(x.shape)
    elif 'var' in name or 'scale' in name:
      made = dice.uniform(0.5, 1.5, x.shape)
    elif x.ndim > 1:
      made = dice.normal(size=x.shape) / np.sqrt(np.prod(x.shape[:-1]))
    else:
      made = dice.uniform(-0.1, 0.1, x.shape)
    return np.asarray(made, x.dtype)
  return jax.tree_util.tree_map_with_path(one, jax.eval_shape(init, jax.random.key(seed), *arguments))
