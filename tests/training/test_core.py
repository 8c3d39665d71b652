"""The core against toy tasks that use every seam: a later reference must need no edit of it."""
import collections
import dataclasses
import gc
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from input_pipelines.source import Once, Shuffled
from layers import platforms
from references.cifar.task import Config as DigitsConfig
from scoring import clocks
from scoring.problem import Problem
from tests.training.toys import (
  Buckets,
  Line,
  Seams,
  StoppedAfter,
  StreamedLine,
  ToyConfig,
  assert_close,
  assert_same,
  begin,
  train,
)
from training import checkpoint, loop, mesh, pod, programs, step
from training.loop import Cadence, chunks, every
from training.task import Target


def names(tape):
  return [(e['event'], e.get('edge')) for e in tape.events]


@pytest.mark.parametrize('kind', [Line, Seams, Buckets, StreamedLine])
def test_every_kind_of_task_trains_evaluates_and_records(kind):
  config = ToyConfig()
  state, tape = train(kind(config), config)
  assert int(state.step) == config.num_steps
  assert [e['step'] for e in clocks.evaluations(tape.events)] == [6, 12, 18, 24]
  assert all(e['num_evaluated'] == 50 for e in clocks.evaluations(tape.events))
  assert tape.events[-1]['event'] == 'result' or tape.events[-2]['event'] == 'result'


def test_data_are_touched_only_after_compilation_and_run_start():
  config = ToyConfig()
  task = Seams(config)
  tape = begin(task)
  seen = []
  load = task.data['train'].load
  task.data['train'] = dataclasses.replace(task.data['train'], load=lambda: (seen.extend(names(tape)), load())[1])
  train(task, config, tape=tape)
  assert ('compile', 'stop') in seen and ('init', 'stop') in seen and ('run_start', None) in seen
  assert ('data_init', 'stop') in names(tape)


@pytest.mark.parametrize('kind', [Line, Seams, StreamedLine])
@pytest.mark.parametrize('microbatches', [1, 2])
def test_a_start_traces_each_part_of_a_task_once_and_starts_from_the_same_bits(kind, microbatches, monkeypatch):
  counts = collections.Counter()
  for name in ('init', 'prepare', 'loss'):
    real = getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda self, *given, name=name, real=real: (
        counts.update([name]), real(self, *given))[1])
  task, devices = kind(ToyConfig()), mesh.make_mesh(jax.devices()[:2])
  state = programs.abstract_state(task, devices)
  assert programs.abstract_state(task, devices) == state and counts['init'] == 1
  programs.lower_train(task, devices, state, shape=programs.shapes(task.data['train'], 1)[0], microbatches=microbatches,
                       chunk_steps=2, device_loop=False)
  once = 1 if microbatches == 1 else 2  # accumulation asks for the shapes of a microbatch first
  assert (counts['prepare'], counts['loss']) == (once, once)
  compiled = programs.compile_all(task, devices, microbatches=microbatches, chunk_steps=2, device_loop=False)
  assert counts['init'] == 1
  assert_same(compiled.init(np.uint32(3)), jax.jit(lambda seed: step.init_state(task, seed))(np.uint32(3)))


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_programs_are_traced_for_the_platform_of_their_mesh_alone(platform, monkeypatch):
  seen, real = set(), {name: getattr(Seams, name) for name in ('init', 'prepare', 'loss', 'evaluate')}
  for name in real:
    monkeypatch.setattr(Seams, name, lambda self, *given, name=name: (
        seen.add((name, platforms.dependent(0, cpu=lambda x: 'cpu', tpu=lambda x: 'tpu', default=None))),
        real[name](self, *given))[1])
  task, devices = Seams(ToyConfig()), mesh.make_mesh(jax.devices()[:2])
  if platform == 'cpu':
    programs.compile_all(task, devices, microbatches=1, chunk_steps=1, device_loop=False)
  else:  # whose devices are only described
    monkeypatch.setattr(programs.platforms, 'traced_for', lambda name, real=platforms.traced_for: real(platform))
    state = programs.abstract_state(task, devices)
    programs.lower_train(task, devices, state, shape=None, microbatches=1, chunk_steps=1, device_loop=False)
    programs.lower_eval(task, devices, state, None)
  assert seen == {(name, platform) for name in real}


