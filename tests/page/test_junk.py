"""What a tape that nobody here wrote may do to the page, in a real browser: nothing."""
import json
import shutil

import pytest

from scoring import tape as tapes
from tests import made_sets
from tests.changing import changed
from tests.page.test_foreign import ALONE, INFERENCE, JUNK, mutants, places, write
from tests.page.test_mixed import open_site, run  # noqa: F401 - a fixture
from tests.tapes import Story, closing_files

pytestmark = pytest.mark.browser
PRICE = {'price': {'name': '--usd_per_hour', 'usd_per_hour': 36.0}, 'command': ['--usd_per_hour=36.0']}


@pytest.fixture(autouse=True)
def _files_are_closed(monkeypatch):
  with closing_files(monkeypatch):
    yield


def made_set(folder, runs: int, *, seed: int, looks: int):
  """A set in which no review finds fault, each of whose runs reaches the target at that look."""
  return made_sets.make(folder, made_sets.CIFAR10, [0.9411] * runs, '--config.eval_every_epochs=1.0',
                        f'--config.seed={seed}', stop_after=looks)


def test_a_commit_is_one_word_of_the_command(open_site, tmp_path):  # noqa: F811
  run(tmp_path / 'runs' / 'run', 0.95, git_commit="main; echo 'mine'")
  page = open_site(tmp_path / 'runs', 'task=cifar10&open=run')
  assert page.locator('.command pre').text_content().splitlines()[0] == r"git checkout 'main; echo '\''mine'\'''"


@pytest.mark.parametrize('board, bands', [('time', 2), ('cost', 0)])
def test_a_band_of_seconds_is_on_an_axis_of_seconds_only(board, bands, open_site, tmp_path):  # noqa: F811
  for number, name in enumerate(('one', 'two')):
    made_set(tmp_path / 'runs' / name, 5, seed=9 * number, looks=2)
  page = open_site(tmp_path / 'runs', f'task=cifar10&origin=here&board={board}')
  assert 'by entry' in page.locator('#overview h3').text_content()
  assert page.locator('#overview circle').count() == 2
  assert page.locator('#overview g[aria-label=rule] line[y1]').count() == bands
  assert page.locator('#overview .hint').count() == (bands > 0)


def test_the_name_of_a_span_is_no_style(open_site, tmp_path):  # noqa: F811
  (tmp_path / 'runs' / 'run').mkdir(parents=True)
  story = Story(tmp_path / 'runs' / 'run' / 'tape.jsonl').set_up().point('run_start', step=0)
  story.span('x);position:fixed;inset:0;z-index:9;background:(', 5.0).train(5).eval(1, 0.95).finish()
  page = open_site(tmp_path / 'runs', 'task=cifar10&open=run')
  parts = page.locator('#entry figure.spans .legend i')
  styles = parts.evaluate_all('all => all.map(one => one.getAttribute("style"))')
  assert len(styles) > 4 and all(style.removeprefix('background:var(--span-').rstrip('_)abcdefghijklmnopqrstuvwxyz')
                                 == '' for style in styles)


def test_names_may_hold_what_the_address_and_javascript_use(open_site, tmp_path):  # noqa: F811
  for name in ('a|b', 'a~1b', 'constructor'):
    run(tmp_path / 'runs' / name, 0.95, benchmark='constructor')
  run(tmp_path / 'runs' / 'other', 0.95, benchmark='__proto__')
  page = open_site(tmp_path / 'runs', 'task=constructor')
  assert page.locator('#board caption').text_content().startswith('constructor: training time')
  tabs = page.locator('#tasks a').evaluate_all('all => all.map(one => one.firstChild.textContent)')
  assert tabs[-2:] == ['constructor', '__proto__']
  for name in ('a|b', 'a~1b', 'constructor'):
    page.get_by_role('button', name=name, exact=True).click()
    page.wait_for_selector('#entry figure svg')
    assert page.locator('#entry h2').text_content() == name
    page.keyboard.press('Escape')
  for box in page.locator('#board input[type=checkbox]').all()[:3]:
    box.check()
  assert '3 chosen' in page.locator('#compare').text_content()
  page.locator('#compare .main').click()
  assert page.locator('#entry h2').text_content() == '3 entries compared'


