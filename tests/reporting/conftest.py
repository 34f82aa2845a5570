"""The browser for the tests of pages."""

from page_runs import browser as browser
