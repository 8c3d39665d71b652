"""What a set of runs must be: all runs that were begun, once each, of one recipe, code and machine.

The ledger is written by the launcher, a line before each run and one after it; tape and ledger tell the same story
independently, so a change in one of them shows in the other.
"""
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scoring import audit, audit_header, clocks, ledger, record
from scoring import tape as tapes
from scoring.problem import counted

FOLDER = 'the folder of its set'
RUN = re.compile(r'run_\d{3,}', re.ASCII)
ALIKE = ('benchmark', 'model', 'target', 'num_train_examples', 'batch_size', 'hyperparameters', 'tricks', 'hardware',
         'versions', 'xla_flags', 'git_commit', 'git_dirty', 'code_sha256', 'price', 'division', 'submitter', 'fixture',
         'tape_version', FOLDER)
SLACK = 1.0  # seconds between the launcher's clock and that of the process it starts, which may be rounded to one
END_SLACK = 5.0  # seconds from a tape's exit to the ledger's end of its run, in which records are written
EXITS = {0: 'complete, with its target reached', 3: 'complete, without its target'}
PAUSE = 2.0  # seconds from the end of a run to the beginning of the next, which the launcher begins at once
TOLD = (*EXITS, 75)  # exit statuses, 75 preempted, of a process that has told its tape that it began


class Told(NamedTuple):
  """What the tape of a run says to a review of its set; `processes`: (line, event) that each begins and ends with."""
  first: dict
  processes: list[tuple[int, dict, int, dict]]
  data: list[dict]
  parameters_sha256: str | None
  reached: bool
  status: str

  def had(self, field: str) -> str:
    """What its processes had in a field: a restart may have had other code, or another machine."""
    if field == FOLDER:
      return repr(folder_of(self.first))
    return ', then '.join(dict.fromkeys(repr(begin.get(field)) for _, begin, _, _ in self.processes))


def told(events: list, reached: bool) -> Told:
  """What a tape that is not malformed says to a review of its set; `reached` as `scoring.clocks` has it."""
  starts = [n for n, e in enumerate(events) if e['event'] == 'process']
  stops = [*starts[1:], len(events)]
  return Told(events[0], [(start + 1, events[start], stop, events[stop - 1]) for start, stop in zip(starts, stops)],
              [e for e in events if e['event'] == 'data' and e.get('fingerprint')],
              next((e.get('parameters_sha256') for e in reversed(events) if e['event'] == 'result'), None),
              reached, record.status(events))


def runs_of(folder: Path) -> list[Path]:
  """The folders of runs in a folder, by name."""
  return sorted(p for p in folder.iterdir() if p.is_dir() and RUN.fullmatch(p.name))


def findings(folder: Path) -> list[str]:
  """Everything that is wrong with a set of runs, each line beginning with a path relative to `folder`."""
  try:
    entries = ledger.read(folder)
  except audit.BROKEN as error:
    return ['ledger.jsonl: ' + str(error).removeprefix(f'{folder / "ledger.jsonl"}: ')]
  found, runs = [], {}
  for path in runs_of(folder):
    runs[path.name], lines = _tape(path)
    found += [f'{path.name}/tape.jsonl: {line}' for line in lines]
  return found + together(entries, runs) + audit.guarded(unended, entries, runs)


def together(entries: list, runs: dict[str, Told | list | None]) -> list[str]:
  """What is wrong with the runs that are there beside one another and the ledger, also while the set goes on.

  runs: by name; empty for an empty tape, None where it is missing or broken.
  """
  if broken := list(_shape(entries)):
    return broken
  sound = {name: run for name, run in runs.items() if run}
  found = audit.guarded(_ledger, entries, runs)
  for name, run in sound.items():
    found += [f'{name}/tape.jsonl: {line}' for line in audit.guarded(_against_ledger, name, run, entries)]
  return found + audit.guarded(_alike, sound) + audit.guarded(_distinct, sound)


def _shape(entries: list) -> Iterator[str]:
  """Each line of the ledger has what is read of it."""
  for number, entry in enumerate(entries, 1):
    wanted = {'event': str, 'time': (int, float), **({'seed': int, 'config': str} if entry.get('event') == 'begin' else
                                                     {'exit_status': int})}
    for field, kind in wanted.items():
      if not isinstance(entry.get(field), kind) or isinstance(entry[field], bool):
        yield f'ledger.jsonl: line {number}: {field} is missing or not what a ledger has there'


def _tape(path: Path) -> tuple[Told | list | None, list[str]]:
  """(what a tape says to `together`, what is wrong with it)."""
  if not (path / 'tape.jsonl').is_file():
    return None, ['is missing']
  try:
    events = tapes.read(path)
  except audit.BROKEN as error:
    return None, [str(error).removeprefix(f'{path / "tape.jsonl"}, ')]
  if not events:  # a run that was killed before its first line
    return [], []
  lines = audit.findings(events)
  return None if audit.malformed(events) else told(events, clocks.reached(events) is not None), lines


