"""Of launchers.compile what needs no compiler: names of slices, collectives in a text, memory, rooflines, tables."""
import datetime
import json
from pathlib import Path

import pytest

from launchers import collectives, compile_cache, compile_report, compile_steps, porting, roofline, topology
from launchers.collectives import Collective
from scoring import cost
from scoring.problem import Problem
from training.task import Target

GOLDEN = Path(__file__).with_name('golden') / 'collectives.hlo'
V5E = topology.chips()['v5e']


# -- names

@pytest.mark.parametrize('text, name, cloud_name, devices', [
    ('v5e:4x4', 'v5e:4x4', 'v5e-16', 16), ('v5e-16', 'v5e:4x4', 'v5e-16', 16),
    ('v5litepod-256', 'v5e:16x16', 'v5e-256', 256), ('v5p-128', 'v5p:4x4x4', 'v5p-128', 64),
    ('v5p-2048', 'v5p:8x8x16', 'v5p-2048', 1024), ('v5p:4x16x16', 'v5p:4x16x16', 'v5p-2048', 1024),
    ('v4-8', 'v4:2x2x1', 'v4-8', 4), ('v4-64', 'v4:2x4x4', 'v4-64', 32), ('v6e-1', 'v6e:1x1', 'v6e-1', 1),
    ('2*v5e:16x16', '2*v5e:16x16', '2*v5e-256', 512), ('4*v5p-128', '4*v5p:4x4x4', '4*v5p-128', 256),
    ('cpu-8', 'cpu-8', 'cpu-8', 8)])
def test_a_slice_has_a_name_by_shape_and_one_by_number(text, name, cloud_name, devices):
  found = topology.parse(text)
  assert (found.name, found.cloud_name, found.num_devices) == (name, cloud_name, devices)


@pytest.mark.parametrize('text, words', [
    ('v5e:3x3', ['v5e has no such slice', '2x4', 'up to 16x16', 'v5e:2x4 (v5e-8)']),
    ('v5e-17', ['nearest: v5e:4x4 (v5e-16)']), ('v5p-100', ['nearest: v5p:4x4x4 (v5p-128)']),
    ('v5p:8x4x4', ['nearest: v5p:4x4x8 (v5p-256)']), ('v5e:16x32', ['nearest: v5e:16x16 (v5e-256)']),
    ('v7-8', ['is none', 'v4, v5e, v5p, v6e']), ('v5e', ['is none']), ('cpu-0', ['cpu-8']), ('3*cpu-2', ['cpu-8']),
    ('0*v5e-16', ['2*v5e:4x4']), ('v5e:0x4', ['v5e has no such slice'])])
def test_a_wrong_name_is_answered_with_what_there_is(text, words):
  with pytest.raises(Problem) as problem:
    topology.parse(text)
  for word in (f'--topology={text}', *words):
    assert word in str(problem.value)


def test_each_chip_has_a_source_a_date_and_prices():
  for chip in topology.chips().values():
    assert chip.source.startswith('https://') and datetime.date.fromisoformat(chip.date)
    assert cost.price_for({'device_kind': chip.device_kind, 'device_count': 1}), chip.name
    assert topology.parse(f'{chip.name}:{chip.largest}').num_devices >= 256


