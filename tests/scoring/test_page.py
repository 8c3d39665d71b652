"""The page's data and text, without a browser; tests/page does the rest in one."""
import base64
import csv
import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given

from scoring import audit_set, clocks, dawnbench, ledger, record, statistics
from scoring import tape as tapes
from scoring.page import collect, history, runs, site
from scoring.page.follow import Follower
from scoring.problem import Problem
from tests import made_sets
from tests.scoring.test_clocks import perform, plans, quick
from tests.tapes import Story, closing_files
from tests.tapes import record as record_tape

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results'
REAL = sorted(RESULTS.glob('**/tape.jsonl'))
HOSTILE = '<script>alert(1)</script>'


@pytest.fixture(autouse=True)
def _files_are_closed(monkeypatch):
  with closing_files(monkeypatch):
    yield


def restarted():
  """A run that was killed while training, and went on from a checkpoint; and whose initialisation took too long."""
  story = Story()
  story.set_up(init=31 * 60).point('run_start', step=0)
  story.train(10).eval(2, 0.5)
  saved = story.checkpoint(1)
  story.train(10).eval(2, 0.7).killed_in('train', 4, **story.where())
  story.restart(saved, after=6).set_up()
  story.train(10).gap(0.5).eval(2, 0.95).train(5).eval(2, 0.93)
  return story.finish().events


def check_against_the_record(events):
  made, digest = record.record(events), runs.digest('run', events)
  names = [clock.name for clock in clocks.CLOCKS]
  assert len(digest['points']) == len(made['evaluations'])
  for point, evaluation in zip(digest['points'], made['evaluations']):
    assert point[0] == evaluation['epoch']
    assert point[1:5] == pytest.approx([evaluation['seconds'][name] for name in names], abs=1e-5)
    assert point[5] == evaluation['metrics'][made['target']['metric']]
  hit = digest['hits'][0]
  assert (hit is not None) == made['reached']
  if made['reached']:
    assert digest['points'][hit][1:5] == pytest.approx([made['seconds_to_target'][n] for n in names], abs=1e-5)
  assert digest['end'] == pytest.approx([made['seconds_until_end'][name] for name in names], abs=1e-5)
  assert digest['spans'] == pytest.approx(made['seconds_by_span'], abs=1e-5)
  for key in ('status', 'mixed', 'restarts', 'parameters_sha256', 'seed'):
    assert digest[key] == made[key]


@pytest.mark.parametrize('path', REAL, ids=lambda p: str(p.parent.relative_to(RESULTS)))
def test_one_walk_over_a_published_tape_gives_what_its_record_says(path):
  check_against_the_record(tapes.read(path))


def test_one_walk_over_a_restarted_run_gives_what_its_record_says():
  events = restarted()
  assert record.record(events)['reached'] and any(span.name == 'lost' for span in tapes.spans(events))
  check_against_the_record(events)


@quick
@given(plans)
def test_a_moment_inside_a_span_counts_what_the_clock_has_counted_by_then(plan):
  events = perform(plan)
  spans = tapes.spans(events)
  moments = [(span.start + 0.4 * span.seconds, None) for span in spans]
  for (at, _), row in zip(moments, runs.clock_table(events, spans, moments)):
    assert row == pytest.approx([clocks.seconds_at(events, clock, at) for clock in clocks.CLOCKS], abs=1e-6)


def test_a_run_of_imagenet_is_on_each_board_whose_metric_it_measured():
  target = {'metric': 'accuracy', 'value': 0.759, 'num_examples': 50_000}
  tape = record_tape([{'accuracy': 0.75, 'top5_accuracy': 0.931}, {'accuracy': 0.76, 'top5_accuracy': 0.94}],
                     benchmark='imagenet', target=target)
  digest = runs.digest('run', tape.events)
  assert [(goal['metric'], goal['value']) for goal in digest['goals']] == [('accuracy', 0.759), ('top5_accuracy', 0.93)]
  assert digest['hits'] == [1, 0]
  part = record_tape([{'accuracy': 0.76, 'top5_accuracy': 0.94}], benchmark='imagenet',
                     target={**target, 'num_examples': 1000})
  assert [goal['of'] for goal in runs.digest('run', part.events)['goals']] == [1000]  # not over the whole set: no board


@pytest.mark.parametrize('kind, family', [('cpu', 'CPU'), ('NVIDIA H100 80GB HBM3', 'H100'), ('TPU v4', 'TPU v4'),
                                          ('NVIDIA A100-SXM4-40GB', 'A100'), ('Tesla V100-SXM2-16GB', 'V100'),
                                          ('NVIDIA GeForce RTX 4090', 'RTX 4090')])
