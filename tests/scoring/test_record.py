"""Records: functions of the tape alone, in the schema, byte for byte the same; and the ledger, which hides no run."""
import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from scoring import clocks, ledger, mlperf, record
from scoring import tape as tapes
from scoring.problem import Problem
from scoring.tape import Tape
from tests.tapes import Story, closing_files
from tests.tapes import record as make_tape

SCHEMA = json.loads((tapes.ROOT / 'scoring' / 'record.schema.json').read_text())
PRICE = {'name': 'fixture', 'provider': 'nobody', 'instance': 'x', 'region': 'here', 'device_kind': 'cpu', 'devices': 1,
         'usd_per_hour': 36.0, 'currency': 'USD', 'commitment': 'on_demand', 'date': '2026-01-02',
         'source': 'https://example.org/prices', 'instances': 1}


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  with closing_files(monkeypatch) as files:
    yield files


def started(**header):
  return Story(**header).set_up().point('run_start', step=0).span('data', 1.0)


def restarted():
  story = started(price=PRICE).train(10.0).eval(2.0, 0.9)
  saved = story.checkpoint(1.0)
  story.train(5.0).killed_in('eval', 1.0, **story.where())
  return story.restart(saved, after=60.0).set_up().train(5.0).eval(2.0, 0.95).finish().events


def restarted_and_killed():
  story = started().train(10.0).eval(2.0, 0.9).restart(after=60.0)
  return story.span('import', 1.0).killed_in('compile', 1.0).events


def diverged():
  return started().train(10.0).point('exit', status='failed', reason='the loss is not finite').events


def preempted():
  story = started().train(10.0)
  story.checkpoint(1.0)
  return story.point('exit', status='preempted').events


TAPES = {
    'reached': lambda: make_tape([{'accuracy': 0.93}, {'accuracy': 0.95}]).events,
    'reached with a price': lambda: make_tape([{'accuracy': 0.95}], price=PRICE).events,
    'price given by hand': lambda: make_tape([{'accuracy': 0.95}], price={
        **dict.fromkeys(PRICE), 'name': '--usd_per_hour', 'usd_per_hour': 1.5, 'currency': 'USD',
        'source': 'given on the command line'}).events,
    'not reached': lambda: make_tape([{'accuracy': 0.93}, {'accuracy': 0.92}]).events,
    'trained on': lambda: make_tape([{'accuracy': 0.95}, {'accuracy': 0.9}], stop_at_target=False).events,
    'no git': lambda: make_tape([{'accuracy': 0.95}], git_commit=None, git_dirty=None).events,
    'open division': lambda: make_tape([{'accuracy': 0.95}], division='open').events,
    'one line': lambda: Story().events,
    'ends inside compile': lambda: Story().span('import', 1.0).killed_in('compile', 5.0).events,
    'ends before the first evaluation': lambda: started().train(3.0).events,
    'diverged': diverged, 'preempted': preempted, 'restarted': restarted, 'restarted and killed': restarted_and_killed,
}
every_tape = pytest.mark.parametrize('events', [tell() for tell in TAPES.values()], ids=list(TAPES))


def objects(schema, path='record'):
  """(where, schema) of every object schema within a schema."""
  if 'object' in schema.get('type', ()):
    yield path, schema
  for name, inner in schema.get('properties', {}).items():
    yield from objects(inner, f'{path}.{name}')
  if 'items' in schema:
    yield from objects(schema['items'], f'{path}[]')


# -- the schema


def test_the_schema_is_one_and_describes_each_property_in_a_sentence():
  jsonschema.Draft202012Validator.check_schema(SCHEMA)
  for where, found in objects(SCHEMA):
    for name, inner in found.get('properties', {}).items():
      assert inner.get('description', '').endswith('.'), f'{where}.{name}'


def test_the_schema_requires_all_it_knows_and_admits_nothing_else():
  maps = {'record.seconds_by_span', 'record.goodput'}
  for where, found in objects(SCHEMA):
    if 'properties' in found and found.get('additionalProperties') is False and where not in maps:
      assert found['required'] == list(found['properties']), where
  assert SCHEMA['additionalProperties'] is False


@every_tape
def test_every_record_is_in_the_schema(events):
  made = json.loads(json.dumps(record.record(events), allow_nan=False))
  jsonschema.validate(made, SCHEMA, jsonschema.Draft202012Validator)
  assert list(made) == list(SCHEMA['properties'])


