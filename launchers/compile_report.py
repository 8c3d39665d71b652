"""What launchers.compile says of one config on one topology: as values, as text, as a row of a Markdown table."""
import dataclasses

from launchers import roofline
from launchers.topology import Topology

GIB, MB = 2**30, 1e6


def report(config_path: str, changes: dict, batch_size: int, task, topology: Topology,
           programs: list[roofline.Program], versions: dict) -> dict:
  """All of it, as JSON has it; what depends on chips.csv is derived here, each time anew."""
  chip = topology.chip
  made = []
  for program in programs:
    own = {'name': program.name, 'runs': program.runs, 'repeats': program.repeats, 'needed_bytes': program.needed_bytes,
           'fits': program.fits(chip)}
    if 'out_of_memory' not in program.numbers:
      own['collectives_by_kind'] = program.by_kind()
      if chip:
        own['terms_seconds'] = program.terms(chip)
        own['seconds'] = roofline.bounds(own['terms_seconds'])
    made.append({**own, **program.numbers})
  estimate = roofline.estimate(programs, topology)
  return {
      'config': config_path, 'changes': changes, 'model': task.model_name, 'batch_size': batch_size,
      'num_steps': task.num_steps, 'topology': topology.name, 'cloud_name': topology.cloud_name,
      'devices': topology.num_devices, 'num_slices': topology.num_slices,
      'chip': dataclasses.asdict(chip) if chip else None, 'capacity_bytes': chip.capacity_bytes if chip else None,
      'fits': all(program.fits(chip) for program in programs), 'versions': versions, 'programs': made,
      'estimate': dataclasses.asdict(estimate) if estimate else None, 'assumptions': roofline.ASSUMPTIONS}


def misfit(made: dict) -> str | None:
  """One line on the program that needs most, where one does not fit."""
  bad = [p for p in made['programs'] if not p['fits']]
  if not bad:
    return None
  worst = max(bad, key=lambda p: p['needed_bytes'] or 0)
  needed = 'more bytes' if worst['needed_bytes'] is None else f'{worst["needed_bytes"]:,} bytes'
  says = f'; XLA: {worst["out_of_memory"]["message"]}' if 'out_of_memory' in worst else ''
  return (f'{made["topology"]}: {worst["name"]} does not fit: it needs {needed} a chip, which has '
          f'{made["capacity_bytes"]:,}{says}; take more chips, a smaller batch or more gradient_accumulation_steps')


def duration(seconds: float) -> str:
  """As hours, minutes or seconds, to three digits."""
  for unit, size in (('h', 3600), ('min', 60), ('s', 1)):
    if seconds >= size:
      return f'{seconds / size:.3g} {unit}'
  return f'{1e3 * seconds:.3g} ms'


def between(pair, form=duration) -> str:
  low, high = map(form, pair)
  return low if low == high else f'{low} to {high}'


def dollars(usd: float) -> str:
  return f'{usd:.2f} USD'


def _kinds(program: dict) -> dict[str, tuple[int, str]]:
  """kind -> (count, `51.2 MB, 1 in loops`), of the kinds that there are; `between slices` last."""
  def one(found):
    loops = f', {found["in_loops"]} in loops' if found['in_loops'] else ''
    return found['count'], f'{found["bytes"] / MB:.1f} MB{loops}'
  names = {'dcn': 'between slices'}
  return {names.get(kind, kind): one(found) for kind, found in program['collectives_by_kind'].items() if found['count']}


def _cells(program: dict, kinds: list[str]) -> dict[str, str]:
  """What is said of one program, line by line; `kinds` of collectives each have theirs."""
  needed = '-' if program['needed_bytes'] is None else f'{program["needed_bytes"] / GIB:.3f} GiB'
  if 'out_of_memory' in program:
    return {'memory a device': f'{needed}: does not fit'}
  found = _kinds(program)
  memory = {name: f'{size / GIB:.3f} GiB' for name, size in program['memory_bytes'].items()}
  cells = {'memory a device': needed, '  arguments': memory['argument'], '  outputs': memory['output'],
           '  of them in place of arguments': memory['alias'], '  temporaries': memory['temp'],
           '  code': memory['generated_code'], 'FLOPs a device': f'{program["flops"] * program["repeats"] / 1e9:.1f} G',
           'bytes accessed a device': f'{program["bytes_accessed"] * program["repeats"] / 1e9:.2f} GB',
           **{kind: '{} ({})'.format(*found[kind]) if kind in found else '0' for kind in kinds}}
  if 'seconds' in program:
    cells.update({f'  {name} term': duration(seconds) for name, seconds in program['terms_seconds'].items()},
                 **{'time, estimated': between(program['seconds'])})
  return {**cells, 'in the whole schedule': f'{program["runs"]} times'}


