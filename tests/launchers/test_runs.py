"""The main job, as a person does it: train, many times, and derive the records again."""
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time

import pytest

from launchers import checkout, command, header, many
from scoring import ledger, mlperf, record, review
from scoring import tape as tapes
from scoring.problem import Problem
from tests.launchers import running
from tests.launchers.running import DIGITS, ROOT, finish, kill, launch, one_line, read_json, start, train, wait_for
from tests.tapes import Story

SHORT = ('--config.num_epochs=2', '--config.stop=end', '--config.target_accuracy=0.5')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """One run of the smallest config to its target."""
  workdir = tmp_path_factory.mktemp('digits')
  begin = time.time()
  process = start('train', f'--config={DIGITS}', f'--workdir={workdir}', '--usd_per_hour=3.6')
  done = finish(process)
  assert done.returncode == 0, done.stderr
  return workdir, done, time.time() - begin


def test_the_smallest_config_reaches_its_target_and_prints_its_record(run):
  workdir, done, _ = run
  made = read_json(workdir / 'record.json')
  assert made['reached'] and made['metric'] >= 0.98 and made['num_evaluated'] == 364
  assert len(done.stdout.splitlines()) <= 12 and 'REACHED' in done.stdout
  dawnbench = made['seconds_to_target']['dawnbench']
  assert made['cost_usd']['dawnbench'] == pytest.approx(dawnbench * 3.6 / 3600, abs=1e-6)
  assert not (workdir / 'dawnbench').exists() and 'no board for digits' in done.stdout


def test_the_spans_cover_the_wall_time_of_the_process(run):
  workdir, _, wall_seconds = run
  covered = sum(read_json(workdir / 'record.json')['seconds_by_span'].values())
  assert abs(wall_seconds - covered) <= max(0.01 * wall_seconds, 0.15)  # a busy machine starts processes late


def test_the_first_line_says_what_ran(run):
  first = tapes.read(run[0])[0]
  assert first['versions']['jax'] and first['hardware']['device_count'] >= 1
  assert first['config'].startswith('seed = ') and first['git_commit'] and first['git_dirty'] in (True, False)
  assert first['hyperparameters']['opt_base_learning_rate'] == 0.01