def test_device_kinds_have_families(kind, family):
  assert runs.device(kind) == family


def collected(root) -> collect.Collection:
  collection = collect.Collection(root)
  collection.refresh()
  return collection


def test_all_that_is_published_is_on_the_page():
  collection = collected(RESULTS)
  folders = {p.parent.relative_to(RESULTS).as_posix() for p in RESULTS.glob('**/ledger.jsonl')}
  folders |= {p.parent.relative_to(RESULTS).as_posix() for p in REAL if not (p.parent.parent / 'ledger.jsonl').exists()}
  assert set(collection.rows) == folders and not collection.problems


def test_a_set_says_what_its_summary_says():
  folder = RESULTS / 'digits_2core_epyc'
  row, summary = collected(RESULTS).rows[folder.name], json.loads((folder / 'summary.json').read_text())
  goal = row['goals'][0]
  assert (row['n'], goal['reached']) == (summary['n'], summary['reached'])
  assert goal['rate'] == pytest.approx(summary['success_rate']['interval'], abs=1e-4)
  for number, clock in enumerate(clocks.CLOCKS):
    said = summary['seconds'][clock.name]
    for ours, theirs in [('seconds', 'expected_seconds_to_success'), ('mean', 'mean'), ('sd', 'sd'), ('min', 'min'),
                         ('max', 'max'), ('olympic_mean', 'olympic_mean'), ('interval', 'interval')]:
      assert goal[ours][number] == pytest.approx(said[theirs], rel=1e-5), (clock.name, ours)


def test_the_command_of_a_set_is_that_of_the_set():
  collection = collected(RESULTS)
  command = json.loads(collection.details['digits_2core_epyc'])['facts']['command']
  assert command == ['--config=references/cifar/configs/digits.py', '--workdir=runs/digits20', '--runs=20']
  single = RESULTS / 'imagenette_2core_epyc'
  assert json.loads(collection.details[single.name])['facts']['command'] == tapes.read(single)[0]['command']


def make_run(folder: Path, values=(0.9, 0.95), **header) -> Path:
  folder.mkdir(parents=True)
  record_tape([{'accuracy': value} for value in values], path=folder / 'tape.jsonl', **header)
  return folder


def test_a_run_that_a_ledger_names_and_that_left_no_tape_counts(tmp_path):
  for number in range(3):
    make_run(tmp_path / ledger.run_name(number))
  (tmp_path / 'ledger.jsonl').write_text('{"run": "run_003", "event": "begin"}\n')
  row = collected(tmp_path).rows[tmp_path.name]
  assert row['n'] == 4 and row['goals'][0]['reached'] == 3
  assert row['goals'][0]['seconds'] == [None] * 4  # what the missing run took is unknown
  assert row['goals'][0]['mean'][0] > 0


def test_a_run_whose_process_is_starting_has_not_failed_yet(tmp_path):
  for name, ago in (('now', 5), ('dead', 3600)):
    (tmp_path / name).mkdir()
    begin = {'run': 'run_000', 'event': 'begin', 'time': time.time() - ago}
    (tmp_path / name / 'ledger.jsonl').write_text(json.dumps(begin) + '\n')
  collection = collected(tmp_path)
  assert not collection.rows and set(collection.problems) == {'dead'}


def test_a_run_that_failed_makes_success_dearer(tmp_path):
  price = {'name': 'x', 'usd_per_hour': 36.0}
  for number, values in enumerate([(0.95,), (0.90, 0.91, 0.92)]):
    make_run(tmp_path / ledger.run_name(number), values, price=price)
  (tmp_path / 'ledger.jsonl').write_text('{"run": "run_001", "event": "begin"}\n')
  goal = collected(tmp_path).rows[tmp_path.name]['goals'][0]
  reached, failed = 1 + 2 + 3 + 1 + 10, 1 + 2 + 3 + 1 + 30
  assert goal['reached'] == 1 and goal['seconds'][0] == pytest.approx(reached + failed)
  assert goal['cost'][0] == pytest.approx((reached + failed) / 3600 * 36.0)


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path):
  make_run(tmp_path / 'good')
  broken = make_run(tmp_path / 'broken') / 'tape.jsonl'
  broken.write_text(broken.read_text().replace('"event": "eval"', '"event": 7', 1))
  other = make_run(tmp_path / 'other') / 'tape.jsonl'
  other.write_text('{"event": "process", "time": 1.0}\n')
  (tmp_path / 'begun').mkdir()
  (tmp_path / 'begun' / 'tape.jsonl').touch()
  collection = collected(tmp_path)
  assert set(collection.rows) == {'good'} and set(collection.problems) == {'broken', 'other'}
  assert re.search(r'broken/tape.jsonl, line \d+: not an event', collection.problems['broken'])
  assert 'another version' in collection.problems['other']


