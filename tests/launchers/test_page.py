"""The page by its command: what is written, what is refused, and a run that is followed."""
import http.client
import json
import re
import signal
import threading
import urllib.request
from pathlib import Path

import pytest

from scoring.page import collect, watch
from scoring.problem import Problem
from tests.launchers.running import finish, launch, one_line, start
from tests.tapes import Story, closing_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def story(tmp_path, monkeypatch):
  with closing_files(monkeypatch):
    (tmp_path / 'run').mkdir()
    yield Story(tmp_path / 'run' / 'tape.jsonl')


def test_the_page_of_what_is_published_is_written(tmp_path):
  done = launch('score', '--workdir=results', '--page', f'--output={tmp_path / "page"}')
  assert done.returncode == 0 and done.stderr == '' and 'open it in a browser' in done.stdout
  assert sorted(p.name for p in (tmp_path / 'page').iterdir()) == ['data.js', 'details.js', 'index.html']
  rows = json.loads((tmp_path / 'page/data.js').read_text().partition(' = ')[2].rstrip(';\n'))['rows']
  assert {p.name for p in (ROOT / 'results').iterdir() if p.is_dir()} <= {row['id'] for row in rows}


def test_the_page_of_one_run_lies_beside_its_tape(story, tmp_path):
  story.set_up().point('run_start', step=0).train(5).eval(1, 0.95).finish()
  done = launch('score', f'--workdir={tmp_path / "run"}', '--page')
  assert done.returncode == 0 and 'shows 1 entry' in done.stdout
  assert sorted(p.name for p in (tmp_path / 'run').iterdir()) == ['page', 'tape.jsonl']  # no record was asked for


def test_a_broken_tape_is_named_and_the_others_are_shown(story, tmp_path):
  story.set_up().finish()
  (tmp_path / 'broken').mkdir()
  (tmp_path / 'broken' / 'tape.jsonl').write_text('nonsense\n')
  done = launch('score', f'--workdir={tmp_path}', '--page')
  assert done.returncode == 1 and 'broken/tape.jsonl, line 1' in one_line(done.stderr)
  assert 'shows 1 entry' in done.stdout and 'broken/tape.jsonl' in (tmp_path / 'page/data.js').read_text()


@pytest.mark.parametrize('arguments, status, words', [
    (['--workdir={}/none', '--page'], 1, ['none', 'not a folder']),
    (['--workdir={}', '--page'], 1, ['no run to show', 'train one']),
    (['--workdir={}', '--watch'], 2, ['--watch', '--page']),
    (['--workdir={}', '--output=x'], 2, ['--output', '--page']),
    (['--workdir={}', '--page', '--watch', '--output=x'], 2, ['--watch', '--output']),
    (['--workdir={}', '--page', '--watch', '--port=65536'], 2, ['port']),
    (['--page'], 2, ['--workdir']),
    (['--check={}', '--page'], 2, ['--page', '--workdir']),
])
def test_wrong_flags_are_named_and_nothing_is_written(arguments, status, words, tmp_path):
  done = launch('score', *(argument.format(tmp_path) for argument in arguments))
  line = one_line(done.stderr)
  assert done.returncode == status, line
  for word in words:
    assert word in line
  assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_named(story, tmp_path):
  story.set_up().finish()
  (tmp_path / 'file').touch()
  done = launch('score', f'--workdir={tmp_path / "run"}', '--page', f'--output={tmp_path / "file"}')
  assert done.returncode == 1 and 'file/details.js' in one_line(done.stderr)


@pytest.mark.parametrize('arguments', [['--output={}/out'], []], ids=['output', 'default'])
def test_a_folder_that_holds_other_files_is_refused(arguments, story, tmp_path):
  story.set_up().finish()
  output = tmp_path / ('out' if arguments else 'run/page')
  output.mkdir()
  (output / 'index.html').write_text('mine')
  (output / 'notes.txt').touch()
  done = launch('score', f'--workdir={tmp_path / "run"}', '--page', *(one.format(tmp_path) for one in arguments))
  assert done.returncode == 1 and f'{output}: holds notes.txt' in one_line(done.stderr)
  assert (output / 'index.html').read_text() == 'mine' and len(list(output.iterdir())) == 2
  (output / 'notes.txt').unlink()
  for _ in range(2):  # a page may be written over a page
    done = launch('score', f'--workdir={tmp_path / "run"}', '--page', *(one.format(tmp_path) for one in arguments))
    assert done.returncode == 0 and 'mine' not in (output / 'index.html').read_text()


