"""Runs the benchmarks that fit this machine, keeps what they print, and makes the table in README.md of it.

  python -m benchmarks.suite [--only=latency,squad] [--peer_dir=DIR] [--output=benchmarks/results/HOST.jsonl]
  python -m benchmarks.suite --table      the table alone, from benchmarks/results/

Each runs in a process of its own, one after the other: leave the machine alone meanwhile. A benchmark that fails, or
whose peer cannot be had, is in the table with the reason. Lines of an earlier run of the same command on the same
machine are replaced. `make bench` is this with what is installed; the extra `peers` has most of the peers.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

from absl import flags

from benchmarks.report import host
from launchers import command
from scoring.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
BEGIN, END = '<!-- benchmarks -->\n', '<!-- end of benchmarks -->'
# Arguments of each; {peer_dir} is filled in.
COMMANDS = {
    'tape_overhead': ((),), 'loop_overhead': ((),), 'start_up': ((),), 'convolution': ((),), 'products': ((),),
    'query_overhead': ((),), 'cifar_step': (('--dtype=float32', '--peer_dir={peer_dir}'),
                                            ('--dtype=bfloat16', '--peer_dir={peer_dir}')),
    'resnet_step': ((),), 'squad': ((),), 'latency': (('--scenarios=single_stream',),)}

FLAGS = flags.FLAGS
flags.DEFINE_list('only', list(COMMANDS), 'which')
flags.DEFINE_bool('table', False, 'run nothing; make the table from what is there')
flags.DEFINE_string('peer_dir', '', 'checkout of github.com/KellerJordan/cifar10-airbench')
flags.DEFINE_string('output', None, 'file of lines; default: benchmarks/results/, named after this machine')


def measured(name: str, arguments) -> list[dict]:
  """What a benchmark says, or one line that says why it says nothing."""
  argv = [sys.executable, '-m', f'benchmarks.{name}', *arguments]
  print('python', *argv[1:], flush=True)
  ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
  lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"benchmark"')]
  if ran.returncode or not lines:
    said = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith('-')]
    reason = next((line for line in reversed(said) if re.match(r'[\w.]+(Error|Problem|Exception|error):', line)),
                  said[-1] if said else 'it said nothing')
    lines.append({'benchmark': name, 'machine': host(), 'command': ' '.join(['python', *argv[1:]]),
                  'not_measured': {'all': reason[:200]}})
  return lines


def kept(old: list[dict], new: list[dict]) -> list[dict]:
  """Old lines, without those of a command that was run again."""
  again = {(line['command'], line['machine']) for line in new}
  return [line for line in old if (line['command'], line['machine']) not in again] + new


def read(path: Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def what(line: dict) -> str:
  """Which of a benchmark's lines."""
  return ' '.join(str(line[key]) for key in ('reference', 'what', 'dtype', 'scenario') if key in line)


def figure(value, unit: str) -> str:
  """Three digits, in milliseconds or microseconds where seconds are small."""
  if value is None:
    return '-'
  for factor, small in ((1, 's'), (1e3, 'ms'), (1e6, 'us')):
    if not re.match(r's(/|$)', unit) or value * factor >= 1 or small == 'us':
      return f'{value * factor:.3g} {small + unit[1:] if re.match(r"s(/|$)", unit) else unit}'


def table(lines: list[dict]) -> str:
  """A table a machine, in Markdown."""
  made = []
  for machine in dict.fromkeys(line['machine'] for line in lines):
    mine = [line for line in lines if line['machine'] == machine]
    dates = sorted({line['date'] for line in mine if 'date' in line})
    when = f'; {" to ".join(dict.fromkeys([dates[0], dates[-1]]))}' if dates else ''
    made += [f'{machine}{when}. A ratio above 1 means that ours is faster; spread: (maximum - minimum) / median, of '
             'ours and of the peer.\n', '| benchmark | ours | peer | ratio | n | spread |', '|---|---|---|---|---|---|']
    for line in mine:
      why = '; '.join(f'{peer}: {reason}'.replace('|', '/') for peer, reason in line.get('not_measured', {}).items())
      name = f'`{line["benchmark"]}` {what(line)}'.strip()
      if 'ours' not in line:
        made.append(f'| {name} | not measured: {why} | | | | |')
        continue
      ratio = '-' if line['ratio'] is None else f'**{line["ratio"]:.2f}**'
      peer = line['peer_name'] or f'none: {why}'
      made.append(f'| {name} | {figure(line["ours"], line["unit"])} | {figure(line["peer"], line["unit"])}, {peer} | '
                  f'{ratio} | {line["n"]} | {", ".join(f"{100 * x:.0f} %" for x in line["spread"])} |')
    made.append('')
  return '\n'.join(made)


def with_table(text: str) -> str:
  """README.md with the table of benchmarks/results/ between its marks."""
  lines = [line for path in sorted(RESULTS.glob('*.jsonl')) for line in read(path)]
  before, rest = text.split(BEGIN)
  return before + BEGIN + table(lines) + END + rest.split(END, 1)[1]


def main(argv: list[str], doc: str) -> int:
  if command.help_wanted(argv):
    return command.print_help(doc)
  command.parse(argv)
  if unknown := set(FLAGS.only) - set(COMMANDS):
    raise Problem(f'--only={unknown.pop()}: choose from {", ".join(COMMANDS)}')
  if not FLAGS.table:
    output = Path(FLAGS.output or RESULTS / f'{re.sub("[^a-z0-9]+", "_", host().lower()).strip("_")}.jsonl')
    for name in FLAGS.only:
      for arguments in COMMANDS[name]:
        new = measured(name, [a.format(peer_dir=FLAGS.peer_dir) for a in arguments])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(''.join(json.dumps(line) + '\n' for line in kept(read(output), new)))
  readme = ROOT / 'README.md'
  readme.write_text(with_table(readme.read_text()))
  return 0


if __name__ == '__main__':
  command.run(main, __doc__)