def test_what_runs_once_is_compiled_in_haste_on_cpus_to_the_same_bits(monkeypatch):
  made, real = [], programs.compiled
  monkeypatch.setattr(programs, 'compiled', lambda lowered, options: made.append((list(lowered), options)) or real(
      made[0][0], options))
  compiled = programs.compile_all(Seams(ToyConfig()), mesh.make_mesh(jax.devices()[:2]), microbatches=1, chunk_steps=1,
                                  device_loop=False)
  (lowered, options), = made
  assert options == {('init', None): {'xla_backend_optimization_level': 1}}
  thorough = dict(lowered)['init', None].compile({'xla_backend_optimization_level': 3})
  assert_same(compiled.init(np.uint32(3)), thorough(np.uint32(3)))


@pytest.mark.parametrize('enabled', [True, False])
def test_garbage_is_looked_for_again_once_programs_are_compiled(enabled, monkeypatch):
  frozen = []
  monkeypatch.setattr(gc, 'freeze', lambda: frozen.append(gc.isenabled()))
  try:
    (gc.enable if enabled else gc.disable)()
    train(Line(ToyConfig()), ToyConfig())
    assert gc.isenabled() and frozen == [False] * (not enabled)  # before it is looked at
  finally:
    gc.enable()


def test_processes_wait_for_each_other_after_compiling():
  tape = begin(Line(ToyConfig()))
  asked = []

  class Others(pod.Pod):
    def agree(self, problem=None):
      asked.append((tape.events[-1]['event'], tape.events[-1].get('edge')))
      return problem
  train(Line(ToyConfig()), ToyConfig(), tape=tape, pod=Others())
  assert asked == [('compile', 'start')]


def test_an_error_in_one_program_does_not_wait_for_others():
  held, made = threading.Event(), []

  class Program:
    def __init__(self, name, wait=False):
      self.name, self.wait = name, wait

    def compile(self, options):
      assert not self.wait or held.wait(60)
      made.append(self.name)
      return self.name, options

  def fails():
    yield 'slow', Program('slow', wait=True)
    yield 'next', Program('next')
    raise TypeError('of tracing')
  with pytest.raises(TypeError, match='of tracing'):
    programs.compiled(fails(), {})
  assert not made, 'it did not wait for the one that is being compiled'
  assert programs.compiled([('a', Program('A')), ('b', Program('B'))], {'b': {'level': 1}}) == {
      'a': ('A', None), 'b': ('B', {'level': 1})}
  held.set()
  deadline = time.monotonic() + 60
  while 'slow' not in made and time.monotonic() < deadline:
    time.sleep(0.01)
  assert made == ['A', 'B', 'slow'], 'what waited behind it was given up'


def test_nothing_is_compiled_after_the_clock_has_started():
  config = ToyConfig()
  compiled = []
  listener = lambda name, *_, **__: compiled.append(name) if 'backend_compile' in name else None
  jax.monitoring.register_event_duration_secs_listener(listener)
  for kind in (Line, Seams, Buckets):
    task, seen = kind(config), {}
    tape = begin(task)
    tape.attach(lambda e: seen.update({e['event']: len(compiled)}))
    train(task, config, tape=tape)
    assert seen['run_start'] > 0
    assert len(compiled) == seen['compile'], f'{kind.__name__} compiled {compiled[seen["compile"]:]} during the run'