@pytest.mark.parametrize('text, why', [('nonsense\n', 'line 1'), ('nonsense', 'no whole line'), ('', 'no whole line')])
def test_the_only_tape_is_named_if_it_is_broken(text, why, tmp_path):
  for path in (tmp_path / 'run' / 'tape.jsonl', tmp_path / 'alone' / 'deep' / 'tape.jsonl'):
    path.parent.mkdir(parents=True)
    path.write_text(text)
    top = tmp_path / path.relative_to(tmp_path).parts[0]
    done = launch('score', f'--workdir={top}', '--page')
    line = one_line(done.stderr)
    assert done.returncode == 1 and line.count(str(path)) == 1 and why in line and not (top / 'page').exists()


def get(address: str) -> str:
  with urllib.request.urlopen(address, timeout=20) as answer:
    return answer.read().decode()


def test_a_run_is_followed_and_ctrl_c_ends_it(story, tmp_path):
  story.set_up().point('run_start', step=0).train(5).eval(1, 0.5)
  process = start('score', f'--workdir={tmp_path}', '--page', '--watch', '--port=0')
  address = re.search(r'http://127\.0\.0\.1:\d+/', process.stdout.readline())[0]
  assert 'Daybreak' in get(address)
  data = json.loads(get(address + 'data.js').partition(' = ')[2].rstrip(';\n'))
  assert data['live'] and [row['id'] for row in data['rows'] if row['id'][0] != '/'] == ['run']
  unchanged = json.loads(get(f'{address}changes?since={data["version"]}'))
  assert unchanged['version'] == data['version'] and not unchanged['rows']
  story.train(5).eval(1, 0.95)
  changed = json.loads(get(f'{address}changes?since={data["version"]}'))
  assert changed['version'] > data['version'] and [row['id'] for row in changed['rows']] == ['run']
  assert changed['rows'][0]['goals'][0]['reached'] == 1 and changed['rows'][0]['status'] == 'interrupted'
  assert [point[5] for point in changed['details']['run']['runs'][0]['points']] == [0.5, 0.95]
  story.finish()
  assert json.loads(get(f'{address}changes?since={changed["version"]}'))['rows'][0]['status'] == 'complete'
  process.send_signal(signal.SIGINT)
  done = finish(process, timeout=20)
  assert done.returncode == 0 and done.stderr == '' and 'ended' in done.stdout
  assert [p.name for p in tmp_path.iterdir()] == ['run']  # nothing was written


@pytest.fixture
def server(tmp_path):
  with watch.Server(collect.Collection(tmp_path), 0) as served:
    threading.Thread(target=served.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
    yield served
    served.shutdown()


def ask(server, path, host=None) -> int:
  connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=10)
  try:
    connection.request('GET', path, headers={'Host': host or f'127.0.0.1:{server.server_port}'})
    return connection.getresponse().status
  finally:
    connection.close()


def test_it_listens_on_this_machine_only_and_serves_its_own_files_only(server):
  assert server.server_address[0] == '127.0.0.1'
  for path in ('/', '/data.js', '/details.js', '/changes', '/changes?since=0'):
    assert ask(server, path) == 200, path
  assert ask(server, '/../setup.cfg') == ask(server, '/tape.jsonl') == 404
  assert ask(server, '/data.js', host='evil.example') == 403  # a name of somebody else's that leads here


@pytest.mark.parametrize('path', ['/changes?since=' + 5000 * '9', '/changes?since=x', 'http://['])
def test_what_is_no_address_is_refused_in_one_line(path, server, capfd):
  assert ask(server, path) == 400
  assert capfd.readouterr() == ('', '')


def test_a_port_that_is_taken_is_named(server, tmp_path):
  with pytest.raises(Problem, match=f'--port={server.server_port}: cannot listen'):
    watch.Server(collect.Collection(tmp_path), server.server_port)


def test_runs_may_begin_after_the_page_was_opened(server, tmp_path, monkeypatch):
  assert server.changes(0)['rows'] == []
  server.collection._next_walk = 0
  with closing_files(monkeypatch):
    (tmp_path / 'run').mkdir()
    Story(tmp_path / 'run' / 'tape.jsonl').set_up()
  first = server.changes(0)
  assert [row['id'] for row in first['rows']] == ['run']
  server.collection._next_walk = 0
  (tmp_path / 'run' / 'tape.jsonl').unlink()
  assert server.changes(first['version'])['gone'] == ['run']
