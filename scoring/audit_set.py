"""What a set of runs must be: all runs that were begun, once each, of one recipe, code and machine.

The ledger is written by the launcher, a line before each run and one after it; tape and ledger tell the same story
independently, so a change in one of them shows in the other.
"""
import re
from collections.abc import Iterator
from pathlib import Path

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


def runs_of(folder: Path) -> list[Path]:
  """The folders of runs in a folder, by name."""
  return sorted(p for p in folder.iterdir() if p.is_dir() and RUN.fullmatch(p.name))


def findings(folder: Path) -> list[str]:
  """Everything that is wrong with a set of runs, each line beginning with a path relative to `folder`."""
  try:
    entries = ledger.read(folder)
  except audit.BROKEN as error:
    prefix = f'{folder / "ledger.jsonl"}: '
    return [f'ledger.jsonl: {str(error).removeprefix(prefix)}']
  if broken := list(_shape(entries)):
    return broken
  found, runs = [], {}
  for path in runs_of(folder):
    runs[path.name], lines = _tape(path)
    found += [f'{path.name}/tape.jsonl: {line}' for line in lines]
  found += audit.guarded(_ledger, entries, runs)
  failed = {e['run'] for e in entries if e['event'] == 'end' and e.get('exit_status') not in EXITS}
  found += [f'{name}/tape.jsonl: is empty, and the ledger says that the run ended well'
            for name, events in runs.items() if events == [] and name not in failed]
  sound = {name: events for name, events in runs.items() if events}
  for name, events in sound.items():
    found += [f'{name}/tape.jsonl: {line}' for line in audit.guarded(_against_ledger, name, events, entries)]
  return found + audit.guarded(_alike, sound) + audit.guarded(_distinct, sound)


def _shape(entries: list) -> Iterator[str]:
  """Each line of the ledger has what is read of it."""
  for number, entry in enumerate(entries, 1):
    wanted = {'event': str, 'time': (int, float), **({'seed': int, 'config': str} if entry.get('event') == 'begin' else
                                                     {'exit_status': int})}
    for field, kind in wanted.items():
      if not isinstance(entry.get(field), kind) or isinstance(entry[field], bool):
        yield f'ledger.jsonl: line {number}: {field} is missing or not what a ledger has there'


def _tape(path: Path) -> tuple[list | None, list[str]]:
  """(events that can be read on, or None; what is wrong with them)."""
  if not (path / 'tape.jsonl').is_file():
    return None, ['is missing']
  try:
    events = tapes.read(path)
  except audit.BROKEN as error:
    return None, [str(error).removeprefix(f'{path / "tape.jsonl"}, ')]
  if not events:  # a run that was killed before its first line
    return [], []
  lines = audit.findings(events)
  return None if audit.malformed(events) else events, lines


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
  ended = {e['run'] for e in entries if e['event'] == 'end'}
  for name in names:
    if name not in runs:
      yield f'{name}: is missing: the ledger says that it was begun'
    if name not in ended:
      yield f'ledger.jsonl: {name} never ended'
  for name in runs:
    if name not in names:
      yield f'{name}: was never begun by the ledger'
  for entry in begun:
    if entry['config'] != begun[0]['config']:
      yield f'ledger.jsonl: {entry["run"]} has another config than {begun[0]["run"]}'
    seed = audit_header.parse_config(entry['config'])['seed'] + int(entry['run'].removeprefix('run_'))
    if entry['seed'] != seed:
      yield (f'ledger.jsonl: {entry["run"]} has seed {entry["seed"]}; seeds count up from that of the config, so it is '
             f'{seed}')
  yield from _as_many_as_asked(names, runs)


def _as_many_as_asked(names: list, runs: dict) -> Iterator[str]:
  """The command line of every run says of how many it is one."""
  asked = {name: asked_for(events) for name, events in runs.items()}
  most = max(asked.values(), default=1)
  if most > len(names):
    name = next(name for name in asked if asked[name] == most)
    yield f'ledger.jsonl: of its runs {len(names)} began, and the command line of {name} asked for {most}'
  for name in asked:
    if runs[name] and int(name[4:]) >= asked[name]:
      yield f'{name}/tape.jsonl: its command line asked for {counted(asked[name], "run")}, and so not for this one'


def asked_for(events: list | None) -> int:
  """For how many runs a tape's command line asked: the launcher adds --runs=1 behind its own --runs=N for each."""
  return max(map(int, audit_header.values(events[0]['command'], 'runs')), default=1) if events else 1


