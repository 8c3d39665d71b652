"""Predicted weak scaling: a training step as chips are added and the rows of each chip stay the same."""
import dataclasses

from launchers import compile_report, compile_steps
from launchers.compile_cache import Cache
from launchers.topology import Topology
from scoring.problem import Problem

ASSUMPTIONS = (
    'a step takes the greater of compute and HBM, and then all of its collectives: none is hidden',
    'an all-reduce over n chips sends 2 (n - 1) / n of its bytes from each, over all links at their peak rate, both '
    'ways; what a message takes to begin, and slices without wrap-around links, are left out',
    'ideal is what the smallest slice of a kind does a chip')
HEADING = ('model', 'slice', 'chips', 'rows a step (a chip)', 'memory a chip', 'compute', 'HBM', 'collectives',
           'step at best', 'rows/s', 'of ideal')


def report(config, path: str, rows_a_chip: int, where: Topology, cache: Cache) -> dict:
  """compile_report.report of the training step alone, the batch being `rows_a_chip` for each chip.

  Raises:
    Problem: the topology is of CPU devices, or the step does not fit.
  """
  if not where.chip:
    raise Problem(f'--topology={where.name}: how fast CPUs are is not known; name slices of TPUs')
  whole = dataclasses.replace(config, batch_size=rows_a_chip * where.num_devices)
  task = whole.make_task('')
  programs = compile_steps.programs(task, whole, where, cache, evaluation=False)
  made = compile_report.report(path, compile_steps.changes(whole, path), whole.batch_size, task, where, programs, {})
  if wrong := compile_report.misfit(made):
    raise Problem(wrong)
  return made


def step_seconds(program: dict) -> float:
  """Of one shape of a step, by ASSUMPTIONS."""
  terms = program['terms_seconds']
  return max(terms['compute'], terms['hbm']) + terms['ici'] + terms['dcn']


def slowest(made: dict) -> dict:
  """The program of a report whose step takes longest."""
  return max(made['programs'], key=step_seconds)


def rows(reports: list[dict]) -> list[tuple[str, ...]]:
  """The cells of a table that HEADING heads, a row a report; each model and chip begins with its smallest slice."""
  smallest, made = {}, []
  for one in reports:
    kind = one['config'], one['model'], one['chip']['name'], one['batch_size'] // one['devices']
    smallest[kind] = min(smallest.get(kind, one), one, key=lambda report: report['devices'])
  for one in reports:
    rows_a_chip, program = one['batch_size'] // one['devices'], slowest(one)
    terms, seconds = program['terms_seconds'], step_seconds(program)
    ideal = step_seconds(slowest(smallest[one['config'], one['model'], one['chip']['name'], rows_a_chip]))
    made.append((one['model'], f'{one["cloud_name"]} ({one["topology"].partition(":")[2]})', str(one['devices']),
                 f'{one["batch_size"]} ({rows_a_chip})', f'{program["needed_bytes"] / compile_report.GIB:.2f} GiB',
                 *map(compile_report.duration, (terms['compute'], terms['hbm'], terms['ici'] + terms['dcn'], seconds)),
                 f'{one["batch_size"] / seconds:,.0f}', f'{100 * ideal / seconds:.1f} %'))
  return made
