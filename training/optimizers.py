"""Optimizers and schedules as the MLPerf references define them, where optax's mathematics differ.

Source: mlcommons/training, retired_benchmarks/resnet-tf2/tensorflow2/{lars_optimizer,lars_util,resnet_runnable}.py.
"""
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Mask = Callable[[Any], Any]  # params -> the same tree of bools


class Momentum(NamedTuple):
  """count: int32 scalar, updates made; velocity: a tree like the parameters."""
  count: Any
  velocity: Any


def polynomial(peak: float, warmup_steps: int, decay_steps: int, end: float = 1e-4, power: float = 2.0):
  """A learning rate that rises linearly from 0 to `peak` and falls to `end` as a power of what is left.

  The reference takes train_steps - warmup_steps + 1 for `decay_steps`, and holds `end` after them.
  """
  def rate(step):
    left = 1 - jnp.clip((step - warmup_steps) / decay_steps, 0, 1)
    fall = (peak - end) * left**power + end
    return jnp.where(step < warmup_steps, peak * step / max(warmup_steps, 1), fall)
  return rate


def _momentum(rate, momentum: float, scaled: Callable) -> optax.GradientTransformation:
  """v <- momentum v + rate scaled(g, w); w <- w - v: the rate is inside the velocity, as it was when it went in."""
  def init(params):
    return Momentum(jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

  def update(grads, state, params):
    lr = rate(state.count)
    velocity = jax.tree.map(lambda v, g: momentum * v + lr * g, state.velocity, scaled(grads, params))
    return jax.tree.map(jnp.negative, velocity), Momentum(state.count + 1, velocity)

  return optax.GradientTransformation(init, update)


def lars(rate, *, momentum: float, weight_decay: float, mask: Mask, trust_coefficient: float = 0.001,
         epsilon: float = 0.0) -> optax.GradientTransformation:
  """Layer-wise adaptive rates (You et al., arXiv 1708.03888) by the MLPerf reference's formula.

  Where `mask` is true: trust = trust_coefficient |w| / (|g| + weight_decay |w| + epsilon), 1 where |w| or |g| is 0, of
  the gradient g + weight_decay w; elsewhere plain momentum without decay. optax.lars divides by |g + weight_decay w|
  instead, which differs by up to 1.3 times. One leaf is one layer.
  """
  def one(masked, g, w):
    if not masked:
      return g
    w_norm, g_norm = jnp.linalg.norm(w), jnp.linalg.norm(g)
    length = g_norm + weight_decay * w_norm + epsilon
    adapt = (w_norm > 0) & (g_norm > 0)
    trust = jnp.where(adapt, trust_coefficient * w_norm / jnp.where(adapt, length, 1), 1.0)
    return trust * (g + weight_decay * w)

  return _momentum(rate, momentum, lambda grads, params: jax.tree.map(one, mask(params), grads, params))


def sgd(rate, *, momentum: float, weight_decay: float, mask: Mask) -> optax.GradientTransformation:
  """Momentum with the MLPerf reference's penalty, weight_decay |w|^2, where `mask` is true: its gradient is twice that.
  """
  def one(masked, g, w):
    return g + 2 * weight_decay * w if masked else g

  return _momentum(rate, momentum, lambda grads, params: jax.tree.map(one, mask(params), grads, params))


def mask_by_path(wanted: Callable[[str], bool]) -> Mask:
  """The mask of the leaves whose path, such as `stem/kernel`, is `wanted`."""
  def mask(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: wanted('/'.join(key.key for key in path)), params)
  return mask
