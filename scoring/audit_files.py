"""The files of a run or a set of runs: what may lie there, and whether what is derived follows from the tapes."""
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from scoring import audit, audit_header, dawnbench, dawnbench_inference, inference, mlperf, record
from scoring import tape as tapes
from scoring.problem import Problem

UNREAD = ('checkpoints', 'page', 'pod', 'profile', 'tensorboard')  # folders that a run keeps and no record comes from
OF_A_RUN = r'tape\.jsonl|record\.json|result_0\.txt|(dawnbench|inference)/.+'
OF_A_SET = rf'ledger\.jsonl|summary\.json|run_\d{{3,}}/({OF_A_RUN})'


def shown(path: str) -> str:
  """A path as it can be printed: it may hold line breaks and bytes that are no text."""
  return path.encode('unicode_escape').decode('ascii')


def below(root: Path, leave_out: tuple = ()) -> tuple[dict[str, Path], list[str]]:
  """(every file below `root` by its relative path, what is neither file nor folder); folders to leave out by name."""
  there, broken = {}, []
  for at, folders, files in os.walk(root):
    folders[:] = [name for name in folders if name not in leave_out]
    for name in folders + files:
      path = Path(at, name)
      relative = path.relative_to(root).as_posix()
      if path.is_symlink() or not (path.is_file() or path.is_dir()):
        broken.append(f'{shown(relative)}: is a link or no plain file; put the file itself there')
      elif path.is_file():
        there[relative] = path
  return there, broken


def read_json(path: Path) -> dict:
  """The object in a JSON file; raises Problem where it holds none."""
  try:
    tapes.refuse_device(path)
    found = json.loads(path.read_text(encoding='utf-8'))
    if isinstance(found, dict):
      return found
    raise ValueError('is no object')
  except FileNotFoundError:
    raise Problem('is missing') from None
  except (OSError, ValueError, RecursionError) as error:
    raise Problem(f'cannot be read ({getattr(error, "strerror", None) or error})') from None


def strays(root: Path, allowed: str) -> Iterator[str]:
  """What a run or a set of runs does not leave behind, and links: a review of it would look at something else."""
  there, broken = below(root, UNREAD)
  yield from broken
  for path in sorted(there):
    if not re.fullmatch(allowed, path, re.ASCII | re.DOTALL):
      yield f'{shown(path)}: is nothing that a run or a set of runs has, and was not reviewed; take it away'


def records(root: Path, events) -> Iterator[str]:
  """The records in the folder of a run, as far as they are there."""
  made = {'record.json': record.text(record.record(events)), 'result_0.txt': mlperf.text(events)}
  for name, text in made.items():
    if os.path.lexists(root / name):
      yield from different(root, name, text)
  yield from audit.guarded(_entry, root, lambda **author: _trained(events, author))


def served(root: Path, events) -> Iterator[str]:
  """What was measured of inference below the folder of a run."""
  for path in sorted(root.glob('inference/*/*/tape.jsonl')):
    if path.parent.suffix != '.part':  # of a run that was cut short
      where = path.parent.relative_to(root).as_posix()
      yield from (f'{shown(where)}/{line}' for line in audit.guarded(_inference, path.parent, events))


def _trained(events, author: dict) -> dict[str, str]:
  """The files of a run's entry for DAWNBench's board of training."""
  stem, told, table = dawnbench.entry(events, **author)
  place = f'{dawnbench.BOARDS[events[0]["benchmark"]].folder}/train/{stem}'
  return {f'{place}.json': json.dumps(told, indent=2) + '\n', f'{place}.tsv': table}


def _answered(made: dict, author: dict) -> dict[str, str]:
  """The file of a run's entry for its board of inference."""
  stem, told = dawnbench_inference.entry(made, **author)
  return {f'{dawnbench.BOARDS[made["benchmark"]].folder}/inference/{stem}.json': json.dumps(told, indent=2) + '\n'}


def _entry(root: Path, make) -> Iterator[str]:
  """The entry for DAWNBench in a folder: its author is the submitter's word, all else is the tape's."""
  there = below(root / 'dawnbench')[0]
  if not there:
    return
  told = next((file for path, file in sorted(there.items()) if path.endswith('.json')), None)
  said = json.loads(told.read_text('ascii')) if told else {}
  made = make(author=said.get('author') or '', author_email=said.get('authorEmail') or '')
  for path in sorted(there.keys() | made.keys()):
    if path in made:
      yield from different(root, f'dawnbench/{path}', made[path])
    else:
      yield f'dawnbench/{shown(path)}: follows from no tape here'


def _inference(folder: Path, trained) -> Iterator[str]:
  """A run of inference: its header, what it served, and its records."""
  events = tapes.read(folder)
  if broken := audit.malformed(events):
    yield from (f'tape.jsonl: {line}' for line in broken)
    return
  yield from (f'tape.jsonl: {line}' for check in audit_header.CHECKS for line in audit.guarded(check, events))
  asked = events[0]['checkpoint']
  for result in [e for e in trained if e['event'] == 'result' and e['step'] == asked['step']]:
    if result['parameters_sha256'] != asked['parameters_sha256']:
      yield (f'tape.jsonl: served parameters {asked["parameters_sha256"]:.16}... of step {asked["step"]}, where its '
             f'run has {result["parameters_sha256"]:.16}...')
  made = inference.make(folder)
  if os.path.lexists(folder / 'record.json'):
    yield from different(folder, 'record.json', record.text(made))
  yield from audit.guarded(_entry, folder, lambda **author: _answered(made, author))


def different(root: Path, name: str, right: str) -> list[str]:
  """One line if a file is not what follows from the tapes, with the first line in which it differs; else nothing.

  Statistics go through scipy, whose last digits may differ between versions: in summary.json alone they may here too.
  """
  try:
    tapes.refuse_device(root / name)
    text = (root / name).read_bytes().decode('utf-8')
  except (OSError, ValueError) as error:
    return [f'{shown(name)}: cannot be read: {error}']
  if text == right:
    return []
  if Path(name).name == 'summary.json':
    try:
      if close(json.loads(text), json.loads(right)):
        return []
    except (ValueError, RecursionError) as error:
      return [f'{shown(name)}: is no JSON: {error}']
  ours, theirs = right.split('\n'), text.split('\n')
  at = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
  found = [lines[at].strip()[:120] if at < len(lines) else 'nothing' for lines in (theirs, ours)]
  return [f'{shown(name)}: line {at + 1} is {found[0]!r}, but from the tapes follows {found[1]!r}']


def close(one, other) -> bool:
  """Whether two JSON values are the same but for the last digits of floats."""
  if isinstance(one, dict) and isinstance(other, dict):
    return list(one) == list(other) and all(close(one[key], other[key]) for key in one)
  if isinstance(one, list) and isinstance(other, list):
    return len(one) == len(other) and all(map(close, one, other))
  if isinstance(one, float) and isinstance(other, float):
    return math.isclose(one, other, rel_tol=1e-9)
  return type(one) is type(other) and one == other
