"""The loop: walk the steps in chunks, between events; time each chunk once, at its edges.

A chunk is a half-open range of steps between two events (evaluate, checkpoint, log, end). The host synchronises with
the devices once a chunk. On accelerators, resident data run a whole chunk inside one compiled loop; otherwise steps
are dispatched one by one with a bounded number in flight.
"""
import collections
import contextlib
import gc
import itertools
import math
from collections.abc import Callable

import jax
import numpy as np

from input_pipelines.feed import Feed
from input_pipelines.source import Resident
from scoring import clocks
from scoring.problem import Problem
from scoring.tape import Tape, effective
from training import mesh as meshes
from training.checkpoint import Checkpoints, sha256
from training.chunks import NEVER, Cadence, chunks, every
from training.config import Config
from training.evaluation import IN_FLIGHT, exact_metrics, outputs
from training.pod import Pod
from training.programs import cache_counter, compile_all, imported
from training.step import State
from training.task import Task


class Loop:
  """One run of one task; `run` below is the way in."""

  def __init__(self, task: Task, config: Config, mesh, tape: Tape, *, checkpoints: Checkpoints | None,
               cadence: Cadence, pod: Pod, device_loop: bool | None, compile_all: Callable = compile_all):
    self.task, self.config, self.mesh, self.tape = task, config, mesh, tape
    self.checkpoints, self.cadence, self.pod, self.compile_all = checkpoints, cadence, pod, compile_all
    self.seed = np.uint32(config.seed)
    self.on_cpu = mesh.devices.flat[0].platform == 'cpu'
    self.device_loop = not self.on_cpu if device_loop is None else device_loop
    self.arrays: dict[str, dict] = {}
    self.profiling = False

  # -- the edges of chunks

  def events(self) -> list[Callable[[int], int]]:
    cadence = self.cadence
    profile = [lambda step: min((s for s in cadence.profile or () if s >= step), default=NEVER)]
    return [self.task.target.next_evaluation, every(cadence.log_every_steps),
            every(cadence.checkpoint_every_steps or 0), *profile]

  def position(self, step: int) -> dict:
    """What every span says of where it stands."""
    order = self.task.data['train'].order
    return {'step': step, 'epoch': round(order.epochs(step), 6), 'samples': order.samples(step)}

  # -- before the first step

  def compile(self):
    cache = cache_counter()
    with self.tape.span('compile') as result:
      self.chunk_steps = max(b - a for a, b in chunks(0, self.task.num_steps, *self.events()))
      self.programs = self.compile_all(self.task, self.mesh, microbatches=self.config.gradient_accumulation_steps,
                                       chunk_steps=self.chunk_steps, device_loop=self.device_loop)
      self.pod.agree()  # the first collective would not wait long for a process that still compiles
      result.update(program_sha256=self.programs.fingerprint(), **cache())
    if not gc.isenabled():  # launchers.train begins so; what is there by now is not looked at later either
      gc.freeze()
      gc.enable()

  def start(self) -> State:
    """The state before the first step."""
    with self.tape.span('init', step=0):
      if not self.on_cpu:
        self.programs.warm_up(self.seed)
      return jax.block_until_ready(imported(self.task, self.programs.init(self.seed)))

  def load(self, state: State) -> State:
    """Brings resident data onto the devices, and sets the model up from data where the task wants it."""
    task, fresh = self.task, not int(state.step)
    before = {e['split']: e['fingerprint'] for e in self.tape.events if e['event'] == 'data' and e.get('fingerprint')}
    for split, data in task.data.items():
      if before.get(split, data.fingerprint) != data.fingerprint:
        raise Problem(f'{split} data: are not those that this run began with (fingerprint {data.fingerprint}, before '
                      f'{before[split]}); resume with those, or use another --workdir')
      with self.tape.span('data', split=split, fingerprint=data.fingerprint):
        if isinstance(data, Resident):
          self.arrays[split] = self.place(split, data)
    if self.programs.data_init is not None and fresh:
      sample = self.arrays.get('train')
      if sample is None:
        with self.tape.span('data', split='train'):
          sample = meshes.place_rows(next(iter(task.data['train'].batches(0, 1))), meshes.by_row(self.mesh))
      with self.tape.span('data_init'):
        state = jax.block_until_ready(self.programs.data_init(state, sample))
    return state

  def place(self, split: str, data: Resident) -> dict:
    """The arrays of a resident split, on the devices."""
    arrays = dict(data.load())
    for name, spec in data.spec.items():
      if (arrays[name].shape, arrays[name].dtype) != (spec.shape, spec.dtype):
        raise Problem(f'{split} data: {name} is {arrays[name].dtype}{arrays[name].shape}, expected '
                      f'{spec.dtype}{spec.shape}; prepare the data again')
    return jax.block_until_ready(meshes.place(arrays, meshes.replicated(self.mesh)))

  # -- training

  def train(self, state: State, start: int, stop: int) -> tuple[State, int]:
    """Trains from `start` to `stop`, or to where preemption stopped it; (state, the step reached)."""
    with self.tape.span('train', **self.position(start)) as result:
      carry = (state, self.programs.zero_totals)
      walk = self._on_device if self.programs.device_loop else self._from_host
      carry, step, waited = walk(carry, start, stop)
      state, (totals, first_bad) = jax.block_until_ready(carry)
      totals, first_bad = jax.device_get((totals, first_bad))
      means = {name: float(total) / float(count) for name, (total, count) in totals.items() if count}
      result.update(self.position(step), data_seconds=round(waited, 6),
                    metrics={name: value for name, value in means.items() if math.isfinite(value)})
    if int(first_bad) != NEVER or not all(map(math.isfinite, means.values())):
      at = int(first_bad) if int(first_bad) != NEVER else f'{start + 1} to {step}'
      kept = self.checkpoints and self.checkpoints.wait()
      raise Problem(f'the loss is not finite at step {at}: training has diverged; '
                    + (f'the checkpoint of step {kept} is kept; ' if kept else 'no checkpoint was made before; ')
                    + 'lower the learning rate or look at the data, and use another --workdir')
    return state, step

  def feed(self, split: str, start: int, stop: int) -> Feed:
    """What a program takes for each step: (arrays, row) of resident data, (batch,) of streamed data."""
    data, sharding = self.task.data[split], meshes.by_row(self.mesh)
    if isinstance(data, Resident):
      steps = (data.order.rows(step, step + 1) for step in range(start, stop))
      return Feed(steps, lambda rows: (self.arrays[split], meshes.place(tuple(x[0] for x in rows), sharding)), depth=0)
    return Feed(data.batches(start, stop), lambda batch: (meshes.place_rows(dict(batch), sharding),))

  def _from_host(self, carry, start: int, stop: int):
    """Dispatches the steps one by one: (carry, the step reached, seconds that the host waited for input)."""
    data, in_flight, waited = self.task.data['train'], collections.deque(), self.inputs.wait_seconds
    for step in range(start, stop):
      inputs = next(self.inputs, None)
      if inputs is None:
        raise Problem(f'the training data ended before step {step}; prepare the data again')
      carry, loss = self.programs.train[data.shape_at(step)](carry, *inputs, self.seed)
      in_flight.append(loss)
      if len(in_flight) > IN_FLIGHT:
        in_flight.popleft().block_until_ready()
      if self.pod.preempted(step + 1):
        break
    return carry, step + 1, self.inputs.wait_seconds - waited

  def _on_device(self, carry, start: int, stop: int):
    """Runs the steps in one compiled loop for each stretch of one shape; returns as `_from_host`."""
    data = self.task.data['train']
    rows = tuple(np.pad(x, ((0, self.chunk_steps - len(x)), (0, 0))) for x in data.order.rows(start, stop))
    rows = meshes.place(rows, meshes.by_row(self.mesh, 1))
    for shape, steps in itertools.groupby(range(start, stop), data.shape_at):
      steps = list(steps)
      carry, _ = self.programs.train[shape](carry, self.arrays['train'], rows, np.int32(steps[0] - start),
                                            np.int32(steps[-1] + 1 - start), self.seed)
    return carry, stop, 0.0

  # -- evaluation

  def evaluate(self, state: State, step: int) -> dict:
    """Evaluates the whole split; the stop event of its span."""
    with self.tape.span('eval', **self.position(step)) as result:
      try:
        metrics, count = self.metrics(state)
      except Problem as problem:
        raise Problem(f'at step {step}: {problem}') from None
      result.update(metrics=metrics, num_evaluated=count)
    return self.tape.events[-1]

  def metrics(self, state: State) -> tuple[dict[str, float], int]:
    """(metric -> value, examples counted) of `state`."""
    data = self.task.data['eval']
    with self.feed('eval', 0, data.order.num_steps) as feed:
      programs = (self._eval_program(data.shape_at(step)) for step in range(data.order.num_steps))
      return exact_metrics(self.task, outputs(state, programs, feed))

  def _eval_program(self, shape):
    self.pod.tick()
    return self.programs.eval[shape]

  # -- saving

  def save(self, state: State, step: int, *, wait: bool = False):
    """Saves state and tape, unless the state is broken; `wait` until it is on disk."""
    if self.checkpoints is None or not step:
      return
    with self.tape.span('checkpoint', step=step):
      if self.checkpoints.latest_step() != step:
        finite, sums = jax.device_get(self.programs.inspect(state))
        if not finite:
          raise Problem(f'the state is not finite at step {step}: training has diverged; checkpoints before it are '
                        'kept; lower the learning rate or look at the data, and use another --workdir')
        self.checkpoints.save(state, self.tape, sums.tolist())
      if wait or self.on_cpu:  # writing in the background would take the cores, and the clocks, of training
        self.checkpoints.wait()

  def stop_if_preempted(self, state: State, step: int):
    if self.pod.preempted(step):
      self.save(state, step, wait=True)
      raise Preempted(step)

  def profile(self, step: int):
    """Starts or stops the profiler where the cadence says so."""
    start, stop = self.cadence.profile or (NEVER, NEVER)
    with self.tape.span('log') if step in (start, stop) else contextlib.nullcontext():
      if step == start:
        jax.profiler.start_trace(self.cadence.profile_dir)
        self.profiling = True
      elif self.profiling and step >= stop:
        self.stop_profile()

  def stop_profile(self):
    if self.profiling:
      jax.profiler.stop_trace()
      self.profiling = False

  # -- the whole

  def walk(self, state: State, step: int) -> State:
    """From `step` to the target or the end of the schedule."""
    tape, target, num_steps = self.tape, self.task.target, self.task.num_steps
    evaluated = {e['step'] for e in clocks.evaluations(tape.events)}
    stopped = any(e['event'] == 'run_stop' for e in effective(tape.events))
    wanted = self.cadence.checkpoint_every_steps
    for start, stop in [*chunks(step, num_steps, *self.events()), (num_steps, None)]:
      self.stop_if_preempted(state, start)
      due = start and (target.next_evaluation(start) == start or stop is None)
      if due and start not in evaluated:
        self.evaluate(state, start)
      if due and not stopped and clocks.reached(tape.events):
        tape.event('run_stop', status='success', **self.position(start))
        stopped = True
      self.profile(start)
      if stop is None or (stopped and target.stop == 'first_hit'):
        break
      if due if wanted is None else start and wanted and start % wanted == 0:
        self.save(state, start)
      tape.deliver()
      state, reached = self.train(state, start, stop)
      if reached < stop:
        self.stop_if_preempted(state, reached)
    if not stopped:
      tape.event('run_stop', status='aborted', **self.position(start))
    self.save(state, start, wait=True)
    with tape.span('log'):
      digests = {'parameters_sha256': sha256(state.params), 'state_sha256': sha256(state)}
    tape.event('result', step=start, **digests)
    tape.deliver()
    return state