@pytest.mark.parametrize('device_loop', [False, True])
@pytest.mark.parametrize('kind', [Line, Seams, Buckets, StreamedLine])
def test_a_warm_up_runs_every_program_and_compiles_nothing(kind, device_loop):
  task, devices, ran, compiled = kind(ToyConfig()), mesh.make_mesh(jax.devices()[:2]), [], []
  made = programs.compile_all(task, devices, microbatches=1, chunk_steps=3, device_loop=device_loop)

  class Counted:
    def __init__(self, name, program):
      self.name, self.program = name, program

    def __call__(self, *args):
      ran.append(self.name)
      return self.program(*args)

    def __getattr__(self, name):
      return getattr(self.program, name)

  of = lambda name, some: {shape: Counted((name, shape), program) for shape, program in some.items()}
  counted = dataclasses.replace(made, train=of('train', made.train), eval=of('eval', made.eval),
                                inspect=Counted('inspect', made.inspect),
                                data_init=made.data_init and Counted('data_init', made.data_init))
  listener = lambda name, *_, **__: compiled.append(name) if 'backend_compile' in name else None
  jax.monitoring.register_event_duration_secs_listener(listener)
  counted.warm_up(np.uint32(3))
  assert not compiled
  assert ran == [*(('train', shape) for shape in made.train), *(('eval', shape) for shape in made.eval), 'inspect',
                 *['data_init'] * (made.data_init is not None)]


def test_an_accelerator_is_warmed_up_before_the_clock_of_mlperf_starts(monkeypatch):
  config, seen = ToyConfig(), []
  task = Line(config)
  tape = begin(task)
  monkeypatch.setattr(programs.Programs, 'warm_up', lambda self, seed: seen.append(tape.events[-1]))
  monkeypatch.setattr(loop.Loop, 'on_cpu', property(lambda self: False, lambda self, value: None), raising=False)
  train(task, config, tape=tape)
  assert [(e['event'], e['edge']) for e in seen] == [('init', 'start')]


def test_both_shapes_are_compiled_ahead_and_each_step_gets_its_own():
  config = ToyConfig()
  task = Buckets(config)
  made = programs.compile_all(task, mesh.make_mesh(jax.devices()[:1]), microbatches=1, chunk_steps=6,
                              device_loop=False)
  assert set(made.train) == set(made.eval) == {4, 8}
  assert task.asked == []


def test_streamed_and_resident_data_train_the_same():
  config = ToyConfig()
  assert_same(train(Line(config), config)[0].params, train(StreamedLine(config), config)[0].params)


@pytest.mark.parametrize('kind', [Line, Seams])
def test_a_loop_on_the_device_trains_as_the_host_does(kind):
  config = ToyConfig()
  on_host, on_device = (train(kind(config), config, device_loop=d)[0] for d in (False, True))
  assert_close(on_host, on_device, 1e-6)


