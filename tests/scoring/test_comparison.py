"""Two sets of runs compared: by hand on made-up tapes, and on halves of a published set."""
import json
import shutil
from pathlib import Path

import pytest

from scoring import comparison, ledger
from scoring.problem import Problem
from tests import made_sets, tapes
from tests.test_results import ROOT

PRICE = {'usd_per_hour': 3.6, 'name': 'fixture', 'source': 'fixture'}  # a thousandth of a dollar a second
OTHER = {**tapes.HEADER['hardware'], 'host': 'another CPU'}


def write_run(workdir, seconds, *, seed=0, data='d' * 64, start=1_790_000_000.0, **options):
  """A run that trains for `seconds` until its target; None: for 5 s and 5 s again, and misses it."""
  values = [{'accuracy': 0.5}] * 2 if seconds is None else [{'accuracy': 0.95}]
  tape = tapes.record(values, train_seconds=5.0 if seconds is None else seconds, seed=seed, start=start,
                      config=f'seed = {seed}\nrate = {options.pop("rate", 0.1)}\n', **options)
  for event in tape.events:
    if event['event'] == 'data' and data:
      event.update(split='train', fingerprint=data)
  workdir.mkdir(parents=True)
  (workdir / 'tape.jsonl').write_text(''.join(json.dumps(event) + '\n' for event in tape.events))


def write_set(folder, seconds, *, first_seed=0, start=1_790_000_000.0, **options):
  for number, value in enumerate(seconds):
    name = ledger.run_name(number)
    write_run(folder / name, value, seed=first_seed + number, start=start + 1000 * number, **options)
    ledger.append(folder, run=name, event='begin')
  return folder


@pytest.fixture
def sets(tmp_path):
  """Makes A, of the first seconds, and B, of the second, which begins a day later; `b` options are B's only."""
  def make(a, b, both=None, **options):
    return (write_set(tmp_path / 'a', a, **(both or {})),
            write_set(tmp_path / 'b', b, **{**(both or {}), 'start': 1_790_086_400.0, **options}))
  return make


def test_unpaired_by_hand(sets):
  # Each tape takes 1 + 2 + 3 + 1 s (import, init, compile, data), trains, and evaluates for 2 s: 17, 18, 19 s against
  # 27, 29, 28 s by DAWNBench's clock, which is test_two_samples.py's example; by MLPerf's 3 s beside training.
  made = comparison.compare(*sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0], {'price': PRICE}, first_seed=5))
  found = made['measures']['dawnbench seconds']
  assert not made['pairing']['paired'] and made['pairing']['why'] == 'seeds differ (0 in common)'
  assert (found['mean_a'], found['mean_b'], found['difference']) == (18.0, 28.0, -10.0)
  assert found['difference_interval'] == pytest.approx([-12.26696, -7.73304], abs=1e-4)
  assert found['ratio_interval'] == pytest.approx([0.576768, 0.713174], abs=1e-5)
  assert made['measures']['mlperf seconds']['mean_a'] == 14.0
  assert made['measures']['dawnbench usd']['difference'] == pytest.approx(-0.01)
  assert made['measures']['epochs']['difference'] == 0.0 and made['measures']['epochs']['p'] is None
  # 18/28 is 35.7 % less; the interval's ends are 1 - 0.713174 and 1 - 0.576768
  assert made['verdicts']['dawnbench'].startswith(
      "A is faster by 35.7 % (95 % interval 28.7 to 42.3 %), 10 s a run, and cheaper by 0.01 USD; p = ")
  assert made['verdicts']['dawnbench'].endswith(
      "but 0.1 by Mann and Whitney's U, the least that so few runs can give; to show as much again takes about 2 "
      'runs a side, here 3 [a review refuses A and B]')
  assert made['success_p'] == 1.0 and made['a']['fixture'] and 'MLCommons' in made['notice']
  assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_what_a_review_finds_in_a_set_is_said_of_it(tmp_path):
  a = made_sets.cifar10(tmp_path / 'a')
  b = made_sets.make(tmp_path / 'b', made_sets.CIFAR10, [0.9411] * 5, '--config.eval_every_epochs=1.0',
                     '--config.seed=9')
  made = comparison.compare(a, b)
  assert 'REFUSED' not in comparison.text(made) and 'review' not in made['verdicts']['warm']
  shutil.rmtree(b / 'run_002')
  made = comparison.compare(a, b)
  assert (f'REFUSED   by review: run_002: is missing: the ledger says that it was begun (1 finding; launchers.score '
          f'--check={b} lists all)\n') in comparison.text(made)
  assert made['a']['refused'] == [] and 'a review refuses B' in made['verdicts']['warm']
  shutil.copytree(a / 'run_001', tmp_path / 'alone' / 'run_001')
  made = comparison.compare(tmp_path / 'alone' / 'run_001', b)
  assert 'show the whole set with its ledger' in made['a']['refused'][0]


