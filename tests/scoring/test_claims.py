"""How many runs a claim takes, by hand, by published tables, and as the command prints it."""
import math
import subprocess
import sys

import pytest

from scoring import claims, ledger, statistics
from scoring import tape as tapes
from scoring.problem import Problem
from tests.scoring.test_comparison import write_set
from tests.scoring.test_statistics import run


@pytest.mark.parametrize('rate, claim, expected', [
    # All of n succeed: the lower end is 0.025 ** (1/n), at least 0.9 from n = ln 0.025 / ln 0.9 = 35.01 on.
    (1.0, {'lower': 0.9}, 36), (1.0, {'lower': 0.9, 'confidence': 0.9}, 29),  # ln 0.05 / ln 0.9 = 28.43
    (0.0, {'half_width': 0.05}, 36),  # none succeeds: the upper end is 1 - 0.025 ** (1/n), by the same token
    (0.5, {'half_width': 0.1}, 104), (0.9999, {'lower': 0.99989}, None)])
def test_runs_needed_for_a_success_rate(rate, claim, expected):
  found = claims.runs_needed_for_rate(rate, **claim)
  assert found == expected
  if expected:
    for n, holds in ((found, True), (found - 1, False)):
      low, high = statistics.binomial_interval(math.floor(rate * n), n, claim.get('confidence', 0.95))
      assert (low >= claim['lower'] if 'lower' in claim else high - low <= 2 * claim['half_width']) == holds


@pytest.mark.parametrize('effect, sds, power, expected', [
    # Cohen's table 2.4.1: two sided, 5 %; d = 0.2, 0.5, 0.8 take 393, 64 and 26 runs a side for a power of 0.8, and
    # d = 0.5 takes 85 for 0.9 (394 by the noncentral t itself, as G*Power has it).
    (0.2, (1.0, 1.0), 0.8, 394), (0.5, (1.0, 1.0), 0.8, 64), (-0.8, (1.0, 1.0), 0.8, 26), (0.5, (1.0, 1.0), 0.9, 86),
    (0.05, (0.1, 0.1), 0.8, 64),   # a difference of 5 % where times spread by 10 %
    (math.sqrt(50) / 2, (6.0, 8.0), 0.8, 64),  # the mean variance is (36 + 64) / 2 = 50, so that d = 0.5
    (0.5, (1.0,), 0.8, 34),        # pairs, G*Power
    (50.0, (1.0, 1.0), 0.8, 2), (1e6, (1.0,), 0.8, 2), (1e-5, (1.0, 1.0), 0.8, None)])
def test_runs_needed_for_a_difference(effect, sds, power, expected):
  assert claims.runs_needed_for_difference(effect, *sds, power=power) == expected


@pytest.mark.parametrize('wrong', [
    lambda: claims.runs_needed_for_rate(0.9), lambda: claims.runs_needed_for_rate(0.9, lower=0.95),
    lambda: claims.runs_needed_for_rate(0.9, lower=0.8, half_width=0.1),
    lambda: claims.runs_needed_for_rate(1.5, lower=0.8), lambda: claims.runs_needed_for_rate(0.9, half_width=0),
    lambda: claims.runs_needed_for_difference(0.0, 1.0, 1.0),
    lambda: claims.runs_needed_for_difference(0.1, 0.0), lambda: claims.runs_needed_for_difference(0.1, -1.0),
    lambda: claims.runs_needed_for_difference(0.1, 1.0, power=1.0)])
def test_claims_that_cannot_be_are_refused(wrong):
  with pytest.raises(Problem, match='must|needs|cannot'):
    wrong()


def rows(summary) -> dict[str, list[str]]:
  """The cells of a table by the first words of their line."""
  lines = claims.table(summary).split('\n')
  assert all(line.isascii() and len(line) <= 120 for line in lines)
  return {name: line.removeprefix(name).split() for name in ('runs', 'dawnbench s') for line in lines
          if line.startswith(name)} | {'within': next(lines[at + 1].split()[1:] for at, line in enumerate(lines)
                                                      if line.startswith('within')),
                                       'least': next(lines[at + 1].split()[1:] for at, line in enumerate(lines)
                                                     if line.startswith('at least'))}


