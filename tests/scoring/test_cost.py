"""What runs cost: lookups in a made-up price table, its validation, and the table that ships."""
import math

import pytest

from scoring import cost
from scoring.problem import Problem

HEADER = ','.join(cost.COLUMNS)
ROW = {'name': 'a_8', 'provider': 'A', 'instance': 'a.8', 'region': 'r', 'device_kind': 'Chip X', 'devices': '8',
       'usd_per_hour': '24.48', 'currency': 'USD', 'commitment': 'on_demand', 'date': '2018-11-06',
       'source': 'https://example.org/prices'}


def table(path, *rows):
  lines = [','.join({**ROW, **row}[column] for column in cost.COLUMNS) for row in rows]
  file = path / 'prices.csv'
  file.write_text('\n'.join([HEADER, *lines]) + '\n')
  return file


def hardware(count, kind='Chip X'):
  return {'platform': 'gpu', 'device_kind': kind, 'device_count': count}


@pytest.mark.parametrize('count, instances, total', [(1, 1, 24.48), (8, 1, 24.48), (9, 2, 48.96), (32, 4, 97.92)])
def test_whole_instances_are_paid(tmp_path, count, instances, total):
  price = cost.price_for(hardware(count), path=table(tmp_path, {}))
  assert price == {**ROW, 'devices': 8, 'usd_per_hour': pytest.approx(total), 'instances': instances}


def test_unknown_device_has_no_price(tmp_path):
  path = table(tmp_path, {})
  assert cost.price_for(hardware(1, 'cpu'), path=path) is None
  assert cost.price_for(hardware(1, 'Chip'), path=path) is None  # a part of a kind is another kind
  assert cost.cost_usd(10.0, None) is None


def test_newest_row_wins_in_either_order(tmp_path):
  rows = [{}, {'name': 'new', 'date': '2024-01-31', 'usd_per_hour': '99'}, {'name': 'older', 'date': '2017-01-01'}]
  for order in (rows, rows[::-1]):
    assert cost.price_for(hardware(8), path=table(tmp_path, *order))['name'] == 'new'


def test_the_row_that_leaves_fewest_devices_idle_then_the_newest_then_the_cheapest(tmp_path):
  path = table(tmp_path, {}, {'name': 'a_1', 'devices': '1', 'usd_per_hour': '4'})
  assert [cost.price_for(hardware(n), path=path)['name'] for n in (1, 6, 7, 8)] == ['a_1', 'a_1', 'a_1', 'a_8']


def test_only_on_demand_rows_match_but_any_can_be_named(tmp_path):
  path = table(tmp_path, {}, {'name': 'monthly', 'date': '2024-01-01', 'commitment': 'monthly', 'usd_per_hour': '1'})
  assert cost.price_for(hardware(8), path=path)['name'] == 'a_8'
  assert cost.price_for(hardware(9), name='monthly', path=path)['usd_per_hour'] == 2.0
  assert cost.price_for(hardware(8), path=table(tmp_path, {'commitment': 'monthly'})) is None


def test_name_chooses_a_row_of_the_device(tmp_path):
  path = table(tmp_path, {}, {'name': 'b_4', 'devices': '4', 'usd_per_hour': '2', 'device_kind': 'Chip Y'})
  price = cost.price_for(hardware(6, 'Chip Y'), name='b_4', path=path)
  assert (price['name'], price['instances'], price['usd_per_hour']) == ('b_4', 2, 4.0)
  with pytest.raises(Problem, match='--price=b_4: is that of Chip Y, and this runs on Chip X'):
    cost.price_for(hardware(6), name='b_4', path=path)
  with pytest.raises(Problem, match="'b_5'.*b_4"):
    cost.price_for(hardware(6), name='b_5', path=path)


def test_alternative_names_of_a_device(tmp_path):
  path = table(tmp_path, {'device_kind': 'TPU v5|TPU v5p'})
  assert cost.price_for(hardware(8, 'TPU v5p'), path=path) and cost.price_for(hardware(8, 'TPU v5'), path=path)
  assert cost.price_for(hardware(8, 'TPU v5 lite'), path=path) is None


def test_price_given_on_the_command_line(tmp_path):
  price = cost.price_for(hardware(64), usd_per_hour=3, path=tmp_path / 'not_even_read.csv')
  assert (price['name'], price['usd_per_hour'], price['date']) == ('--usd_per_hour', 3.0, None)
  assert price['source'] == 'given on the command line' and set(price) == {*cost.COLUMNS, 'instances'}
  for bad in (0, -1.0, math.nan, math.inf):
    with pytest.raises(Problem, match='--usd_per_hour'):
      cost.price_for(hardware(1), usd_per_hour=bad)


def test_cost():
  assert cost.cost_usd(74.041, {'usd_per_hour': 3.06}) == pytest.approx(0.06293, abs=1e-5)  # Page's CIFAR10 entry
  assert cost.cost_usd(None, {'usd_per_hour': 3.06}) is None
  assert cost.cost_usd(0.0, {'usd_per_hour': 3.06}) == 0.0


@pytest.mark.parametrize('bad', [
    {'usd_per_hour': '0'}, {'usd_per_hour': '-3'}, {'usd_per_hour': 'nan'}, {'usd_per_hour': 'inf'},
    {'usd_per_hour': 'free'}, {'devices': '0'}, {'devices': '1.5'}, {'date': '6.11.2018'}, {'date': '2018-13-01'},
    {'currency': 'RMB'}, {'source': 'hearsay'}, {'region': ''}, {'name': 'a_8'}, {'source': 'https://x,surplus'}])
def test_a_bad_row_is_named(tmp_path, bad):
  path = table(tmp_path, {}, {'name': 'second', **bad})
  with pytest.raises(Problem, match=r'prices\.csv, row 3 \((second|a_8)\)'):
    cost.load(path)
  with pytest.raises(Problem):
    cost.price_for(hardware(8), path=path)


def test_a_short_row_is_refused(tmp_path):
  path = tmp_path / 'prices.csv'
  path.write_text(HEADER + '\na_8,A\n')
  with pytest.raises(Problem, match='row 2'):
    cost.load(path)


@pytest.mark.parametrize('kind, count, total', [
    ('Tesla V100-SXM2-16GB', 8, 24.48), ('TPU v3', 8, 8.0), ('TPU v4', 4, 12.88), ('TPU v5 lite', 8, 9.6),
    ('TPU v5', 4, 16.8), ('TPU v6 lite', 8, 21.6), ('NVIDIA A100-SXM4-40GB', 8, 21.957642)])
def test_the_table_that_ships(kind, count, total):
  assert cost.price_for(hardware(count, kind))['usd_per_hour'] == pytest.approx(total)
  assert cost.price_for(hardware(1, 'cpu')) is None
