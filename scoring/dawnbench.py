"""DAWNBench's records: an entry written from a tape, and a review of anybody's tree of entries.

The board closed in 2020: an entry is a record that its format admits, not a submission. Format, thresholds and clock
are those of stanford-futuredata/dawn-bench-entries at fb27b827 (README.md, tests/test_submissions.py). Its validator
takes negative hours, 250 % accuracy and files that belong to nothing; `check_tree` does not.
"""
import json
import math
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from scoring import clocks
from scoring.problem import Problem

STRINGS = ('version', 'author', 'authorEmail', 'framework', 'model', 'hardware', 'timestamp')
STEM = re.compile(r'(?!\.)[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+){3,}')
NUMBER = re.compile(r' *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *')  # float() also takes 'nan' and '1_0'
NOTICE = 'A run of Daybreak, in the format of DAWNBench, which closed in 2020; it was not submitted to it.'


@dataclass(frozen=True)
class Board:
  """One dataset of DAWNBench; `columns`: TSV column -> (metric in a tape, a fraction; the scale it is written in)."""
  folder: str
  columns: dict
  column: str
  threshold: float
  num_examples: int


BOARDS = {
    'cifar10': Board('CIFAR10', {'top1Accuracy': ('accuracy', 100)}, 'top1Accuracy', 94.0, 10_000),
    'imagenet': Board('ImageNet', {'top1Accuracy': ('accuracy', 100), 'top5Accuracy': ('top5_accuracy', 100)},
                      'top5Accuracy', 93.0, 50_000),
    'squad': Board('SQuAD', {'f1Score': ('f1', 1)}, 'f1Score', 0.75, 10_570),  # the README's 0.73 is stale
}
PLACES = {f'{board.folder}/{kind}': (board, kind) for board in BOARDS.values() for kind in ('train', 'inference')}


@dataclass
class Report:
  """What `check_tree` found: each problem and warning is one line that begins with a path relative to the root."""
  entries: int = 0
  problems: list = field(default_factory=list)
  warnings: list = field(default_factory=list)


def percent(value: float, scale: int) -> float:
  """A fraction in the scale of a column, to six digits, and never rounded up across a threshold."""
  exact = Decimal(repr(float(value))) * scale  # in binary, 0.9399 * 100 is 93.99000000000001
  return float(exact.quantize(Decimal('0.000001'), ROUND_FLOOR))


def _rows(events, board: Board) -> list[tuple[dict, dict]]:
  """Each effective evaluation with its metrics by column; raises Problem where one is short or not a fraction."""
  rows = []
  for evaluation in clocks.evaluations(events):
    where, count, row = f'evaluation at epoch {evaluation["epoch"]:.12g}', evaluation.get('num_evaluated'), {}
    if count != board.num_examples:
      raise Problem(f'{where}: num_evaluated is {count}, but {board.folder} is scored on all {board.num_examples} '
                    'examples; evaluate the whole test set and run again')
    for column, (metric, scale) in board.columns.items():
      value = evaluation['metrics'].get(metric)
      if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise Problem(f'{where}: {metric} is {value}, but {column} needs a fraction between 0 and 1; record it as one')
      row[column] = percent(value, scale)
    rows.append((evaluation, row))
  return rows


def _misc(events, hit: dict) -> dict:
  header, fields = events[0], ('fixture', 'seed', 'tricks', 'tape_version', 'versions', 'git_dirty', 'price')
  known = {key: header[key] for key in fields if not (header.get(key) is None or header[key] is False)}
  misc = {'notice': NOTICE, **known, 'num_evaluated': hit['num_evaluated'],
          'seconds_to_target': {c.name: clocks.seconds_at(events, c, hit['time'], hit) for c in clocks.CLOCKS}}
  compiled = [e for e in events if e['event'] == 'compile' and 'cache_misses' in e and e['time'] <= hit['time']]
  if compiled:
    hits, misses = (sum(e.get(key, 0) for e in compiled) for key in ('cache_hits', 'cache_misses'))
    misc['compile_cache'] = {'warm': hits > 0 and misses == 0, 'hits': hits, 'misses': misses}
  return misc