@pytest.mark.parametrize('change', [{'reached': None}, {'fixture': 1}, {'status': 'good'}, {'price': {}}, {'more': 1},
                                    {'seconds_to_target': {}}, {'program_sha256': 'f'}, {'started': 'yesterday'},
                                    {'seconds_by_span': {'coffee': 1.0}}, {'restarts': -1}, {'git_commit': 'main'}])
def test_what_is_no_record_is_not_in_the_schema(change):
  made = {**record.record(TAPES['reached']()), **change}
  with pytest.raises(jsonschema.ValidationError):
    jsonschema.validate(made, SCHEMA, jsonschema.Draft202012Validator)


def test_null_is_in_the_schema_only_where_a_record_may_hold_it():
  found = set()
  for tell in TAPES.values():
    made = record.record(tell())
    found |= {key for key, value in made.items() if value is None}
    found |= {f'{key}.{name}' for key, value in made.items() if isinstance(value, dict)
              for name, inner in value.items() if inner is None}
  admitted = {name for name, inner in SCHEMA['properties'].items() if 'null' in inner['type']}
  admitted |= {f'{name}.{key}' for name, inner in SCHEMA['properties'].items()
               for key, value in inner.get('properties', {}).items() if 'null' in value['type']}
  assert found == admitted


# -- what a record says


def test_a_record_of_a_restarted_run_by_hand():
  made = record.record(restarted())
  assert made['reached'] and made['restarts'] == 1 and made['status'] == 'complete' and made['fixture']
  assert (made['metric'], made['best_metric'], made['num_evaluated']) == (0.95, 0.95, 10000)
  assert (made['step'], made['epoch'], made['samples']) == (200, 2.0, 100000)
  dawnbench, without, mlperf_s = 6 + 1 + 10 + 5 + 61 + 6 + 5, 3 + 1 + 10 + 5 + 61 + 3 + 5, 1 + 12 + 1 + 5 + 61 + 6 + 7
  assert made['seconds_to_target'] == {'dawnbench': dawnbench, 'dawnbench_without_compile': without,
                                       'mlperf': mlperf_s, 'warm': 10 + 5 + 2}
  assert made['seconds_by_span'] == {'import': 2, 'init': 4, 'compile': 6, 'data': 1, 'train': 15, 'eval': 4,
                                     'checkpoint': 1, 'lost': 66}
  assert made['init'] == {'seconds': 6.0, 'untimed_limit_seconds': 1800}
  assert len(made['compilation_cache']) == 2 and made['program_sha256'] == 'f' * 64
  assert [e['step'] for e in made['evaluations']] == [100, 200]
  assert made['evaluations'][0]['seconds'] == {'dawnbench': 17.0, 'dawnbench_without_compile': 14.0, 'mlperf': 13.0,
                                               'warm': 12.0}
  assert made['evaluations'][1]['seconds'] == made['seconds_to_target']
  assert made['parameters_sha256'] == 'a' * 64 and made['started'] == '2026-09-21T14:13:20+00:00'


def test_cost_is_the_seconds_of_each_clock_at_the_price_of_the_header():
  made = record.record(restarted())
  assert made['price'] == PRICE
  assert made['cost_usd'] == {name: pytest.approx(s * 0.01) for name, s in made['seconds_to_target'].items()}


@pytest.mark.parametrize('tell', ['reached', 'not reached', 'one line'])
def test_without_a_price_or_a_hit_there_is_no_cost(tell):
  assert set(record.record(TAPES[tell]())['cost_usd'].values()) == {None}


@every_tape
def test_seconds_by_span_sum_to_the_wall_time(events):
  made = record.record(events)
  assert math.fsum(made['seconds_by_span'].values()) == pytest.approx(events[-1]['time'] - events[0]['time'])


@pytest.mark.parametrize('tell, status', [
    ('reached', 'complete'), ('not reached', 'complete'), ('one line', 'interrupted'), ('diverged', 'failed'),
    ('ends inside compile', 'interrupted'), ('preempted', 'preempted'), ('restarted', 'complete'),
    ('restarted and killed', 'interrupted')])
def test_status_is_the_last_word_of_the_last_process(tell, status):
  assert record.record(TAPES[tell]())['status'] == status


def test_a_run_that_failed_and_then_completed_is_complete():
  story = started().train(1.0).point('exit', status='failed').restart(after=1.0).set_up().train(1.0).eval(1.0, 0.95)
  assert record.record(story.finish().events)['status'] == 'complete'


