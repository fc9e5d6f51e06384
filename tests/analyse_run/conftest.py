"""One evaluation of tiny models for all tests here; what changes it works on a copy."""

from __future__ import annotations

import pytest

from tests.analyse_run.evaluated import Evaluated, evaluate


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return evaluate(tmp_path_factory.mktemp("analyse"))
