"""A set of runs as a submission that anybody can review: raw tapes, and everything that follows from them.

  DIR/submission.json     what the submitter says: author, and what no tape knows of the machine
  DIR/runs/               the ledger and every run's tape, as they were; beside them the records derived from them
  DIR/dawnbench/          the boards of DAWNBench that apply, where the target was reached
  DIR/mlperf/             a package in MLPerf Training's layout, where the benchmark is one of MLPerf's
  DIR/README.md, DIR/manifest.json    what is in it; sha256 of every other file

Everything but `submission.json`, the ledger, the tapes and what inference left is a function of these (`derived`), so
that a review can make it again and compare bytes.
"""
import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

from scoring import audit_set, clocks, dawnbench, dawnbench_inference, inference, ledger, mlperf, mlperf_package, record
from scoring import tape as tapes
from scoring.audit_files import read_json
from scoring.problem import Problem, counted

FORMAT = 1
MEASURED = 'inference/*/dawnbench'  # where launchers.infer leaves, in a run, what an entry is made of
REVIEW = 'Review it with Daybreak: `python -m launchers.score --check=DIR`.\n'
SAID = {'author': str, 'author_email': str, 'system': dict, 'reference_points': (dict, type(None))}


def raw(runs_dir: Path) -> list[str]:
  """Paths, relative to a set of runs, of what is kept as it is: ledger, tapes, and what LoadGen wrote at inference."""
  runs = audit_set.runs_of(runs_dir)
  files = [runs_dir / 'ledger.jsonl', *(run / 'tape.jsonl' for run in runs)]
  for folder in sorted(folder for run in runs for folder in run.glob(MEASURED)):
    files += [folder / 'tape.jsonl', *(folder / path for path in inference.logs_sha256(folder))]
  return [path.relative_to(runs_dir).as_posix() for path in files if path.is_file()]


def is_one(folder: Path) -> bool:
  """Whether a folder is a submission, also where the files that say so were taken out of it."""
  if any((folder / name).exists() for name in ('manifest.json', 'submission.json')):
    return True
  text = ''
  with contextlib.suppress(OSError):
    tapes.refuse_device(folder / 'README.md')
    text = (folder / 'README.md').read_text(encoding='utf-8', errors='replace')
  return (folder / 'runs' / 'ledger.jsonl').exists() and (
      text.endswith(REVIEW) or any((folder / name).exists() for name in ('dawnbench', 'mlperf')))


def first_of(runs_dir: Path) -> dict | None:
  """The first line of the first tape of a set of runs; None where there is none."""
  return next((events[0] for _, events in ledger.tapes_of(runs_dir) if events), None)


def check_said(runs_dir: Path, said: dict):
  """Raises Problem where what the submitter says is not what its field takes, or not what the tapes say."""
  first = first_of(runs_dir)
  for name, check in (('system', mlperf_package.check_system), ('reference_points', mlperf_package.check_points)):
    try:
      if first is not None:
        check(first, said[name])
    except Problem as problem:
      raise Problem(f'{name}: {problem}') from None


def doubts(runs_dir: Path, said: dict) -> list[str]:
  """Where the reference convergence points that a submission is judged by may not be MLCommons' own."""
  given, own = said['reference_points'], mlperf_package.reference(first_of(runs_dir))
  if not given or (own and own['points'] == given['points']):
    return []
  return [f'are not those of {own["source"]}' if own else "cannot be compared: pip install -e '.[mlperf]'"]


def derived(runs_dir: Path, said: dict) -> tuple[dict[str, str], list[str]]:
  """(path -> text of every file that follows from a set of runs and from what the submitter says; what was left out).

  Raises:
    Problem: ledger or tapes cannot be read, or say what cannot be.
  """
  runs = list(ledger.tapes_of(runs_dir))
  if not any(events for _, events in runs):
    raise Problem(f'{runs_dir}: holds no tape; a submission is a set of runs (launchers.train --runs=N)')
  author = {key: said[key] for key in ('author', 'author_email')}
  summary = ledger.summary(runs_dir)
  made = {'runs/summary.json': record.text(summary)}
  for name, events in runs:
    if events:
      made[f'runs/{name}/record.json'] = record.text(record.record(events))
      made[f'runs/{name}/result_0.txt'] = mlperf.text(events)
  left_out = []
  package = lambda: mlperf_package.files(runs, said['system'], said['reference_points'])
  for make in (lambda: _dawnbench(runs, author), lambda: {f'mlperf/{path}': text for path, text in package().items()}):
    try:
      made |= make()
    except Problem as reason:
      left_out.append(str(reason))
  made |= _inference(runs_dir, author)
  made['README.md'] = _readme(runs, summary, left_out, author)
  return made, left_out


