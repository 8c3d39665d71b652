"""The steps of a config, lowered as a run lowers them and compiled for a topology, or known from before."""
import collections

from launchers import compile_report, roofline, topology
from launchers.compile_cache import Cache, versions
from training import config as configs


def num_evaluations(target, num_steps: int) -> int:
  """How often a whole schedule is evaluated."""
  step = count = 0
  while step < num_steps:
    step, count = min(target.next_evaluation(step + 1), num_steps), count + 1
  return count


def programs(task, config, where: topology.Topology, cache: Cache, *,
             evaluation: bool = True) -> list[roofline.Program]:
  """The programs of a run's steps, compiled for a topology or known from before; without evaluation's on request."""
  from input_pipelines.source import Resident
  from training import chunks
  from training import mesh as meshes
  from training import programs as lowering
  devices = topology.devices(where)
  mesh, data, micro = meshes.make_mesh(devices), task.data, config.gradient_accumulation_steps
  state, ids = lowering.abstract_state(task, mesh), [device.id for device in mesh.devices.flat]
  looped = bool(where.chip) and isinstance(data['train'], Resident)
  events = (task.target.next_evaluation, chunks.every(chunks.Cadence().log_every_steps))
  chunk_steps = max(b - a for a, b in chunks.chunks(0, task.num_steps, *events))
  steps = collections.Counter(data['train'].shape_at(step) for step in range(task.num_steps))
  evals = collections.Counter(data['eval'].shape_at(step) for step in range(data['eval'].order.num_steps))
  lowering.check_batches(task, mesh, micro)
  lowered = [('train', shape, runs, lowering.lower_train(
      task, mesh, state, shape=shape, microbatches=micro, chunk_steps=chunk_steps, device_loop=looped))
      for shape, runs in steps.items()]
  times = num_evaluations(task.target, task.num_steps)
  lowered += [('eval', shape, runs * times, lowering.lower_eval(task, mesh, state, shape))
              for shape, runs in evals.items() if evaluation]
  repeats = {'train': micro if where.chip else 1, 'eval': 1}  # on CPU microbatches are written out
  return [roofline.Program(name if shape is None else f'{name} {shape}', runs, repeats[name],
                           int(looped and name == 'train'), cache.numbers(low, where, ids))
          for name, shape, runs, low in lowered]


def changes(config, path: str) -> dict:
  """The fields of a config that differ from those of its file."""
  before = configs.load(path)
  return {name: getattr(config, name) for name in vars(config) if getattr(config, name) != getattr(before, name)}


def report(config, path: str, where: topology.Topology, data_dir: str, cache: Cache) -> dict:
  """compile_report.report of one config on one topology."""
  task = config.make_task(data_dir)
  return compile_report.report(path, changes(config, path), config.batch_size, task, where,
                               programs(task, config, where, cache), versions())


def prepare_devices(topologies: list[topology.Topology]):
  """Makes as many CPU devices as the largest cpu-N wants; before jax is used."""
  import jax
  cpus = [where.num_devices for where in topologies if not where.chip]
  if cpus:
    jax.config.update('jax_num_cpu_devices', max(cpus))
