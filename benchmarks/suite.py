"""Runs the benchmarks that fit this machine, keeps what they print, and makes tables of it.

All lines are in that of benchmarks/results/README.md, those of training in that of README.md.

  python -m benchmarks.suite [--only=latency,squad] [--peer_dir=DIR] [--flax_dir=DIR] [--data_dir=DIR] [--images=DIR]
  python -m benchmarks.suite --table      the tables alone, from benchmarks/results/

Each runs in a process of its own, one after the other: leave the machine alone meanwhile. A benchmark that fails, or
has not ended after --timeout_minutes, or whose peer cannot be had, is in the table with the reason. A line takes the
place of an earlier one of the same machine that answers the same question. `make bench` is this with what is installed;
the extra `peers` has most of the peers. Exit status: 0; 1 if one failed, was ended, or could not be run for want of its
peer or its data.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import report
from launchers import command
from scoring.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
BEGIN, END = '<!-- benchmarks -->\n', '<!-- end of benchmarks -->'
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 30  # between SIGTERM, on which pods end their processes, and SIGKILL
BOTH = (('--dtype=float32',), ('--dtype=bfloat16',))
# Arguments of each; what is in braces are flags of this command.
COMMANDS = {
    'tape_overhead': ((),), 'loop_overhead': ((),), 'convolution': ((),), 'products': ((),), 'query_overhead': ((),),
    'start_up': (('--flax_dir={flax_dir}', '--flax_python={flax_python}'),),
    'decode': (('--images={images}',),), 'pipeline': (('--data_dir={data_dir}', '--name=imagenette'),),
    'input_wait': (('--data_dir={data_dir}',),), 'weak_scaling': ((),),
    'cifar_step': tuple((*dtype, '--peer_dir={peer_dir}') for dtype in BOTH),
    'resnet_step': BOTH, 'squad': BOTH, 'latency': (('--scenarios=single_stream',),)}
TRAINING = ('airbench', 'cifar_step', 'resnet_step', 'squad', 'start_up')  # in README.md; results/ has all
HEAD = ['| benchmark | ours | peer | ratio | n | spread |', '|---|---|---|---|---|---|']
PLACES = ('peer_dir', 'flax_dir', 'flax_python', 'data_dir', 'images')  # that commands are told

FLAGS = flags.FLAGS


def define_flags():
  """In a function, since other commands have some of these names too."""
  flags.DEFINE_list('only', list(COMMANDS), 'which')
  flags.DEFINE_bool('table', False, 'run nothing; make the table from what is there')
  flags.DEFINE_string('peer_dir', '', 'checkout of github.com/KellerJordan/cifar10-airbench')
  flags.DEFINE_string('flax_dir', '', 'checkout of github.com/google/flax')
  flags.DEFINE_string('flax_python', sys.executable, 'Python whose environment has what its imagenet example needs')
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets, for photographs')
  flags.DEFINE_string('images', '', 'folder of JPEGs, in subfolders too')
  flags.DEFINE_float('timeout_minutes', 60, 'a benchmark that takes longer is ended', lower_bound=0)
  flags.DEFINE_string('output', None, 'file of lines, and no table is made; default: benchmarks/results/, '
                      'named after this machine')


def measured(name: str, arguments, timeout_seconds: float = 3600) -> list[dict]:
  """What a benchmark says, and a line that says why it says no more where it fails or does not end in time."""
  print(report.command(name, arguments), flush=True)
  status, out, err = ended([sys.executable, '-m', f'benchmarks.{name}', *arguments], timeout_seconds)
  lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"benchmark"')]
  if status != 0 or not lines:
    said = [line for line in err.splitlines() if line.strip() and not line.startswith('-')]
    reason = next((line for line in reversed(said) if re.match(r'[\w.]*(Error|Problem|Exception|error):', line)),
                  said[-1] if said else 'it said nothing')
    if status is None:
      reason = f'had not ended after {timeout_seconds / 60:g} minutes'
    elif status < 0:
      reason = f'was ended by {signal.Signals(-status).name}'
    lines.append({'benchmark': name, **report.where_and_when(), 'command': report.command(name, arguments),
                  'not_measured': {'the rest' if lines else 'all': reason[:200]}})
  return lines


def ended(argv: list[str], timeout_seconds: float) -> tuple[int | None, str, str]:
  """(status, None where it had to be ended; stdout; stderr) of a command; it leaves no process of its group behind."""
  with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
    process, status = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=err, start_new_session=True), None
    try:
      with contextlib.suppress(subprocess.TimeoutExpired):
        status = process.wait(timeout_seconds)
    finally:
      # a second one would leave here what the first was to end
      handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDINGS}
      for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
          os.killpg(process.pid, number)
          process.wait(GRACE_SECONDS)
      for number, handler in handlers.items():
        signal.signal(number, handler)
    return status, *(file.seek(0) or file.read() for file in (out, err))


def kept(old: list[dict], new: list[dict]) -> list[dict]:
  """Old lines, without those of a command that was run again and those that ask what a new one answers.

  A line without a peer answers less than one with it, and a failure nothing: both only replace their own command's.
  A failure goes too where the same was told other folders.
  """
  def asked(line):
    return line['machine'], line['benchmark'], what(line)

  def typed(line, folders: bool):
    words = line['command'].split()
    return line['machine'], *(word for word in words if folders or not word.endswith(('=...', '=')))  # report.shown
  commands, whatever_folders = ({typed(line, folders) for line in new} for folders in (True, False))
  answered = {asked(line) for line in new if line.get('peer_name')}
  return [line for line in old if typed(line, True) not in commands and not (
      asked(line) in answered if 'ours' in line else typed(line, False) in whatever_folders)] + new


def file(machine: str) -> Path:
  """Where the lines of a machine are kept."""
  return RESULTS / f'{re.sub("[^a-z0-9]+", "_", machine.lower()).strip("_")}.jsonl'


def read(path: Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def what(line: dict) -> str:
  """Which of a benchmark's lines."""
  told = ' '.join(str(line[key]) for key in ('reference', 'what', 'kind', 'dtype', 'scenario') if key in line)
  return told + (f', batch {line["batch_size"]:,}' if 'batch_size' in line else '')


