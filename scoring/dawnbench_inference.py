"""DAWNBench's records of inference: latency and cost of one item, from a record of `scoring.inference`.

Rules of stanford-futuredata/dawn-bench-entries at fb27b827: latency is the mean over the whole test set, one item at a
time (issues 72 and 96), cost is of one item, preprocessing may be left out but better is told (issue 72).
"""
import json
import re
from pathlib import Path

from scoring import record
from scoring.dawnbench import BOARDS, NOTICE, STRINGS, percent
from scoring.problem import Problem


def entry(made: dict, *, author: str = '', author_email: str = '') -> tuple[str, dict]:
  """(file stem, JSON object) of a record of mode `dawnbench`; raises Problem where it has no entry."""
  board, submitter = BOARDS.get(made['benchmark']), made['submitter']
  if board is None:
    raise Problem(f'there is no board for {made["benchmark"]}: DAWNBench had {", ".join(sorted(BOARDS))}; record.json '
                  'is the record of this run')
  if not made['valid']:
    raise Problem(f'the run is not valid: {"; ".join(made["faults"])}')
  if made['num_evaluated'] != board.num_examples:
    raise Problem(f'{made["num_evaluated"]} items were answered, but {board.folder} is scored on all '
                  f'{board.num_examples}; answer the whole test set')
  metrics = {column: percent(made['metrics'][metric], scale) for column, (metric, scale) in board.columns.items()}
  if missed(made):
    raise Problem(f'{board.column} is {metrics[board.column]}, the threshold of {board.folder} {board.threshold}: only '
                  'a model that reaches it has an entry')
  author, email = author or submitter.get('author'), author_email or submitter.get('author_email')
  if not author or not email:
    raise Problem("a DAWNBench entry needs its author's name and email; give them to: python -m launchers.score "
                  '--workdir=RUN --author=NAME --author_email=EMAIL')
  hardware = made['hardware']
  machine = f'{hardware["device_count"]} x {hardware["device_kind"]} ({hardware.get("host") or hardware["platform"]})'
  told = {'version': 'v1.0', 'author': author, 'authorEmail': email, 'framework': f'JAX {made["versions"]["jax"]}',
          'model': made['model'], 'hardware': submitter.get('hardware') or machine, 'timestamp': made['date']}
  assert tuple(told) == STRINGS
  stem = '_'.join(re.sub('[^A-Za-z0-9.]+', '-', told[key])[:48].strip('-.') or 'unknown'
                  for key in ('author', 'model', 'hardware', 'framework'))
  told |= {'commitHash': made['git_commit']} if made['git_commit'] else {}
  told |= {'latency': made['latency_ms']['mean'], **metrics}
  told |= {'cost': made['cost_usd']} if made['cost_usd'] is not None else {}
  told |= {'usedBlacklist': True} if board.num_examples == 50_000 else {}
  return stem, told | {'misc': {
      'notice': NOTICE, 'batch_size': 1, 'num_evaluated': made['num_evaluated'],
      'latency_with_preprocessing': made['latency_ms']['mean_with_preprocessing'],
      **{name: made[name] for name in ('tricks', 'checkpoint', 'versions', 'price', 'serving') if made[name]}}}


def missed(made: dict) -> bool:
  """Whether there is a board and its threshold is missed."""
  board = BOARDS.get(made['benchmark'])
  if board is None:
    return False
  metric, scale = board.columns[board.column]
  return made['metrics'] is None or percent(made['metrics'][metric], scale) < board.threshold


def outcome(made: dict, folder, **author) -> str:
  """Writes the entry of a run into `folder`: its path, or why there is none."""
  try:
    return str(write(made, Path(folder) / 'dawnbench', **author))
  except Problem as refused:
    return str(refused)


def write(made: dict, directory, *, author: str = '', author_email: str = '') -> Path:
  """Writes a record's entry below `directory` and returns its path; raises Problem as `entry` does."""
  stem, told = entry(made, author=author, author_email=author_email)
  path = Path(directory) / BOARDS[made['benchmark']].folder / 'inference' / f'{stem}.json'
  record.write_text(path, json.dumps(told, indent=2) + '\n')
  return path