def test_a_device_loop_runs_each_shape_in_turn_and_cut_chunks_alike():
  config = ToyConfig()

  def task():
    made = Line(config)
    made.data = {**made.data, 'train': dataclasses.replace(made.data['train'], shape_at=lambda s: s // 4 % 2)}
    made.prepare = lambda batch, keys, shape: {**batch, 'x': batch['x'] * (1 + shape)}
    return made
  whole = train(task(), config, device_loop=True)[0]
  cut = train(task(), config, device_loop=True, cadence=Cadence(log_every_steps=5))[0]
  assert_same(whole, cut)
  assert_close(whole, train(task(), config, device_loop=False)[0], 1e-6)


def test_gradient_accumulation_is_the_mean_over_the_whole_batch():
  whole, split = ToyConfig(), ToyConfig(gradient_accumulation_steps=4)
  one, one_tape = train(Line(whole), whole)
  four, four_tape = train(Line(split), split)
  assert_close(one, four)
  losses = [[e['metrics'] for e in t.events if e['event'] == 'train' and e['edge'] == 'stop']
            for t in (one_tape, four_tape)]
  for a, b in zip(*losses):
    assert a == pytest.approx(b, rel=1e-5)


def test_microbatches_pass_the_model_state_on():
  config = ToyConfig(gradient_accumulation_steps=4)
  state, _ = train(Seams(config), config)
  assert float(state.model_state['updates']['count']) == 4 * config.num_steps


def draws(**changes):
  """What the loss's key gave at each step: (mean, mean square) over its microbatches."""
  config = ToyConfig(every_steps=1, num_steps=8, **changes)
  task = Line(config)
  loss = task.loss

  def drawn(params, model_state, batch, key):
    value, (model_state, _) = loss(params, model_state, batch, key)
    draw = jax.random.uniform(key)
    return value, (model_state, {'draw': (draw, jnp.float32(1)), 'square': (draw**2, jnp.float32(1))})
  task.loss = drawn
  stops = [e['metrics'] for e in train(task, config)[1].events if e['event'] == 'train' and e['edge'] == 'stop']
  return [(m['draw'], m['square']) for m in stops]


def test_each_step_and_each_microbatch_has_a_key_of_its_own_and_so_has_each_seed():
  assert len(set(draws())) == 8
  assert all(square - mean**2 > 1e-6 for mean, square in draws(gradient_accumulation_steps=4))
  assert not set(draws()) & set(draws(seed=1))
  assert draws() == draws()


def test_averages_are_evaluated_and_setup_sees_the_data():
  config = ToyConfig(num_steps=1, every_steps=1)
  task = Seams(config)
  state, _ = train(task, config)
  start = step.init_state(task, np.uint32(config.seed))
  expected = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, start.params, state.params)
  assert_close(expected, state.model_state['average'], 1e-6)
  x = task.data['train'].load()['x']
  np.testing.assert_allclose(state.model_state['scale']['mean'], x.mean(0), rtol=1e-5)


def test_metrics_made_on_the_host_reach_the_tape():
  config = ToyConfig()
  _, tape = train(Seams(config), config)
  metrics = clocks.evaluations(tape.events)[-1]['metrics']
  assert set(metrics) == {'accuracy', 'pairs'} and metrics['accuracy'] > 0.8


@pytest.mark.parametrize('kind', [Line, Seams, Buckets])
@pytest.mark.parametrize('size', [8, 24, 56])
def test_the_metric_does_not_depend_on_the_evaluation_batch_size(kind, size):
  results = []
  for eval_batch_size in (16, size):
    config = ToyConfig(eval_batch_size=eval_batch_size)
    task = kind(config)
    if kind is Buckets:  # its lengths alternate by batch: give every batch the same
      task.lengths = (8, 8)
    results.append(clocks.evaluations(train(task, config)[1].events)[-1]['metrics'])
  assert results[0] == results[1]


def test_an_evaluation_that_does_not_count_each_example_once_is_an_error():
  config = ToyConfig()
  task = Line(config)
  task.evaluate = lambda variables, batch: {'accuracy': (jnp.float32(1), jnp.int32(len(batch['mask'])))}
  with pytest.raises(Problem, match='counted 64 examples of 50'):
    train(task, config)
  task.evaluate = lambda variables, batch: {'precision': (jnp.float32(1), jnp.int32(1))}
  with pytest.raises(Problem, match='the target is accuracy'):
    train(task, config)


def test_a_training_metric_that_is_no_pair_is_an_error():
  config = ToyConfig()
  task = Line(config)
  loss = task.loss
  task.loss = lambda *args: (loss(*args)[0], (loss(*args)[1][0], {'norm': jnp.float32(1)}))
  with pytest.raises(Problem, match=r'loss returned norm .*\(sum, count\)'):
    train(task, config)


@pytest.mark.parametrize('kind', [Line, Seams, Buckets])
def test_eight_devices_train_as_one_does(kind):
  config = ToyConfig()
  assert_close(train(kind(config), config)[0], train(kind(config), config, devices=8)[0])


@pytest.mark.parametrize('microbatches', [1, 2])
def test_eight_devices_train_digits_as_one_does(microbatches):
  # a tenth of the recipe's learning rate: at the whole of it one max-pool winner that rounding decides otherwise is
  # amplified within 20 steps (seen with jax 0.12)
  config = DigitsConfig(num_epochs=2, stop='end', eval_batch_size=64, gradient_accumulation_steps=microbatches,
                        peak_learning_rate=0.001)
  states = []
  for devices in (1, 8):
    task = config.make_task('')
    task.num_steps, task.target = 20, dataclasses.replace(task.target, every_steps=20)
    states.append(train(task, config, devices=devices)[0])
  assert_close(states[0].params, states[1].params, 1e-5)


def test_a_batch_that_does_not_divide_over_the_devices_is_an_error():
  config = ToyConfig(batch_size=12)
  with pytest.raises(Problem, match='batch_size=12.*multiple of 8'):
    train(Line(config), config, devices=8)


def test_training_stops_at_the_first_hit_or_goes_on_to_the_end():
  for stop, steps in (('first_hit', 6), ('end', 24)):
    config = ToyConfig(target_value=0.5, stop=stop)
    state, tape = train(Line(config), config)
    assert int(state.step) == steps
    stops = [e for e in tape.events if e['event'] == 'run_stop']
    assert [(e['status'], e['step']) for e in stops] == [('success', 6)]
  config = ToyConfig()
  assert [e['status'] for e in train(Line(config), config)[1].events if e['event'] == 'run_stop'] == ['aborted']


def resume(task, config, tape, checkpoints, **options):
  """Continues from the latest checkpoint with a new tape that begins with the old one's text."""
  devices = options.get('devices', 1)
  restored = checkpoints.restore_newest(programs.abstract_state(task, mesh.make_mesh(jax.devices()[:devices])))
  resumed = {'step': restored.step, 'line': restored.tape.count('\n')}
  return train(task, config, tape=begin(task, text=tape.text(), resumed=resumed), state=restored.state,
               checkpoints=checkpoints, **options)


@pytest.mark.parametrize('kind', [Line, Seams, Buckets])
@pytest.mark.parametrize('device_loop', [False, True])
def test_preempted_in_the_middle_of_a_chunk_ends_the_same(kind, device_loop, tmp_path):
  config = ToyConfig()
  whole, whole_tape = train(kind(config), config, device_loop=device_loop)
  task = kind(config)
  tape = begin(task)
  kept = checkpoint.Checkpoints(tmp_path)
  asks = 2 if device_loop and kind is not Buckets else 13  # a device loop is asked between chunks only
  with pytest.raises(loop.Preempted):
    train(task, config, tape=tape, checkpoints=kept, device_loop=device_loop,
          pod=StoppedAfter(asks))
  state, tape = resume(kind(config), config, tape, kept, device_loop=device_loop)
  assert_same(whole, state)
  ends = [[e['metrics'] for e in clocks.evaluations(t.events)] for t in (whole_tape, tape)]
  assert ends[0] == ends[1]
  assert sum(name == ('run_start', None) for name in names(tape)) == 1
  assert sum(name == ('data_init', 'start') for name in names(tape)) == (1 if kind is Seams else 0)


def test_a_checkpoint_restores_on_another_number_of_devices(tmp_path):
  config = ToyConfig()
  whole, _ = train(Seams(config), config)
  task = Seams(config)
  tape, kept = begin(task), checkpoint.Checkpoints(tmp_path)
  with pytest.raises(loop.Preempted):
    train(task, config, tape=tape, checkpoints=kept, pod=StoppedAfter(13))
  state, _ = resume(Seams(config), config, tape, kept, devices=8)
  assert_close(whole, state)


def damage(folder, how):
  """Makes a checkpoint unreadable in one of the ways that disks and crashes do."""
  files = sorted((p for p in folder.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
  largest = files[-1]
  data = largest.read_bytes()
  if how == 'a byte flipped':
    largest.write_bytes(data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:])
  elif how == 'cut short':
    largest.write_bytes(data[:len(data) // 2])
  elif how == 'empty':
    for path in files:
      path.write_bytes(b'')
  elif how == 'no arrays':
    shutil.rmtree(folder / 'state')
  elif how == 'no tape':
    shutil.rmtree(folder / 'tape')


@pytest.mark.parametrize('how', ['a byte flipped', 'cut short', 'empty', 'no arrays', 'no tape'])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(how, tmp_path, capsys):
  config = ToyConfig()
  whole, whole_tape = train(Seams(config), config)
  tape, kept = begin(Seams(config)), checkpoint.Checkpoints(tmp_path)
  with pytest.raises(loop.Preempted):
    train(Seams(config), config, tape=tape, checkpoints=kept, pod=StoppedAfter(18))
  last = kept.latest_step()
  assert last > 12
  kept.close()
  damage(tmp_path / str(last), how)
  kept = checkpoint.Checkpoints(tmp_path)
  state, tape = resume(Seams(config), config, tape, kept)
  assert_same(whole, state)
  assert f'the checkpoint of step {last} is damaged' in capsys.readouterr().err
  assert (tmp_path / 'damaged' / str(last)).is_dir() and kept.wait() == config.num_steps
  assert [e['metrics'] for e in clocks.evaluations(tape.events)] == [
      e['metrics'] for e in clocks.evaluations(whole_tape.events)]


def test_where_every_checkpoint_is_damaged_nothing_begins_again_unasked(tmp_path):
  config = ToyConfig()
  tape, kept = begin(Line(config)), checkpoint.Checkpoints(tmp_path)
  train(Line(config), config, tape=tape, checkpoints=kept)
  kept.close()
  before = sorted(p.name for p in tmp_path.iterdir())
  for name in before:
    damage(tmp_path / name, 'cut short')
  with pytest.raises(Problem, match='no checkpoint is whole'):
    resume(Line(config), config, tape, checkpoint.Checkpoints(tmp_path))
  assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.int32, jnp.uint8, jnp.bool_])
def test_checksums_see_every_bit_and_no_sharding(dtype):
  x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (8, 3, 2)), dtype)
  state = lambda x: step.State(jnp.int32(1), {'w': x, 'scalar': x[0, 0, 0]}, {}, {})
  rows = jax.device_put(x, mesh.by_row(mesh.make_mesh()))
  one = jax.jit(step.inspect)(state(x))[1]
  assert one.shape == (3,)
  np.testing.assert_array_equal(one, jax.jit(step.inspect)(state(rows))[1])
  values = np.asarray(x)
  for place in np.ndindex(values.shape):
    changed = values.copy()
    changed[place] = not changed[place]
    assert int(jax.jit(step.inspect)(state(jnp.asarray(changed)))[1][2]) != int(one[2])
  swapped = values.copy()
  (a, b), (c, d) = np.argwhere(values[..., 0] == 0)[0], np.argwhere(values[..., 0] == 1)[0]
  swapped[a, b, 0], swapped[c, d, 0] = values[c, d, 0], values[a, b, 0]
  assert int(jax.jit(step.inspect)(state(jnp.asarray(swapped)))[1][2]) != int(one[2])