def _another(path: Path, **fields):
  first, _, rest = path.read_text().partition('\n')
  path.write_text(json.dumps({**json.loads(first), **fields}) + '\n' + rest)


@pytest.mark.parametrize('tamper', [
    lambda folder: shutil.rmtree(folder / 'run_001'),
    lambda folder: (folder / 'run_001' / 'tape.jsonl').unlink(),
    lambda folder: (folder / 'run_001' / 'tape.jsonl').write_text(''),
    lambda folder: _another(folder / 'run_001' / 'tape.jsonl', code_sha256='c' * 64),
    lambda folder: shutil.copy(folder / 'run_002' / 'tape.jsonl', folder / 'run_001' / 'tape.jsonl'),
    lambda folder: ledger.append(folder, run='run_009', event='begin', seed=9, config='seed = 0\n', time=2e9),
], ids=['folder gone', 'tape gone', 'tape empty', 'mixed code', 'twin', 'another begun'])
def test_what_only_a_whole_set_shows_is_on_its_row(tamper, tmp_path):
  folder = made_sets.make(tmp_path / 'set', made_sets.CIFAR10, [0.9411] * 3, stop_after=1)
  row = collected(tmp_path).rows['set']
  assert row['n'] == 3 and not {'refused', 'unended'} & set(row)
  tamper(folder)
  row, found = collected(tmp_path).rows['set'], audit_set.findings(folder)
  told = [re.fullmatch(r'(.*?)(?:, and (\d+) more)?', row[key]) for key in ('refused', 'unended') if key in row]
  assert 'refused' in row and {line[1] for line in told} <= set(found), found
  assert sum(1 + int(line[2] or 0) for line in told) == len(found)


def test_a_set_that_goes_on_is_unended_and_not_refused(tmp_path):
  folder = made_sets.make(tmp_path / 'set', made_sets.CIFAR10, [0.9411] * 3, stop_after=1)
  lines = (folder / 'ledger.jsonl').read_text().splitlines(keepends=True)
  (folder / 'ledger.jsonl').write_text(''.join(lines[:3]))  # the second run is under way
  shutil.rmtree(folder / 'run_002')
  row = collected(tmp_path).rows['set']
  assert 'refused' not in row and row['unended'] == 'ledger.jsonl: run_001 never ended, and 1 more'


def test_a_folder_that_is_not_ours_to_read_is_named(tmp_path, monkeypatch):
  make_run(tmp_path / 'set' / 'run_000')
  (tmp_path / 'set' / 'ledger.jsonl').write_text('{"run": "run_000", "event": "begin"}\n')

  def refused(*_):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(ledger, 'names', refused)
  assert collected(tmp_path).problems == {'set': 'set: cannot be read (Permission denied); make it readable, or leave '
                                                 'it out'}


def test_only_what_was_appended_is_parsed(tmp_path, monkeypatch):
  whole = REAL[0].read_text().splitlines(keepends=True)
  path, asked, parse = tmp_path / 'tape.jsonl', [], tapes.parse
  monkeypatch.setattr(tapes, 'parse', lambda text, where, after=0: asked.append((after, text)) or parse(
      text, where, after=after))
  follower = Follower(path)
  assert follower.read() is None
  position = 0
  for stop in (1, 20, 21, len(whole)):
    with open(path, 'a') as file:
      file.write(''.join(whole[position:stop]) + '{"event": "torn')
    made = follower.read()
    assert asked[-1] == (position, ''.join(whole[position:stop]))
    expected = runs.digest(tmp_path.name, parse(''.join(whole[:stop])))
    assert made == expected
    os.truncate(path, path.stat().st_size - len('{"event": "torn'))
    position = stop
  count = len(asked)
  follower.read()
  follower.read()
  assert len(asked) <= count + 1  # nothing is read where nothing changed


def test_a_tape_that_was_replaced_is_read_from_its_start(tmp_path):
  path = tmp_path / 'tape.jsonl'
  shutil.copy(REAL[0], path)
  follower = Follower(path)
  first = follower.read()
  path.unlink()
  assert follower.read() is None
  shutil.copy(REAL[-1], path)
  assert follower.read() == runs.digest(tmp_path.name, tapes.read(REAL[-1])) != first