def test_without_libtpu_there_is_one_line_to_type(monkeypatch):
  monkeypatch.setattr(topology.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(Problem, match=r"pip install -e '\.\[tpu\]'"):
    topology.devices(topology.parse('v5e-16'))


# -- collectives

def test_each_collective_of_a_text_is_found_once_with_its_size_group_loops_and_network():
  kib = 2048 * 2048 * 2
  assert collectives.parse(GOLDEN.read_text(), 16, 2) == [
      Collective('reduce-scatter', kib, 8, 0),  # a fusion
      Collective('all-to-all', 128, 8, 0),  # asynchronous
      Collective('collective-permute', 32, 16, 2),
      Collective('all-reduce', 2 * 16 * 64 + 2 * 9 * 16 * 16, 16, 1),
      Collective('reduce-scatter', kib, 8, 0),
      Collective('all-gather', 4 * 64 * 32, 8, 0), Collective('all-gather', 4 * 64 * 128, 8, 0),
      Collective('all-reduce', 4000, 16, 0), Collective('all-reduce', 512 * 8 * 128 * 2, 2, 0, 'dcn')]


@pytest.mark.parametrize('kind, size, sent', [
    ('all-reduce', 4, 150), ('reduce-scatter', 4, 75), ('all-gather', 4, 75), ('all-to-all', 4, 75),
    ('collective-permute', 4, 100), ('all-reduce', 1, 0), ('all-gather', 100, 99)])
def test_what_a_device_sends_follows_from_the_kind(kind, size, sent):
  assert Collective(kind, 100, size, 0).sent_bytes == pytest.approx(sent)


# -- numbers

def numbers(argument=0, output=0, alias=0, temp=0, generated_code=0, flops=0.0, accessed=0.0, found=()):
  return {'memory_bytes': {'argument': argument, 'output': output, 'alias': alias, 'temp': temp,
                           'generated_code': generated_code}, 'flops': flops, 'bytes_accessed': accessed,
          'collectives': [dict(zip(('kind', 'whole_bytes', 'group_size', 'loops', 'network'), one)) for one in found],
          'compile_seconds': 1.0}


def made_report(*programs, name='v5e-16'):
  task = type('Task', (), {'model_name': 'Toy', 'num_steps': 10})
  return compile_report.report('a/b.py', {'x': 1}, 32, task, topology.parse(name), list(programs), {'jax': '1'})


def test_memory_counts_what_is_not_aliased_and_fits_up_to_the_capacity():
  program = lambda temp: roofline.Program('train', 1, 1, 0, numbers(10, 9, 8, temp, 3))
  assert program(4).needed_bytes == 10 + 9 - 8 + 4 + 3
  room = 16 * 2**30 - 14
  assert program(room).fits(V5E) and not program(room + 1).fits(V5E) and program(room + 1).fits(None)
  assert compile_report.misfit(made_report(program(room))) is None
  line = compile_report.misfit(made_report(program(room + 1)))
  assert '17,179,869,185 bytes' in line and '17,179,869,184' in line and 'train does not fit' in line
  assert made_report(program(room + 1))['estimate'] is None


@pytest.mark.parametrize('message, needed, available', [
    ('RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (33.50G) exceeds '
     'available HBM (15.75G).', 33.5 * 2**30, 15.75 * 2**30),
    ('RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Used 77.50G of 15.75G hbm. Exceeded', 77.5 * 2**30, 15.75 * 2**30),
    ('RESOURCE_EXHAUSTED: something new', None, None)])
def test_what_xla_says_of_memory_is_read(message, needed, available):
  found = compile_cache.out_of_memory(message + '\nmore')
  assert (found['needed_bytes'], found['available_bytes'], found['message']) == (needed, available, message)
  program = roofline.Program('train', 1, 1, 0, {'out_of_memory': found})
  line = compile_report.misfit(made_report(program))
  assert message in line and '17,179,869,184' in line and 'fit' in compile_report.text(made_report(program))
  assert 'does not fit' in compile_report.row(made_report(program))


def test_a_step_takes_between_its_largest_term_and_their_sum():
  sent = [('all-reduce', 80e9, 2, 0, 'ici'), ('all-reduce', 20e9, 2, 1, 'ici'), ('all-gather', 4e9, 4, 2, 'ici'),
          ('all-reduce', 3.125e9, 2, 0, 'dcn')]  # in a loop over steps, and in one over microbatches in there
  program = roofline.Program('train', 3, 5, 1, numbers(flops=197e12, accessed=1.638e12, found=sent))
  terms = program.terms(V5E)
  assert terms == pytest.approx({'compute': 5, 'hbm': 10, 'ici': (100 + 5 * 3) / 200, 'dcn': 1})
  assert roofline.bounds(terms) == pytest.approx((10, 16.575))
  evaluation = roofline.Program('eval', 2, 1, 0, numbers(flops=197e12))
  whole = roofline.estimate([program, evaluation], topology.parse('v5e-16'))
  assert whole.seconds == pytest.approx((3 * 10 + 2, 3 * 16.575 + 2))
  assert whole.usd[0] == pytest.approx(32 / 3600 * whole.price['usd_per_hour'])
  assert whole.price['usd_per_hour'] == pytest.approx(16 * 1.2)
  assert roofline.estimate([program], topology.parse('cpu-2')) is None


@pytest.mark.parametrize('every, offset, steps, count', [(10, 0, 30, 3), (10, 0, 31, 4), (10, 5, 30, 4), (99, 0, 5, 1)])
def test_evaluations_of_a_schedule_are_those_that_the_loop_makes(every, offset, steps, count):
  assert compile_steps.num_evaluations(Target('f1', 1.0, 1, every, offset), steps) == count


@pytest.mark.parametrize('seconds, text', [(7200, '2 h'), (90, '1.5 min'), (59.94, '59.9 s'), (0.0123, '12.3 ms')])
def test_durations_have_three_digits(seconds, text):
  assert compile_report.duration(seconds) == text


def test_a_row_of_the_table_has_what_its_heading_says():
  program = roofline.Program('train 8', 10, 1, 0, numbers(2**30, flops=5e11, accessed=1e9, found=[
      ('all-reduce', 5_000_000, 16, 1, 'ici'), ('all-reduce', 1_000_000, 16, 0, 'ici')]))
  row = dict(zip(compile_report.HEADING, compile_report.row(made_report(program, name='v5p-128'))))
  assert row['config'] == 'b, x=1' and row['slice'] == 'v5p-128 (4x4x4)' and row['rows a step (a chip)'] == '32 (0.5)'
  assert (row['chips'], row['TensorCores'], row['memory a chip'], row['of']) == ('64', '128', '1.00 GiB', '95 GiB')
  assert row['collectives a step'] == '2 all-reduce (6.0 MB, 1 in loops)' and row['TFLOP a chip'] == '0.500'


# -- the kept numbers and the written table

class Lowered:
  """What jax lowers to, as far as the cache sees it."""

  def __init__(self, text):
    self.text = text

  def as_text(self):
    return self.text


def test_numbers_are_kept_by_content(tmp_path, monkeypatch):
  monkeypatch.setattr(compile_cache, 'measure', lambda lowered, where: numbers(temp=len(lowered.text)))
  cache, where = compile_cache.Cache(tmp_path / 'new'), topology.parse('v5e-16')
  first = cache.numbers(Lowered('a'), where, [0, 1])
  assert first['memory_bytes']['temp'] == 1
  assert cache.numbers(Lowered('a'), where, [0, 1]) == first and (cache.compiled, cache.read) == (1, 1)
  others = [('ab', where, [0, 1]), ('a', topology.parse('v5e-4'), [0, 1]), ('a', where, [1, 0])]
  for text, there, ids in others:
    cache.numbers(Lowered(text), there, ids)
  assert (cache.compiled, cache.read) == (4, 1)
  monkeypatch.setenv('XLA_FLAGS', '--xla_some_flag')
  cache.numbers(Lowered('a'), where, [0, 1])
  assert cache.compiled == 5
  monkeypatch.setattr(compile_cache, 'versions', lambda: {'libtpu': '9'})
  cache.numbers(Lowered('a'), where, [0, 1])
  assert cache.compiled == 6
  for file in (tmp_path / 'new').iterdir():
    assert json.loads(file.read_text())['memory_bytes']
    file.write_text('{"cut')
  assert cache.numbers(Lowered('a'), where, [0, 1])['memory_bytes'] == first['memory_bytes'] and cache.compiled == 7


def test_no_folder_keeps_nothing_and_a_wrong_one_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(compile_cache, 'measure', lambda lowered, where: numbers())
  cache = compile_cache.Cache('')
  for _ in range(2):
    cache.numbers(Lowered('a'), topology.parse('cpu-1'), [0])
  assert (cache.compiled, cache.read) == (2, 0)
  (tmp_path / 'file').write_text('')
  with pytest.raises(Problem, match='--cache_dir='):
    compile_cache.Cache(tmp_path / 'file').numbers(Lowered('a'), topology.parse('cpu-1'), [0])


def test_the_table_replaces_its_block_only(tmp_path):
  page = tmp_path / 'page.md'
  page.write_text(f'before\n{porting.BEGIN}\nold\n{porting.END}\nafter\n')
  block = porting.block([made_report(roofline.Program('train', 1, 1, 0, numbers(2**40)))])
  porting.replace_block(page, block)
  text = page.read_text()
  assert text.startswith(f'before\n{porting.BEGIN}\n| model |') and text.endswith(f'{porting.END}\nafter\n')
  assert 'old' not in text and '| does not fit |' in text and '1,099,511,627,776 bytes' in text
  porting.replace_block(page, block)
  assert page.read_text() == text
  page.write_text('no markers')
  with pytest.raises(Problem, match='begin: porting'):
    porting.replace_block(page, block)


@pytest.mark.parametrize('line, words', [
    ('--topology=v5e-16', '--config=FILE is missing'), ('--config=nowhere.py', 'no such file'),
    ('--config=references/cifar/configs/digits.py', 'wants --topology'),
    ('--config=references/cifar/configs/digits.py --topology=v5e-16 --config.batchsize=3', 'config.batch_size'),
    ('--config=references/cifar/configs/digits.py --topology=v5e-16 stray', 'stray'), ('# none', 'holds no row')])
def test_a_wrong_row_is_named(line, words, tmp_path):
  file = tmp_path / 'rows.txt'
  file.write_text(line + '\n')
  with pytest.raises(Problem, match=words):
    for number, row in porting.read_rows(file):
      porting.parsed(row, f'{file}, line {number}')


def test_the_committed_rows_are_those_of_the_issue_and_can_be_read():
  rows = [porting.parsed(row, str(number)) for number, row in porting.read_rows('docs/porting_rows.txt')]
  names = [(Path(path).parent.parent.name, where.cloud_name) for path, *_, wheres in rows for where in wheres]
  assert names == [*(('resnet_imagenet', name) for name in ('v5e-16', 'v5e-16', 'v5e-256', 'v5p-128', 'v5p-2048')),
                   ('squad', 'v5e-16')]