def test_devices_of_several_slices_make_a_mesh_of_two_axes():
  class Device:
    def __init__(self, device, number):
      self.device, self.slice_index, self.process_index, self.id = device, number % 2, number // 4, number
  devices = [Device(d, n) for n, d in enumerate(jax.devices())]
  with pytest.raises(Problem, match='slices of different sizes'):
    mesh.make_mesh(devices[:7])
  for device, number in zip(devices, (0, 0, 1, 2, 2, 2)):
    device.slice_index = number
  with pytest.raises(Problem, match='slices of different sizes'):  # 2, 1 and 3: on average the first one's size
    mesh.make_mesh(devices[:6])
  devices = [Device(d, n) for n, d in enumerate(jax.devices())]
  made = mesh.make_mesh(devices)
  assert dict(made.shape) == {'slice': 2, 'data': 4}
  assert [[d.id for d in row] for row in made.devices] == [[0, 2, 4, 6], [1, 3, 5, 7]]
  assert mesh.by_row(made).spec == PartitionSpec(('slice', 'data'))
  spread = mesh.spread({'w': jax.ShapeDtypeStruct((3, 8), np.float32)}, made)['w'].sharding
  assert spread.spec == PartitionSpec(None, 'data')


@pytest.mark.parametrize('kind', [Seams, StreamedLine])
def test_two_slices_train_as_one(kind):
  config = ToyConfig()
  flat, _ = train(kind(config), config, devices=8)
  devices = np.array(jax.devices()).reshape(2, 4)
  slices = Mesh(devices, ('slice', 'data'), axis_types=(AxisType.Auto,) * 2)
  state = loop.run(kind(config), config, slices, begin(kind(config)))
  assert_close(flat, state)


