"""The line that every benchmark ends with."""
import json
import os
import platform
import statistics


def spread(values) -> float:
  """(maximum - minimum) / median."""
  return (max(values) - min(values)) / statistics.median(values)


def report(benchmark: str, *, ours: list[float], peer: list[float], peer_name: str, unit: str, **more):
  """Prints one line of JSON: medians, and their ratio, above 1 meaning that ours is better (lower).

  Args:
    ours, peer: the same number of repetitions, in `unit`, lower being better.
  """
  mine, theirs = statistics.median(ours), statistics.median(peer)
  machine = f'{platform.machine()}, {os.cpu_count()} cores'
  print(json.dumps({'benchmark': benchmark, 'ours': round(mine, 6), 'peer': round(theirs, 6), 'peer_name': peer_name,
                    'unit': unit, 'ratio': round(theirs / mine, 3), 'n': len(ours),
                    'spread': [round(spread(ours), 3), round(spread(peer), 3)], 'machine': machine, **more}))
