"""Methods that rooms above give to objects of rooms below: users find them as if they were written there."""

import importlib.util
import inspect
import pydoc

import pytest

import ceflow as cf


@pytest.mark.parametrize(
    ("owner", "name", "says"),
    [(cf.Trajectory, "certificate", "a posteriori"), (cf.Comparison, "plot", "errors over time")],
)
def test_found_by_those_who_look(owner, name, says):
    method = getattr(owner, name)
    assert says in inspect.getdoc(method) and next(iter(inspect.signature(method).parameters)) == "self"
    assert method.__qualname__ == f"{owner.__name__}.{name}" and name in dir(owner)
    shown = pydoc.plain(pydoc.render_doc(owner))
    assert f"{name}(self" in shown and says in shown


def test_compare_is_a_function_and_no_module():
    assert inspect.isfunction(cf.compare) and importlib.util.find_spec("ceflow.compare") is None