def test_divergence_names_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
  config = ToyConfig()
  task = Line(config)
  task.prepare = lambda batch, keys, shape: {**batch, 'x': jnp.where(
      (batch['epoch'] == 1)[:, None] & (batch['index'] == 5)[:, None], jnp.nan, batch['x'])}
  index, epoch = task.order.rows(0, config.num_steps)
  at = int(np.argwhere(((index == 5) & (epoch == 1)).any(1))[0, 0]) + 1
  kept = checkpoint.Checkpoints(tmp_path)
  with pytest.raises(Problem, match=f'not finite at step {at}: .*checkpoint of step 6 is kept'):
    train(task, config, checkpoints=kept)
  kept.wait()
  assert kept.latest_step() == 6 and 6 < at <= 12
  assert programs.NEVER > at


def test_a_broken_state_is_never_saved(tmp_path):
  config = ToyConfig(num_steps=6)
  task = Line(config)
  task.after_update = lambda state: dataclasses.replace(
      state, params={**state.params, 'b': jnp.where(state.step == 6, jnp.nan, state.params['b'])})
  task.evaluate = lambda variables, batch: {'accuracy': (jnp.float32(0), batch['mask'].sum())}
  kept = checkpoint.Checkpoints(tmp_path)
  with pytest.raises(Problem, match='the state is not finite at step 6'):
    train(task, config, checkpoints=kept)
  assert kept.latest_step() is None