def test_records_are_derived_again_byte_for_byte_without_jax(run, tmp_path):
  workdir, _, _ = run
  shutil.copy(workdir / 'tape.jsonl', tmp_path)
  block = "import sys; sys.modules.update(dict.fromkeys(['jax', 'flax', 'optax', 'orbax', 'numpy']))\n"
  done = subprocess.run([sys.executable, '-c', f'{block}sys.argv[1:] = ["--workdir={tmp_path}"]\n'
                         'import runpy; runpy.run_module("launchers.score", run_name="__main__")'],
                        cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  for name in ('record.json', 'result_0.txt'):
    assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_the_log_passes_the_real_checker(run, tmp_path):
  done = subprocess.run([sys.executable, '-m', 'mlperf_logging.compliance_checker', '--werror', '--ruleset', '4.0.0',
                         '--config', ROOT / 'scoring' / 'rules' / 'cifar.yaml', '--log_output', tmp_path / 'log',
                         run[0] / 'result_0.txt'], capture_output=True, text=True, cwd=tmp_path)
  assert 'SUCCESS' in done.stdout + done.stderr, done.stdout + done.stderr


def test_evaluation_only_repeats_the_metric_and_changes_nothing(run):
  workdir, _, _ = run
  before = (workdir / 'tape.jsonl').read_bytes()
  done = train(workdir, '--eval_only')
  assert done.returncode == 0, done.stderr
  printed, made = json.loads(done.stdout), read_json(workdir / 'record.json')
  assert (printed['accuracy'], printed['step']) == (made['metric'], made['step'])
  assert (workdir / 'tape.jsonl').read_bytes() == before


def test_tensorboard_gets_the_metrics(run):
  assert list((run[0] / 'tensorboard').glob('events.out.tfevents.*'))[0].stat().st_size > 500


def test_a_machine_without_the_optional_packages_trains(tmp_path):
  names = ['tensorboardX', 'tensorflow', 'tensorflow_datasets', 'grain', 'mlperf_logging', 'torch', 'sklearn']
  (tmp_path / 'sitecustomize.py').write_text(
      'from importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n'
      f'hide = lambda name, *rest: None if name.split(".")[0] in {names} else find(name, *rest)\n'
      'PathFinder.find_spec = hide\n')
  done = train(tmp_path / 'run', *SHORT, env={'PYTHONPATH': str(tmp_path)})
  assert done.returncode == 0, done.stderr
  assert not (tmp_path / 'run' / 'tensorboard').exists()


def test_a_schedule_that_ends_below_the_target_has_its_own_status(tmp_path):
  done = train(tmp_path, '--config.num_epochs=1', '--config.target_accuracy=1.0')
  assert done.returncode == 3 and 'NOT REACHED' in done.stdout
  assert 'aborted' in (tmp_path / 'result_0.txt').read_text()


def test_a_terminal_gets_one_live_line(tmp_path):
  parent, child = pty.openpty()
  process = subprocess.Popen([sys.executable, '-m', 'launchers.train', f'--config={DIGITS}', f'--workdir={tmp_path}',
                              *SHORT, '--log_every_steps=4'], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=child)
  assert process.wait(240) == 0
  os.close(child)
  text = os.read(parent, 65536).decode()
  os.close(parent)
  live = [part for part in text.split('\r\x1b[K') if part.startswith('step ')]
  assert len(live) >= 6
  assert all(word in live[-1] for word in ('samples/s', 'accuracy', 'loss', 'to target <='))


def test_runs_are_all_recorded_and_a_dropped_one_shows(tmp_path):
  runs = tmp_path / 'runs'
  done = train(runs, *SHORT, '--runs=3', '--config.seed=5')
  assert done.returncode == 0, done.stderr
  summary = read_json(runs / 'summary.json')
  assert (summary['n'], summary['reached']) == (3, 3)
  assert [tapes.read(runs / f'run_00{i}')[0]['seed'] for i in range(3)] == [5, 6, 7]
  entries = ledger.read(runs)
  assert [(e['run'], e['event']) for e in entries] == [(f'run_00{i}', e) for i in range(3) for e in ('begin', 'end')]
  before = {p: p.read_bytes() for p in runs.rglob('*') if p.is_file()}
  assert 'nothing was trained' not in done.stdout
  done = train(runs, *SHORT, '--runs=2', '--config.seed=5')
  assert done.returncode == 0
  assert done.stdout.startswith('nothing was trained: the 2 runs asked for are complete; of all 3 there:\n')
  assert launch('score', f'--workdir={runs}').returncode == 0
  assert {p: p.read_bytes() for p in runs.rglob('*') if p.is_file()} == before
  shutil.rmtree(runs / 'run_001')
  done = launch('score', f'--workdir={runs}')
  assert done.returncode == 1 and 'run_001' in one_line(done.stderr)
  summary = read_json(runs / 'summary.json')
  assert (summary['n'], summary['reached']) == (3, 2)


def test_a_failing_run_is_recorded_and_the_next_one_begins(tmp_path):
  done = train(tmp_path, '--runs=2', '--config.peak_learning_rate=1e30')
  assert done.returncode == 1
  summary = read_json(tmp_path / 'summary.json')
  assert (summary['n'], summary['reached']) == (2, 0)
  assert [r['status'] for r in summary['runs']] == ['failed', 'failed']


def test_the_end_of_a_run_that_outlived_its_launcher_is_added(tmp_path):
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0
  path = tmp_path / 'ledger.jsonl'
  path.write_text(''.join(path.read_text().splitlines(keepends=True)[:3]))  # as a launcher killed in run_001 leaves it
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0
  last, exit_time = ledger.read(tmp_path)[-1], tapes.read(tmp_path / 'run_001')[-1]['time']
  assert (last['run'], last['event'], last['exit_status'], last['time']) == ('run_001', 'end', 0, exit_time)
  assert not [line for line in review.review(tmp_path).problems if 'ledger' in line]
  before = path.read_bytes()
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0 and path.read_bytes() == before


def test_a_set_waits_for_a_run_that_outlived_its_launcher(tmp_path):
  orphan = command.lock(tmp_path / 'run_000')
  done = train(tmp_path, *SHORT, '--runs=2')
  orphan.close()
  assert done.returncode == 1 and 'run_000: another process is at work on this run' in one_line(done.stderr)
  assert [path.name for path in tmp_path.iterdir()] == ['run_000']


def test_a_set_goes_on_where_it_was_stopped_and_adds_runs(tmp_path):
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0
  tape = (tmp_path / 'run_000' / 'tape.jsonl').read_bytes()
  assert train(tmp_path, *SHORT, '--runs=3').returncode == 0
  assert (tmp_path / 'run_000' / 'tape.jsonl').read_bytes() == tape
  assert read_json(tmp_path / 'summary.json')['n'] == 3
  before = (tmp_path / 'ledger.jsonl').read_bytes()
  done = train(tmp_path, *SHORT, '--runs=4', '--organization=Another')
  assert done.returncode == 1 and "'Another'" in one_line(done.stderr) and 'the submitter of its runs' in done.stderr
  assert train(tmp_path, *SHORT, '--runs=3', '--organization=Another').returncode == 0, 'nothing is added'
  flags = running.XLA_FLAGS
  for flag, xla, words in (
      ('--usd_per_hour=3', '', "the price of its runs is None, that of run_003 would be {'name': '--usd_per_hour'"),
      ('--division=open', '', "the division of its runs is 'closed', that of run_003 would be 'open'"),
      ('--runs=4', '--xla_cpu_enable_fast_math=false',
       f"xla_flags of its runs is '{flags}', that of run_003 would be '{flags} --xla_cpu_enable")):
    done = train(tmp_path, *SHORT, '--runs=4', flag, env={'XLA_FLAGS': xla})
    assert done.returncode == 1 and words in one_line(done.stderr)
  moved = shutil.copytree(tmp_path, tmp_path.with_name(f'{tmp_path.name}_moved'))
  done = train(moved, *SHORT, '--runs=4')
  assert done.returncode == 1 and f"the folder of its set of its runs is '{tmp_path.name}'" in one_line(done.stderr)
  assert (moved / 'ledger.jsonl').read_bytes() == before
  path, commit = tmp_path / 'run_000' / 'tape.jsonl', tapes.read(tmp_path / 'run_000')[0]['git_commit']
  path.write_text(path.read_text().replace(f'"git_commit": "{commit}"', f'"git_commit": "{"1" * 40}"'))
  done = train(tmp_path, *SHORT, '--runs=4')
  assert done.returncode == 1 and "git_commit of its runs is '1111" in one_line(done.stderr)
  assert (tmp_path / 'ledger.jsonl').read_bytes() == before and not (tmp_path / 'run_003').exists()
  done = train(tmp_path, *SHORT)
  assert done.returncode == 1 and 'set of runs' in one_line(done.stderr)


def test_a_refused_command_leaves_a_set_as_it_was_and_another_config_is_refused(tmp_path):
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0
  for flags, words in (((), 'set of runs'), (('--eval_only',), 'set of runs'),
                       (('--runs=3', '--config.batch_size=64'), 'batch_size was 128, is 64')):
    done = train(tmp_path, *SHORT, *flags)
    assert done.returncode == 1 and words in one_line(done.stderr)
  assert train(tmp_path, *SHORT, '--runs=2').returncode == 0
  shutil.rmtree(tmp_path / 'run_000')
  done = train(tmp_path, *SHORT, '--runs=2')
  assert done.returncode == 1 and 'its tape is gone' in one_line(done.stderr)


def test_runs_of_changed_code_are_told_and_join_no_clean_ones(tmp_path, monkeypatch, capsys):
  for name in ('run_000', 'new'):
    (tmp_path / name).mkdir()
  story = Story(git_dirty=False, command=[f'--workdir={tmp_path}/run_000'])
  (tmp_path / 'run_000' / 'tape.jsonl').write_text(story.tape.text())
  monkeypatch.setattr(header, 'on', lambda machine: {**story.header, 'git_dirty': bool(checkout.changed())})
  monkeypatch.setattr(checkout, 'changed', lambda: '')
  many._check_alike(tmp_path, 'run_001')
  assert capsys.readouterr().err == ''
  monkeypatch.setattr(checkout, 'changed', lambda: ' M training/step.py')
  with pytest.raises(Problem, match='git_dirty of its runs is False, that of run_001 would be True'):
    many._check_alike(tmp_path, 'run_001')
  for field, value, words in (('versions', {**story.header['versions'], 'jax': '9'}, "is {'jax': '0.10.2'}, .*'9'};"),
                              ('code_sha256', 'b' * 64, "is None, that of run_001 would be 'bbb")):
    monkeypatch.setattr(header, 'on', lambda machine, own={**story.header, field: value}: own)
    with pytest.raises(Problem, match=f'the {field} of its runs {words}'):
      many._check_alike(tmp_path, 'run_001')
  many._check_alike(tmp_path / 'new', 'run_000')
  assert 'training/step.py is not as it was committed' in capsys.readouterr().err


def test_two_processes_do_not_share_a_workdir(tmp_path):
  first = start('train', f'--config={DIGITS}', f'--workdir={tmp_path}', '--config.num_epochs=200', '--config.stop=end')
  wait_for(tmp_path / 'tape.jsonl', '"event": "train"', first)
  done = train(tmp_path, '--config.num_epochs=200', '--config.stop=end')
  kill(first)
  assert done.returncode == 1 and 'another process is at work' in one_line(done.stderr)
  assert sum(e['event'] == 'process' for e in tapes.read(tmp_path)) == 1


def test_a_run_that_is_stopped_where_an_evaluation_is_due_resumes_with_it(tmp_path):
  flags = ('--config.batch_size=1433', '--config.num_epochs=300', '--config.stop=end')  # every step is an epoch
  process = start('train', f'--config={DIGITS}', f'--workdir={tmp_path}', *flags, '--checkpoint_every_steps=1000')
  wait_for(tmp_path / 'tape.jsonl', '"event": "eval"', process)
  assert kill(process, signal.SIGTERM).returncode == 75
  assert read_json(tmp_path / 'record.json')['status'] == 'preempted'
  process = start('train', f'--config={DIGITS}', f'--workdir={tmp_path}', *flags, '--checkpoint_every_steps=1000')
  wait_for(tmp_path / 'tape.jsonl', '"resumed": {', process)
  wait_for(tmp_path / 'result_0.txt', 'eval_accuracy', process)
  time.sleep(1.0)
  done = kill(process, signal.SIGTERM)
  assert done.returncode == 75 and 'resumed from step' in done.stderr, done.stderr
  steps = [e['step'] for e in tapes.effective(tapes.read(tmp_path)) if e['event'] == 'eval' and e['edge'] == 'stop']
  assert steps == list(range(1, len(steps) + 1)), 'each evaluation once'


def test_checkpoints_of_another_config_are_refused_even_without_their_tape(tmp_path):
  kept = f'--checkpoint_dir={tmp_path / "kept"}'
  assert train(tmp_path / 'one', *SHORT, kept).returncode == 0
  for flags in ((), ('--eval_only',)):
    done = train(tmp_path / 'two', *SHORT, kept, '--config.seed=9', *flags)
    assert done.returncode == 1
    assert 'seed was 0, is 9' in one_line(done.stderr) or '--eval_only' in flags
  (tmp_path / 'one' / 'tape.jsonl').unlink()
  done = train(tmp_path / 'one', *SHORT, kept)
  assert done.returncode == 0, done.stderr
  assert read_json(tmp_path / 'one' / 'record.json')['restarts'] == 1


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_set_asked_to_stop_stops_at_once_and_goes_on_later(tmp_path, number, status):
  flags = (f'--config={DIGITS}', f'--workdir={tmp_path}', '--config.num_epochs=400', '--config.stop=end', '--runs=2')
  process = start('train', *flags)
  wait_for(tmp_path / 'ledger.jsonl', '"begin"', process)
  assert kill(process, number).returncode == status
  assert not (tmp_path / 'run_001').exists()


def test_flags_from_a_file_make_a_set_too(tmp_path):
  (tmp_path / 'flags').write_text('--runs=2\n')
  assert train(tmp_path / 'set', *SHORT, f'--flagfile={tmp_path / "flags"}').returncode == 0
  assert read_json(tmp_path / 'set' / 'summary.json')['n'] == 2


def test_the_smallest_config_runs_on_eight_devices_and_says_when_there_is_no_cache(tmp_path):
  done = train(tmp_path, *SHORT, '--compilation_cache_dir=',
               env={'XLA_FLAGS': '--xla_force_host_platform_device_count=8'})
  assert done.returncode == 0, done.stderr
  assert '8 x cpu' in done.stdout and 'without a cache' in done.stdout


def test_help_lists_the_flags():
  for module in ('train', 'score'):
    done = launch(module, '--help')
    assert done.returncode == 0 and '--workdir' in done.stdout
  for given in ([f'--config={DIGITS}', '--help'], ['--help', '--config', DIGITS], ['-config', DIGITS, '-h']):
    done = launch('train', *given)
    assert done.returncode == 0 and '--config.warmup_fraction=' in done.stdout, given


def test_score_checks_entries_and_refuses_what_is_not_there(tmp_path):
  done = launch('score', f'--check={tmp_path}')
  assert done.returncode == 1 and 'holds nothing to review' in one_line(done.stderr)
  done = launch('score', f'--workdir={tmp_path / "nothing"}')
  assert done.returncode == 1 and 'cannot read the tape' in one_line(done.stderr)
  assert launch('score').returncode == 2


def test_score_of_a_folder_of_runs_names_some(tmp_path):
  for name in ('a/tape.jsonl', 'b/ledger.jsonl', 'b/run_000/tape.jsonl', 'c/tape.jsonl', 'd/tape.jsonl', 'e/notes.txt'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('')
  done = launch('score', f'--workdir={tmp_path}')
  line = one_line(done.stderr)
  assert done.returncode == 1 and 'is no run, but holds a, b, c and 1 more' in line, line
  assert f'name one of them, such as --workdir={tmp_path}/a, or show all with --page' in line
  assert 'its tape is empty' in one_line(launch('score', f'--workdir={tmp_path}/a').stderr)


def test_records_match_what_the_library_derives(run):
  workdir, _, _ = run
  events = tapes.read(workdir)
  assert read_json(workdir / 'record.json') == json.loads(json.dumps(record.record(events)))
  assert (workdir / 'result_0.txt').read_text() == mlperf.text(events)