def figure(value, unit: str) -> str:
  """Three digits, or all before the point; in milliseconds or microseconds where seconds are small."""
  if value is None:
    return '-'
  for factor, small in ((1, 's'), (1e3, 'ms'), (1e6, 'us')):
    if not re.match(r's(/|$)', unit) or value * factor >= 0.9995 or small == 'us':  # which is rounded to 1
      digits = '.3g' if value * factor < 999.5 else ',.0f'
      return f'{value * factor:{digits}} {small + unit[1:] if re.match(r"s(/|$)", unit) else unit}'


def difference(told: dict) -> str:
  """Ours minus the peer's, seed by seed: its mean and 95 % interval."""
  low, high = told['interval']
  return f'**{told["mean"]:+.1f}** ({low:+.1f} to {high:+.1f})'


def row(line: dict) -> str:
  """Of the table, in Markdown."""
  name = f'`{line["benchmark"]}` {what(line)}'.strip()
  missing = {peer: reason.replace('|', '/') for peer, reason in line.get('not_measured', {}).items()}
  why = '; '.join(f'{peer}: {reason}' for peer, reason in missing.items())
  if 'ours' not in line:
    arguments = ' '.join(line['command'].split()[3:])
    return f'| {f"{name} {arguments}".strip()} | not measured: {why} | | | | |'
  ours, theirs = (line['sides'][side]['mean'] if 'difference' in line else line[side] for side in ('ours', 'peer'))
  ratio = difference(line['difference']) if 'difference' in line else (
      '-' if line['ratio'] is None else f'**{line["ratio"]:.2f}**')
  peer = f'none: {why}' if not line['peer_name'] else line['peer_name'] + ''.join(f' (no {one})' for one in missing)
  spread = ', '.join(f'{100 * x:.0f} %' for x in line['spread']) if line['n'] > 1 else '-'
  return (f'| {name} | {figure(ours, line["unit"])} | {figure(theirs, line["unit"])}, {peer} | {ratio} | '
          f'{line["n"]} | {spread} |')


