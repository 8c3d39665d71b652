"""Optimizers for small images: Nesterov's momentum by groups of parameters, and Muon, as airbench uses them."""
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

FILTERS, NORM, HEAD, WHITENING = 'filters', 'norm', 'head', 'whitening'


def group(path) -> str:
  """Which group of parameters a path in the tree of parameters belongs to."""
  names = [key.key for key in path]
  if names[0].startswith('Whitening'):
    return WHITENING
  if len(names) > 1 and names[-2].startswith('BatchNorm'):
    return NORM
  return FILTERS if names[-1] == 'kernel' and not names[0].startswith('Dense') else HEAD


def by_group(transforms: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
  """A transformation for each group; a group that a network does not have needs none."""
  return optax.multi_transform(transforms, lambda params: jax.tree_util.tree_map_with_path(
      lambda path, _: group(path), params))


def rise_and_fall(num_steps: int, warmup_fraction: float, initial: float, final: float) -> Callable:
  """step -> multiplier of the learning rate: linear from `initial` to 1 over the warm-up, then linear to `final`."""
  warmup = int(num_steps * warmup_fraction)
  return lambda step: jnp.where(
      step < warmup, initial + (1 - initial) * step / max(warmup, 1),
      1 + (final - 1) * jnp.maximum(step - warmup, 0) / (num_steps - warmup))


def nesterov(learning_rate: Callable, momentum: float, decay: float) -> optax.GradientTransformation:
  """torch's SGD(nesterov=True, weight_decay=decay): the decay goes through the momentum."""
  return optax.chain(optax.add_decayed_weights(decay), optax.trace(momentum, nesterov=True),
                     optax.scale_by_learning_rate(learning_rate))


class MuonState(NamedTuple):
  """step: int32, updates so far; normalized: int32, the step of the last normalisation; momentum: like the filters."""
  step: jax.Array
  normalized: jax.Array
  momentum: optax.Updates


def orthogonalized(matrices: list, coefficients: tuple[float, ...], iterations: int = 3) -> list:
  """Roughly the orthogonal matrix nearest to each [M, N], by a quintic Newton-Schulz iteration in bfloat16.

  K. Jordan, "Muon", 2024, kellerjordan.github.io/posts/muon: singular values end near 1, which is near enough. Matrices
  of one shape are one product instead of many small ones; so are all, filled up with zeros, which stay zeros, where
  that makes them twice as large at most.
  """
  def combined(*terms):  # in float32: a coefficient rounded to bfloat16 is another iteration
    return sum(factor * x.astype(jnp.float32) for factor, x in terms).astype(jnp.bfloat16)

  def iterated(x):
    x = combined((1 / (jnp.linalg.norm(x.astype(jnp.float32), axis=(1, 2), keepdims=True) + 1e-7), x))
    for _ in range(iterations):
      gram = x @ x.mT
      x = combined((a, x), (1.0, combined((b, gram), (c, gram @ gram)) @ x))
    return x

  a, b, c = coefficients
  wide = [x if x.shape[0] <= x.shape[1] else x.T for x in matrices]
  common = tuple(max(x.shape[axis] for x in wide) for axis in (0, 1))
  shapes = [common if len(wide) * math.prod(common) <= 2 * sum(x.size for x in wide) else x.shape for x in wide]
  found = {}
  for shape in dict.fromkeys(shapes):
    which = [n for n, one in enumerate(shapes) if one == shape]
    filled = [jnp.pad(wide[n].astype(jnp.bfloat16), [(0, to - size) for to, size in zip(shape, wide[n].shape)])
              for n in which]
    found |= dict(zip(which, iterated(jnp.stack(filled))))
  cut = [found[n][:x.shape[0], :x.shape[1]] for n, x in enumerate(wide)]
  return [x if x.shape == like.shape else x.T for x, like in zip(cut, matrices)]


def muon(learning_rate: Callable, momentum: float, coefficients: tuple[float, ...], decay: float = 0.0,
         normalize_every: Callable = lambda step: 1) -> optax.GradientTransformation:
  """Muon with normalised filters, as in airbench94_muon; for filters [3, 3, C, K].

  Every filter bank is scaled to the norm sqrt(K) every `normalize_every(step)` steps (steps count from 1), moved by
  the orthogonalised Nesterov momentum, and shrunk by learning_rate * decay. optax.contrib.muon is another recipe:
  an average instead of a sum of gradients, debiased, and a scale by shape; and it never normalises.
  """
  def init(params):
    return MuonState(jnp.int32(0), jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

  def update(grads, state, params):
    step = state.step + 1
    due = step - state.normalized >= normalize_every(step)
    rate = learning_rate(state.step)
    buffers = jax.tree.map(lambda b, g: momentum * b + g, state.momentum, grads)

    leaves, tree = jax.tree.flatten(params)
    ahead = [(g + momentum * b).reshape(-1, p.shape[-1]).T for g, b, p in zip(
        jax.tree.leaves(grads), jax.tree.leaves(buffers), leaves)]
    directions = [d.astype(p.dtype).T.reshape(p.shape) for d, p in zip(orthogonalized(ahead, coefficients), leaves)]

    def move(direction, p):
      scale = jnp.where(due, math.sqrt(p.shape[-1]) / (jnp.linalg.norm(p) + 1e-7), 1.0)
      return (p * scale - rate * direction) * (1 - rate * decay) - p

    moves = jax.tree.unflatten(tree, map(move, directions, leaves))
    return moves, MuonState(step, jnp.where(due, step, state.normalized), buffers)

  return optax.GradientTransformation(init, update)


def lookahead(slow, fast, step, every: int, num_steps: int):
  """(slow, fast) after update `step`, trees of the same form: every so many steps both become a mean of the two.

  Lookahead (Zhang et al., arXiv 1907.08610) as airbench94 does it: the pull weakens with the cube of progress.
  """
  decay = 0.95**every * (step / num_steps)**3
  decay = jnp.where(step % every == 0, decay, 1.0)  # 1: at the end the parameters become the average
  due = (step % every == 0) | (step == num_steps)
  slow = jax.tree.map(lambda s, f: jnp.where(due, decay * s + (1 - decay) * f, s), slow, fast)
  return slow, jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast)