def test_an_interval_of_a_ratio_ends_at_0_and_says_so(sets):
  made = comparison.compare(*sets([2.0, 40.0], [20.0, 21.0], first_seed=5))
  assert made['measures']['dawnbench seconds']['ratio_interval'][0] == 0
  assert 'A / B from 0.0000 to' in made['verdicts']['dawnbench']
  assert 'too few runs: the interval of A / B is cut at 0' in made['verdicts']['dawnbench']


def test_the_other_side_may_be_the_faster_one(sets):
  made = comparison.compare(*sets([20.0, 22.0, 21.0], [10.0, 11.0, 12.0], first_seed=5))
  # A / B is 28/18, from 1/0.713174 to 1/0.576768: B takes 35.7 % less, as above
  assert made['verdicts']['dawnbench'].startswith('B is faster by 35.7 % (95 % interval 28.7 to 42.3 %), 10 s a run')
  assert 'dawnbench usd' not in made['measures']


def test_pairs_are_by_seed_not_by_order(sets, tmp_path):
  a, b = sets([10.0, 11.0, 12.0], [22.0, 20.0, 21.0])
  for name, (n, seconds) in {'run_000': (2, 21.0), 'run_001': (0, 20.0), 'run_002': (1, 22.0)}.items():
    shutil.rmtree(b / name)
    write_run(b / name, seconds, seed=n, start=1_790_086_400.0 + n)
  made = comparison.compare(a, b)
  assert made['pairing']['paired'] and made['pairing']['why'] == 'both sides have the same seeds, 3 of them'
  # differences -10, -11, -9: mean -10, standard error 1 / sqrt(3), t 4.302653 (test_two_samples.py)
  assert made['measures']['dawnbench seconds']['difference_interval'] == pytest.approx([-12.48414, -7.51586], abs=1e-4)
  assert 'paired t' in made['verdicts']['dawnbench']
  unpaired = comparison.compare(a, b, paired=False)
  assert unpaired['pairing'] == {'paired': False, 'why': '--nopaired', 'tests': ["Welch's t", "Mann and Whitney's U"]}
  found = unpaired['measures']['dawnbench seconds']
  assert found['difference_interval'] == pytest.approx([-12.26696, -7.73304], abs=1e-4)


@pytest.mark.parametrize('a, b, options, why', [
    ([1.0, 2.0], [3.0, 4.0], {'first_seed': 1}, r'seeds differ \(1 in common\)'),
    ([1.0], [3.0], {}, 'single runs make no pairs')])
def test_pairs_are_refused_where_there_are_none(sets, a, b, options, why):
  folders = sets(a, b, **options)
  with pytest.raises(Problem, match=why):
    comparison.compare(*folders, paired=True)
  assert not comparison.compare(*folders)['pairing']['paired']