def not_run(lines: list[dict]) -> list[str]:
  """What of COMMANDS has no line, each name with the dtype that it is run with."""
  ran = [{*line['command'].split()[2:], f'--dtype={line.get("dtype")}'} for line in lines]  # benchmarks.NAME, arguments
  found = []
  for name, commands in COMMANDS.items():
    for arguments in commands:
      dtype = [one for one in arguments if one.startswith('--dtype=')]
      if not any({f'benchmarks.{name}', *dtype} <= words for words in ran):
        found.append(' '.join([f'`{name}`', *(one.partition('=')[2] for one in dtype)]))
  return found


def by_machine(lines: list[dict]) -> dict[str, list[dict]]:
  """What was measured where: 'the machine; from when to when; with which jax and torch' -> its lines."""
  made = {}
  for machine in dict.fromkeys(line['machine'] for line in lines):
    mine = [line for line in lines if line['machine'] == machine]
    dates = sorted({line['date'] for line in mine if 'date' in line})
    versions = [{f'{name} {line["versions"][name]}': None for line in mine if name in (line.get('versions') or ())}
                for name in ('jax', 'torch')]
    told = [' to '.join(dict.fromkeys([*dates[:1], *dates[-1:]])), ', '.join(' and '.join(v) for v in versions if v)]
    made['; '.join([machine, *filter(None, told)])] = mine
  return made


def tables(lines: list[dict]) -> str:
  """A table a machine of all lines, in Markdown."""
  made = []
  for title, mine in by_machine(lines).items():
    made += [f'{title}. [Commands and all numbers]({file(mine[0]["machine"]).name}).\n', *HEAD, *map(row, mine), '']
    if absent := not_run(mine):
      made += [f'Not run on this machine: {", ".join(absent)}.', '']
  return '\n'.join(made)


def table_of_training(lines: list[dict]) -> str:
  """One table of the lines of training, in Markdown."""
  made, wanted = list(HEAD), [line for line in lines if line['benchmark'] in TRAINING and 'ours' in line]
  for title, mine in by_machine(wanted).items():
    mine.sort(key=lambda line: TRAINING.index(line['benchmark']))
    made += [f'| **{title}** | | | | | |', *map(row, mine)]
  return '\n'.join([*made, ''])


def write_tables(root: Path = ROOT):
  """Puts the tables of benchmarks/results/ between the marks of its README.md and of the project's."""
  lines = [line for path in sorted(RESULTS.glob('*.jsonl')) for line in read(path)]
  for page, made in ((root / 'README.md', table_of_training(lines)),
                     (root / 'benchmarks' / 'results' / 'README.md', tables(lines))):
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + made + END + rest.split(END, 1)[1])


def main() -> int:
  if not FLAGS.only:
    raise Problem(f'--only= names none: choose from {", ".join(COMMANDS)}')
  if unknown := set(FLAGS.only) - set(COMMANDS):
    raise Problem(f'--only={unknown.pop()}: choose from {", ".join(COMMANDS)}')
  if FLAGS.table and FLAGS.output:
    raise Problem('--table makes the tables of benchmarks/results/; leave --output out')
  for number in (signal.SIGTERM, signal.SIGHUP):  # so that `ended` ends what it began
    if signal.getsignal(number) is signal.SIG_DFL:  # nohup has the second ignored
      signal.signal(number, lambda number, _: sys.exit(128 + number))
  output, failed = Path(FLAGS.output or file(report.host())), False
  told = {flag: FLAGS[flag].value for flag in PLACES}
  for name in () if FLAGS.table else FLAGS.only:
    for arguments in COMMANDS[name]:
      filled = [a.format(**told) for a in arguments if all(told[flag] for flag in PLACES if f'{{{flag}}}' in a)]
      new = measured(name, filled, 60 * FLAGS.timeout_minutes)
      print(*map(row, new), sep='\n', flush=True)
      failed |= any('ours' not in line for line in new)
      output.parent.mkdir(parents=True, exist_ok=True)
      output.write_text(''.join(json.dumps(line) + '\n' for line in kept(read(output), new)))
  if not FLAGS.output:
    write_tables()
  print(f'lines: {output}' if FLAGS.output else 'the tables: benchmarks/results/README.md, README.md')
  return command.ERROR if failed else 0


if __name__ == '__main__':
  define_flags()
  command.script(main, __doc__)