def test_checkpoints_are_kept_up_to_the_number_asked_for(tmp_path):
  config = ToyConfig()
  kept = checkpoint.Checkpoints(tmp_path, keep=2)
  train(Line(config), config, checkpoints=kept, cadence=Cadence(checkpoint_every_steps=4))
  assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [20, 24]


def test_one_program_serves_all_seeds():
  made = []
  for seed in (0, 1):
    config = ToyConfig(seed=seed)
    task = Seams(config)
    tape = train(task, config)[1]
    made.append(next(e['program_sha256'] for e in tape.events if 'program_sha256' in e))
  assert made[0] == made[1]


def test_seeds_differ_and_repeat():
  digests = []
  for seed in (0, 1, 0):
    config = ToyConfig(seed=seed)
    digests.append(loop.sha256(train(Seams(config), config)[0]))
  assert digests[0] == digests[2] != digests[1]


def test_chunks_are_cut_at_each_event_and_cover_every_step():
  assert list(chunks(0, 10, every(4), every(0))) == [(0, 4), (4, 8), (8, 10)]
  assert list(chunks(3, 10, every(4), lambda s: 5 if s <= 5 else 99)) == [(3, 4), (4, 5), (5, 8), (8, 10)]
  assert list(chunks(10, 10, every(4))) == []


@pytest.mark.parametrize('offset, expected', [(0, [5, 10, 15]), (2, [2, 7, 12])])
def test_evaluations_fall_where_cadence_and_offset_say(offset, expected):
  target = Target('accuracy', 1.0, 1, every_steps=5, offset_steps=offset)
  assert [s for s in range(1, 16) if target.next_evaluation(s) == s] == expected