def entry(events, *, author: str = '', author_email: str = '') -> tuple[str, dict, str]:
  """(file stem, JSON object, TSV text; hours on DAWNBench's clock) of a tape; raises Problem where it has no entry."""
  header = events[0] if events else {}
  board, submitter = BOARDS.get(header.get('benchmark')), header.get('submitter') or {}
  if board is None:
    raise Problem(f'there is no board for {header.get("benchmark")}: DAWNBench had {", ".join(sorted(BOARDS))}; '
                  'record.json is the record of this run')
  if any(e.get('hardware') != header['hardware'] for e in events if e['event'] == 'process'):
    raise Problem('the run was restarted on other hardware, and a DAWNBench entry names one machine; train again')
  author, email = author or submitter.get('author'), author_email or submitter.get('author_email')
  if not author or not email:
    raise Problem("a DAWNBench entry needs its author's name and email; give train or score --author and "
                  '--author_email')
  rows = _rows(events, board)
  hit = next((evaluation for evaluation, row in rows if row[board.column] >= board.threshold), None)
  if hit is None:
    best = max((row[board.column] for _, row in rows), default='unknown')
    raise Problem(f'the tape does not reach {board.folder}: best {board.column} is {best} over {len(rows)} '
                  f'evaluations, the threshold {board.threshold}; train longer, only runs that reach it have an entry')
  devices = header['hardware']
  machine = f'{devices["device_count"]} x {devices["device_kind"]} ({devices.get("host") or devices["platform"]})'
  record = {'version': 'v1.0', 'author': author, 'authorEmail': email,
            'framework': f'JAX {header["versions"]["jax"]}', 'model': header['model'],
            'hardware': submitter.get('hardware') or machine,
            'timestamp': datetime.fromtimestamp(header['time'], UTC).strftime('%Y-%m-%d')}
  stem = '_'.join(re.sub('[^A-Za-z0-9.]+', '-', record[key])[:48].strip('-.') or 'unknown'
                  for key in ('author', 'model', 'hardware', 'framework'))
  price = (header.get('price') or {}).get('usd_per_hour')
  record |= {'commitHash': header['git_commit']} if header.get('git_commit') else {}
  record |= {'costPerHour': price} if _number(price) is not None else {}
  record |= {'usedBlacklist': True} if hit['num_evaluated'] == 50_000 else {}  # true: the 1,762 doubtful images count
  lines = [['epoch', 'hours', *board.columns]]
  for evaluation, row in rows:
    hours = clocks.seconds_at(events, clocks.DAWNBENCH, evaluation['time']) / 3600
    lines.append([f'{evaluation["epoch"]:.12g}', repr(hours), *map(repr, row.values())])
  return stem, record | {'misc': _misc(events, hit)}, ''.join('\t'.join(line) + '\n' for line in lines)


def write(events, directory, *, author: str = '', author_email: str = '') -> tuple[Path, Path]:
  """Writes a tape's entry below `directory` and returns the JSON's and TSV's paths; raises Problem as `entry` does."""
  stem, record, table = entry(events, author=author, author_email=author_email)
  folder = Path(directory) / BOARDS[events[0]['benchmark']].folder / 'train'
  paths = folder / f'{stem}.json', folder / f'{stem}.tsv'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, (json.dumps(record, indent=2) + '\n', table), strict=True):
      path.write_bytes(text.encode('ascii'))
  except OSError as error:
    raise Problem(f'{folder}: cannot write the entry ({error.strerror}); name another directory') from None
  return paths


def _number(value, text: bool = False) -> float | None:
  """`value` as a finite float; None where it is no number nor, with `text`, a plain decimal in a string."""
  if text and isinstance(value, str) and NUMBER.fullmatch(value):
    value = float(value)
  numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
  return float(value) if numeric and abs(value) < 1e300 else None  # integers may be too large for a float


def _object(pairs: list) -> dict:
  if len(dict(pairs)) < len(pairs):
    raise ValueError('a key occurs twice; keep one of them')
  return dict(pairs)


def _check_metric(board: Board, column: str, values: list) -> list[str]:
  limit, best = board.columns[column][1], max(values)
  if best > limit or min(values) < 0:
    return [f'{column} lies outside 0..{limit}; write it {"in percent" if limit == 100 else "as a fraction"}']
  if best <= 1 < limit:
    return [f'{column} is never above 1, as if it were a fraction; write it in percent']
  if column == board.column and best < board.threshold:
    return [f'{column} {best} is below {board.threshold}; only runs that reach it have an entry']
  return []


def _check_json(text: str, board: Board, kind: str) -> list[str]:
  """Problems of a JSON file's text; raises ValueError or RecursionError where it is not JSON."""
  record = json.loads(text, object_pairs_hook=_object)
  json.dumps(record, allow_nan=False)  # loads takes NaN and Infinity, which JSON does not have
  if not isinstance(record, dict):
    return ['is not a JSON object; write one']
  problems = [f'{key} must be a string that says something' for key in STRINGS
              if not isinstance(record.get(key), str) or not record[key].strip()]
  if record.get('version') != 'v1.0':
    problems.append('version must be "v1.0"')
  try:
    datetime.strptime(str(record.get('timestamp')), '%Y-%m-%d')
  except ValueError:
    problems.append('timestamp must be a date, YYYY-MM-DD')
  money = {key: _number(record.get(key), text=True) for key in ('cost', 'costPerHour')}
  problems += [f'{key} must be an amount in USD; without one leave it out' for key, value in money.items()
               if record.get(key) is not None and (value is None or value < 0)]
  if kind == 'train':
    return problems
  latency = _number(record.get('latency')) or 0
  if latency <= 0:
    problems.append('latency must be a positive number of milliseconds')
  elif None not in money.values() and not math.isclose(
      money['cost'], money['costPerHour'] * latency / 3.6e6, rel_tol=0.01):
    problems.append('cost must be costPerHour x latency / 3.6e6, the USD of one item')
  for column in board.columns:
    value = _number(record.get(column))
    if value is not None:
      problems += _check_metric(board, column, [value])
    elif column == board.column or column in record:
      problems.append(f'{column} must be a number')
  return problems