def test_failures_count_in_the_success_rate_and_in_the_expected_time(sets):
  made = comparison.compare(*sets([10.0, 12.0, None, None], [20.0, 22.0, 21.0, 25.0]))
  # Two of A's four miss the target after 1+2+3+1 + 10 s by DAWNBench's clock: (17 + 19)/2 + (17 + 17)/2 = 35 s until a
  # success; B takes (27 + 29 + 28 + 32)/4 = 29 s. Fisher: 2 C(4,2) C(4,4) / C(8,6) = 12/28.
  assert made['a']['reached'] == 2 and made['success_p'] == pytest.approx(12 / 28)
  expected = [made[side]['seconds']['dawnbench']['expected_seconds_to_success'] for side in 'ab']
  assert expected == [35.0, 29.0]
  found = made['measures']['dawnbench seconds']
  assert made['pairing']['paired'] and (found['n_a'], found['n_b']) == (2, 2)  # the other pairs lack a side
  assert 'until a success, failures included: A 35 s, B 29 s' in made['verdicts']['dawnbench']


def test_the_faster_side_may_take_longer_until_a_success(sets):
  # A's failures: (17 + 18)/2 + (17 + 17)/2 = 34.5 s against (19 + 20 + 19 + 20)/4 = 19.5 s
  made = comparison.compare(*sets([10.0, 11.0, None, None], [12.0, 13.0, 12.0, 13.0], first_seed=7))
  assert made['verdicts']['dawnbench'].endswith(
      'included: A 34.5 s, B 19.5 s, and so B is the faster one by its point estimate]')


@pytest.mark.parametrize('dollars, words', [(3.6, 'and cheaper by 0.01 USD'), (18.0, 'and DEARER by 0.062 USD'),
                                            (5.6, 'dollars not shown to differ')])
def test_the_faster_side_may_be_the_dearer_one(sets, dollars, words):
  # 18 s at 18 USD an hour are 0.09 USD, 28 s at 3.6 are 0.028 USD; at 5.6 A's cost 0.028 USD too
  made = comparison.compare(*sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0], first_seed=5, price=PRICE,
                                  both={'price': {**PRICE, 'usd_per_hour': dollars}}))
  assert f', 10 s a run, {words}; p = ' in made['verdicts']['dawnbench']
  assert made['a']['usd_per_hour'] == [dollars] and f'at {dollars:g} USD an hour' in comparison.text(made)


def test_no_difference_names_the_runs_that_would_show_one(sets):
  made = comparison.compare(*sets([10.0, 14.0, 12.0], [11.0, 13.0, 14.0], first_seed=9))
  # 19 against 19.667 s, spreads 2 and 1.5275
  needed = made['measures']['dawnbench seconds']['runs_needed']
  assert needed > 100 and 'no difference shown' in made['verdicts']['dawnbench']
  assert f'to show the 3.4 % seen here takes about {needed} runs a side, here 3' in made['verdicts']['dawnbench']
  assert 'times' not in made['verdicts']['dawnbench'] and 'faster' not in made['verdicts']['dawnbench']


def test_a_difference_shown_by_luck_says_how_many_runs_would_show_it_again(sets):
  # 17.5 against 19 s, spreads sqrt(2/3): t = 1.5 / sqrt(2 (2/3) / 4) = 2.598, and p = 0.041 with 6 degrees of freedom,
  # whose 97.5 % quantile is 2.447: a difference of that size is found in little more than half of all attempts
  made = comparison.compare(*sets([9.5, 10.5, 11.5, 10.5], [11.0, 12.0, 13.0, 12.0], first_seed=9))
  found = made['measures']['dawnbench seconds']
  assert found['p'] == pytest.approx(0.0408, abs=1e-4) and 4 < found['runs_needed'] < 8
  assert made['verdicts']['dawnbench'].endswith(
      f'to show as much again takes about {found["runs_needed"]} runs a side, here 4 [a review refuses A and B]')
  lines = [line for line in comparison.text(made).splitlines() if line.startswith('dawnbench seconds')]
  assert lines[1].split()[-1] == str(found['runs_needed'])


