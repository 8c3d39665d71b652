"""One browser for all tests of the page."""
import pytest

from tests.page import browser as browsers


@pytest.fixture(scope='session')
def chromium():
  with browsers.chromium() as browser:
    yield browser
