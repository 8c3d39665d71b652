"""What a run costs: hours times the price of the machines it ran on, from a table that says where each price was read.

As DAWNBench asks (README and issues 54, 92): the price of the whole cluster, on demand, checkable by anyone.
"""
import csv
import datetime
import difflib
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
    positive = int(row['devices']) > 0 and 0 < float(row['usd_per_hour']) < math.inf
  except ValueError as error:
    return str(error)
  checks = {'devices and usd_per_hour must be positive': positive, 'the currency must be USD': row['currency'] == 'USD',
            'the source must be a link': row['source'].startswith(('https://', 'http://')),
            'the name is taken': row['name'] not in [other['name'] for other in others]}
  return next((text for text, passed in checks.items() if not passed), None)


def load(path=TABLE) -> list[dict]:
  """The rows of a price table, `devices` and `usd_per_hour` as numbers; raises Problem, naming a row that is faulty."""
  with open(path, newline='', encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  for number, row in enumerate(rows):
    if wrong := fault(row, rows[:number]):
      raise Problem(f'{path}, row {number + 2} ({row.get("name")}): {wrong}; correct the row')
  return [{**row, 'devices': int(row['devices']), 'usd_per_hour': float(row['usd_per_hour'])} for row in rows]


def price_for(hardware: dict, *, usd_per_hour: float | None = None, name: str | None = None, path=TABLE) -> dict | None:
  """The row of the table for the hardware of a run, `usd_per_hour` being that of all `instances` it takes, in dollars.

  Args:
    hardware: `device_kind` as jax reports it and `device_count`, over all hosts.
    usd_per_hour: dollars an hour of everything together; nothing is looked up then.
    name: the row to use, whatever the device; else the newest on-demand row for the device (of several of one day, the
      cheapest for this many devices), or None where there is no such row: never a guess.
    path: the price table.

  Raises:
    Problem: the price is not positive, the name is unknown, or the table has a faulty row.
  """
  if usd_per_hour is not None:
    if not 0 < usd_per_hour < math.inf:
      raise Problem(f'--usd_per_hour={usd_per_hour}: a price is a positive number of dollars an hour')
    return {**dict.fromkeys(COLUMNS), 'name': '--usd_per_hour', 'usd_per_hour': float(usd_per_hour), 'instances': None,
            'currency': 'USD', 'source': 'given on the command line'}
  rows = load(path)
  if name is not None and name not in (row['name'] for row in rows):
    near = difflib.get_close_matches(name, [row['name'] for row in rows], 3, cutoff=0)
    raise Problem(f'no price is named {name!r}; the nearest names in {path}: {", ".join(near)}')
  offers = []
  for row in rows:
    # One device has several kinds where jax's name of it depends on the runtime, such as `TPU v5|TPU v5p`.
    matches = row['commitment'] == 'on_demand' and hardware['device_kind'] in row['device_kind'].split('|')
    if row['name'] == name or (name is None and matches):
      count = math.ceil(hardware['device_count'] / row['devices'])
      offers.append({**row, 'instances': count, 'usd_per_hour': round(count * row['usd_per_hour'], 6)})
  return max(offers, key=lambda offer: (offer['date'], -offer['usd_per_hour']), default=None)


def cost_usd(seconds: float | None, price: dict | None) -> float | None:
  """US dollars for `seconds` at `price` (of `price_for`); None where either is not known."""
  return None if seconds is None or price is None else seconds / 3600 * price['usd_per_hour']