def test_the_last_word_of_an_earlier_process_is_not_that_of_the_run():
  story = started().train(1.0).point('exit', status='preempted').restart(after=1.0).span('import', 1.0)
  assert record.record(story.events)['status'] == 'interrupted'


def test_digests_of_a_result_that_a_restart_superseded_are_not_kept():
  story = started().train(1.0)
  saved = story.checkpoint(1.0)
  story.eval(1.0, 0.9).finish('aborted').restart(saved, after=1.0)
  assert record.record(story.events)['parameters_sha256'] is None


def test_best_and_last_metric_differ_where_the_target_was_missed():
  made = record.record(TAPES['not reached']())
  assert (made['metric'], made['best_metric'], made['step']) == (0.92, 0.93, 200)


@every_tape
def test_a_table_has_at_most_12_lines_and_no_python_in_it(events):
  table = record.table(record.record(events))
  assert len(table.splitlines()) <= 12 and table.endswith('\n')
  assert 'None' not in table and '{' not in table


def test_a_table_says_how_much_of_the_programs_came_from_a_cache():
  made = record.record(TAPES['not reached']())
  for hits, misses, words in ((8, 0, 'from a warm cache'), (4, 4, '4 of 8 programs'), (0, 8, 'cold, or without')):
    assert words in record.table({**made, 'compilation_cache': [{'cache_hits': hits, 'cache_misses': misses}]})


def test_a_table_says_what_is_not_known():
  table = record.table(record.record(Story().events))
  wanted = ['NOT REACHED SO FAR, no evaluation', 'seconds   none: the target was not reached',
            'spans     none', 'compiled  nothing', 'no price known']
  assert [words for words in wanted if words not in table] == []


def test_a_table_says_whether_programs_were_compiled():
  events = make_tape([{'accuracy': 0.95}]).events
  warm = [{**e, 'cache_misses': 0, 'cache_hits': 3} if 'cache_misses' in e else e for e in events]
  assert 'compiled  cold' in record.table(record.record(events))
  assert 'compiled  from a warm cache' in record.table(record.record(warm))


# -- files


def contents(folder):
  return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


@every_tape
def test_writing_twice_gives_the_same_bytes(tmp_path, events):
  files, _ = record.write(events, tmp_path)
  first = contents(tmp_path)
  assert sorted(first) == sorted(str(f.relative_to(tmp_path)) for f in files)
  assert record.write(tapes.parse(''.join(json.dumps(e) + '\n' for e in events)), tmp_path)[0] == files
  assert contents(tmp_path) == first


def test_records_are_the_record_the_log_and_the_entry(tmp_path):
  events = TAPES['reached']()
  files, refused = record.write(events, tmp_path)
  assert refused is None and len(files) == 4
  assert json.loads(files[0].read_text()) == record.record(events)
  assert files[1].read_text() == mlperf.text(events)


def test_without_a_hit_there_is_no_entry_and_a_reason(tmp_path):
  files, refused = record.write(TAPES['not reached'](), tmp_path)
  assert [f.name for f in files] == ['record.json', 'result_0.txt'] and 'does not reach' in refused


PROGRAM = """
import sys
sys.modules['jax'] = None
from scoring import record, tape
record.write(tape.read(sys.argv[1]), sys.argv[2])
"""


def python(*arguments):
  return subprocess.run([sys.executable, '-c', *map(str, arguments)], cwd=tapes.ROOT, capture_output=True, text=True,
                        check=True).stdout


def test_a_machine_without_jax_derives_the_same_bytes(tmp_path):
  tape = make_tape([{'accuracy': 0.93}, {'accuracy': 0.95}], path=tmp_path / 'tape.jsonl')
  record.write(tape.events, tmp_path / 'here')
  python(PROGRAM, tmp_path, tmp_path / 'there')
  assert contents(tmp_path / 'here') == contents(tmp_path / 'there') != {}


def test_scoring_imports_nothing_heavy():
  names = sorted(p.stem for p in (tapes.ROOT / 'scoring').glob('*.py') if p.stem != '__init__')
  program = f"""
import importlib, sys
for name in {names}:
  importlib.import_module('scoring.' + name)
print(sorted(set(sys.modules) & {{'jax', 'jaxlib', 'numpy', 'flax', 'scipy', 'optax', 'orbax'}}))
"""
  assert python(program).strip() == '[]'