def test_single_runs_and_times_that_do_not_vary_show_nothing(sets, tmp_path):
  a, b = sets([10.0, 10.0, 10.0], [20.0, 20.0, 20.0], first_seed=4)
  assert 'do not vary at all' in comparison.compare(a, b)['verdicts']['warm']
  made = comparison.compare(a / 'run_000', b / 'run_001')
  assert made['measures']['dawnbench seconds']['difference'] == -10.0
  assert made['verdicts']['warm'].endswith('it takes at least 2 runs a side that reached the target, here 1')


DIFFERENT = {
    'benchmark': {'benchmark': 'digits'}, 'target': {'target': {**tapes.HEADER['target'], 'value': 0.93}},
    'hardware': {'hardware': OTHER}, 'data': {'data': 'e' * 64}, 'tricks': {'tricks': {'extra_data': 'yes'}},
    'price': {'price': PRICE}}


@pytest.mark.parametrize('name', comparison.CONDITIONS)
def test_what_is_not_alike_is_refused_unless_it_is_named(sets, name):
  a, b = sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0], **DIFFERENT[name])
  with pytest.raises(Problem, match=rf'{name}: A has .*, B has .*--across={name}$') as refused:
    comparison.compare(a, b)
  others = [other for other in comparison.CONDITIONS if other != name]
  assert not any(f'{other}: A has' in str(refused.value) for other in others)
  with pytest.raises(Problem, match=f'--across={name}$'):
    comparison.compare(a, b, across=others)
  made = comparison.compare(a, b, across=[name])
  assert list(made['across']) == [name] and name not in made['same']
  assert f'across {name}' in made['verdicts']['dawnbench'] and f'ACROSS    {name}: A ' in comparison.text(made)


def test_all_that_is_not_alike_is_named_at_once(sets):
  folders = sets([10.0], [20.0], **DIFFERENT['hardware'], **DIFFERENT['tricks'])
  with pytest.raises(Problem, match='hardware: .*tricks: .*extra_data yes.*--across=hardware,tricks$'):
    comparison.compare(*folders)
  with pytest.raises(Problem, match='--across=hardware,tricks$'):
    comparison.compare(*folders, across=['tricks'])


def test_a_side_that_is_not_alike_in_itself_is_refused(sets):
  a, b = sets([10.0, 11.0], [20.0, 21.0])
  shutil.rmtree(a / 'run_001')
  write_run(a / 'run_001', 11.0, seed=1, start=1_790_002_000.0, hardware=OTHER)
  with pytest.raises(Problem, match='hardware: A has .*another CPU.* and .*fixture CPU'):
    comparison.compare(a, b)


def test_data_without_a_fingerprint_are_told_and_not_taken_for_the_same(sets, tmp_path):
  a, b = sets([10.0, 11.0], [20.0, 21.0], {'data': None})
  assert 'same      data: no fingerprint' in comparison.text(comparison.compare(a, b))
  assert all('no tape has a fingerprint' in words for words in comparison.compare(a, b)['verdicts'].values())
  c = write_set(tmp_path / 'c', [10.0, 11.0], start=1_790_200_000.0)
  d = write_set(tmp_path / 'd', [20.0, 21.0], start=1_790_300_000.0)
  assert 'no tape has' not in str(comparison.compare(c, d)['verdicts'])
  with pytest.raises(Problem, match='data: A has no fingerprint'):
    comparison.compare(a, c)


@pytest.mark.parametrize('data', [None, 'd' * 64])
def test_sides_that_train_on_more_examples_or_fewer_are_not_alike(sets, data):
  a, b = sets([10.0, 11.0], [20.0, 21.0], {'data': data}, num_train_examples=45_000)
  with pytest.raises(Problem, match='data: A has .*50000 to train on, B has .*45000 to train on'):
    comparison.compare(a, b)


def test_a_run_is_not_compared_with_itself(sets, tmp_path):
  a, b = sets([10.0, 11.0], [20.0, 21.0])
  with pytest.raises(Problem, match='run_000 of B is the same run as run_000 of A'):
    comparison.compare(a, a)
  shutil.copytree(b / 'run_001', b / 'run_002')
  with pytest.raises(Problem, match='run_002 of B is the same run as run_001 of B'):
    comparison.compare(a, b)


