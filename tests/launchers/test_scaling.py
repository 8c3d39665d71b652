"""Predicted weak scaling: what its table says of known numbers, and which rows are committed."""
import pytest

from launchers import compile_steps, porting, roofline, scaling, topology
from scoring.problem import Problem
from tests.launchers.test_compile_numbers import numbers
from training import config as configs

V5E = topology.chips()['v5e']
RESNET = 'references/resnet_imagenet/configs/smoke.py'


def program(where, *, milliseconds=(3, 5), reduced_bytes=0):
  """A training step that takes so long by compute and by HBM, and reduces so many bytes over all chips."""
  compute, hbm = milliseconds
  return roofline.Program('train', 1, 1, 0, numbers(
      flops=compute * 1e-3 * where.chip.bf16_tflops * 1e12, accessed=hbm * 1e-3 * where.chip.hbm_gb_per_second * 1e9,
      found=[('all-reduce', reduced_bytes, where.num_devices, 0, 'ici')] if reduced_bytes else []))


@pytest.fixture
def reported(monkeypatch):
  """scaling.report where each step takes 5 ms and reduces what V5E's links send in 1 ms; and the batches asked for."""
  batches = []

  def programs(task, config, where, cache, *, evaluation):
    assert not evaluation
    batches.append(config.batch_size)
    return [program(where, reduced_bytes=int(where.chip.ici_gb_per_second * 1e6))]
  monkeypatch.setattr(compile_steps, 'programs', programs)
  config = configs.load(RESNET)
  return lambda name, rows=32: scaling.report(config, RESNET, rows, topology.parse(name), None), batches


def test_the_batch_grows_with_the_chips_and_all_collectives_are_in_the_open(reported):
  report, batches = reported
  four, sixteen = report('v5e-4'), report('v5e-16')
  assert batches == [128, 512]
  assert scaling.step_seconds(scaling.slowest(four)) == pytest.approx(5e-3 + 1.5e-3)  # 2 (n - 1) / n of 1 ms
  assert scaling.step_seconds(scaling.slowest(sixteen)) == pytest.approx(5e-3 + 1.875e-3)
  rows = [dict(zip(scaling.HEADING, row)) for row in scaling.rows([sixteen, four])]
  assert [row['of ideal'] for row in rows] == [f'{100 * 6.5 / 6.875:.1f} %', '100.0 %']
  assert rows[0] | {'memory a chip': ''} == {
      'model': 'ResNet-18 width 8', 'slice': 'v5e-16 (4x4)', 'chips': '16', 'rows a step (a chip)': '512 (32)',
      'memory a chip': '', 'compute': '3 ms', 'HBM': '5 ms', 'collectives': '1.88 ms', 'step at best': '6.87 ms',
      'rows/s': f'{512 / 6.875e-3:,.0f}', 'of ideal': rows[0]['of ideal']}


def test_another_kind_or_number_of_rows_has_an_ideal_of_its_own(reported):
  report, _ = reported
  rows = scaling.rows([report('v5e-4'), report('v5e-8', 64), report('v5p-32')])
  assert [row[-1] for row in rows] == ['100.0 %'] * 3


def test_cpus_and_what_does_not_fit_are_one_line(monkeypatch, reported):
  report, _ = reported
  with pytest.raises(Problem, match='cpu-8: how fast CPUs are is not known'):
    report('cpu-8')
  large = roofline.Program('train', 1, 1, 0, numbers(temp=2**40))
  monkeypatch.setattr(compile_steps, 'programs', lambda *_, **more: [large])
  with pytest.raises(Problem, match='does not fit'):
    report('v5e-4')


def test_one_command_writes_both_tables_and_leaves_alone_what_it_has_no_rows_for(monkeypatch, reported, tmp_path):
  page, rows = tmp_path / 'page.md', tmp_path / 'rows.txt'
  blocks = (porting.BEGIN, porting.END, porting.SCALING_BEGIN, porting.SCALING_END)
  page.write_text('top\n{}\nold porting\n{}\nmiddle\n{}\nold scaling\n{}\nend\n'.format(*blocks))
  rows.write_text(f'--config={RESNET} --topology=v5e-4,v5e-16 --rows_a_chip=32\n')
  (number, row), = porting.read_rows(rows)
  path, config, rows_a_chip, wheres = porting.parsed(row, 'here')
  assert rows_a_chip == 32 and [where.num_devices for where in wheres] == [4, 16]
  made = [scaling.report(config, path, rows_a_chip, where, None) for where in wheres]
  porting.replace_block(page, porting.scaling_block(made))
  text = page.read_text()
  assert 'old porting' in text and 'old scaling' not in text and text.endswith(f'{porting.SCALING_END}\nend\n')
  assert text.count('\n| ResNet-18 width 8 |') == 2 and 'none is hidden' in text and 'not run.' in text


def test_the_committed_rows_go_from_4_chips_to_256_on_two_kinds():
  rows = [porting.parsed(row, str(number)) for number, row in porting.read_rows('docs/scaling_rows.txt')]
  assert all(rows_a_chip for *_, rows_a_chip, _ in rows)
  kinds = {(path.split('/')[1], wheres[0].chip.name): [where.num_devices for where in wheres]
           for path, *_, wheres in rows}
  assert set(kinds) == {(task, chip) for task in ('resnet_imagenet', 'squad') for chip in ('v5e', 'v5p')}
  assert all(chips[0] == 4 and chips[-1] == 256 and chips == sorted(chips) for chips in kinds.values())
