"""Every program of a run, lowered from abstract shapes and compiled before any data are touched.

The same functions serve a real mesh and that of a topology that is only described, since nothing here needs values.
"""
import collections
import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from input_pipelines.source import Resident
from layers import platforms
from scoring.problem import Problem
from training import mesh as meshes
from training.chunks import NEVER
from training.step import init_state, inspect, make_eval_step, make_train_step
from training.task import Task

SCALAR = jax.ShapeDtypeStruct((), jnp.int32)
SEED = jax.ShapeDtypeStruct((), jnp.uint32)
RUNS_ONCE = {'xla_backend_optimization_level': 1}  # XLA:CPU compiles it in 0.6 of the time, to the same bits


@dataclasses.dataclass(frozen=True)
class Programs:
  """Compiled programs.

  Attributes:
    init: seed -> state.
    data_init: (state, sample) -> state, or None.
    train: shape -> (carry, input..., seed) -> (carry, loss), where carry = (state, totals).
    eval: shape -> (state, input...) -> outputs, on every process whole.
    inspect: state -> (whether it is finite, bool scalar; its checksums, uint32 [leaves]).
    zero_totals: what a chunk's totals start from, on the host.
    device_loop: whether `train` runs a range of steps, (carry, arrays, rows, start, stop, seed), or one.
  """
  init: Callable
  data_init: Callable | None
  train: Mapping[Any, Callable]
  eval: Mapping[Any, Callable]
  inspect: Callable
  zero_totals: Any
  device_loop: bool

  def warm_up(self, seed):
    """Runs every program once, on zeros, and forgets the results.

    What a device does at a program's first run only (loading kernels, planning its library's convolutions) is then
    done before the first step and before any data are touched; on an H100 it took a tenth of a CIFAR-10 training.
    """
    def zeros(program):  # for all arguments but the first, the state
      def one(x, sharding):
        made = np.zeros(x.shape, x.dtype)
        return made if sharding is None else meshes.place(made, sharding)  # None: the program does not use it
      return jax.tree.map(one, program.args_info[0][1:], program.input_shardings[0][1:])

    state = self.init(seed)
    for program in self.train.values():
      inputs = zeros(program)
      if self.device_loop:
        inputs = (*inputs[:-2], np.int32(1), seed)  # one step of the loop
      (state, _), _ = program((state, self.zero_totals), *inputs)
    for program in self.eval.values():
      program(state, *zeros(program))
    self.inspect(state)
    if self.data_init is not None:
      state = self.data_init(state, *zeros(self.data_init))
    jax.block_until_ready(state)

  def fingerprint(self) -> str:
    """sha256 over the optimised text of the training programs, without source positions."""
    digest = hashlib.sha256()
    for shape in sorted(self.train, key=repr):
      blocks = self.train[shape].as_text().split('\n\n')
      kept = [b for b in blocks if b.split('\n', 1)[0] not in
              ('FileNames', 'FunctionNames', 'FileLocations', 'StackFrames')]
      digest.update(re.sub(r',? metadata=\{[^}]*\}', '', '\n\n'.join(kept)).encode())
    return digest.hexdigest()


def of_platform(function: Callable) -> Callable:
  """function(task, mesh, ...) that traces what the mesh's platform computes, and no other's way."""
  @functools.wraps(function)
  def traced(task: Task, mesh, *args, **kwargs):
    with platforms.traced_for(mesh.devices.flat[0].platform):
      return function(task, mesh, *args, **kwargs)
  return traced


def take(arrays, index, epoch, sharding):
  """Rows of resident arrays as a batch: {name: [B, ...], index, epoch: int32 [B], mask: bool [B]}."""
  rows = {name: x[jnp.maximum(index, 0)] for name, x in arrays.items()}
  batch = {**rows, 'index': index, 'epoch': epoch, 'mask': index >= 0}
  return jax.lax.with_sharding_constraint(batch, sharding)


def shapes(data, num_steps: int) -> list:
  """The distinct shapes of a split's first `num_steps` steps, in order of appearance."""
  return list(dict.fromkeys(data.shape_at(step) for step in range(num_steps)))


@functools.lru_cache(maxsize=1)
def initial_state(task: Task):
  """init_state of a task, traced once however often it is asked: tracing is most of a start with a warm cache."""
  return jax.jit(functools.partial(init_state, task), inline=True)


def in_parts(gradients, mesh):
  """Gradients summed over the devices as they arise, then each split as the optimizer's state is.

  Split at once, the convolutions that they come from would be split too: XLA then computes those in rings of
  collective-permutes, 50 in a ResNet of four blocks.
  """
  summed = jax.lax.with_sharding_constraint(gradients, meshes.replicated(mesh))
  return jax.lax.with_sharding_constraint(summed, jax.tree.map(lambda x: x.sharding, meshes.spread(summed, mesh)))


