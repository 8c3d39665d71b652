"""What the first line of a tape must be: whole, the same in all processes, at one with its config and command."""
import ast
import functools
import math
import re
from collections.abc import Iterator

from scoring import cost, dawnbench
from scoring import tape as tapes
from scoring.problem import Problem
from scoring.record import RESUMABLE

NUMBER, NONE = (int, float), type(None)
FIELDS = {'tape_version': int, 'benchmark': str, 'model': str, 'target': dict, 'num_train_examples': int,
          'batch_size': int, 'hyperparameters': dict, 'tricks': dict, 'config': str, 'seed': int, 'command': list,
          'git_commit': (str, NONE), 'git_dirty': (bool, NONE), 'versions': dict, 'hardware': dict, 'xla_flags': str,
          'price': (dict, NONE), 'division': str, 'submitter': dict}
HARDWARE = {'platform': str, 'device_kind': str, 'device_count': int, 'process_count': int, 'host': str,
            'host_cores': int}
TRAINED_ON = {'cifar10': 50_000, 'imagenet': 1_281_167, 'digits': 1_433}  # SQuAD's depends on how it is cut
EVALUATED_ON = {'digits': 364, **{name: board.num_examples for name, board in dawnbench.BOARDS.items()}}
AT_EACH_START = (*RESUMABLE, 'command', 'resumed', 'time', 'line', 'file', 'code_sha256')
# config fields that a log key is a copy of, the first that a config has
COPIES = {'name': ('optimizer',), 'base_learning_rate': ('peak_learning_rate', 'learning_rate'),
          'end_learning_rate': ('end_learning_rate',), 'momentum': ('momentum',), 'weight_decay': ('weight_decay',),
          'beta_1': ('beta_1',), 'beta_2': ('beta_2',), 'epsilon': ('epsilon',),
          'gradient_clip_norm': ('gradient_clip_norm',), 'learning_rate_warmup_epochs': ('warmup_epochs',),
          'gradient_accumulation_steps': ('gradient_accumulation_steps',)}
PREFIX = re.compile(r'^(lars_|sgd_)?opt_(adamw_|lamb_)?')
TARGETS = ('target_accuracy', 'target_value', 'target_f1')
SAID = {'organization': 'unnamed', 'author': '', 'author_email': '', 'hardware': '', 'status': 'onprem',
        'division': 'closed'}  # what a command line says of who submits, and says by saying nothing
literal = functools.lru_cache(maxsize=4096)(ast.literal_eval)  # configs are alike, line by line


