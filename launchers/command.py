"""What every command shares: flags in, one line out when something is wrong, an exit status that means something."""
import dataclasses
import difflib
import fcntl
import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from absl import flags

from scoring import audit_header, record
from scoring import tape as tapes
from scoring.problem import Problem
from training import config as configs
from training.watch import LOST as LOST

STOPPING = 'stopping after this step, and saving; Ctrl-C again: at once, back to the last checkpoint'
GOES_ON = 'interrupted; the same command resumes from the last checkpoint, if there is one'
# what may lie where a run or a set of runs begins: what an earlier try or a scheduler left, and what is hidden
BEFORE_A_RUN = re.compile(r'\..*|checkpoints|pod|page|profile|run_\d{3,}|tensorboard|lost\+found|summary\.json|'
                          r'core(\.\d+)?|.*\.(txt|log|out|err|part|py|sh|sbatch|ya?ml|[eo]\d+)')
FOLDERS = ('checkpoint_dir', 'compilation_cache_dir', 'data_dir')  # flags of train that may lie below its workdir
BEGUN = ('tape.jsonl', 'ledger.jsonl', 'record.json')  # of these one shows that a run or a set has begun there
REACHED, ERROR, USAGE, NOT_REACHED, PREEMPTED, INTERRUPTED = 0, 1, 2, 3, 75, 130  # and LOST


def fail(message) -> None:
  print(f'error: {message}', file=sys.stderr, flush=True)


def parse(argv: list[str], *, known_only: bool = False, pair: str | None = None) -> list[str]:
  """Parses flags; a wrong one ends the process with one line and status 2.

  Everything after the program's name must be a flag, but for one name if the flag `pair` is given: `--compare A B`.
  A flag that is nothing by default is not given as nothing: --check= is a variable of a shell that was never set.
  Returns what is no flag.
  """
  try:
    rest = flags.FLAGS(argv, known_only=known_only)
  except flags.Error as error:
    if isinstance(error, flags.UnrecognizedFlagError):
      error = flags.UnrecognizedFlagError(error.flagname, suggestions=_near(error.flagname))
    said = re.sub(r"\('(Non-boolean[^']*)'.*\)", r'\1', ' '.join(f'{error}'.split()))  # absl shows a tuple there
    said = re.sub(r'flag --(\w+)=None: .*', lambda m: f'--{m[1]} is missing: {flags.FLAGS[m[1]].help}', said)
    fail(f'{said} (python -m {_module()} --help lists them)')
    sys.exit(USAGE)
  for name in flags.FLAGS:
    if flags.FLAGS[name].present and flags.FLAGS[name].default is None and flags.FLAGS[name].value in ('', []):
      fail(f'--{name}= is empty; write --{name}=VALUE, or leave it out')
      sys.exit(USAGE)
  spare = rest[2 if pair and flags.FLAGS[pair].value else 1:]
  if spare and not known_only:
    fail(f'{spare[0]!r} is not a flag; write --name=value')
    sys.exit(USAGE)
  return rest[1:]


def _near(given: str) -> list[str]:
  """The flag that a wrong name may mean, and a field of the config also by its bare name; absl would name its own."""
  bare = {f'--{flag.name}': flag.name.removeprefix('config.') for flag in own_flags()}
  closest = difflib.get_close_matches(given.removeprefix('config.'), bare.values(), n=1)
  return [name for name, known in bare.items() if known in closest]


def help_wanted(argv: list[str]) -> bool:
  given = {word.partition('=')[0] for word in audit_header.words(argv[1:])}
  return bool({'--help', '--h', '--helpfull', '--helpshort'} & given)


def config_help_wanted(argv: list[str], doc: str) -> bool:
  """Whether help is wanted; prints it, with the fields of the config that --config names."""
  if not help_wanted(argv):
    return False
  if given := audit_header.flag(argv[1:], 'config'):
    config = configs.load(given)
    configs.define_flags(config)
    for name, text in fields_help(type(config)).items():
      flags.FLAGS[f'config.{name}'].help = text
  print_help(doc)
  return True


def fields_help(kind: type[configs.Config]) -> dict[str, str]:
  """What the docstrings of a config's class, and of those above it, say of each field under `Attributes:`."""
  found = {}
  for one in reversed(kind.__mro__):
    attributes = re.split(r'\n(?=\S)', inspect.cleandoc(one.__doc__ or '').partition('Attributes:\n')[2])[0]
    for names, text in re.findall(r'^  (\w+(?:, \w+)*): (.+(?:\n    .+)*)', attributes, re.MULTILINE):
      text = ' '.join(text.split())
      found |= dict.fromkeys(names.split(', '), f'{names}: {text}' if ',' in names else text)
  return {field.name: found[field.name] for field in dataclasses.fields(kind) if field.name in found}


def parse_config(argv: list[str]) -> configs.Config:
  """The config of --config, with what its own flags override; parses all flags, as `parse` does."""
  config = configs.load(flags.FLAGS.config)
  configs.define_flags(config)
  parse(argv)
  return configs.from_flags(config)


