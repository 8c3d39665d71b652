"""Whether gcloud would take a command, by a table of the flags that it documents: gcloud itself is not needed."""
import json
from pathlib import Path

TABLE = json.loads((Path(__file__).parent / 'gcloud_flags.json').read_text())


def problems(argv: list[str]) -> list[str]:
  """What is wrong with a command, argv[0] being gcloud; nothing if it is right."""
  words = argv[1:]
  name = next((name for name in TABLE['commands'] if words[:len(name.split())] == name.split()), None)
  if argv[0] != 'gcloud' or name is None:
    return [f'{" ".join(argv[:5])}: no such command in the table']
  entry = TABLE['commands'][name]
  flags = {**TABLE['everywhere']['flags'], **entry['flags']}
  rest = words[len(name.split()):]
  given, positionals, found = set(), 0, []
  for word in rest:
    flag, equals, value = word.partition('=')
    if not word.startswith('-'):
      positionals += 1
    elif flag not in flags:
      found.append(f'{name}: {flag}: not documented')
    elif flags[flag] != bool(equals and value):
      found.append(f'{name}: {flag}: {"wants" if flags[flag] else "takes no"} value')
    given.add(flag)
  found += [f'{name}: {flag}: is missing' for flag in entry['required'] if flag not in given]
  for group in entry['one_of']:
    if sum(set(flags_of_one) <= given for flags_of_one in group) != 1:
      found.append(f'{name}: give one of {" or ".join(map(" and ".join, group))}')
  low, high = entry['positionals']
  return found if low <= positionals <= high else [*found, f'{name}: {positionals} names, and it takes {low} to {high}']