def _dawnbench(runs: list, author: dict) -> dict[str, str]:
  """The entry of one run; DAWNBench's boards for time and for cost read the same pair of files.

  The board takes one run. It is not the fastest: of the runs that have an entry it is the one with the median time, of
  two in the middle the slower, and the entry says of how many.
  """
  entries, reason = [], None
  for name, events in [run for run in runs if run[1]]:  # of an empty tape the run failed
    try:
      entries.append((clocks.seconds(events, clocks.DAWNBENCH), name, events[0]['benchmark'],
                      dawnbench.entry(events, **author)))
    except Problem as problem:
      reason = problem
  if not entries:
    raise Problem(f'dawnbench: {reason}')
  # a tape may have another target than the board, and so no seconds to it
  entries.sort(key=lambda entry: (entry[0] is None, entry[0], entry[1]))
  _, name, benchmark, (stem, made, table) = entries[len(entries) // 2]
  made['misc']['run_set'] = {'runs': len(runs), 'with_entry': len(entries), 'chosen': name, 'by': 'median time'}
  folder = f'dawnbench/{dawnbench.BOARDS[benchmark].folder}/train'
  return {f'{folder}/{stem}.json': json.dumps(made, indent=2) + '\n', f'{folder}/{stem}.tsv': table}


def _inference(runs_dir: Path, author: dict) -> dict[str, str]:
  """The records of inference, and the entry for DAWNBench's boards: of the runs that have one, the median latency's.

  Derived from the tapes and LoadGen's logs in RUN/inference/*/dawnbench.
  """
  entries, tried, records = [], sorted(runs_dir.glob(f'*/{MEASURED}')), {}
  for folder in tried:
    made = inference.make(folder)
    path = (folder / 'record.json').relative_to(runs_dir).as_posix()
    records[f'runs/{path}'] = record.text(made)
    with contextlib.suppress(Problem):
      entries.append((made['latency_ms']['mean'], folder.parts[-4], made['benchmark'],
                      dawnbench_inference.entry(made, **author)))
  if not entries:
    return records
  _, name, benchmark, (stem, told) = sorted(entries, key=lambda entry: entry[:2])[len(entries) // 2]
  told['misc']['run_set'] = {'runs': len(tried), 'with_entry': len(entries), 'chosen': name, 'by': 'median latency'}
  return {**records, f'dawnbench/{dawnbench.BOARDS[benchmark].folder}/inference/{stem}.json':
          json.dumps(told, indent=2) + '\n'}


def _readme(runs: list, summary: dict, left_out: list[str], author: dict) -> str:
  first = next(events[0] for _, events in runs if events)
  made_up = '**A fixture: made up to test the packaging; nothing was trained.**\n\n' if first.get('fixture') else ''
  machine = f"{first['hardware']['device_count']} x {first['hardware']['device_kind']} ({first['hardware']['host']})"
  missing = ''.join(f'- {reason}\n' for reason in left_out)
  title = f'# {first["benchmark"]}: {first["model"]}, {counted(len(runs), "run")} on {machine}'
  by = author['author'] or first['submitter'].get('author') or 'an author who is not named'
  return (f'{title}\n\n{record.NOTICE}\n\n{made_up}By {by}, organization {first["submitter"]["organization"]}.\n\n'
          f'```\n{ledger.table(summary)}\n```\n\n' + (f'Not in it:\n\n{missing}\n' if missing else '')
          + REVIEW)


def read_system(path: str | None) -> dict:
  """The fields of a system description in a JSON file; none without one; raises Problem where it is none."""
  if not path:
    return {}
  try:
    return read_json(Path(path))
  except Problem as problem:
    raise Problem(f'--system={path}: {problem}; name a JSON file of fields and strings') from None


def manifest(contents: dict[str, bytes]) -> str:
  """The text of manifest.json: the sha256 of every other file."""
  sums = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(contents.items())}
  return record.text({'notice': record.NOTICE, 'format': FORMAT, 'files': sums})


def write(runs_dir, directory, *, author: str = '', author_email: str = '', system: dict | None = None,
          reference_points: str | None = None) -> list[str]:
  """Writes the submission of a set of runs, whole or not at all; what was left out of it, and why.

  reference_points: file of them, for a batch above all of MLCommons' own; None takes those, of mlperf-logging, if it
    is installed.

  Raises:
    Problem: a review of the runs finds something, the points are not those that judge them, the directory is there
      already, or it cannot be written.
  """
  runs_dir, directory = Path(runs_dir), Path(directory)
  if not (runs_dir / 'ledger.jsonl').exists():
    raise Problem(f'--submission={directory}: is made of a set of runs, and {runs_dir} has no ledger of one; make '
                  'a set with launchers.train --runs=N')
  if directory.resolve().is_relative_to(runs_dir.resolve()):
    raise Problem(f'--submission={directory}: lies in the set of runs that it is made of; name a folder outside')
  if found := audit_set.findings(runs_dir):
    raise Problem(f'{runs_dir / found[0]} ({counted(len(found), "finding")}; launchers.score --check={runs_dir} lists '
                  'all)')
  if directory.exists():
    raise Problem(f'--submission={directory}: is there already; name a folder that is not')
  first = first_of(runs_dir)
  said = {'author': author, 'author_email': author_email, 'system': system or {},
          'reference_points': mlperf_package.reference(first, reference_points) if first else None}
  if reference_points and first and not mlperf_package.reference(first):
    raise Problem(f"--reference_points={reference_points}: needs MLCommons' own beside it: pip install -e '.[mlperf]'")
  try:
    check_said(runs_dir, said)
  except Problem as problem:
    raise Problem(f'--{problem}') from None
  made, left_out = derived(runs_dir, said)
  contents = {path: text.encode('utf-8') for path, text in made.items()}
  contents['submission.json'] = record.text({'notice': record.NOTICE, **said}).encode('utf-8')
  part = directory.with_name(directory.name + '.part')
  try:
    contents |= {f'runs/{path}': (runs_dir / path).read_bytes() for path in raw(runs_dir)}
    contents['manifest.json'] = manifest(contents).encode('utf-8')
    shutil.rmtree(part, ignore_errors=True)
    for path, content in contents.items():
      (part / path).parent.mkdir(parents=True, exist_ok=True)
      (part / path).write_bytes(content)
    os.replace(part, directory)
  except OSError as error:
    shutil.rmtree(part, ignore_errors=True)
    raise Problem(f'--submission={directory}: cannot write ({error.strerror}); {record.way_out(error)}') from None
  return left_out
