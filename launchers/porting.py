"""Writes the porting tables: what configs need and take on slices of TPUs, and how they scale, compiled without any.

  python -m launchers.porting --rows=docs/porting_rows.txt,docs/scaling_rows.txt --write=docs/porting.md

Each line of a rows file holds flags of launchers.compile, --topology=A,B,... for several; lines that begin with # are
comments. With --rows_a_chip=N a line is of the table of weak scaling: its batch is N for each chip, whatever the config
says. A table takes the place of what is between <!-- begin: porting --> and <!-- end: porting -->, or the same with
`scaling`, in the file; one that has no rows is left as it is.
Exit status: 0 all rows could be judged, also those that do not fit; 1 an error, 2 a malformed command line.
"""
import datetime
import re
import shlex
from pathlib import Path

from absl import flags

from launchers import command, compile_report, compile_steps, scaling, topology
from launchers.compile_cache import Cache, versions
from scoring.problem import Problem
from training import config as configs

FLAGS = flags.FLAGS
flags.DEFINE_list('rows', 'docs/porting_rows.txt,docs/scaling_rows.txt', 'files of flags, a row a line')
flags.DEFINE_string('write', '', 'file whose blocks to replace; by default the tables are printed only')
BEGIN, END = '<!-- begin: porting -->', '<!-- end: porting -->'
SCALING_BEGIN, SCALING_END = '<!-- begin: scaling -->', '<!-- end: scaling -->'


def read_rows(path: str) -> list[tuple[int, list[str]]]:
  """(line number, flags) of each row."""
  try:
    lines = Path(path).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise Problem(f'--rows={path}: cannot read ({error}); name a file of flags of launchers.compile') from None
  found = [(number, shlex.split(line)) for number, line in enumerate(lines, 1) if line.strip() and line[0] != '#']
  if not found:
    raise Problem(f'--rows={path}: holds no row; write flags of launchers.compile, a row a line')
  return found


def parsed(row: list[str], where: str):
  """(path of the config, config, rows a chip or None, topologies) of a row's flags."""
  values = flags.FlagValues()
  flags.DEFINE_string('config', None, '', flag_values=values)
  flags.DEFINE_list('topology', None, '', flag_values=values)
  flags.DEFINE_integer('rows_a_chip', None, '', lower_bound=1, flag_values=values)
  given = next((flag.partition('=')[2] for flag in row if flag.startswith('--config=')), None)
  if not given:
    raise Problem(f'{where}: --config=FILE is missing')
  config = configs.load(given)
  configs.define_flags(config, values)
  try:
    rest = values(['row', *row])[1:]
  except flags.Error as error:
    raise Problem(f'{where}: {error}') from None
  if rest or not values.topology:
    raise Problem(f'{where}: wants --topology=... and flags only{", not " + rest[0] if rest else ""}')
  wheres = [topology.parse(name) for name in values.topology]
  return given, configs.from_flags(config, values), values.rows_a_chip, wheres


def made_with() -> str:
  packages = ', '.join(f'{name} {version}' for name, version in versions().items())
  return f'`make porting`, {datetime.date.today()}, {packages}; compiled on a CPU, not run.'


def assumed(lines) -> str:
  return ''.join(f'- {line};\n' for line in lines).removesuffix(';\n') + '.\n'


def block(made: list[dict]) -> str:
  """The table, and what it takes to read it."""
  notes = [note for one in made if (note := compile_report.misfit(one))]
  return (f'{BEGIN}\n{compile_report.markdown([compile_report.row(one) for one in made])}\n'
          + ''.join(f'{note}\n\n' for note in notes) +
          f'{made_with()} In the names of slices v5e and v6e count chips, v4 and v5p TensorCores, of which a chip has '
          'two. Bytes of collectives are of whole arrays; prices are those on demand of `scoring/prices.csv`. '
          f'Assumed:\n\n{assumed(made[0]["assumptions"])}{END}')


def scaling_block(made: list[dict]) -> str:
  """The table of weak scaling, and what it takes to read it."""
  return (f'{SCALING_BEGIN}\n{compile_report.markdown(scaling.rows(made), scaling.HEADING)}\n{made_with()} Assumed, '
          f'with the peak rates of `launchers/chips.csv`:\n\n{assumed(scaling.ASSUMPTIONS)}{SCALING_END}')


def replace_block(path: str, new: str):
  """Puts `new` in the place of the block of a file that begins and ends as it does."""
  file, lines = Path(path), new.splitlines()
  pattern = re.compile(f'{re.escape(lines[0])}.*{re.escape(lines[-1])}', re.DOTALL)
  try:
    text = file.read_text(encoding='utf-8')
    if len(pattern.findall(text)) != 1:
      raise Problem(f'--write={path}: needs the lines {lines[0]} and {lines[-1]}, once each')
    file.write_text(pattern.sub(lambda _: new, text), encoding='utf-8')
  except OSError as error:
    raise Problem(f'--write={path}: cannot read or write it ({error.strerror})') from None


def main(argv: list[str], doc: str) -> int:
  topology.set_environment()
  if command.help_wanted(argv):
    return command.print_help(doc)
  command.parse(argv)
  rows = [parsed(row, f'{path}, line {number}') for path in FLAGS.rows for number, row in read_rows(path)]
  compile_steps.prepare_devices([where for *_, wheres in rows for where in wheres])
  cache, made, scaled = Cache(FLAGS.cache_dir), [], []
  for path, config, rows_a_chip, wheres in rows:
    for where in wheres:
      print(f'{path} on {where.name}', flush=True)
      if rows_a_chip:
        scaled.append(scaling.report(config, path, rows_a_chip, where, cache))
      else:
        made.append(compile_steps.report(config, path, where, '', cache))
  for text in [*([block(made)] if made else []), *([scaling_block(scaled)] if scaled else [])]:
    if FLAGS.write:
      replace_block(FLAGS.write, text)
    print(f'{text}\n')
  print(cache.summary())
  return command.REACHED


if __name__ == '__main__':
  command.run(main, __doc__)
