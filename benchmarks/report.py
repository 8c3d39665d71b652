"""The line that every benchmark ends with."""
import json
import os
import platform
import statistics


def spread(values) -> float:
  """(maximum - minimum) / median."""
  return (max(values) - min(values)) / statistics.median(values)


def report(benchmark: str, *, ours: list[float], peer: list[float] | None, peer_name: str | None, unit: str, **more):
  """Prints one line of JSON: medians, and their ratio, above 1 meaning that ours is better (lower).

  Args:
    ours, peer: the same number of repetitions, in `unit`, lower being better; without a peer there is no ratio.
  """
  mine, theirs = statistics.median(ours), statistics.median(peer) if peer else None
  machine = f'{platform.machine()}, {os.cpu_count()} cores'
  print(json.dumps({'benchmark': benchmark, 'ours': round(mine, 6), 'peer': theirs and round(theirs, 6),
                    'peer_name': peer_name, 'unit': unit, 'ratio': theirs and round(theirs / mine, 3), 'n': len(ours),
                    'spread': [round(spread(x), 3) for x in (ours, peer) if x], 'machine': machine, **more}),
        flush=True)