def train_program(task: Task, mesh, step: Callable, *, device_loop: bool):
  """The function to compile for training by that step, its sums added to the chunk's totals; see Programs.train."""
  rows = meshes.by_row(mesh)

  def body(carry, batch, seed):
    state, (totals, first_bad) = carry
    new, sums = step(state, batch, seed)
    loss = sums['loss'][0]
    first_bad = jnp.where(jnp.isfinite(loss), first_bad, jnp.minimum(first_bad, new.step))
    return (new, (jax.tree.map(jnp.add, totals, sums), first_bad)), loss

  if not isinstance(task.data['train'], Resident):
    return body
  if not device_loop:
    return lambda carry, arrays, row, seed: body(carry, take(arrays, *row, rows), seed)

  def loop(carry, arrays, rows_of_chunk, start, stop, seed):
    def at(i, carry_and_loss):
      index, epoch = (x[i] for x in rows_of_chunk)
      return body(carry_and_loss[0], take(arrays, index, epoch, rows), seed)
    return jax.lax.fori_loop(start, stop, at, (carry, jnp.float32(0)))

  return loop


def batch_spec(data, shape, mesh, chunk_steps: int | None = None):
  """What a step is fed, abstractly: (batch,) when streamed; (arrays, rows) when resident, rows [steps, B] in a loop."""
  if not isinstance(data, Resident):
    return (meshes.abstract(dict(data.spec(shape)), meshes.by_row(mesh)),)
  size = data.order.batch_size
  dims, axis = ((size,), 0) if chunk_steps is None else ((chunk_steps, size), 1)
  row = jax.ShapeDtypeStruct(dims, jnp.int32, sharding=meshes.by_row(mesh, axis))
  return meshes.abstract(dict(data.spec), meshes.replicated(mesh)), (row, row)


def abstract_sums(task: Task, mesh, shape, step: Callable, state):
  """Shapes of the sums that a training step returns."""
  data, rows = task.data['train'], meshes.by_row(mesh)
  batch = batch_spec(data, shape, mesh)
  if isinstance(data, Resident):
    batch = meshes.abstract(jax.eval_shape(lambda arrays, row: take(arrays, *row, rows), *batch), rows),
  sums = jax.eval_shape(step, state, *batch, meshes.abstract(SEED, meshes.replicated(mesh)))[1]
  wrong = [name for name, pair in sums.items() if not (isinstance(pair, tuple) and len(pair) == 2)]
  if wrong:
    raise Problem(f'{task.benchmark}: loss returned {wrong[0]} as {sums[wrong[0]]}; every training metric is a pair '
                  '(sum, count)')
  return sums


@of_platform
def abstract_state(task: Task, mesh):
  """Shapes and shardings of a run's state."""
  everywhere = meshes.replicated(mesh)
  state = meshes.abstract(jax.eval_shape(initial_state(task), meshes.abstract(SEED, everywhere)), everywhere)
  if task.shard_optimizer_state:  # its update is then computed in parts too: Xu et al., arXiv 2004.13336
    state = dataclasses.replace(state, opt_state=meshes.spread(state.opt_state, mesh))
  return state


def check_batches(task: Task, mesh, microbatches: int):
  """Raises Problem unless batches to train on and to evaluate divide evenly over the devices."""
  meshes.check_divides(mesh, task.data['train'].order.batch_size, microbatches)
  meshes.check_divides(mesh, task.data['eval'].order.batch_size, name='evaluation batch size')


@of_platform
def lower_train(task: Task, mesh, state, *, shape, microbatches: int, chunk_steps: int, device_loop: bool):
  """The training program of one shape, lowered; arguments as of compile_all."""
  everywhere, data = meshes.replicated(mesh), task.data['train']
  device_loop = device_loop and isinstance(data, Resident)
  place = functools.partial(in_parts, mesh=mesh) if task.shard_optimizer_state else None
  # traced once, for its sums and in the program
  step = jax.jit(make_train_step(task, shape=shape, microbatches=microbatches, place_gradients=place,
                                 unroll=mesh.devices.flat[0].platform == 'cpu'), inline=True)
  function = train_program(task, mesh, step, device_loop=device_loop)
  feed = batch_spec(data, shape, mesh, chunk_steps if device_loop else None)
  totals = (abstract_sums(task, mesh, shape, step, state), SCALAR)
  seed, scalar, totals = meshes.abstract((SEED, SCALAR, totals), everywhere)
  placed = jax.tree.map(lambda x: x.sharding, state)
  return jax.jit(function, donate_argnums=0, out_shardings=((placed, everywhere), everywhere)).lower(
      (state, totals), *feed, *((scalar, scalar) if device_loop else ()), seed)