def test_a_collection_tells_what_changed(tmp_path):
  make_run(tmp_path / 'a')
  tape = make_run(tmp_path / 'b') / 'tape.jsonl'
  collection = collected(tmp_path)
  collection._next_walk = 0
  before = collection.version()
  assert collection.refresh() == set() and collection.version() == before
  tape.write_text(''.join(tape.read_text().splitlines(keepends=True)[:-1]))
  collection._next_walk = 0
  assert collection.refresh() == {'b'} and collection.version() > before
  assert collection.rows['b']['status'] == 'interrupted' and collection.rows['b']['now']['epoch'] == 2
  shutil.rmtree(tmp_path / 'a')
  make_run(tmp_path / 'c')
  collection._next_walk = 0
  assert collection.refresh() == {'a', 'c'} and set(collection.rows) == {'b', 'c'}
  tape.write_text('nonsense\n')
  assert collection.refresh() == {'b'} and 'b' in collection.problems and 'b' not in collection.rows


def test_history_is_all_there_and_on_the_boards_that_ran_it():
  rows = history.rows()
  kinds = [(row['kind'], 'seconds' in row['goals'][0]) for row in rows]
  assert [kinds.count(kind) for kind in [('dawnbench', True), ('dawnbench', False), ('mlperf', True)]] == [69, 49, 8]
  assert len({row['id'] for row in rows}) == len(rows)

  def best(task, key, clock=0):
    return min((row['goals'][0][key][clock], row['name']) for row in rows if row['task'] == task
               and key in row['goals'][0] and row['goals'][0][key][clock] is not None)

  # scoring/history/README.md; ../facts have them: 9.43 s, 157.55 s, 18.76 min; MLPerf v2.0 0.19 min
  assert best('cifar10', 'seconds')[0] == 9.429
  assert best('imagenet', 'seconds')[0] == pytest.approx(157.55, abs=0.01)
  assert best('squad', 'seconds')[0] == pytest.approx(18.76 * 60, abs=1)
  assert best('imagenet', 'seconds', 2)[0] == pytest.approx(0.19 * 60)


def test_history_is_read_as_it_was_meant():
  for row in history.rows():
    goal = row['goals'][0]
    assert row['tricks'] is None and row['devices'] >= 1 and row['device']
    assert re.fullmatch(r'20\d\d-[01]\d(-[0-3]\d)?', row['date']), row['date']
    if row['kind'] == 'dawnbench':
      assert goal['value'] <= goal['result'] <= 1, row['name']  # fractions, and at the target
      assert dawnbench.BOARDS[row['task']].num_examples == goal['of'] and re.match('https://|$', row['link'])


def test_data_cannot_end_their_script_or_begin_another(tmp_path):
  make_run(tmp_path / 'runs' / HOSTILE.replace('/', '\\'), model=HOSTILE, config=f'name = {HOSTILE!r}\n')
  index, collection = site.write(tmp_path / 'runs', tmp_path / 'page')
  for name in ('data.js', 'details.js'):
    text = (tmp_path / 'page' / name).read_text()
    assert '<' not in text and text.isascii()
    value = json.loads(text.partition(' = ')[2].rstrip(';\n'))
    assert HOSTILE in json.dumps(value)
  assert 'alert(1)' not in index.read_text()


def test_the_page_is_one_file_that_runs_its_own_scripts_only():
  text = site.html()
  policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
  assert "default-src 'none'" in policy and 'unsafe-eval' not in policy
  scripts = re.findall(r'<script>(.*?)</script>', text, re.DOTALL)
  assert len(scripts) == len(site.SCRIPTS)
  for script in scripts:
    digest = hashlib.sha256(script.encode()).digest()
    assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
  assert re.findall(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="([^"]*)"', text) == ['data:,', 'data.js']
  assert record.NOTICE in text and '{{' not in re.sub(r'<script>.*?</script>', '', text, flags=re.DOTALL)


def test_the_vendored_library_is_the_one_that_the_readme_names():
  readme = (ROOT / 'scoring/page/vendor/README.md').read_text()
  for path in (ROOT / 'scoring/page/vendor').glob('*.js'):
    assert hashlib.sha256(path.read_bytes()).hexdigest() in readme, path.name
    assert path.with_suffix('').with_suffix('.LICENSE').read_text().startswith('Copyright')


def test_every_clock_has_words_and_every_board_a_task():
  assert set(site.CLOCKS) == {clock.name for clock in clocks.CLOCKS}
  assert set(site.TASKS) >= {row['task'] for row in history.rows()} | set(dawnbench.BOARDS)
  text = (ROOT / 'scoring/history/mlperf_training.csv').read_text()
  assert {row['benchmark'] for row in csv.DictReader(text.splitlines())} == set(history.MLPERF)


