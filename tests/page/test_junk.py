"""What a tape that nobody here wrote may do to the page, in a real browser: nothing."""
import pytest

from tests.page.test_mixed import open_site, run  # noqa: F401 - a fixture
from tests.tapes import HEADER, Story, closing_files

pytestmark = pytest.mark.browser
PRICE = {'price': {'name': '--usd_per_hour', 'usd_per_hour': 36.0}, 'command': ['--usd_per_hour=36.0']}


@pytest.fixture(autouse=True)
def _files_are_closed(monkeypatch):
  with closing_files(monkeypatch):
    yield


def test_a_commit_is_one_word_of_the_command(open_site, tmp_path):  # noqa: F811
  run(tmp_path / 'runs' / 'run', 0.95, git_commit="main; echo 'mine'")
  page = open_site(tmp_path / 'runs', 'task=cifar10&open=run')
  assert page.locator('.command pre').text_content().splitlines()[0] == r"git checkout 'main; echo '\''mine'\'''"


@pytest.mark.parametrize('board, bands', [('time', 2), ('cost', 0)])
def test_a_band_of_seconds_is_on_an_axis_of_seconds_only(board, bands, open_site, tmp_path):  # noqa: F811
  for name in ('one', 'two'):
    for number, values in enumerate([(0.95,), (0.9, 0.95)]):
      run(tmp_path / 'runs' / name / f'run_{number:03}', *values, benchmark='digits', num_train_examples=1433,
          target={**HEADER['target'], 'num_examples': 364}, **PRICE)
    (tmp_path / 'runs' / name / 'ledger.jsonl').touch()
  page = open_site(tmp_path / 'runs', f'task=digits&board={board}')
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
