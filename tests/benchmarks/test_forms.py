"""The table of forms on a tiny bundle: every form is run, and "as before" has denormals where the others have none."""

from __future__ import annotations

import argparse
import importlib.util
import sys

import pytest
from conftest import EXAMPLES

PLACE = EXAMPLES.parent / "benchmarks" / "forms.py"


@pytest.fixture
def forms(monkeypatch):
    spec = importlib.util.spec_from_file_location("forms_benchmark", PLACE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_each_form_is_timed_and_errs_as_it_does(forms, quantized):
    asked = argparse.Namespace(rows="1,8", past=16, room=8, threads="1", rounds=1, only="fp32,int8")
    made = forms.measured(quantized, asked)
    named = {form.name for form in forms.FORMS if form.precision in ("fp32", "int8")}
    assert made["ms"].keys() == made["errors"].keys() == named
    assert all(milliseconds > 0 for row in made["ms"].values() for milliseconds in row.values())
    assert made["errors"]["fp32"] == 0 < made["errors"]["int8, products as they are"] < 1
