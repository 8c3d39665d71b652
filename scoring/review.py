"""A mechanical review of a submission, anybody's: each finding is one line that names the file and what is wrong.

`review` takes what `scoring.packages` writes, a set of runs, a single run, a folder of these such as results/, or a
tree of DAWNBench entries. Whatever the files hold, it never raises. Hashes in a manifest only show what was changed
after it was made, so nothing rests on them: every number is derived again from its tape.
"""
import hashlib
import os
from pathlib import Path

from scoring import audit, audit_files, audit_set, dawnbench, ledger, packages, record
from scoring import tape as tapes
from scoring.audit_files import UNREAD, below, different, read_json, shown
from scoring.dawnbench import Report
from scoring.problem import Problem

SIGNS = ('manifest.json', 'submission.json', 'ledger.jsonl', 'tape.jsonl')
TAKES = ('a submission, a set of runs, a run, a folder of these such as results/, or a tree of DAWNBench entries (the '
         'folder that holds CIFAR10, ImageNet or SQuAD)')
RECORDS = ('record.json', 'result_0.txt', 'summary.json')
BESIDE = (*RECORDS, 'dawnbench', 'mlperf', *(board.folder for board in dawnbench.BOARDS.values()))


def review(root) -> Report:
  """Everything that is wrong with what lies in `root`; `entries` counts runs, or entries of a DAWNBench tree."""
  root = Path(root)
  if line := nothing(root):
    return Report(problems=[line])
  report = _inside(root)
  report.problems += audit.guarded(_copies, root)
  return report


def nothing(root: Path) -> str | None:
  """Why there is nothing in `root` to review; None where there is something."""
  wrong = 'is not there' if not root.exists() else 'is no folder' if not root.is_dir() else (
      '' if _holds(root, lambda name: name in SIGNS or name.endswith(('.json', '.tsv'))) else 'holds nothing to review')
  return f'{shown(str(root))}: {wrong}; name {TAKES}' if wrong else None


def _holds(root: Path, wanted) -> bool:
  """Whether there is a file of a wanted name at or below a folder; what cannot be read is not there."""
  return any(wanted(name) for _, _, files in os.walk(root) for name in files)


def _inside(root: Path) -> Report:
  if packages.is_one(root):
    return package(root)
  if (root / 'ledger.jsonl').exists():
    return run_set(root)
  if (root / 'tape.jsonl').exists():
    return run(root)
  folders = sorted(p for p in root.iterdir() if p.is_dir() and _holds(p, lambda name: name in SIGNS))
  if not folders:
    return dawnbench.check_tree(root)
  report = Report()
  if audit_set.runs_of(root):
    report.problems.append('ledger.jsonl: is missing: this is a set of runs without its ledger, which tells of those '
                           'that were left out; put it back')
  report.problems += [f'{shown(p.name)}: lies beside runs and follows from no tape of theirs; take it away'
                      for p in sorted(root.iterdir()) if p not in folders and (
                          p.name in BESIDE or p.is_dir() and _holds(p, lambda name: name in RECORDS))]
  for folder in folders:
    if folder.is_symlink():
      report.problems.append(f'{shown(folder.name)}: is a link, and was not followed; put the folder itself there')
    else:
      _add(report, _inside(folder), f'{folder.name}/')
  return report


def _copies(root: Path):
  """The same run twice, also where its times were moved; those of one set are compared there."""
  seen = {}
  for path in sorted(path for path in below(root, UNREAD)[0].values() if path.name == 'tape.jsonl'):
    events = audit.read(path)
    if not events or 'serving' in events[0]:  # inference keeps tapes below that of its run
      continue
    first, where = events[0], path.relative_to(root)
    digest = next((e.get('parameters_sha256') for e in reversed(events) if e['event'] == 'result'), None)
    for key in [(first['benchmark'], first['seed'], first['time']),
                *([(digest, round(events[-1]['time'] - first['time'], 4))] if isinstance(digest, str) else [])]:
      other = seen.setdefault(key, where)
      of_one_set = other.parent.parent == where.parent.parent and audit_set.RUN.fullmatch(where.parent.name)
      if other != where and not of_one_set:
        yield f'{shown(where.as_posix())}: is the run of {shown(other.as_posix())} again; a run counts once'
        break


def _add(report: Report, other: Report, prefix: str):
  report.entries += other.entries
  report.problems += [prefix + line for line in other.problems]
  report.warnings += [prefix + line for line in other.warnings]


def _fixture(events, report: Report, name: str):
  if events[0].get('fixture'):
    report.warnings.append(f'{name}: is a fixture, made up: nothing was trained')