def test_recipe_software_and_compilation_are_told(sets):
  made = comparison.compare(*sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0], rate=0.2, versions={'jax': '0.12.0'}))
  assert made['differ'] == {'config rate': ['0.1', '0.2'], 'version of jax': ['0.10.2', '0.12.0'],
                            'version of python': ['3.11.7', 'absent']}
  assert 'differ    config rate: A 0.1, B 0.2' in comparison.text(made)
  assert (made['a']['cold'], made['b']['cold']) == (3, 3) and 'warm cache' not in made['verdicts']['dawnbench']


def test_a_warm_cache_on_one_side_is_told_where_the_clock_counts_it(sets):
  a, b = sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0])
  for tape in a.rglob('tape.jsonl'):
    tape.write_text(tape.read_text().replace('_misses": 3', '_misses": 0').replace('_hits": 0', '_hits": 3'))
  made = comparison.compare(a, b)
  assert (made['a']['cold'], made['b']['cold']) == (0, 3)
  assert {clock for clock, words in made['verdicts'].items() if 'warm cache' in words} == {'dawnbench'}


def test_runs_that_are_missing_or_torn_count_as_failures(sets):
  a, b = sets([10.0, 11.0, 12.0], [20.0, 22.0, 21.0])
  shutil.rmtree(a / 'run_001')
  (b / 'run_002' / 'tape.jsonl').write_text('')
  made = comparison.compare(a, b)
  assert (made['a']['reached'], made['a']['n'], made['a']['unfinished']) == (2, 3, ['run_001'])
  assert (made['b']['reached'], made['b']['n'], made['b']['unfinished']) == (2, 3, ['run_002'])
  assert not made['pairing']['paired'] and made['pairing']['why'] == 'a run left no tape, and so no seed'
  assert 'A unknown, B unknown' in made['verdicts']['dawnbench']
  shutil.rmtree(a / 'run_000')
  shutil.rmtree(a / 'run_002')
  with pytest.raises(Problem, match='none of its runs has left a tape'):
    comparison.compare(a, b)


def test_halves_of_a_published_set_do_not_differ(tmp_path):
  source = ROOT / 'results' / 'digits_2core_epyc'
  for number in range(20):
    folder = tmp_path / 'ab'[number % 2]
    name = ledger.run_name(number // 2)
    shutil.copytree(source / ledger.run_name(number), folder / name)
    ledger.append(folder, run=name, event='begin')
  made = comparison.compare(tmp_path / 'a', tmp_path / 'b')
  summary = json.loads((source / 'summary.json').read_text())
  found = made['measures']['dawnbench seconds']
  # even and odd seeds: their means, ten runs each, average to the published one
  assert (found['mean_a'] + found['mean_b']) / 2 == pytest.approx(summary['seconds']['dawnbench']['mean'])
  assert not made['across'] and not made['differ'] and list(made['same']) == list(comparison.CONDITIONS)
  assert all('no difference shown' in words for words in made['verdicts'].values())
  text = comparison.text(made)
  assert text.isascii() and 'A         ' in text and f"{found['mean_a']:.5g}" in text
  with pytest.raises(Problem, match='benchmark: A has digits, B has imagenette'):
    comparison.compare(tmp_path / 'a', ROOT / 'results' / 'imagenette_2core_epyc')


def test_the_text_is_as_golden(sets, tmp_path):
  made = comparison.compare(*sets([10.0, 11.0, 12.0, None], [20.0, 22.0, 21.0, 20.5], {'price': PRICE}, rate=0.2,
                                  hardware=OTHER), across=['hardware'])
  text = comparison.text(made).replace(str(tmp_path), 'runs')
  assert text + '\n' == (Path(__file__).parent / 'golden' / 'comparison.txt').read_text()