@pytest.mark.parametrize('remainder, seen', [('drop', 96), ('carry', 100)])
def test_each_record_once_an_epoch(remainder, seen):
  order = Shuffled(100, 16, seed=5, remainder=remainder)
  rows = order.rows(0, 50)
  for epoch in range(int(rows.epoch.max())):
    index = rows.index[rows.epoch == epoch]
    assert len(index) == len(set(index)) == seen
  later = order.rows(17, 31)
  np.testing.assert_array_equal(later.index, rows.index[17:31])
  assert not np.array_equal(rows.index[:6], rows.index[6:12])


def test_evaluation_order_pads_with_minus_one():
  rows = Once(10, 4).rows(0, 3)
  assert rows.index.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]


def test_an_error_of_the_input_thread_is_raised_in_the_loop():
  config = ToyConfig()
  task = StreamedLine(config)
  batches = task.data['train'].batches

  def breaks(start, stop):
    for number, batch in enumerate(batches(start, stop)):
      if start + number == 8:
        raise Problem('record 17 of shard 3 does not decode')
      yield batch
  task.data['train'] = dataclasses.replace(task.data['train'], batches=breaks)
  with pytest.raises(Problem, match='record 17'):
    train(task, config)
  task.data['train'] = dataclasses.replace(task.data['train'], batches=lambda a, b: iter([*batches(a, b)][:3]))
  with pytest.raises(Problem, match='ended before step 3'):
    train(task, config)
  assert not [thread for thread in threading.enumerate() if thread.name == 'feed'], 'a thread outlived its run'


@pytest.mark.parametrize('kind', [Line, StreamedLine])
def test_a_run_resumes_only_with_the_data_that_it_began_with(kind, tmp_path):
  config = ToyConfig()
  task, kept = kind(config), checkpoint.Checkpoints(tmp_path)
  task.data = {split: dataclasses.replace(data, fingerprint=f'{split} one') for split, data in task.data.items()}
  tape = begin(task)
  with pytest.raises(loop.Preempted):
    train(task, config, tape=tape, checkpoints=kept, pod=StoppedAfter(13))
  assert {e['split']: e['fingerprint'] for e in tape.events if e['event'] == 'data' and e.get('fingerprint')} == {
      'train': 'train one', 'eval': 'eval one'}
  task.data['eval'] = dataclasses.replace(task.data['eval'], fingerprint='other')
  with pytest.raises(Problem, match='eval data: are not those that this run began with .*other.*eval one'):
    resume(task, config, tape, kept)


def test_data_of_another_shape_are_an_error():
  config = ToyConfig()
  task = Line(config)
  load = task.data['train'].load
  task.data['train'] = dataclasses.replace(task.data['train'], load=lambda: {**load(), 'label': np.zeros(3, np.int32)})
  with pytest.raises(Problem, match=r'train data: label is int32\(3,\), expected int32\(96,\)'):
    train(task, config)


def test_profiling_writes_a_trace_of_the_steps_asked_for(tmp_path):
  config = ToyConfig()
  for name, profile, options in (('inside', (2, 9), {}), ('cut short', (2, 20), {'target_value': 0.3})):
    config = ToyConfig(**options)
    train(Line(config), config, cadence=Cadence(profile=profile, profile_dir=str(tmp_path / name)))
    assert list((tmp_path / name).rglob('*.xplane.pb')), name


def test_a_program_that_is_not_written_to_the_cache_was_not_in_it():
  name = 'jax_persistent_cache_min_compile_time_secs'
  before, counted, x = getattr(jax.config, name), programs.cache_counter(), np.ones(3)
  try:
    for least, found in ((1e9, (0, 1)), (0, (0, 2)), (1e9, (1, 2))):  # not written, written, read
      jax.config.update(name, least)
      jax.jit(lambda x: x * 1234.5).lower(x).compile()
      assert tuple(counted().values()) == found
  finally:
    jax.config.update(name, before)
