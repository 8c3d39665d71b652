"""launchers.compile as people run it: real steps of a small ResNet, one block a stage, for CPU devices and TPUs."""
import importlib.util
import json

import pytest

from tests.launchers.running import DIGITS, launch, one_line

SMALL = ('--config=references/resnet_imagenet/configs/smoke.py', '--config.depth=14')
tpu = pytest.mark.skipif(importlib.util.find_spec('libtpu') is None,
                         reason="needs libtpu to compile for TPUs: pip install -e '.[tpu]' (Linux, x86-64)")


# With as many channels as it takes for libtpu to think a reduce-scatter worth while, on a slice where it has one.
TPU = (*SMALL, '--topology=v5e:2x4', '--config.width=16', '--config.num_classes=1000')


@pytest.fixture(scope='module')
def reports(tmp_path_factory):
  """A folder of kept numbers that tests share, so that each program is compiled once."""
  return tmp_path_factory.mktemp('reports')


def compiled(folder, *arguments, status=0):
  """(output, the values of --json), of a call that ends with `status` and keeps its numbers in `folder`."""
  file = folder / 'report.made'
  done = launch('compile', f'--cache_dir={folder}', f'--json={file}', *arguments)
  assert done.returncode == status, done.stderr
  return done.stdout + done.stderr, json.loads(file.read_text())


def step(report):
  """(memory in bytes, {kind: count of collectives}) of a training step."""
  own = report['programs'][0]
  return own['memory_bytes'], {kind: found['count'] for kind, found in own['collectives_by_kind'].items()}


def test_cpu_devices_need_no_libtpu_and_the_second_call_compiles_nothing(tmp_path, reports):
  arguments = (*SMALL, '--topology=cpu-4', '--config.batch_norm_group_size=16')
  text, first = compiled(tmp_path, *arguments)
  assert 'programs  2 compiled, 0 known from before' in text and 'not known: -' in text
  assert first['devices'] == 4 and first['estimate'] is None and first['capacity_bytes'] is None and first['fits']
  memory, kinds = step(first)
  assert memory['argument'] > 0 and first['programs'][0]['flops'] > 1e7 and 0 < kinds['all-reduce'] < 10
  again, second = compiled(tmp_path, *arguments)
  assert 'programs  0 compiled, 2 known from before' in again and second == first
  _, whole = compiled(reports, *SMALL, '--topology=cpu-4', '--config.batch_norm_group_size=0')
  assert step(whole)[1]['all-reduce'] >= kinds['all-reduce'] + 17  # of normalisation


def test_microbatches_are_written_out_on_cpus(tmp_path, reports):
  one, halves = (compiled(folder, f'--config={DIGITS}', '--topology=cpu-2',
                          f'--config.gradient_accumulation_steps={n}')[1]['programs'][0]
                 for n, folder in ((1, tmp_path), (2, reports)))
  assert halves['repeats'] == 1 and halves['flops'] == pytest.approx(one['flops'], rel=0.1)


def test_resident_data_and_sweeps_of_cpus(reports):
  text, found = compiled(reports, f'--config={DIGITS}', '--sweep=cpu-1,cpu-2,cpu-3')
  assert [one['topology'] for one in found] == ['cpu-1', 'cpu-2'] and text.count('\n| ') == 3
  assert 'cpu-3: batch_size=128 does not divide evenly over 3 devices' in text


@pytest.mark.parametrize('arguments, status, words', [
    ((f'--config={DIGITS}',), 2, ['--topology=v5e:4x4', '--sweep']),
    (('--topology=cpu-2',), 2, ['--config=FILE']),
    ((f'--config={DIGITS}', '--topology=cpu-2', '--sweep=cpu-1'), 2, ['one of']),
    ((f'--config={DIGITS}', '--topology=v5e:5x5'), 1, ['v5e:5x5', 'nearest']),
    ((f'--config={DIGITS}', '--topology=cpu-2', '--config.batchsize=3'), 2, ['config.batch_size']),
    ((f'--config={DIGITS}', '--topology=cpu-3'), 1, ['does not divide evenly over 3']),
    ((f'--config={DIGITS}', '--sweep=cpu-3'), 1, ['fits on none']),
    ((f'--config={DIGITS}', '--topology=cpu-1', '--json=/nowhere/x.json', '--cache_dir='), 1, ['/nowhere/x.json'])])
def test_what_is_wrong_is_one_line(arguments, status, words):
  done = launch('compile', *arguments)
  assert done.returncode == status
  for word in words:
    assert word in one_line(done.stderr)


@tpu
def test_local_normalisation_needs_few_all_reduces_and_global_one_a_layer(reports):
  text, local = compiled(reports, *TPU, '--config.batch_norm_group_size=8')
  assert local['versions']['libtpu'] and local['capacity_bytes'] == 16 * 2**30 and local['fits']
  assert local['estimate']['seconds'][0] > 0 and local['estimate']['usd'][0] > 0
  assert 'time to target at most, estimated' in text and 'assumed:' in text
  assert 0 < step(local)[1]['all-reduce'] < 10
  _, whole = compiled(reports, *TPU, '--config.batch_norm_group_size=0')
  assert step(whole)[1]['all-reduce'] > 17


@tpu
def test_an_optimizer_state_in_parts_is_scattered_and_gathered_and_takes_less_memory(reports):
  whole, parts = (step(compiled(reports, *TPU, '--config.batch_norm_group_size=8',
                                f'--config.shard_optimizer_state={shard}')[1]) for shard in ('false', 'true'))
  assert whole[1]['reduce-scatter'] == whole[1]['all-gather'] == 0
  assert parts[1]['reduce-scatter'] > 0 and parts[1]['all-gather'] > 0 and parts[1]['collective-permute'] == 0
  state = 4 * 1_000_000  # bytes of the optimizer's, at least; of which each chip keeps an eighth
  assert whole[0]['argument'] - parts[0]['argument'] > 0.8 * state


@tpu
def test_microbatches_are_taken_as_often_as_they_run(reports):
  one, four = (compiled(reports, *TPU, f'--config.batch_norm_group_size={8 // n}',
                        f'--config.gradient_accumulation_steps={n}')[1]['programs'][0] for n in (1, 4))
  assert (one['repeats'], four['repeats']) == (1, 4)
  # The same work but for the update, which is a good part of so small a step and is taken four times.
  assert 1 < four['terms_seconds']['compute'] / one['terms_seconds']['compute'] < 1.5
  assert four['collectives_by_kind']['all-reduce']['in_loops'] > 0


@tpu
def test_what_does_not_fit_ends_with_status_1_and_both_numbers(reports):
  much = (*SMALL, '--config.batch_size=524288', '--config.num_train_examples=524288', '--config.image_sizes=(64,)',
          '--config.batch_norm_group_size=0')
  text, made = compiled(reports, *much, '--topology=v5e:2x2', status=1)
  line = one_line(text)
  assert 'does not fit' in line and '17,179,869,184' in line and 'RESOURCE_EXHAUSTED' in line
  assert made['programs'][0]['needed_bytes'] > 17_179_869_184 and f'{made["programs"][0]["needed_bytes"]:,}' in line
  text, _ = compiled(reports, *much, '--sweep=v5e-4', status=1)
  assert '0 compiled, 2 known from before' in text and '| does not fit |' in text and 'fits on none' in text