def _ledger(entries: list, runs: dict) -> Iterator[str]:
  """The ledger by itself, and against the folders beside it."""
  begun = [e for e in entries if e['event'] == 'begin']
  names = list(dict.fromkeys(e['run'] for e in begun))
  for number, name in enumerate(names):
    if name != ledger.run_name(number):
      yield f'ledger.jsonl: {name} begins where {ledger.run_name(number)} should: numbers go up from 0 without gaps'
      break
  for before, entry in zip(entries, entries[1:]):
    if entry['time'] < before['time']:
      yield f'ledger.jsonl: the {entry["event"]} of {entry["run"]} is before the line above it'
  running = None
  for entry in entries:
    if entry['event'] not in ('begin', 'end'):
      yield f'ledger.jsonl: {entry["event"]!r:.40} of {entry["run"]} is neither begin nor end'
    elif entry['event'] == 'end' and running != entry['run']:
      yield f'ledger.jsonl: {entry["run"]} ends, but did not begin'
    running = entry['run'] if entry['event'] == 'begin' else None
  for name in names:
    if name not in runs:
      yield f'{name}: is missing: the ledger says that it was begun'
  well = {run for run, last in {e['run']: e for e in entries}.items() if last.get('exit_status') in EXITS}
  for name, run in runs.items():
    if name not in names:
      yield f'{name}: was never begun by the ledger'
    if run == [] and name in well:
      yield f'{name}/tape.jsonl: is empty, and the ledger says that the run ended well'
    if run and int(name[4:]) >= (asked := asked_for(run.first)):
      yield f'{name}/tape.jsonl: its command line asked for {counted(asked, "run")}, and so not for this one'
  for entry in begun:
    if entry['config'] != begun[0]['config']:
      yield f'ledger.jsonl: {entry["run"]} has another config than {begun[0]["run"]}'
    seed = audit_header.parse_config(entry['config'])['seed'] + int(entry['run'].removeprefix('run_'))
    if entry['seed'] != seed:
      yield (f'ledger.jsonl: {entry["run"]} has seed {entry["seed"]}; seeds count up from that of the config, so it is '
             f'{seed}')


def unended(entries: list, runs: dict) -> Iterator[str]:
  """Where a set goes on, or was cut short: a run has not ended, or fewer began than a command line asked for."""
  names, ended = ({e['run'] for e in entries if e.get('event') == event} for event in ('begin', 'end'))
  for name in sorted(names - ended):
    yield f'ledger.jsonl: {name} never ended'
  asked = {name: asked_for(run.first) for name, run in runs.items() if run}
  if (most := max(asked.values(), default=0)) > len(names):
    name = next(name for name in asked if asked[name] == most)
    yield f'ledger.jsonl: of its runs {len(names)} began, and the command line of {name} asked for {most}'


def asked_for(first: dict) -> int:
  """For how many runs a run's command line asked: the launcher adds --runs=1 behind its own --runs=N for each."""
  return max(map(int, audit_header.values(first['command'], 'runs')), default=1)


def interrupted(folder: Path, runs: list) -> Iterator[str]:
  """Where a set was not made in one go: a later command made it longer, or time passed between two of its runs."""
  asked = {asked_for(events[0]) for events in runs}
  if len(asked) > 1:
    yield f'was extended by a later command, from {counted(min(asked), "run")} to {max(asked)}'
  entries = ledger.read(folder)
  for end, begin in zip(entries, entries[1:]):
    pause = begin['time'] - end['time']
    if end['event'] == 'end' and pause > PAUSE:
      yield (f'{pause:.0f} s pass from the end of {end["run"]} to the beginning of {begin["run"]}: the launcher was '
             'stopped, or what ran between them was taken out')


def torn_out(events: list) -> Iterator[str]:
  """A run that stands alone was not made as one of a set, whose other runs nobody would see."""
  command = events[0]['command']
  name = Path(audit_header.flag(command, 'workdir') or '').name
  if asked_for(events[0]) > 1 or (audit_header.values(command, 'runs') and RUN.fullmatch(name)):
    yield (f'line 1: its command line made it {name} of a set of runs (--runs): show the whole set with its ledger, '
           'not one run of it')


def of_run(folder: Path, events: list) -> list[str]:
  """Everything that is wrong with the tape of a run, which is not one of a set whose others are not there."""
  in_its_set = audit.malformed(events) or (folder.resolve().parent / 'ledger.jsonl').exists()
  return audit.findings(events) + ([] if in_its_set else audit.guarded(torn_out, events))


