"""The tiny model of a module's tests."""

import pytest
from retriever_fixtures import tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bert"))