@functools.lru_cache(maxsize=256)  # asked for by several checks, and alike in all runs of a ledger
def parse_config(text: str) -> dict:
  """The fields of a config's text, `name = literal` a line; raises Problem where it is something else."""
  fields = {}
  for line in text.splitlines():
    name, equals, value = line.partition(' = ')
    try:
      fields[name] = literal(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
      raise Problem(f'config: {line!r:.80} is not `name = literal`') from None
    if not equals:
      raise Problem(f'config: {line!r:.80} is not `name = literal`')
  return fields


def words(command: list) -> tuple[str, ...]:
  """A command line with each flag as one word, --name=value: absl takes --name value, and one dash for two, as well.

  Nothing on a command line that was taken stands by itself: a word that is no flag is the value of the one before it.
  """
  return _words(tuple(command))


@functools.lru_cache(maxsize=256)  # asked for flag by flag
def _words(command: tuple) -> tuple[str, ...]:
  found = []
  for word in command:
    if word.startswith('-') and not re.match(r'-[\d.]|-$', word):  # -1 is a value
      found.append('--' + word.removeprefix('-').removeprefix('-'))
    elif found and '=' not in found[-1]:
      found[-1] += f'={word}'
    else:
      found.append(word)
  return tuple(found)


def overrides(command: list) -> dict:
  """What a command line says of fields of the config, as text; of a flag given twice the last counts."""
  pairs = [word.removeprefix('--config.').partition('=') for word in words(command) if word.startswith('--config.')]
  return {name: value for name, equals, value in pairs if equals}


def values(command: list, name: str) -> list[str]:
  """The values of a flag on a command line, in order."""
  return [word.partition('=')[2] for word in words(command) if word.startswith(f'--{name}=')]


def flag(command: list, name: str) -> str | None:
  """The value of a flag on a command line, the last one given."""
  return next(reversed(values(command, name)), None)


def shape(events) -> Iterator[str]:
  """All that the other checks and the records read is there, and of the right type."""
  for number, process in enumerate(events, 1):
    if process['event'] != 'process':
      continue
    for name, kind in FIELDS.items():
      if name not in process or not isinstance(process[name], kind) or (kind is int and process[name] is True):
        yield f'line {number}: {name} is missing or not what a tape has there'
    if not all(isinstance(word, str) for word in process.get('command') or ()):
      yield f'line {number}: command is no list of words'
    if not isinstance(process.get('code_sha256', ''), str):
      yield f'line {number}: code_sha256 is no text'
    yield from (f'line {number}: hardware.{name} is missing or not what a tape has there'
                for name, kind in HARDWARE.items() if not isinstance(process.get('hardware', {}).get(name), kind))
  target = events[0].get('target') or {}
  if (not isinstance(target.get('metric'), str) or not isinstance(target.get('value'), NUMBER)
      or type(target.get('num_examples')) is not int or target['num_examples'] < 1):
    yield f'line 1: target is {target!r:.80}, not a metric, a value and a number of examples'
  if events[0].get('division') not in ('closed', 'open'):
    yield f'line 1: division is {events[0].get("division")!r:.80}, not closed or open'
  if (type(events[0].get('batch_size')) is int and events[0]['batch_size'] < 1) or events[0].get('tape_version') != 1:
    yield 'line 1: tape_version is not 1, or batch_size is below 1'


def processes(events) -> Iterator[str]:
  """A run that was restarted is still the same run, and goes on from a line that the tape had."""
  first = events[0]
  if first.get('resumed'):
    yield f'line 1: resumed from step {first["resumed"].get("step")}, but nothing is on the tape before it'
  for number, process in enumerate(events, 1):
    if process['event'] != 'process' or number == 1:
      continue
    for name in sorted({*first, *process} - set(AT_EACH_START)):
      if process.get(name) != first.get(name):
        yield f'line {number}: {name} is not that of the first process'
    resumed = process.get('resumed') or {}
    if not 1 <= resumed.get('line', 0) < number:
      yield f'line {number}: resumed from line {resumed.get("line")}, which was not there'
    elif resumed['step'] != (reached := _step_at(events[:number - 1], resumed['line'])):
      yield (f'line {number}: resumed from step {resumed["step"]}, but the training on the tape up to line '
             f'{resumed["line"]} reached {reached}')
    elif resumed['line'] > 1:
      within = next((e for e in reversed(events[:resumed['line']]) if 'edge' in e), events[0])
      if (within['event'], within.get('edge')) != ('checkpoint', 'start'):
        yield f'line {number}: resumed from line {resumed["line"]}, where no checkpoint was saved'


def _step_at(events, line: int) -> int:
  """The step that training had reached when the tape had so many lines, without what a restart superseded."""
  early = {id(event) for event in events[:line]}
  trained = [e for e in tapes.effective(events) if id(e) in early and e['event'] == 'train' and e.get('edge') == 'stop']
  return trained[-1]['step'] if trained else 0


def counts(events) -> Iterator[str]:
  """The examples of a benchmark that everybody knows are as many as everybody has."""
  first = events[0]
  for field, known, found in (('num_train_examples', TRAINED_ON, first['num_train_examples']),
                              ('target.num_examples', EVALUATED_ON, first['target']['num_examples'])):
    right = known.get(first['benchmark'])
    if right is not None and found != right:
      yield f'line 1: {field} is {found}, but {first["benchmark"]} has {right}'
  if not math.isfinite(first['target']['value']):
    yield 'line 1: target.value is not finite'


def config(events) -> Iterator[str]:
  """Header, hyperparameters and command agree with the text of the config."""
  first = events[0]
  fields = parse_config(first['config'])
  for name in ('seed', 'batch_size'):
    if name in fields and fields[name] != first[name]:
      yield f'line 1: {name} is {first[name]}, in its config {fields[name]}'
  for name, value in [(name, fields[name]) for name in TARGETS if name in fields][:1]:
    if value != first['target']['value']:
      yield f'line 1: the target is {first["target"]["value"]}, {name} in its config {value}'
    metric = fields.get('target_metric', name.removeprefix('target_'))
    if metric != first['target']['metric']:
      yield f'line 1: the target is of {first["target"]["metric"]}, in its config of {metric}'
  for name, text in overrides(first['command']).items():
    if name in fields and text not in (str(fields[name]), repr(fields[name])) and not _same(text, fields[name]):
      yield f'line 1: {name} is {fields[name]!r} in its config, {text} on its command line'
  for key, value in first['hyperparameters'].items():
    names = COPIES.get(PREFIX.sub('', key), ())
    if fields.get('optimizer') == 'muon' and names and f'muon_{names[0]}' in fields:
      names = (f'muon_{names[0]}',)
    for name in [name for name in names if name in fields][:1]:
      if value != fields[name]:
        yield f'line 1: the hyperparameter {key} is {value}, {name} in its config {fields[name]}'


def _same(text: str, value) -> bool:
  try:
    return literal(text.capitalize() if text in ('true', 'false', 'none') else text) == value
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    return False


def tricks(events) -> Iterator[str]:
  """What the config does for a better number is told among the tricks, and nothing else of its kind is."""
  first = events[0]
  fields, told = parse_config(first['config']), first['tricks']
  sizes = fields.get('image_sizes', ())
  plain = len(sizes) < 2 and not (first['benchmark'] == 'cifar10' and sizes not in ((), (32,)))
  augmentation = fields.get('test_time_augmentation', 'none')
  expected = {'test_time_augmentation': None if augmentation == 'none' else augmentation,
              'progressive_resizing': None if plain else ' to '.join(map(str, sizes)),
              'pretrained_word_vectors': fields.get('word_vectors') or None,
              'pretrained_weights': fields.get('init_from') or None}
  for name, value in expected.items():
    if told.get(name) != value and len(fields) > 3:  # a made-up tape may have no config to speak of
      yield f'line 1: tricks say {name} {told.get(name)}, its config {value}'


def price(events) -> Iterator[str]:
  """A price is that of the table, by name and date, for as many instances as the devices take."""
  for number, process in enumerate(events, 1):
    if process['event'] != 'process':
      continue
    told, given, asked = process['price'], *(flag(process['command'], name) for name in ('usd_per_hour', 'price'))
    if told is None:
      if (given, asked) != (None, None):
        yield f'line {number}: has no price, and its command line gives one: {given or asked}'
      continue
    if told.get('name') == '--usd_per_hour' or given is not None:
      right = None if given is None else cost.price_for(process['hardware'], usd_per_hour=float(given))
      if right is None or told != {name: right.get(name) for name in told} or 'usd_per_hour' not in told:
        yield f'line {number}: price is {told.get("usd_per_hour")} USD/h, --usd_per_hour on its command line {given}'
      continue
    if asked not in (None, told.get('name')):
      yield f'line {number}: price is {told.get("name")}, --price on its command line {asked}'
    row = next((row for row in cost.load() if row['name'] == told.get('name')), None)
    if row is None:
      yield f'line {number}: no price is named {told.get("name")!r} in {cost.TABLE.name}'
    elif process['hardware']['device_kind'] not in row['device_kind'].split('|'):
      yield f'line {number}: price {row["name"]} is not that of {process["hardware"]["device_kind"]}'
    else:
      right = cost.price_for(process['hardware'], name=row['name'])
      for name in sorted(name for name in {*told, *right} if told.get(name) != right.get(name)):
        yield f'line {number}: price {row["name"]}: {name} is {told.get(name)}, by {cost.TABLE.name} {right.get(name)}'


def submitter(events) -> Iterator[str]:
  """Who submits, and in which division, is as the command line says."""
  for number, process in enumerate(events, 1):
    if process['event'] == 'process' and not process.get('fixture'):
      for name, default in SAID.items():
        told, given = process['submitter'].get(name, process.get(name)), flag(process['command'], name)
        if told != (default if given is None else given):
          yield f'line {number}: {name} is {told!r:.80}, on its command line {given!r:.80}'


def code(events) -> Iterator[str]:
  """The code that ran is at a commit, without changes of its own."""
  for number, process in enumerate(events, 1):
    if process['event'] == 'process':
      unchanged = process['git_dirty'] is False or process['git_dirty'] is process['git_commit']  # both None: no git
      if not unchanged and not process.get('fixture'):
        yield f'line {number}: git_dirty: the code that ran is at no commit'
      if process['git_commit'] is not None and not re.fullmatch(r'[0-9a-f]{40,64}', process['git_commit']):
        yield f'line {number}: git_commit {process["git_commit"]!r:.80} is no commit'


CHECKS = (processes, counts, config, tricks, price, submitter, code)