def recorded(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """A command line as a tape keeps it: each flag as --name=value, a config of this checkout by its place there.

  Args:
    argv: without the program's name, and taken by `values` before.
  """
  found, words = [], iter(values.read_flags_from_files(argv))
  for word in words:
    name, equals, value = word.removeprefix('-').removeprefix('-').partition('=')
    if not equals and name in values and not values[name].boolean:
      equals, value = '=', next(words)
    if name == 'config' and Path(value).resolve().is_relative_to(tapes.ROOT):
      value = Path(value).resolve().relative_to(tapes.ROOT).as_posix()
    found.append(f'--{name}{equals}{value}')
  return found


def own_flags() -> Iterator[flags.Flag]:
  """The flags of this command, and none of the libraries that it uses."""
  for module, defined in flags.FLAGS.flags_by_module_dict().items():
    if module in ('__main__', sys.argv[0]) or module.startswith(('launchers.', 'training.', 'benchmarks.')):
      yield from defined


def print_help(doc: str) -> int:
  """Prints what the command does and its own flags."""
  print(doc)
  for flag in own_flags():
    print(f'  --{flag.name}={flag.default_as_str or flag.default}\n      {flag.help}')
  return REACHED


def lock(workdir: Path) -> IO[str]:
  """The tape of a run, made if need be, open and locked until it is closed.

  Raises:
    Problem: another process has the lock, or the workdir cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    tape = open(workdir / 'tape.jsonl', 'a')
    fcntl.flock(tape, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return tape
  except BlockingIOError:
    raise Problem(f'--workdir={workdir}: another process is at work on this run; wait for it or stop it') from None
  except OSError as error:
    raise Problem(f'--workdir={workdir}: cannot write there ({error.strerror}); name another') from None


def refuse_foreign(folder: Path, given: Mapping):
  """Raises Problem where a folder in which no run has begun holds what none leaves: it is not ours to write into.

  given: flags by name; the folders that they name may lie in it.
  """
  try:
    names = sorted(path.name for path in folder.iterdir())
  except OSError:
    return  # it is not there yet, or not ours to read: writing will say so
  if set(BEGUN) & set(names):
    return
  named = [Path(given[name]).expanduser().absolute() for name in FOLDERS if given.get(name)]
  ours = [name for name in names if any(path.is_relative_to(folder.absolute() / name) for path in named)]
  if foreign := [name for name in names if name not in ours and not BEFORE_A_RUN.fullmatch(name)]:
    raise Problem(f'--workdir={folder}: holds {foreign[0]}' + (f' and {len(foreign) - 1} more' if foreign[1:] else '') +
                  ', which no run has made; name a folder that is new, or empty')


def check_config(before: str, config: configs.Config, where,
                 advice: str = 'name another --workdir, or give the same config to resume'):
  """Raises Problem unless `before`, the text of a config, is that of `config`."""
  text = configs.to_text(config)
  if before != text:
    raise Problem(f'{where}: holds a run of another config ({configs.differences(before, text)}); {advice}')


def write_records(events, workdir, **author) -> tuple[dict, str | None]:
  """Writes and prints the records of a run: (its record, why there is no DAWNBench entry or None)."""
  files, refused = record.write(events, workdir, **author)
  made = record.record(events)
  print(record.table(made) + f"records   {', '.join(str(f) for f in files)}", flush=True)
  return made, refused


def stop_at_once(number, frame):
  """Ends this process at a signal, with one line.

  It raises nothing: Python drops an exception that a handler raises inside a finaliser or a callback, as JAX's of the
  garbage collector.
  """
  os.write(2, f'error: {GOES_ON}\n'.encode())
  os._exit(INTERRUPTED)


def at_ctrl_c(handler):
  """Has Ctrl-C call `handler`, which begins with stop_at_once, unless the process was started to ignore it."""
  if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, stop_at_once):
    signal.signal(signal.SIGINT, handler)


def run(main: Callable[[list[str], str], int], doc: str):
  """Runs `main(argv, doc)` and exits with the status it returns; a Problem becomes one line and status 1."""
  try:
    status = main(sys.argv, doc)
  except Problem as problem:
    fail(problem)
    status = ERROR
  except KeyboardInterrupt:
    fail('interrupted')  # where there are checkpoints, stop_at_once says so
    status = INTERRUPTED
  except BrokenPipeError:
    status = ERROR
  except Exception:  # not left to Python, which would first wait for programs that are being compiled
    traceback.print_exc()
    status = ERROR
  try:
    sys.stdout.flush()
    sys.stderr.flush()
  except OSError:
    pass
  os._exit(status)  # all is written and closed: tearing the accelerator's runtime down would only add unclaimed time


def script(main: Callable[[], int], doc: str):
  """`run` for a command whose flags are all defined: parses them before it calls `main`, or prints the help."""
  def begin(argv: list[str], doc: str) -> int:
    if help_wanted(argv):
      return print_help(doc)
    parse(argv)
    return main()
  run(begin, doc)


def _module() -> str:
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  return spec.name if spec else sys.argv[0]
