"""The public face where hands meet it: names, equality, copies, seeds, and what messages say."""

import base64
import copy
import gc
import pickle
import weakref
from html.parser import HTMLParser

import numpy as np
import pytest

import ceflow as cf

FOUR = cf.SpectralFlow(cf.hadamard(4))
GROUPS = cf.SpectralFlow(cf.direct_sum(2, 3), samples=(2, 1))
TARGETS = np.eye(3)


def test_every_public_name_is_listed_and_there():
    assert set(cf.__all__) <= set(dir(cf))
    for name in cf.__all__:
        assert getattr(cf, name) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: cf.SpectralFlow(cf.hadamard(4), **options),
        lambda **options: cf.SpectralFlow(cf.from_relations(1 - np.eye(4, dtype=int)), **options),
        lambda **options: cf.SpectralFlow(cf.direct_sum(2, 3), samples=(2, 1), **options),
        lambda **options: cf.MatrixFlow(**options),
    ],
)
def test_flows_are_equal_if_they_are_the_same_problem(make):
    same, other = (make(), make()), make(weight_decay=1e-3)
    assert same[0] == same[1] and hash(same[0]) == hash(same[1]) and same[0] is not same[1]
    assert same[0] != other and len({*same, other}) == 2
    assert make(loss="focal") != make(loss=cf.losses.focal(1.0)) and same[0] != "a flow"


def test_reduced_and_full_flows_are_not_equal():
    assert FOUR != cf.MatrixFlow() and FOUR != cf.SpectralFlow(cf.complete(4))


@pytest.mark.parametrize("again", [lambda run: pickle.loads(pickle.dumps(run)), copy.copy, copy.deepcopy])
def test_runs_can_be_pickled_and_copied(again):
    blocks = GROUPS.project(*cf.random_init(classes=5, width=6, rng=1))[0]
    for run in (
        cf.integrate(FOUR, [0.1, 0.2, 0.3], 1e3),
        cf.integrate(GROUPS, blocks, 1e2),
        cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=4, rng=0), 1e2),
    ):
        twin = again(run)
        assert type(twin) is type(run) and twin.flow == run.flow and twin.outcome is run.outcome
        np.testing.assert_array_equal(twin.y, run.y)
        np.testing.assert_array_equal(twin.at([1.0, 50.0]).loss, run.at([1.0, 50.0]).loss)
        assert cf.resume(twin, 2e3).success


@pytest.mark.parametrize("end", [{"t_end": 1e30}, {"t_eval": [1.0, 1e3]}, {"until": lambda run: run.loss - 0.5}])
def test_a_run_is_gone_when_it_is_dropped(end):
    gc.disable()
    try:
        run = cf.integrate(FOUR, [0.1, 0.2, 0.3], **end)
        alive = weakref.ref(run)
        del run
        assert alive() is None  # it is in no cycle that only a collection of garbage would find
    finally:
        gc.enable()


def test_a_random_start_is_another_one_each_time_and_knows_its_seed():
    first, second = (cf.random_init(classes=3, width=4) for _ in range(2))
    assert first.seed != second.seed and not np.array_equal(first[0], second[0])
    for start in (first, pickle.loads(pickle.dumps(first))):
        for mine, again in zip(start, cf.random_init(classes=3, width=4, rng=first.seed), strict=True):
            np.testing.assert_array_equal(mine, again)
        assert start.seed == first.seed
    assert cf.random_init(classes=3, width=4, rng=7).seed == 7
    assert cf.random_init(classes=3, width=4, rng=np.random.default_rng(7)).seed is None
    W, H = first
    assert W.shape == (3, 4) and H.shape == (4, 3)


def test_messages_name_what_was_meant():
    for name, meant in (("ce", "cross_entropy"), ("MSE", "squared_error")):
        with pytest.raises(ValueError, match=f"{name}' is '{meant}' here"):
            cf.MatrixFlow(loss=name)
    with pytest.raises(ValueError, match=r"flow\.project"):
        cf.integrate(FOUR, cf.random_init(classes=4, width=4), 1.0)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cf.nothing


class Balanced(HTMLParser):
    """Whether HTML closes what it opens."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images += 1
            assert base64.b64decode(dict(attrs)["src"].partition(",")[2])[:8] == b"\x89PNG\r\n\x1a\n"
        elif tag != "wbr":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_notebooks_show_key_numbers_and_a_figure():
    run = cf.integrate(FOUR, [0.1, 0.2, 0.3], 1e3)
    full = cf.integrate(cf.MatrixFlow(), FOUR.lift([0.1, 0.2, 0.3]), 1e2)
    batch = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=4, rng=0, batch=2), 1.0)
    certificate = run.certificate()
    broken = with_a_failure(certificate)
    for shown, words, images in (
        (run, ("t = 1e3: reached the end of the time span", "hadamard(4)"), 2),
        (run[:1], ("1, of",), 0),
        (run[:2], ("2, of",), 0),
        (full, ("MatrixFlow",), 2),
        (batch, ("rows",), 0),
        (cf.compare(run, full), ("largest error",), 1),
        (certificate, ("all checks passed", "V never increases"), 0),
        (broken, ("some checks FAILED", "FAIL", "<it broke>"), 0),
        (FOUR, ("hadamard(4)", "cross-entropy"), 0),
        (GROUPS, ("direct_sum(complete(2), complete(3))", "samples=(2, 1)"), 0),
        (FOUR.scheme, ("modes D", "3"), 0),
        (GROUPS.symmetry, ("fibres", "2, 3"), 0),
    ):
        found = Balanced(shown._repr_html_())
        text = "".join(found.words)
        assert not found.open and found.images == images and all(word in text for word in words), text


def with_a_failure(certificate):
    """The certificate with one check that failed."""
    failed = certificate.checks[0]._replace(status="failed", note="<it broke>")
    return type(certificate)(certificate.run, [failed, *certificate.checks[1:]], 1.0, 1)


def test_rows_as_a_table_of_pandas():
    pytest.importorskip("pandas", reason="the extra xarray is not installed")
    run = cf.integrate(FOUR, [0.1, 0.2, 0.3], t_eval=[0.0, 3.0, 10.0])
    table = run.to_pandas()
    assert list(table.index) == [0.0, 3.0, 10.0] and {"log_t", "loss", "margin", "lyapunov"} <= set(table.columns)
    np.testing.assert_array_equal(table[["s_1", "s_2", "s_3"]], run.singular_values)
    full = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=4, rng=0), t_eval=[1.0, 2.0]).to_pandas()
    assert full.shape[0] == 2 and full.loc[2.0, "loss"] < full.loc[1.0, "loss"]
