"""A value inside of others, replaced or taken away."""
import copy

GONE = object()


def changed(value, path, new):
  """A copy of nested dicts and lists with `new` at `path`, keys and numbers; GONE takes away what is there."""
  copied = copy.deepcopy(value)
  *parents, last = path
  place = copied
  for part in parents:
    place = place[part]
  if new is GONE:
    del place[last]
  else:
    place[last] = new
  return copied