def test_the_table_by_hand():
  # 20 times 100 s give or take 9.7468 s: their spread is 9.7468 sqrt(20 / 19) = 10 s, a tenth of the mean
  times = [100.0 + sign * 10 * math.sqrt(19 / 20) for sign in (-1, 1) for _ in range(10)]
  found = rows(statistics.summarize([run(n, t) for n, t in enumerate(times)]))
  # of n successes the lower end is 0.025 ** (1/n): at least 0.8 from ln 0.025 / ln 0.8 = 16.5 on, 0.9 from 35.01, 0.95
  # from 71.9, 0.99 from 367.04; an interval of 0.2 is that of 0.8, of 0.1 that of 0.9, 0.96 from 90.4, 0.98 from 182.6
  assert found['least'] == ['17*', '36', '72', '368'] and found['within'] == ['17*', '36', '91', '183']
  # d = 0.1, 0.2, 0.3, 0.5 and 1: 1571, 394, 176, 64 and 17 a side (G*Power)
  assert found['dawnbench s'] == ['1571', '394', '176', '64', '17*', '10.0', '%']


def test_the_table_of_runs_that_claim_little():
  found = rows(statistics.summarize([run(n, 10.0) for n in range(19)] + [run(19, wall=12.0)]))
  assert found['least'][2:] == ['-', '-'] and found['least'][0].isdigit() and found['least'][1] != '-'
  assert found['dawnbench s'] == ['-'] * 6, 'times that do not vary are not measured'
  found = rows(statistics.summarize([run(n, wall=12.0) for n in range(3)]))
  assert found['least'] == ['-'] * 4 and found['within'] == ['17', '36', '91', '183'], 'as surely none as all'
  wild = rows(statistics.summarize([run(n, t) for n, t in enumerate([1.0, 1000.0, 1.0, 1000.0])]))['dawnbench s']
  assert wild[0] == '>100000' and wild[-2:] == ['115.2', '%']  # the root of 4/3 times 499.5, of 500.5


@pytest.mark.parametrize('rate, n', [(1.0, 20), (0.95, 20), (0.5, 40)])
def test_a_star_marks_what_the_runs_show(rate, n):
  reached = round(rate * n)
  summary = statistics.summarize([run(i, 10.0 + i % 3) for i in range(reached)]
                                 + [run(i, wall=9.0) for i in range(reached, n)])
  low, high = summary['success_rate']['interval']
  found = rows(summary)
  assert [cell.endswith('*') for cell in found['least']] == [low >= claim for claim in claims.LEAST_RATES]
  assert [cell.endswith('*') for cell in found['within']] == [high - low <= 2 * half for half in claims.HALF_WIDTHS]


def test_the_demos_twenty_runs_as_the_readme_has_them():
  found = rows(ledger.summary(tapes.ROOT / 'results' / 'digits_2core_epyc'))
  assert found['least'][:2] == ['17*', '36'] and found['dawnbench s'][-4:] == ['28', '8*', '6.4', '%']


def score(*arguments):
  return subprocess.run([sys.executable, '-m', 'launchers.score', *map(str, arguments)], cwd=tapes.ROOT,
                        capture_output=True, text=True)


def test_the_command_prints_it_and_writes_nothing(tmp_path):
  runs = write_set(tmp_path / 'runs', [10.0, 11.0, 12.0])
  before = sorted(path for path in runs.rglob('*'))
  done = score(f'--workdir={runs}', '--runs_needed')
  assert done.returncode == 0 and '3 of 3 runs reached the target' in done.stdout, done.stderr
  assert any(line.startswith('dawnbench s') for line in done.stdout.splitlines())
  assert sorted(path for path in runs.rglob('*')) == before


@pytest.mark.parametrize('arguments, status, words', [
    (['--runs_needed'], 2, '--runs_needed lacks --workdir'),
    (['--workdir=x', '--runs_needed', '--page'], 2, '--page and --runs_needed are different things'),
    (['--workdir=results/squad_tiny_2core_epyc', '--runs_needed'], 1, 'is no set of runs'),
    (['--workdir=results/nothing', '--runs_needed'], 1, 'is no set of runs')])
def test_what_is_no_set_is_one_line(arguments, status, words):
  done = score(*arguments)
  assert (done.returncode, done.stdout) == (status, '') and words in done.stderr and done.stderr.count('\n') == 1
