"""The ledger of a set of runs: which were begun, in order, so that a dropped one shows.

`RUNS_DIR/ledger.jsonl` gets a line before a run begins and one after it ended; `RUNS_DIR/summary.json` is computed from
it and from the runs' tapes, and counts every run that the ledger names.
"""
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from scoring import audit, clocks, record, statistics
from scoring import tape as tapes
from scoring.problem import Problem, counted

WIDEST_GAP = 1000  # so many runs that are neither there nor in the ledger count as missing; more are a slip


def run_name(number: int) -> str:
  return f'run_{number:03d}'


def _number(name: str) -> int | None:
  """The number of a run by its name; None where it is not the name of a run."""
  found = re.fullmatch(r'run_(\d{3,})', name, re.ASCII)
  return int(found[1]) if found else None


def append(runs_dir, **entry):
  """Adds one line, durably; a last line that a crash tore is dropped first."""
  path = Path(runs_dir) / 'ledger.jsonl'
  try:
    with open(path, 'ab+') as file:
      file.seek(0)
      file.truncate(file.read().rfind(b'\n') + 1)
      file.write((json.dumps(entry) + '\n').encode('utf-8'))
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:
    raise Problem(f'{path}: cannot write the ledger ({error.strerror}); {record.way_out(error)}') from None


def read(runs_dir) -> list[dict]:
  """The ledger's entries; a torn last line is dropped.

  Raises:
    Problem: there is no ledger, or a line of it is broken.
  """
  path = Path(runs_dir) / 'ledger.jsonl'
  try:
    tapes.refuse_device(path)
    lines = path.read_text(encoding='utf-8').split('\n')[:-1]
    entries = [json.loads(line, parse_constant=int) for line in lines]  # no NaN, which every bound holds of
    numbers = [_number(entry['run']) for entry in entries]
    if None in numbers:
      raise ValueError
    return entries
  except OSError as error:
    raise Problem(f'{path}: cannot read the ledger ({error.strerror})') from None
  except (ValueError, TypeError, KeyError, RecursionError):
    raise Problem(f'{path}: a line of the ledger is broken; restore the file from its original') from None


def names(runs_dir, entries: list[dict] | None = None) -> list[str]:
  """Every run that the ledger names or that lies beside it, in order, and those that a gap in the numbers betrays.

  entries: of `read`, where that was called before.

  Raises:
    Problem: there is no ledger, it is broken, or the gap is wider than any that runs taken away would leave.
  """
  runs_dir = Path(runs_dir)
  found = [e['run'] for e in entries or read(runs_dir)] + [p.name for p in runs_dir.iterdir() if p.is_dir()]
  numbers = {n for n in map(_number, found) if n is not None}
  if max(numbers, default=0) > len(numbers) + WIDEST_GAP:
    raise Problem(f'{runs_dir}: {run_name(max(numbers)):.40} is far beyond the {counted(len(numbers), "run")} there or '
                  'in the ledger; take it away, or give it its own number again')
  return [run_name(n) for n in range(max(numbers, default=-1) + 1)]  # a set begins with run 0


def tapes_of(runs_dir) -> Iterator[tuple[str, list[dict]]]:
  """Yields name and events of every run of `names`; no events of a missing run."""
  for name in names(runs_dir):
    folder = Path(runs_dir) / name
    events = tapes.read(folder) if (folder / 'tape.jsonl').is_file() else []
    if events and (wrong := audit.malformed(events)):
      raise Problem(f'{folder}/tape.jsonl: {wrong[0]}; restore it from its original')
    yield name, events


def rows(runs_dir) -> list[dict]:
  """What `statistics.summarize` takes, for every run that the ledger names or that lies beside it."""
  # a run that was killed before its first line leaves an empty tape
  return [row(name, record.record(events) if events else None) for name, events in tapes_of(runs_dir)]


def row(name: str, made: dict | None) -> dict:
  """One run as `statistics.summarize` takes it, from its record; None for a run that is missing."""
  if made is None:
    nothing = {c.name: None for c in clocks.CLOCKS}
    return {'run': name, 'status': 'missing', 'reached': False, 'metric': None, 'cold': None, 'seconds': nothing,
            'wall_seconds': nothing}
  return {'run': name, 'status': made['status'], 'reached': made['reached'], 'metric': made['metric'],
          'cold': not all(map(record.warm, made['compilation_cache'])), 'seconds': made['seconds_to_target'],
          'wall_seconds': made['seconds_until_end']}


def summary(runs_dir) -> dict:
  """What `summary.json` says of a set of runs, computed from its ledger and tapes."""
  found = rows(runs_dir)
  return {'notice': record.NOTICE, **statistics.summarize(found), 'runs': found}


def summarize(runs_dir) -> dict:
  """Computes and writes `RUNS_DIR/summary.json`; returns it."""
  made = summary(runs_dir)
  record.write_text(Path(runs_dir) / 'summary.json', record.text(made))
  return made


def table(summary: dict) -> str:
  """A summary for people: the statistics, and how many runs had to compile, which two of the clocks count."""
  cold = sum(bool(row['cold']) for row in summary['runs'])
  return statistics.table(summary) + f"\ncompiled: {cold} of {summary['n']} cold, the others from a warm cache"