def _check_tsv(text: str, board: Board) -> tuple[list[str], list[str]]:
  """(problems, warnings) of a TSV file's text."""
  lines, columns = text.replace('\r\n', '\n').split('\n'), ['epoch', 'hours', *board.columns]
  header, table, problems = lines[0].split('\t'), [], []
  if sorted(header) != sorted(columns):
    return [f'line 1: columns are {header!r:.80}; write {" ".join(columns)} between single tabs'], []
  for number, line in enumerate(lines[1:], 2):
    cells = [_number(cell, text=True) for cell in line.split('\t')]
    if len(cells) == len(columns) and None not in cells:
      table.append(dict(zip(header, cells, strict=True), line=number))
    elif line.strip(' '):
      problems.append(f'line {number}: {line!r:.60} must be {len(columns)} numbers between single tabs')
  if not table:
    return problems + ['has no row of numbers; write one an evaluation'], []
  for before, row in zip([{'epoch': 0, 'hours': -1}] + table, table):
    if not max(0, before['hours']) <= row['hours'] != before['hours']:
      problems.append(f'line {row["line"]}: hours must increase, from 0 or more')
    if row['epoch'] < before['epoch']:
      problems.append(f'line {row["line"]}: epoch must not decrease, from 0 or more')
    if row.get('top1Accuracy', 0) > row.get('top5Accuracy', math.inf):
      problems.append(f'line {row["line"]}: top1Accuracy cannot be above top5Accuracy')
  for column in board.columns:
    problems += _check_metric(board, column, [row[column] for row in table])
  passed = [row[board.column] >= board.threshold for row in table]
  dip = True in passed and False in passed[passed.index(True):]
  return problems, [f'{board.column} falls below {board.threshold} again after reaching it'] if dip else []


def _check_file(root: Path, name: str, names: set) -> tuple[list[str], list[str]]:
  """(problems, warnings) of the file `name`, relative to `root`, among the `names` of all entries' files."""
  (base, suffix), problems, warnings = os.path.splitext(name), [], []
  board, kind = PLACES.get(os.path.dirname(name), (None, None))
  if board is None or suffix not in ('.json', '.tsv'):
    problems.append('belongs to no board; use {CIFAR10,ImageNet,SQuAD}/{train,inference} and .json or .tsv')
  elif kind == 'inference' and suffix == '.tsv':
    problems.append('is not part of an inference entry; remove it')
  elif kind == 'train' and base + {'.json': '.tsv', '.tsv': '.json'}[suffix] not in names:
    problems.append('has no partner; a training entry is a .json and a .tsv of the same name')
  if not STEM.fullmatch(os.path.basename(base)):
    problems.append('name must be author_model_hardware_framework in letters, digits, dots and dashes')
  try:
    if not (root / name).is_file():  # reading a pipe would wait for ever
      raise ValueError('not a file')
    text = (root / name).read_bytes().decode('ascii')  # their validator reads in the encoding of the user's locale
    if board and suffix == '.json':
      problems += _check_json(text, board, kind)
    elif board and suffix == '.tsv':
      found, warnings = _check_tsv(text, board)
      problems += found
  except (ValueError, OSError, RecursionError) as error:
    problems.append(f'cannot be read: {error}')
  return problems, warnings


def check_tree(root) -> Report:
  """Reviews every entry below `root`, for training and inference; whatever the files hold, it never raises."""
  root, report, names, hidden = Path(root), Report(), set(), []
  for at, folders, files in os.walk(root, onerror=hidden.append):
    names |= {os.path.relpath(os.path.join(at, name), root) for name in folders + files
              if os.path.splitext(name)[1].lower() in ('.json', '.tsv')}
  for name in sorted(names):
    problems, warnings = _check_file(root, name, names)
    shown = name.encode('unicode_escape').decode('ascii')  # a name may hold line breaks and bytes that are no text
    report.problems += [f'{shown}: {problem}' for problem in problems]
    report.warnings += [f'{shown}: {warning}' for warning in warnings]
    report.entries += name.endswith('.json') and os.path.dirname(name) in PLACES
  report.problems += [f'{os.path.relpath(e.filename, root)}: cannot be read: {e.strerror}' for e in hidden]
  if not report.entries:
    report.problems.append('.: holds no entry; name the folder that holds CIFAR10, ImageNet or SQuAD')
  return report
