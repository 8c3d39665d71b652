"""What a run costs at the on-demand price of its whole cluster, which anyone can check: DAWNBench's rule (issue 54)."""
import csv
import datetime
import difflib
import functools
import math
from pathlib import Path

from scoring.problem import Problem

TABLE = Path(__file__).with_name('prices.csv')
COLUMNS = ('name', 'provider', 'instance', 'region', 'device_kind', 'devices', 'usd_per_hour', 'currency', 'commitment',
           'date', 'source')


def fault(row, others) -> str | None:
  """What is wrong with a row as read from the file, or None."""
  if tuple(row) != COLUMNS or not all(row.values()):
    return f'needs a value in each of {", ".join(COLUMNS)}'
  try:
    datetime.date.fromisoformat(row['date'])
    checks = {'devices must be positive': int(row['devices']) > 0, 'the currency must be USD': row['currency'] == 'USD',
              'usd_per_hour must be positive and finite': 0 < float(row['usd_per_hour']) < math.inf,
              'the source must be a link': row['source'].startswith(('https://', 'http://')),
              'the name is taken': row['name'] not in [other['name'] for other in others]}
  except ValueError as error:
    return str(error)
  return next((text for text, passed in checks.items() if not passed), None)


def load(path=TABLE) -> list[dict]:
  """The rows of a price table, `devices` and `usd_per_hour` as numbers; raises Problem, naming a row that is faulty."""
  return list(_rows(path, Path(path).read_text(encoding='utf-8')))


@functools.lru_cache(maxsize=4)  # a review looks the price of each tape up
def _rows(path, text: str) -> tuple[dict, ...]:
  rows = list(csv.DictReader(text.splitlines()))
  for number, row in enumerate(rows):
    if wrong := fault(row, rows[:number]):
      raise Problem(f'{path}, row {number + 2} ({row.get("name")}): {wrong}; correct the row')
  return tuple({**row, 'devices': int(row['devices']), 'usd_per_hour': float(row['usd_per_hour'])} for row in rows)


def price_for(hardware: dict, *, usd_per_hour: float | None = None, name: str | None = None, path=TABLE) -> dict | None:
  """The row of the table for the hardware of a run, `usd_per_hour` being that of all `instances` it takes, in dollars.

  Args:
    hardware: `device_kind` as jax reports it (a row may list several: TPU v5|TPU v5p), `device_count` over all hosts.
    usd_per_hour: dollars an hour of everything together; nothing is looked up then.
    name: the row to use; else the on-demand row for the device that leaves the fewest devices idle (of several the
      newest, then the cheapest), or None where there is no such row: never a guess.

  Raises:
    Problem: the price is not positive, the name is unknown or that of another device's row, or the table at `path` has
      a faulty row.
  """
  if usd_per_hour is not None:
    if not 0 < usd_per_hour < math.inf:
      raise Problem(f'--usd_per_hour={usd_per_hour}: a price is a positive number of dollars an hour')
    return {**dict.fromkeys(COLUMNS), 'name': '--usd_per_hour', 'usd_per_hour': float(usd_per_hour), 'instances': None,
            'currency': 'USD', 'source': 'given on the command line'}
  rows = load(path)
  found = [row for row in rows if (row['name'] == name if name is not None else row['commitment'] == 'on_demand')]
  if name is not None and not found:
    near = difflib.get_close_matches(name, [row['name'] for row in rows], 3, cutoff=0)
    raise Problem(f'no price is named {name!r}; the nearest names in {path}: {", ".join(near)}')
  fitting = [row for row in found if hardware['device_kind'] in row['device_kind'].split('|')]
  if name is not None and not fitting:
    raise Problem(f'--price={name}: is that of {found[0]["device_kind"]}, and this runs on {hardware["device_kind"]}; '
                  'name a row of that, or give --usd_per_hour')
  counts = [math.ceil(hardware['device_count'] / row['devices']) for row in fitting]
  offers = [{**r, 'instances': n, 'usd_per_hour': round(n * r['usd_per_hour'], 6)} for n, r in zip(counts, fitting)]
  return max(offers, key=lambda o: (-o['instances'] * o['devices'], o['date'], -o['usd_per_hour']), default=None)


def cost_usd(seconds: float | None, price: dict | None) -> float | None:
  """US dollars for `seconds` at `price` (of `price_for`); None where either is not known."""
  return None if seconds is None or price is None else seconds / 3600 * price['usd_per_hour']