def full(*args, **kwargs):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('owner, name', [(os, 'replace'), (Path, 'write_text')])
def test_a_full_disk_leaves_the_old_record_whole(tmp_path, monkeypatch, owner, name):
  record.write(TAPES['not reached'](), tmp_path)
  before = contents(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(owner, name, full)
    with pytest.raises(Problem, match=r'record\.json: cannot write \(No space left on device\); free space, '):
      record.write(restarted(), tmp_path)
  assert contents(tmp_path) == before


def test_a_folder_that_is_a_file_is_a_problem(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(Problem, match=r'cannot write \((File exists|Not a directory)\); name another folder$'):
    record.write(restarted(), tmp_path / 'file')


# -- the ledger


def run(runs_dir, number, metrics=None, *, begun=True, ended=True):
  """A run on the ledger, with a tape where there are metrics."""
  name = ledger.run_name(number)
  if begun:
    ledger.append(runs_dir, run=name, event='begin', seed=number, time=1.0)
  if metrics is not None:
    (runs_dir / name).mkdir()
    make_tape([{'accuracy': value} for value in metrics], path=runs_dir / name / 'tape.jsonl')
  if begun and ended:
    ledger.append(runs_dir, run=name, event='end', exit_status=0, time=2.0)


def statuses(runs_dir):
  return {row['run']: row['status'] for row in ledger.rows(runs_dir)}


def test_a_summary_counts_every_run(tmp_path):
  run(tmp_path, 0, [0.95])
  run(tmp_path, 1, [0.9])
  summary = ledger.summarize(tmp_path)
  assert (summary['n'], summary['reached'], summary['notice']) == (2, 1, record.NOTICE)
  assert [row['reached'] for row in summary['runs']] == [True, False]
  assert summary['runs'][0]['seconds'] == {c.name: value for c, value in zip(clocks.CLOCKS, (17.0, 14.0, 13.0, 12.0))}
  assert json.loads((tmp_path / 'summary.json').read_text()) == summary


def test_a_run_that_began_and_did_not_end_counts(tmp_path):
  run(tmp_path, 0, [0.95])
  run(tmp_path, 1, ended=False)
  assert statuses(tmp_path) == {'run_000': 'complete', 'run_001': 'missing'}
  assert ledger.summarize(tmp_path)['n'] == 2


def test_a_run_dropped_from_the_middle_is_missing_and_counts(tmp_path):
  for number in (0, 1, 2):
    run(tmp_path, number, [0.95])
  (tmp_path / 'run_001' / 'tape.jsonl').unlink()
  (tmp_path / 'run_001').rmdir()
  summary = ledger.summarize(tmp_path)
  assert (summary['n'], summary['reached']) == (3, 2)
  assert [row['status'] for row in summary['runs']] == ['complete', 'missing', 'complete']


def test_a_run_dropped_from_the_ledger_too_is_missing_and_counts(tmp_path):
  for number in (0, 2):
    run(tmp_path, number, [0.95])
  assert statuses(tmp_path)['run_001'] == 'missing' and ledger.summarize(tmp_path)['n'] == 3


def test_a_run_beside_the_ledger_counts(tmp_path):
  run(tmp_path, 0, [0.95])
  run(tmp_path, 1, [0.9], begun=False)
  assert statuses(tmp_path) == {'run_000': 'complete', 'run_001': 'complete'}
  assert ledger.summarize(tmp_path)['n'] == 2


@pytest.mark.parametrize('text', ['', '{"event": "process", "ti'])
def test_a_run_killed_before_its_first_line_is_missing_and_counts(tmp_path, text):
  run(tmp_path, 0, [0.95])
  run(tmp_path, 1, ended=False)
  (tmp_path / 'run_001').mkdir()
  (tmp_path / 'run_001' / 'tape.jsonl').write_text(text)
  assert statuses(tmp_path)['run_001'] == 'missing' and ledger.summarize(tmp_path)['n'] == 2


def test_what_is_not_named_as_a_run_is_no_run(tmp_path):
  run(tmp_path, 0, [0.95])
  for name in ('run_000.bak', 'run_001_old', 'profile'):
    (tmp_path / name).mkdir()
  (tmp_path / 'run_007').write_text('a file')
  assert statuses(tmp_path) == {'run_000': 'complete'}


def test_more_than_a_thousand_runs_all_count(tmp_path):
  for number in (998, 999, 1000, 1001):
    ledger.append(tmp_path, run=ledger.run_name(number), event='begin')
  assert [row['run'] for row in ledger.rows(tmp_path)][-4:] == ['run_998', 'run_999', 'run_1000', 'run_1001']


def test_a_torn_last_line_of_the_ledger_is_dropped_and_the_next_is_whole(tmp_path):
  run(tmp_path, 0, [0.95])
  before = ledger.read(tmp_path)
  path = tmp_path / 'ledger.jsonl'
  whole = path.read_bytes()
  for size in range(1, 20):
    path.write_bytes(whole + b'{"run": "run_001", "\xc3'[:size])
    assert ledger.read(tmp_path) == before
    ledger.append(tmp_path, run='run_001', event='begin')
    assert ledger.read(tmp_path) == [*before, {'run': 'run_001', 'event': 'begin'}]


@pytest.mark.parametrize('broken', ['', '{', '[]', '7', '{"event": "begin"}', '{"run": 7}', '{"run": "x"}'])
def test_a_broken_line_of_the_ledger_is_a_problem_that_names_it(tmp_path, broken):
  run(tmp_path, 0)
  path = tmp_path / 'ledger.jsonl'
  path.write_text(broken + '\n' + path.read_text())
  with pytest.raises(Problem, match=r'ledger\.jsonl: a line of the ledger is broken'):
    ledger.rows(tmp_path)


def test_a_missing_ledger_is_a_problem(tmp_path):
  with pytest.raises(Problem, match='cannot read the ledger'):
    ledger.rows(tmp_path)


def test_a_ledger_that_cannot_be_written_is_a_problem(tmp_path):
  with pytest.raises(Problem, match='cannot write the ledger'):
    ledger.append(tmp_path / 'missing', run='run_000')


def test_a_run_that_was_resumed_has_one_row(tmp_path):
  path = tmp_path / 'run_000' / 'tape.jsonl'
  path.parent.mkdir()
  for _ in range(2):
    ledger.append(tmp_path, run='run_000', event='begin')
  Tape(path, text=''.join(json.dumps(e) + '\n' for e in restarted()))
  assert statuses(tmp_path) == {'run_000': 'complete'}


def test_a_run_on_two_machines_says_so_and_has_no_price():
  price = {'name': 'a', 'usd_per_hour': 3.6, 'source': 'http://example.org'}
  story = Story(price=price)
  story.span('import', 1.0).point('run_start', step=0).train(10.0)
  saved = story.checkpoint(1.0)
  same = record.record(story.restart(saved).train(5.0).eval(1.0, 0.99).finish().events)
  assert same['mixed'] == [] and same['cost_usd']['dawnbench'] is not None
  story.header['hardware'] = {**story.header['hardware'], 'device_kind': 'another'}
  other = record.record(story.restart(saved).train(5.0).eval(1.0, 0.99).finish().events)
  assert other['mixed'] == ['hardware'] and set(other['cost_usd'].values()) == {None}
  assert 'not the same throughout: hardware' in record.table(other)


def test_an_entry_under_another_name_does_not_stay(tmp_path):
  events = make_tape([{'accuracy': 0.95}], benchmark='cifar10',
                     target={'metric': 'accuracy', 'value': 0.94, 'num_examples': 10_000}).events
  for author in ('A B', 'C D'):
    files, refused = record.write(events, tmp_path, author=author, author_email='a@b.c')
    assert refused is None
    assert {*(tmp_path / 'dawnbench').rglob('*.*')} == {path for path in files if 'dawnbench' in path.parts}


@pytest.mark.parametrize('field, value', [('price', True), ('target', 3), ('hardware', 'a string')])
def test_a_set_with_junk_in_a_tape_is_one_line(tmp_path, field, value):
  folder = tmp_path / 'run_000'
  folder.mkdir()
  events = make_tape([{'accuracy': 0.95}]).events
  events = [{**events[0], field: value}, *events[1:]]
  (folder / 'tape.jsonl').write_text(''.join(json.dumps(e) + '\n' for e in events))
  (tmp_path / 'ledger.jsonl').write_text('{"run": "run_000", "event": "begin"}\n')
  with pytest.raises(Problem, match=f'run_000/tape.jsonl: .*{field}.*; restore it from its original'):
    ledger.summary(tmp_path)