def faults(folder: Path) -> list[str]:
  """What a review finds in the tapes and the ledger of a set of runs, or in the tape of one run."""
  return findings(folder) if (folder / 'ledger.jsonl').exists() else of_run(folder, tapes.read(folder))


def _against_ledger(name: str, run: Told, entries: list) -> Iterator[str]:
  """A tape against what the launcher wrote about its run."""
  entries = [e for e in entries if e['run'] == name]
  workdir = audit_header.flag(run.first['command'], 'workdir')
  if (trained_in := Path(name if workdir is None else workdir).name) != name:
    yield f'its command line trained in {trained_in}: this is the tape of another run, or was renamed'
  for entry in [e for e in entries if e['event'] == 'begin'][-1:]:
    config, own = (audit_header.parse_config(text) for text in (entry['config'], run.first['config']))
    if entry['seed'] != run.first['seed']:
      yield f'seed is {run.first["seed"]}, in the ledger {entry["seed"]}'
    for field in sorted({*config, *own} - {'seed'}):
      if config.get(field) != own.get(field):
        yield f'{field} is {own.get(field)!r} in its config, in the ledger {config.get(field)!r}'
  yield from _processes(run, entries)
  for entry in [e for e in entries[-1:] if e['event'] == 'end']:
    is_so = EXITS[0 if run.reached else 3] if run.status == 'complete' else 'not complete'
    if (says := EXITS.get(entry['exit_status'], 'not complete')) != is_so:
      yield f'is {is_so}; the ledger says exit status {entry["exit_status"]}, which is {says}'


def _processes(run: Told, entries: list) -> Iterator[str]:
  """Each process of a run, the resumed ones too, begins and ends when the ledger says; none was taken out."""
  begun = {n: e['time'] for n, e in enumerate(entries) if e['event'] == 'begin'}
  matched = set()
  for line, begin, stop, last in run.processes if begun else ():
    late, number = min(((begin['time'] - time, n) for n, time in begun.items()), key=lambda pair: abs(pair[0]))
    if abs(late) > SLACK:
      yield (f'line {line}: its process starts {late:.3f} s after the ledger began the run: the start of the '
             'clock was moved, or this is the tape of another run')
    matched.add(number)
    for end in entries[number + 1:number + 2]:
      if end['event'] == 'end' and last['time'] > end['time'] + SLACK:
        yield f'line {stop}: its last event is {last["time"] - end["time"]:.3f} s after the end that the ledger has'
      elif end['event'] == 'end' and last['event'] == 'exit' and last['time'] < end['time'] - END_SLACK:
        yield (f'line {stop}: its exit is {end["time"] - last["time"]:.3f} s before the end that the ledger has: its '
               'times were scaled or moved, or the machine slept')
  for number in begun.keys() - matched:
    for end in entries[number + 1:number + 2]:
      if end['event'] == 'end' and end['exit_status'] in TOLD:
        yield (f'no process of it starts where the ledger began it for the end with exit status {end["exit_status"]}: '
               'a restart was taken out')


def folder_of(process: dict) -> str:
  """The name of the folder of a run's set, by the command line of its process."""
  return Path(audit_header.flag(process['command'], 'workdir') or '').parent.name


def _alike(runs: dict[str, Told]) -> Iterator[str]:
  """All runs are of one recipe, one code, one machine and one folder; the odd ones are named."""
  for field in ALIKE:
    groups = {}
    for name, run in runs.items():
      groups.setdefault(run.had(field), []).append(name)
    usual = max(groups.values(), key=len, default=[])
    for value, names in groups.items():
      if names is not usual:
        yield f'{names[0]}/tape.jsonl: {field} is {value:.100}, not what the other runs have'
  seen = {}
  for name, run in runs.items():
    for event in run.data:
      fingerprint, other = seen.setdefault(event.get('split'), (event['fingerprint'], name))
      if fingerprint != event['fingerprint']:
        yield f'{name}/tape.jsonl: its {event.get("split")} data are not those of {other}'
        break


def _distinct(runs: dict[str, Told]) -> Iterator[str]:
  """No run is there twice: not its seed, not what it ended with, not its time."""
  for what, of in (('seed', lambda run: run.first['seed']), ('parameters_sha256', lambda run: run.parameters_sha256)):
    seen = {}
    for name, run in runs.items():
      if of(run) is not None and seen.setdefault(of(run), name) != name:
        yield f'{name}/tape.jsonl: has the {what} of {seen[of(run)]}: it is the same run, or a copy'
  spans = sorted((run.first['time'], run.processes[0][3]['time'], name) for name, run in runs.items()
                 if len(run.processes) == 1)  # one that was resumed spans what came between
  for (_, stop, name), (start, _, other) in zip(spans, spans[1:]):
    if start < stop - SLACK:
      yield f'{other}/tape.jsonl: runs while {name} runs, but the runs of a set come one after another'
