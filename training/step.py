"""The training step: all of it."""
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from training.task import Keys, Task

_INIT, _STEP, _RECORD, _VIEW = range(4)  # streams of random numbers, one for each use


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
  """All that training changes; random keys and schedules are functions of (seed, step) and are not in it.

  Attributes:
    step: int32 scalar, the number of updates applied so far.
    params: what the optimizer updates, float32.
    model_state: every other collection of variables (batch statistics, averages).
    opt_state: the optimizer's.
  """
  step: Any
  params: Any
  model_state: Any
  opt_state: Any


def stream(seed, purpose: int):
  """The random key of one purpose; `seed`: uint32 scalar, traced, so that all seeds share a program."""
  return jax.random.fold_in(jax.random.key(seed), purpose)


def record_keys(seed, batch) -> Keys:
  """Keys of each row from its record index and epoch: the row's place and the process count do not matter."""
  record = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, _RECORD), batch['index'])
  view = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, _VIEW), batch['index'])
  return Keys(record, jax.vmap(jax.random.fold_in)(view, batch['epoch']))


def init_state(task: Task, seed) -> State:
  """The state before the first update."""
  model_state = dict(task.init(stream(seed, _INIT)))
  params = model_state.pop('params')
  return State(jnp.int32(0), params, model_state, task.optimizer.init(params))


def make_train_step(task: Task, *, shape=None, microbatches: int = 1, unroll: bool = False, place_gradients=None):
  """(state, batch, seed) -> (state, sums): one update, on the gradient averaged over the microbatches.

  Microbatch j holds rows j, j + m, j + 2m, ... of the batch, so that each device holds its share of every microbatch
  and nothing moves between devices. `unroll`: write the microbatches out instead of looping (XLA:CPU runs
  convolutions inside a loop many times slower). `place_gradients`: gradients -> gradients, where they are to be.
  """
  def gradient(state, batch, seed, key):
    batch = task.prepare(batch, record_keys(seed, batch), shape)
    return jax.value_and_grad(task.loss, has_aux=True)(state.params, state.model_state, batch, key)

  def accumulate(state, batch, seed, key):
    split = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, microbatches, *x.shape[1:]), 0, 1), batch)

    def one(model_state, number, rows):
      (loss, (model_state, sums)), grads = gradient(
          State(state.step, state.params, model_state, None), rows, seed, jax.random.fold_in(key, number))
      return model_state, (loss / microbatches, sums, jax.tree.map(lambda g: g / microbatches, grads))

    def add(carry, numbered):
      model_state, total = carry
      model_state, new = one(model_state, *numbered)
      return (model_state, jax.tree.map(jnp.add, total, new)), None

    numbered = jnp.arange(microbatches), split
    spec = jax.eval_shape(one, state.model_state, *jax.tree.map(lambda x: x[0], numbered))[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), spec)
    (model_state, (loss, sums, grads)), _ = jax.lax.scan(
        add, (state.model_state, zeros), numbered, unroll=microbatches if unroll else 1)
    return (loss, (model_state, sums)), grads

  def train_step(state, batch, seed):
    key = jax.random.fold_in(stream(seed, _STEP), state.step)
    (loss, (model_state, sums)), grads = (gradient if microbatches == 1 else accumulate)(state, batch, seed, key)
    grads = place_gradients(grads) if place_gradients else grads
    updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    state = task.after_update(State(state.step + 1, params, model_state, opt_state))
    return state, {**sums, 'loss': (loss, jnp.float32(1))}

  return train_step


def make_eval_step(task: Task):
  """(state, batch) -> outputs, with the variables that the task evaluates."""
  return lambda state, batch: task.evaluate(task.eval_variables(state), batch)


@jax.jit  # traced once for each shape, not for each of hundreds of arrays: a second of a start with a warm cache
def inspect_array(x):
  """(whether every number in an array is finite: bool scalar; its checksum, however it is sharded: uint32 scalar).

  Each element's bits times an odd weight of its place, added modulo 2**32: one element that changes changes the sum.
  """
  finite = jnp.all(jnp.isfinite(x))
  x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
  bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f'uint{8 * x.dtype.itemsize}')).astype(jnp.uint32)
  place = jnp.uint32(0)
  for axis, size in enumerate(x.shape):
    place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
  return finite, jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def inspect(state: State):
  """(whether all of it is finite, bool scalar; the checksum of each array, in order, uint32 [leaves])."""
  finite, checksums = zip(*map(inspect_array, jax.tree.leaves(state)))
  return jnp.all(jnp.stack(finite)), jnp.stack(checksums)
