"""What accuracy-squad.py and create_squad_data.py use of six."""


def iteritems(mapping):
  return iter(mapping.items())
