"""What a person can get wrong: one clear line, a status that is not 0, nothing lost."""
import os
import subprocess

import pytest

from launchers import command
from scoring import tape as tapes
from scoring.problem import Problem
from tests.launchers.running import DIGITS, launch, one_line, read_json, train

SHORT = ('--config.num_epochs=2', '--config.stop=end')


@pytest.mark.parametrize('arguments, status, words', [
    (['--config.batchsize=3'], 2, ['config.batchsize', 'config.batch_size']),
    (['--config.batch_size=many'], 2, ['config.batch_size', 'many', 'must be int']),
    (['--config.widths=3'], 2, ['config.widths', 'tuple']),
    (['--config.seed=-1'], 1, ['seed=-1', '2**32']),
    (['--config.batch_size=0'], 1, ['batch_size=0', 'at least 1']),
    (['--config.batch_size=1434'], 1, ['batch_size=1434', '1433']),
    (['--config.compute_dtype=float16'], 1, ['compute_dtype', 'bfloat16']),
    (['--config.dataset=cifar100'], 1, ['dataset', 'digits']),
    (['--config.stop=never'], 1, ['stop', 'first_hit']),
    (['--config.target_accuracy=98'], 1, ['target_accuracy=98', 'at most 1']),
    (['--config.widths=()'], 1, ['widths', 'one to three']),
    (['--config.shift_pixels=-1'], 1, ['shift_pixels=-1', 'at least 0']),
    (['--config.warmup_fraction=2'], 1, ['warmup_fraction=2', 'at most 1']),
    (['--eval_only', '--runs=2'], 2, ['--eval_only']),
    (['--wrkdir=x'], 2, ["'wrkdir'. Did you mean: --workdir ?"]),
    (['--seed=3'], 2, ["'seed'. Did you mean: --config.seed ?"]),
    (['--sed=3'], 2, ["'sed'. Did you mean: --config.seed ?"]),
    (['--stderrtreshold=3'], 2, ["'stderrtreshold' (python"]),
    (['stray'], 2, ['stray', '--name=value']),
    (['--runs=0'], 2, ['runs']),
    (['--usd_per_hour=-3'], 1, ['usd_per_hour']),
    (['--price=aws_p3_2xlrge'], 1, ['aws_p3_2xlarge']),
    (['--price=lambda_1x_h100_sxm'], 1, ['lambda_1x_h100_sxm', 'H100', 'runs on cpu', '--usd_per_hour']),
    (['--profile=9:3'], 1, ['--profile=9:3', 'START:STOP']),
    (['--eval_only'], 1, ['no run there', 'train first']),
])
def test_a_wrong_flag_or_value_is_named(arguments, status, words, tmp_path):
  done = train(tmp_path / 'run', *arguments)
  line = one_line(done.stderr)
  assert done.returncode == status, line
  for word in words:
    assert word in line


def test_a_missing_flag_or_config_is_named(tmp_path):
  for arguments, status, words in (
      ([f'--workdir={tmp_path}'], 2, ['--config is missing']),
      ([f'--config={DIGITS}'], 2, ['--workdir is missing']),
      ([f'--config={DIGITS}', '--workdir='], 2, ['--workdir= is empty']),
      ([f'--workdir={tmp_path}', '--config=nope.py'], 1, ['nope.py: no such file', 'configs/digits.py'])):
    done = launch('train', *arguments)
    assert done.returncode == status
    for word in words:
      assert word in one_line(done.stderr)


@pytest.mark.parametrize('text, words', [
    ('def get_config(:', ['SyntaxError']), ('x = 1', ['get_config']), ('def get_config(): return 3', ['not a Config']),
    ('import nothing_of_the_kind', ['nothing_of_the_kind'])])
