"""A headless Chromium, and pages in it that must neither complain nor ask any network for anything."""
import contextlib
import os
import shutil

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
QUIET = ('--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
         '--disable-sync')


def find() -> str | None:
  """The browser that CHROMIUM names, else the first that is installed."""
  return os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium():
  """Yields a browser of playwright's; AssertionError where none is installed, since who asked for these wants one."""
  from playwright.sync_api import sync_playwright
  path = find()
  assert path, f'needs a browser: install Debian\'s chromium, or name one by CHROMIUM (looked for {", ".join(NAMES)})'
  as_root = ['--no-sandbox'] if os.geteuid() == 0 else []  # Chromium's sandbox does not start for root
  with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=path, args=[*QUIET, *as_root])
    yield browser
    browser.close()


@contextlib.contextmanager
def watched(browser, *, own='file:', expected=(), **options):
  """Yields a page; afterwards it must have logged nothing, thrown nothing, and asked for nothing but `own` addresses.

  expected: words of console messages that the test provokes.
  """
  context = browser.new_context(**options)
  page, said, asked = context.new_page(), [], []
  page.set_default_timeout(15_000)
  page.on('console', lambda message: said.append(message.text))
  page.on('pageerror', lambda error: said.append(str(error)))
  page.on('dialog', lambda dialog: said.append(f'dialog {dialog.message}') or dialog.dismiss())
  page.on('request', lambda request: asked.append(request.url))
  yield page
  context.close()
  assert not [text for text in said if not any(word in text for word in expected)]
  assert not [address for address in asked if not address.startswith((own, 'data:'))]