@pytest.mark.parametrize('board', ['time', 'cost'])
def test_what_a_review_refuses_has_no_rank_and_stands_last(board, open_site, tmp_path):  # noqa: F811
  run(tmp_path / 'runs' / 'refused', 0.95, seed=8, **PRICE)  # its config says 7
  run(tmp_path / 'runs' / 'lucky', 0.95, **PRICE)
  for looks, name in enumerate(('sound', 'slower', 'dropped'), 2):
    made_set(tmp_path / 'runs' / name, 6, seed=9 * looks, looks=looks)
  shutil.rmtree(tmp_path / 'runs' / 'dropped' / 'run_003')
  made_set(tmp_path / 'runs' / 'few', 4, seed=0, looks=2)
  page = open_site(tmp_path / 'runs', f'task=cifar10&origin=here&board={board}')

  def names():
    return page.locator('#board .open').all_text_contents()

  last = ['dropped', 'refused'] if board == 'time' else ['refused']  # what a missing run spent is unknown
  assert names() == ['sound', 'slower', 'lucky', 'few', *last]
  assert page.locator('#board td.rank').all_text_contents() == ['1', '2', '–', '–', *('–' for _ in last)]
  marks = page.locator('#board tr', has_text='refused by review').locator('td.name')
  found = ['run_003: is missing: the ledger says that it was begun', 'line 1: seed is 8, in its config 7']
  for mark, words in zip(marks.all(), found[-len(last):], strict=True):
    assert f'refused by review: {words}' in mark.text_content()
  assert '1 run' in page.locator('#board tr', has_text='lucky').locator('td.name').text_content()
  assert page.locator('#board td.runs small', has_text='no rank below 5 runs').count() == 3
  assert 'Ranked are sets of 5 runs or more that have ended, in whose tapes' in page.locator('#explain').text_content()
  page.evaluate('for (const row of daybreak.data.rows) row.fixture = false; render()')  # which are no best
  assert 'sound' in page.locator('#cards .card', has_text='Best here').text_content()
  assert page.locator('#overview svg g[aria-label=dot] > *').count() == 4
  for column in (board, board, 'name', 'name', 'result'):
    page.locator(f'#board th.{column} button').click()
    assert set(names()[-len(last):]) == set(last), column
  page.check('[name=reached]')
  assert sorted(names()) == ['slower', 'sound']
  for name in ('refused', 'dropped'):
    page.evaluate(f'go({{reached: "", open: "{name}"}})')
    page.wait_for_selector('#entry figure svg')
    assert 'refused by review' in page.locator('#entry header').text_content()
  page.evaluate('go({open: "refused|sound"})')
  page.wait_for_selector('#entry .problems')
  assert 'what a review says' in page.locator('#entry .problems').text_content()


def test_a_junk_value_keeps_no_other_entry_from_its_board(open_site, tmp_path):  # noqa: F811
  """Opens every 41st of all junk tapes and every 7th junk record; `open_site` sees to it that nothing fails."""
  run(tmp_path / 'runs' / 'healthy', 0.95)
  for number, mutant in enumerate(mutants(tapes.read(ALONE))[::41]):
    write(tmp_path / 'runs' / f'mutant_{number}', mutant)
  values = [(place, value) for place in places(INFERENCE) for value in JUNK]
  for number, (place, value) in enumerate(values[::7]):
    path = tmp_path / 'runs' / 'healthy' / 'inference' / f'junk_{number}' / 'performance' / 'record.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(changed(INFERENCE, place, value)).replace('Infinity', '1e999'))
  page = open_site(tmp_path / 'runs', 'task=cifar10')
  assert 'healthy' in page.locator('#board .open').all_text_contents()
  ids = page.evaluate('daybreak.data.rows.filter(row => !isHistory(row)).map(row => row.id)')
  assert len(ids) > 50
  for id_ in ids:
    page.evaluate("""id => new Promise(done => {
      const row = daybreak.data.rows.find(row => row.id === id), goal = goalKey(row.goals[0]);
      go({task: row.task, board: row.kind === 'run' ? 'time' : 'latency', goal, open: joinIds([id])});
      withDetails(() => done());
    })""", id_)
    assert page.locator('#entry[open]').count() == 1, id_