def test_a_broken_config_file_is_named(text, words, tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  done = train(tmp_path / 'run', config=path)
  assert done.returncode == 1
  for word in [*words, str(path)]:
    assert word in one_line(done.stderr)


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  done = train(tmp_path / 'file' / 'run')
  assert done.returncode == 1 and 'cannot write there' in one_line(done.stderr)


def test_resuming_with_another_config_is_refused_and_changes_nothing(tmp_path):
  assert train(tmp_path, *SHORT).returncode in (0, 3)
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
  done = train(tmp_path, *SHORT, '--config.batch_size=64')
  assert done.returncode == 1
  assert 'batch_size was 128, is 64' in one_line(done.stderr)
  assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
  done = train(tmp_path, *SHORT, '--runs=2')
  assert done.returncode == 1 and 'holds a single run' in one_line(done.stderr)


def test_divergence_stops_with_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
  done = train(tmp_path, '--config.peak_learning_rate=1e30', '--checkpoint_every_steps=1')
  assert done.returncode == 1
  line = one_line(done.stderr)
  assert 'not finite at step' in line
  events = tapes.read(tmp_path)
  assert events[-1]['status'] == 'failed' and events[-1]['reason'] in line
  kept = [int(p.name) for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()]
  assert kept and f'{max(kept)}' in line
  done = launch('score', f'--workdir={tmp_path}')
  assert done.returncode == 3 and read_json(tmp_path / 'record.json')['status'] == 'failed'


def test_a_broken_checkpoint_is_set_aside_and_the_one_before_resumes(tmp_path):
  flags = ('--config.num_epochs=3', '--config.stop=end')
  assert train(tmp_path / 'whole', *flags).returncode in (0, 3)
  assert train(tmp_path / 'run', *flags).returncode in (0, 3)
  tape = tmp_path / 'run' / 'tape.jsonl'
  tape.write_text(''.join(tape.read_text().splitlines(keepends=True)[:-3]))  # as if killed before it could finish
  newest = max((tmp_path / 'run' / 'checkpoints').iterdir(), key=lambda p: int(p.name))
  for path in (newest / 'state').rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  done = train(tmp_path / 'run', *flags)
  assert done.returncode in (0, 3) and f'the checkpoint of step {newest.name} is damaged' in done.stderr, done.stderr
  assert (tmp_path / 'run' / 'checkpoints' / 'damaged' / newest.name).is_dir()
  ours, theirs = (read_json(tmp_path / w / 'record.json')['state_sha256'] for w in ('run', 'whole'))
  assert ours == theirs


@pytest.fixture
def small_disk(tmp_path):
  """A file system of a few hundred kilobytes; growing it is `grow()`."""
  path = tmp_path / 'disk'
  path.mkdir()
  if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=640k', 'tmpfs', path]).returncode:
    pytest.skip('needs the right to mount a tmpfs')
  yield path, lambda: subprocess.run(['mount', '-o', 'remount,size=64m', path], check=True)
  subprocess.run(['umount', path], check=True)


def test_a_full_disk_keeps_the_checkpoint_before_and_the_run_goes_on_later(small_disk, tmp_path):
  disk, grow = small_disk
  flags = ('--config.num_epochs=4', '--config.stop=end', '--config.widths=(16,24)')
  assert train(tmp_path / 'whole', *flags).returncode in (0, 3)
  done = train(disk / 'run', *flags)
  assert done.returncode == 1
  line = one_line(done.stderr)
  assert 'No space left' in line and str(disk) in line
  tapes.read(disk / 'run')
  grow()
  done = train(disk / 'run', *flags)
  assert done.returncode in (0, 3), done.stderr
  ours, theirs = (read_json(w / 'record.json') for w in (disk / 'run', tmp_path / 'whole'))
  assert ours['state_sha256'] == theirs['state_sha256']


def test_a_disk_that_is_full_from_the_start_is_named(small_disk):
  disk, _ = small_disk
  with open(disk / 'fill', 'wb', buffering=0) as file:
    try:
      while True:
        file.write(bytes(4096))
    except OSError:
      pass
  done = train(disk / 'run')
  assert done.returncode == 1
  line = one_line(done.stderr)
  assert 'No space left' in line and str(disk) in line


@pytest.mark.parametrize('flag, words', [
    ('--config.batch_size=5000', 'batch_size'), ('--price=of_nothing', 'of_nothing')])
def test_a_run_that_never_began_leaves_nothing(flag, words, tmp_path):
  done = train(tmp_path / 'run', flag)
  assert done.returncode == 1 and words in one_line(done.stderr)
  assert not (tmp_path / 'run').exists()
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'notes.txt').write_text('')
  assert train(tmp_path / 'mine', flag).returncode == 1
  assert [path.name for path in (tmp_path / 'mine').iterdir()] == ['notes.txt'], 'and takes nothing that was there'


@pytest.mark.parametrize('begin', [
    lambda folder: train(folder, *SHORT), lambda folder: train(folder, *SHORT, '--runs=2'),
    lambda folder: launch('pod', '--cluster=local', '--num_processes=2', '--', f'--config={DIGITS}',
                          f'--workdir={folder}')], ids=['run', 'set', 'pod'])
def test_a_folder_of_others_is_refused_and_left_as_it_is(begin, tmp_path):
  for name in ('Documents', 'dawnbench', '.config'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'letter.tex').write_text('Dear')
  done = begin(tmp_path)
  assert done.returncode in (1, 2) and 'holds Documents and 1 more, which no run has made' in one_line(done.stderr)
  assert sorted(path.name for path in tmp_path.rglob('*')) == sorted(
      ['.config', 'Documents', 'dawnbench'] + 3 * ['letter.tex'])


def test_a_run_whose_tape_was_lost_is_none_of_others(tmp_path):
  for name in ('record.json', 'result_0.txt', 'checkpoints/7', 'dawnbench/CIFAR10'):
    (tmp_path / name).mkdir(parents=True)
  command.refuse_foreign(tmp_path, {})
  (tmp_path / 'record.json').rmdir()
  with pytest.raises(Problem, match='holds dawnbench, which no run has made'):
    command.refuse_foreign(tmp_path, {})


def test_what_a_run_or_its_scheduler_leaves_before_the_first_line_is_none_of_others(tmp_path):
  left = ['tape.jsonl', 'ckpt'], ['run_000', 'summary.json'], ['job.o123', 'core.77', 'a.sbatch']
  for number, names in enumerate(left):
    folder = tmp_path / str(number)
    for name in names:
      (folder / name).mkdir(parents=True)
    command.refuse_foreign(folder, {})
  for name in ('ckpt', 'data'):
    (tmp_path / 'new' / name).mkdir(parents=True)
  named = {'checkpoint_dir': f'{tmp_path}/new/ckpt/mine', 'data_dir': f'{tmp_path}/new/data', 'workdir': ''}
  command.refuse_foreign(tmp_path / 'new', {**named, 'compilation_cache_dir': ''})
  with pytest.raises(Problem, match='holds data, which no run has made'):
    command.refuse_foreign(tmp_path / 'new', {**named, 'data_dir': 'gs://bucket/new/data'})


def test_a_run_begins_beside_logs_hidden_files_and_what_a_pod_left(tmp_path):
  for name in ('pod', '.cache', 'lost+found'):
    (tmp_path / name).mkdir()
  for name in ('slurm-7.out', 'log.txt', 'tape.jsonl'):
    (tmp_path / name).write_text('' if name == 'tape.jsonl' else 'begun')
  done = train(tmp_path, *SHORT)
  assert done.returncode in (0, 3), done.stderr
  assert train(tmp_path, *SHORT).returncode == done.returncode, 'and is taken up again'
