"""Whether gcloud would take a command, by a table of the flags that it documents: gcloud itself is not needed."""
import json
from pathlib import Path

TABLE = json.loads((Path(__file__).parent / 'gcloud_flags.json').read_text())


def problems(argv: list[str]) -> list[str]:
  """What is wrong with a command, argv[0] being gcloud; nothing if it is right.

  Values must be written --flag=value, so that what stands alone is a positional argument.
  """
  name = next((name for name in TABLE['commands'] if argv[1:1 + len(name.split())] == name.split()), None)
  if argv[:1] != ['gcloud'] or name is None:
    return [f'{" ".join(argv[:5])}: no such command in the table']
  entry, rest = TABLE['commands'][name], argv[1 + len(name.split()):]
  if entry.get('passes_on') and '--' in rest:
    rest = rest[:rest.index('--')]
  flags = [word.partition('=') for word in rest if word.startswith('-')]
  found = [*_positionals(entry['positionals'], len(rest) - len(flags)),
           *_values({**TABLE['everywhere']['flags'], **entry['flags']}, flags),
           *_groups(entry, {flag for flag, _, _ in flags})]
  return [f'{name}: {problem}' for problem in found]


def _positionals(wanted: list[str], given: int):
  if given < len(wanted) or (given > len(wanted) and not any(name.endswith('...') for name in wanted)):
    yield f'{given} names given: {" ".join(wanted) or "none"} wanted'


def _values(documented: dict[str, bool], flags: list[tuple[str, str, str]]):
  for flag, equals, value in flags:
    if flag not in documented:
      yield f'{flag}: not documented'
    elif documented[flag] != bool(value) or bool(equals) != bool(value):
      yield f'{flag}: {"wants a" if documented[flag] else "takes no"} value'


def _groups(entry: dict, given: set[str]):
  for flag in entry.get('required', ()):
    if flag not in given:
      yield f'{flag}: is missing'
  for flag, other in entry.get('needs', {}).items():
    if flag in given and other not in given:
      yield f'{flag}: wants {other} too'
  for kind, least in (('one_of', 1), ('at_most_one_of', 0)):
    for group in entry.get(kind, ()):
      chosen = sum(bool(given & set(alternative)) for alternative in group)
      if not least <= chosen <= 1:
        yield f'give {kind.replace("_", " ")} {" | ".join(map(" ".join, group))}'