def text(made: dict) -> str:
  """For a person at the terminal."""
  chip, programs = made['chip'], made['programs']
  kinds = list(dict.fromkeys(k for p in programs if 'out_of_memory' not in p for k in _kinds(p)))
  columns = [_cells(program, kinds) for program in programs]
  shape = f'{made["topology"]}, {made["cloud_name"]}: ' if chip else ''
  about = (f'{made["devices"]} chips of {chip["cores"]} TensorCore{"s"[:chip["cores"] - 1]}, {made["num_slices"]} '
           f'slice{"s"[:made["num_slices"] - 1]}, {chip["hbm_gib"]:g} GiB a chip') if chip else (
               f'{made["devices"]} CPU devices; capacity and speed are not known: -')
  lines = [f'config    {made["config"]}' + ''.join(f' {name}={value}' for name, value in made['changes'].items()),
           f'model     {made["model"]}, {made["batch_size"]} rows a step, {made["num_steps"]} steps in the schedule',
           f'topology  {shape}{about}', 'versions  ' + ', '.join(f'{n} {v}' for n, v in made['versions'].items()), '']
  rows = list(dict.fromkeys(name for column in columns for name in column))
  table = [['', *(p['name'] for p in programs)],
           *([row, *(column.get(row, '-') for column in columns)] for row in rows)]
  widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
  lines += ['  '.join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:]))]).rstrip()
            for row in table]
  if made['estimate']:
    estimate = made['estimate']
    lines += ['', f'time to target at most, estimated: {between(estimate["seconds"])}'
              + (f', {between(estimate["usd"], dollars)} ({estimate["price"]["name"]})' if estimate['usd'] else '')]
  if chip:
    lines += ['', 'assumed:', *(f'  {line}' for line in made['assumptions'])]
  if any(p['repeats'] > 1 for p in programs):
    lines.append('  XLA counts the body of a loop once: all work is taken times the microbatches, the update with it')
  return '\n'.join(lines) + '\n'


HEADING = ('model', 'config', 'slice', 'chips', 'TensorCores', 'rows a step (a chip)', 'memory a chip', 'of',
           'TFLOP a chip', 'accessed a chip', 'collectives a step', 'step', 'whole schedule', 'its price')


def row(made: dict) -> tuple[str, ...]:
  """The cells of a table that HEADING heads; of several shapes of a step the one that needs most memory."""
  chip, steps = made['chip'], [p for p in made['programs'] if p['name'].startswith('train')]
  step = max(steps, key=lambda p: (not p['fits'], p['needed_bytes'] or 0))
  changes = ''.join(f', {name}={value}' for name, value in made['changes'].items())
  config = made['config'].rpartition('/')[2].removesuffix('.py') + changes
  fixed = (made['model'], config, f'{made["cloud_name"]} ({made["topology"].partition(":")[2]})' if chip else
           made['topology'], str(made['devices']), str(made['devices'] * chip['cores']) if chip else '-',
           f'{made["batch_size"]} ({made["batch_size"] / made["devices"]:g})',
           '-' if step['needed_bytes'] is None else f'{step["needed_bytes"] / GIB:.2f} GiB',
           f'{chip["hbm_gib"]:g} GiB' if chip else '-')
  if not made['fits']:
    return (*fixed, *['-'] * 2, 'does not fit', *['-'] * 3)
  estimate = made['estimate']
  return (*fixed, f'{step["flops"] * step["repeats"] / 1e12:.3f}',
          f'{step["bytes_accessed"] * step["repeats"] / 1e9:.1f} GB',
          ', '.join(f'{count} {kind} ({more})' for kind, (count, more) in _kinds(step).items()) or 'none',
          between(step['seconds']) if estimate else '-', between(estimate['seconds']) if estimate else '-',
          between(estimate['usd'], dollars) if estimate and estimate['usd'] else '-')


def markdown(rows: list[tuple[str, ...]], heading=HEADING) -> str:
  """A table of such rows."""
  lines = [heading, ['---'] * len(heading), *rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