def interrupted(folder: Path, runs: list) -> Iterator[str]:
  """Where a set was not made in one go: a later command made it longer, or time passed between two of its runs."""
  asked = {asked_for(events) for events in runs}
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
  if asked_for(events) > 1 or (audit_header.values(command, 'runs') and RUN.fullmatch(name)):
    yield (f'line 1: its command line made it {name} of a set of runs (--runs): show the whole set with its ledger, '
           'not one run of it')


def _against_ledger(name: str, events: list, entries: list) -> Iterator[str]:
  """A tape against what the launcher wrote about its run."""
  first = events[0]
  begun = [e for e in entries if e['run'] == name and e['event'] == 'begin']
  ended = [e for e in entries if e['run'] == name and e['event'] == 'end']
  workdir = audit_header.flag(first['command'], 'workdir')
  if workdir is not None and Path(workdir).name != name:
    yield f'its command line trained in {Path(workdir).name}: this is the tape of another run, or was renamed'
  for entry in begun[-1:]:
    config, own = (audit_header.parse_config(text) for text in (entry['config'], first['config']))
    if entry['seed'] != first['seed']:
      yield f'seed is {first["seed"]}, in the ledger {entry["seed"]}'
    for field in sorted({*config, *own} - {'seed'}):
      if config.get(field) != own.get(field):
        yield f'{field} is {own.get(field)!r} in its config, in the ledger {config.get(field)!r}'
  yield from _processes(events, [e for e in entries if e['run'] == name])
  for entry in ended[-1:]:
    reached, status = clocks.reached(events), record.status(events)
    told = EXITS.get(entry['exit_status'], 'not complete')
    is_so = 'not complete' if status != 'complete' else EXITS[0 if reached else 3]
    if told != is_so:
      yield f'is {is_so}; the ledger says exit status {entry["exit_status"]}, which is {told}'


def _processes(events: list, entries: list) -> Iterator[str]:
  """Each process of a run, the resumed ones too, begins and ends when the ledger says; none was taken out."""
  starts = [n for n, e in enumerate(events) if e['event'] == 'process']
  begun = {n: e['time'] for n, e in enumerate(entries) if e['event'] == 'begin'}
  matched = set()
  for start, stop in zip(starts, [*starts[1:], len(events)]) if begun else ():
    late, number = min(((events[start]['time'] - time, n) for n, time in begun.items()), key=lambda pair: abs(pair[0]))
    if abs(late) > SLACK:
      yield (f'line {start + 1}: its process starts {late:.3f} s after the ledger began the run: the start of the '
             'clock was moved, or this is the tape of another run')
    matched.add(number)
    last = events[stop - 1]
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


def _had(events: list, field: str) -> str:
  """What the processes of a run had in a field: a restart may have had other code, or another machine."""
  processes = [e for e in events if e['event'] == 'process']
  if field == FOLDER:
    return repr(folder_of(processes[0]))
  return ', then '.join(dict.fromkeys(repr(e.get(field)) for e in processes))


def _alike(runs: dict) -> Iterator[str]:
  """All runs are of one recipe, one code, one machine and one folder; the odd ones are named."""
  for field in ALIKE:
    groups = {}
    for name, events in runs.items():
      groups.setdefault(_had(events, field), []).append(name)
    usual = max(groups.values(), key=len, default=[])
    for value, names in groups.items():
      if names is not usual:
        yield f'{names[0]}/tape.jsonl: {field} is {value:.100}, not what the other runs have'
  seen = {}
  for name, events in runs.items():
    for event in events:
      if event['event'] == 'data' and event.get('fingerprint'):
        split, fingerprint = event.get('split'), event['fingerprint']
        first = seen.setdefault(split, (fingerprint, name))
        if first[0] != fingerprint:
          yield f'{name}/tape.jsonl: its {split} data are not those of {first[1]}'
          break


def _distinct(runs: dict) -> Iterator[str]:
  """No run is there twice: not its seed, not what it ended with, not its time."""
  for what, of in (('seed', lambda events: events[0]['seed']),
                   ('parameters_sha256', lambda events: next(
                       (e['parameters_sha256'] for e in reversed(events) if e['event'] == 'result'), None))):
    seen = {}
    for name, events in runs.items():
      value = of(events)
      if value is not None and seen.setdefault(value, name) != name:
        yield f'{name}/tape.jsonl: has the {what} of {seen[value]}: it is the same run, or a copy'
  spans = sorted((events[0]['time'], events[-1]['time'], name) for name, events in runs.items()
                 if sum(e['event'] == 'process' for e in events) == 1)  # one that was resumed spans what came between
  for (_, stop, name), (start, _, other) in zip(spans, spans[1:]):
    if start < stop - SLACK:
      yield f'{other}/tape.jsonl: runs while {name} runs, but the runs of a set come one after another'