def run(root: Path) -> Report:
  """A single run: its tape, and what stands beside it."""
  report = Report(entries=1)
  try:
    events = tapes.read(root)
  except audit.BROKEN as error:
    return Report(1, [f'tape.jsonl: {error}'])
  report.problems += [f'tape.jsonl: {line}' for line in audit_set.of_run(root, events)]
  if not audit.malformed(events):
    _fixture(events, report, 'tape.jsonl')
    for check in (audit_files.records, audit_files.served):
      report.problems += audit.guarded(check, root, events)
  report.problems += audit.guarded(audit_files.strays, root, audit_files.OF_A_RUN)
  return report


def run_set(root: Path, derived: bool = True) -> Report:
  """A set of runs as the launcher leaves it: ledger, tapes, and, where `derived`, summary and the records there are."""
  report, sound = Report(problems=audit_set.findings(root)), []
  for path in audit_set.runs_of(root):
    report.entries += 1
    if events := audit.read(path):
      _fixture(events, report, f'{path.name}/tape.jsonl')
      sound.append(events)
      report.problems += [f'{path.name}/{line}' for check in (audit_files.served, *[audit_files.records] * derived)
                          for line in audit.guarded(check, path, events)]
  report.warnings += [f'ledger.jsonl: {line}' for line in audit.guarded(audit_set.interrupted, root, sound)]
  if not derived:
    return report
  report.problems += audit.guarded(audit_files.strays, root, audit_files.OF_A_SET)
  if (root / 'summary.json').exists():
    report.problems += audit.guarded(_summary, root)
  else:
    report.problems.append('summary.json: is missing; launchers.score --workdir writes it')
  return report


def _summary(root: Path) -> list[str]:
  return different(root, 'summary.json', record.text(ledger.summary(root)))


def package(root: Path) -> Report:
  """A submission: every file is there, nothing else is, and all that is derived is what its tapes say."""
  there, broken = below(root)
  report = Report(problems=broken)
  runs = root / 'runs'
  if not (runs / 'ledger.jsonl').is_file():
    report.problems.append('runs/ledger.jsonl: is missing; nothing can be derived without it')
    return report
  _add(report, run_set(runs, derived=False), 'runs/')
  said, lines = _said(root, runs)
  report.problems += lines
  made = {}
  if said is not None:
    try:
      made, _ = packages.derived(runs, said)
      report.warnings += [f'submission.json: reference_points: {line}' for line in packages.doubts(runs, said)]
    except audit.BROKEN as error:
      report.problems.append(f'runs: nothing can be derived from them: {error}')
  expected = {*made, 'submission.json', 'manifest.json', *(f'runs/{path}' for path in packages.raw(runs))}
  lacking, more = expected - {'submission.json'} - there.keys(), there.keys() - expected if made else ()
  report.problems += [f'{shown(path)}: is missing' for path in sorted(lacking)]
  report.problems += [f'{shown(path)}: belongs to no submission, or follows from no tape here' for path in sorted(more)]
  report.problems += [line for path in sorted(made.keys() & there.keys()) for line in different(root, path, made[path])]
  if 'manifest.json' in there:
    report.problems += audit.guarded(_manifest, root, there)
  if (root / 'dawnbench').is_dir():
    tree = dawnbench.check_tree(root / 'dawnbench')
    _add(report, Report(0, tree.problems, tree.warnings), 'dawnbench/')
  return report


def printable(line: str) -> str:
  """A finding as one line of text: what it quotes may hold line breaks, or what moves a terminal's cursor."""
  return ''.join(c if c.isprintable() else shown(c) for c in line)


def _said(root: Path, runs: Path) -> tuple[dict | None, list[str]]:
  """(what the submitter says, what is wrong with it)."""
  try:
    said = read_json(root / 'submission.json')
    if set(said) != {'notice', *packages.SAID} or said['notice'] != record.NOTICE or not all(
        isinstance(said[name], kind) for name, kind in packages.SAID.items()):
      return None, [f'submission.json: must hold the notice, {", ".join(packages.SAID)}, and nothing else']
    packages.check_said(runs, said)
  except Problem as problem:
    return None, [f'submission.json: {problem}']
  except audit.BROKEN:  # of a tape, and the review of that tape says so
    pass
  return said, []


def _manifest(root: Path, there: dict[str, Path]):
  """What was changed, added or taken away since the manifest was made."""
  try:
    listed = read_json(root / 'manifest.json').get('files')
  except Problem:
    listed = None
  if not isinstance(listed, dict):
    yield 'manifest.json: is not the sha256 of every file as launchers.score --submission writes it'
    return
  for path, digest in listed.items():
    if path not in there:
      yield f'{shown(path)}: is in manifest.json, but not there'
    elif hashlib.sha256(there[path].read_bytes()).hexdigest() != digest:
      yield f'{shown(path)}: is not the file that manifest.json was made with'
  for path in sorted(there.keys() - listed.keys() - {'manifest.json'}):
    yield f'{shown(path)}: is not in manifest.json'
  text = packages.manifest({path: file.read_bytes() for path, file in there.items() if path != 'manifest.json'})
  if listed.keys() == there.keys() - {'manifest.json'}:
    yield from different(root, 'manifest.json', text)