@of_platform
def lower_eval(task: Task, mesh, state, shape):
  """The evaluation program of one shape, lowered."""
  data, eval_step, rows = task.data['eval'], make_eval_step(task), meshes.by_row(mesh)
  function = (lambda state, arrays, row: eval_step(state, take(arrays, *row, rows))) if isinstance(
      data, Resident) else eval_step
  return jax.jit(function, out_shardings=meshes.replicated(mesh)).lower(state, *batch_spec(data, shape, mesh))


@of_platform
def compile_all(task: Task, mesh, *, microbatches: int, chunk_steps: int, device_loop: bool) -> Programs:
  """Lowers and compiles everything that a run will call; touches no data.

  Args:
    chunk_steps: the longest chunk, in steps; a device loop's rows are padded to it.
    device_loop: run resident chunks as one loop on the device (accelerators); else step from the host.
  """
  everywhere = meshes.replicated(mesh)
  train, evaluation = task.data['train'], task.data['eval']
  check_batches(task, mesh, microbatches)
  state = abstract_state(task, mesh)
  placed = jax.tree.map(lambda x: x.sharding, state)

  train_shapes = shapes(train, task.num_steps)

  def lowered():
    for shape in train_shapes:
      yield ('train', shape), lower_train(task, mesh, state, shape=shape, microbatches=microbatches,
                                          chunk_steps=chunk_steps, device_loop=device_loop)
    for shape in shapes(evaluation, evaluation.order.num_steps):
      yield ('eval', shape), lower_eval(task, mesh, state, shape)
    yield ('init', None), jax.jit(lambda seed: initial_state(task)(seed), out_shardings=placed).lower(
        meshes.abstract(SEED, everywhere))
    if task.init_from_data:
      yield ('data_init', None), jax.jit(data_init_program(task), donate_argnums=0, out_shardings=placed).lower(
          state, batch_spec(train, train_shapes[0], mesh)[0])
    yield ('inspect', None), jax.jit(inspect, out_shardings=everywhere).lower(state)

  made = compiled(lowered(), {('init', None): RUNS_ONCE} if mesh.devices.flat[0].platform == 'cpu' else {})
  of = lambda wanted: {shape: program for (kind, shape), program in made.items() if kind == wanted}
  (_, (totals, _)), *_ = made['train', train_shapes[-1]].args_info[0]  # the carry of Programs.train
  return Programs(
      init=made['init', None], data_init=made.get(('data_init', None)), inspect=made['inspect', None],
      train=of('train'), eval=of('eval'), device_loop=device_loop and isinstance(train, Resident),
      zero_totals=(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), totals), np.int32(NEVER)))


def compiled(programs: Iterable, options: Mapping[Any, dict]) -> dict:
  """(key, lowered) pairs as {key: program}: each is compiled while the next is traced.

  In one thread, since compilers for GPUs time their kernels. options: key -> the compiler's for that program.
  """
  compiler = ThreadPoolExecutor(1, 'compiler')
  try:
    waiting = {key: compiler.submit(lowered.compile, options.get(key)) for key, lowered in programs}
    return {key: one.result() for key, one in waiting.items()}
  finally:  # where one failed, the rest is not worth waiting for
    compiler.shutdown(wait=False, cancel_futures=True)


def data_init_program(task: Task):
  """(state, sample) -> state, by the task's `init_from_data`; the optimizer starts from the new parameters."""
  def data_init(state, sample):
    model_state = dict(task.init_from_data({'params': state.params, **state.model_state}, sample))
    params = model_state.pop('params')
    return type(state)(state.step, params, model_state, task.optimizer.init(params))
  return data_init


def imported(task: Task, state):
  """A fresh state with what the task brings along from files; the optimizer's state is kept: it starts from zeros."""
  if task.import_variables is None:
    return state
  variables = jax.device_get({'params': state.params, **state.model_state})
  found = dict(task.import_variables(variables))
  place = functools.partial(jax.tree.map, lambda x, like: meshes.place(np.asarray(x, like.dtype), like.sharding))
  params = place(found.pop('params'), state.params)
  return dataclasses.replace(state, params=params, model_state=place(found, state.model_state))


def cache_counter():
  """Counts programs that the compilation cache has and has not: () -> {'cache_hits': n, 'cache_misses': n}."""
  counts = collections.Counter()  # jax's own misses are those that it wrote afterwards, which it cannot always
  jax.monitoring.register_event_listener(lambda name, **_: counts.update([name.rpartition('/')[2]]))
  return lambda: dict(cache_hits=(n := counts['cache_hits']), cache_misses=counts['compile_requests_use_cache'] - n)
