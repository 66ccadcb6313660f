"""A folder of classes, as the tests of data have it."""

from tests.data.conftest import folder as folder