@pytest.mark.parametrize('text', ['[]', '{"model": "x"}', 'not json'])
def test_an_inference_record_that_is_none_is_named(text, tmp_path):
  make_run(tmp_path / 'run')
  path = tmp_path / 'run' / 'inference' / 'server' / 'performance' / 'record.json'
  path.parent.mkdir(parents=True)
  path.write_text(text)
  collection = collected(tmp_path)
  assert set(collection.rows) == {'run'}
  assert 'derive it again' in collection.problems['run/inference/server/performance']


def inference_of(tmp_path, made: dict) -> dict:
  """The row of an inference record of a run."""
  path = tmp_path / 'run' / 'inference' / 'single_stream' / 'dawnbench' / 'record.json'
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(made))
  make_run(tmp_path / 'other')
  (tmp_path / 'other' / 'tape.jsonl').rename(tmp_path / 'run' / 'tape.jsonl')
  collection = collected(tmp_path)
  assert not collection.problems
  assert json.loads(collection.details['run/inference/single_stream/dawnbench'])['facts'] == made
  return collection.rows['run/inference/single_stream/dawnbench']


# as scoring.inference makes it; fields that the page does not read are left out
INFERENCE = {'fixture': True, 'benchmark': 'imagenet', 'model': 'ResNet-50', 'scenario': 'single_stream',
             'mode': 'dawnbench', 'latency_ms': {'mean': 1.25, 'mean_with_preprocessing': 3.5}, 'cost_usd': 2e-7,
             'metrics': {'accuracy': 0.761, 'top5_accuracy': 0.9312}, 'num_evaluated': 50_000, 'valid': True,
             'date': '2026-11-25', 'submitter': {'author': 'A', 'hardware': ''}, 'versions': {'jax': '0.10.2'},
             'hardware': {'device_kind': 'NVIDIA H100 80GB HBM3', 'device_count': 1, 'host': 'fixture'},
             'checkpoint': {'target': {'metric': 'accuracy', 'value': 0.759, 'num_examples': 50_000},
                            'metrics': {'accuracy': 0.76, 'top5_accuracy': 0.931}}}


def test_an_inference_record_is_a_row_of_dawnbench_s_board(tmp_path):
  row = inference_of(tmp_path, INFERENCE)
  assert row['goals'] == [{**history.goal('imagenet'), 'result': 0.9312, 'latency_ms': 1.25, 'usd_per_item': 2e-7}]
  assert (row['device'], row['devices'], row['kind'], row['fixture'], row['by']) == ('H100', 1, 'inference', True, 'A')
  assert row['name'] == 'run' and row['date'] == '2026-11-25'


def test_what_was_only_timed_has_the_result_of_its_checkpoint(tmp_path):
  row = inference_of(tmp_path, {**INFERENCE, 'mode': 'performance', 'metrics': None, 'latency_ms': {'mean': 1.5}})
  assert row['goals'][0]['result'] == 0.931 and row['goals'][0]['latency_ms'] == 1.5


def test_a_task_without_a_board_has_the_target_of_training(tmp_path):
  target = {'metric': 'accuracy', 'value': 0.98, 'num_examples': 364}
  row = inference_of(tmp_path, {**INFERENCE, 'benchmark': 'digits', 'checkpoint': {'target': target}})
  assert row['goals'][0] == {'metric': 'accuracy', 'value': 0.98, 'of': 364, 'result': 0.761, 'latency_ms': 1.25,
                             'usd_per_item': 2e-7}


def test_an_inference_record_may_lack_almost_everything(tmp_path):
  row = inference_of(tmp_path, {'benchmark': 'digits', 'latency_ms': 0.5, 'metric': 'accuracy', 'value': 0.9,
                                'hardware': 'a machine'})
  assert row['goals'][0]['latency_ms'] == 0.5 and row['goals'][0]['result'] == 0.9 and row['hardware'] == 'a machine'


def test_there_must_be_something_to_show(tmp_path):
  with pytest.raises(Problem, match='no run to show'):
    site.write(tmp_path, tmp_path / 'page')
  with pytest.raises(Problem, match='not a folder'):
    site.write(tmp_path / 'none', tmp_path / 'page')
  assert not (tmp_path / 'page').exists()


def test_statistics_of_one_run_are_the_run(tmp_path):
  make_run(tmp_path / 'run')
  made = record.record(tapes.read(tmp_path / 'run'))
  goal = collected(tmp_path).rows['run']['goals'][0]
  assert goal['seconds'] == pytest.approx(list(made['seconds_to_target'].values()), rel=1e-5)
  assert 'rate' not in goal and statistics.olympic_mean([1.0], 0) is None