class Preempted(Exception):
  """The run was asked to stop; it has saved itself at step `args[0]` where checkpoints are kept."""


def run(task: Task, config: Config, mesh, tape: Tape, *, state: State | None = None,
        checkpoints: Checkpoints | None = None, cadence: Cadence | None = None, pod: Pod | None = None,
        device_loop: bool | None = None, compile_all: Callable = compile_all) -> State:
  """Trains `task` until its target or the end of its schedule, and records all of it on `tape`.

  Args:
    state: where to go on from, restored from a checkpoint, as the tape's last process event says; None: from step 0.
    pod: the processes that train as one, asked between steps whether to stop: then the run saves itself and raises
      Preempted; None: this one, which goes on.
    device_loop: run resident chunks inside one compiled loop; by default on accelerators only.
    compile_all: what makes the programs; one that keeps them serves runs that differ in the seed only.

  Returns:
    The final state.

  Raises:
    Problem: training diverged, an evaluation was not exact, or the data or the disk ended.
    Preempted: the pod said so.
  """
  loop = Loop(task, config, mesh, tape, checkpoints=checkpoints, cadence=cadence or Cadence(), pod=pod or Pod(),
              device_loop=device_loop, compile_all=compile_all)
  loop.compile()
  state = loop.start() if state is None else state
  step = int(jax.device_get(state.step))
  if not any(e['event'] == 'run_start' for e in tape.events):
    tape.event('run_start', step=step)
  state = loop.load(state)
  with loop.feed('train', step, task.num_steps) as loop.inputs:  # one for the whole run: its workers start once
    try:
      return loop.walk(state, step)
    finally:
      loop.stop_profile()


def evaluate(task: Task, config: Config, mesh, state: State) -> tuple[dict[str, float], int]:
  """(metric -> value, examples counted) of `state`; records nothing."""
  loop = Loop(task, config, mesh, Tape(), checkpoints=None, cadence=Cadence(), pod=Pod(), device_loop=None)
  loop.compile()
  return loop.metrics(loop.load(state))
