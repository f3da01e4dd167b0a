"""scikit-learn's callbacks follow a fit step by step, alone and within pipelines and searches, and always to its end."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learn.every_case import EVERY, STEPS, SUPERVISED
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from titans_ts import load
from titans_ts.learn import callbacks as following
from titans_ts.windows.classify import SupervisedWindows

HAS_CALLBACKS = importlib.util.find_spec("sklearn.callback") is not None
needs_callbacks = pytest.mark.skipif(not HAS_CALLBACKS, reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """Notes all that it is told; may stop training or fail."""

    max_propagation_depth = None  # it is handed on to the inside of pipelines and searches

    def __init__(self, *, stop_at=None, fail_at=None):
        self.stop_at, self.fail_at, self.told, self.steps = stop_at, fail_at, [], 0

    def _note(self, hook, estimator, context):
        path, at = [], context
        while at is not None:
            path, at = [at.estimator_name, *path], at.parent
        kind = "step" if context.task_name.endswith(" step") else "fit"
        self.told.append((hook, kind, context))
        self.paths = {*getattr(self, "paths", ()), tuple(path)}
        if (hook, kind) == self.fail_at:
            raise RuntimeError(f"failed at {hook} of a {kind}")

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context):
        self._note("begin", estimator, context)

    def on_fit_task_end(self, estimator, context):
        self._note("end", estimator, context)
        self.steps += context.task_name.endswith(" step")
        return context.task_name.endswith(" step") and self.steps == self.stop_at

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)

    @property
    def order(self):
        return [f"{hook} {kind}" for hook, kind, _ in self.told]


@pytest.fixture(params=EVERY)
def name(request):
    return request.param


def set_up(model, *callbacks):
    assert model.set_callbacks(*callbacks) is model
    return model


@needs_callbacks
def test_each_training_step_is_a_subtask_of_fit_and_nothing_else_changes(name):
    case, recorder = EVERY[name], Recorder()
    model = case.learn(set_up(case.make(), recorder))
    steps = ["begin step", "end step"] * STEPS[name]
    assert recorder.order == ["setup fit", "begin fit", *steps, "end fit", "teardown fit"]
    (_, _, root), *_, (_, _, last) = recorder.told
    assert last is root
    assert root.estimator_name == name
    assert root.max_subtasks >= STEPS[name]
    assert all(context.parent is root for _, kind, context in recorder.told if kind == "step")
    phases = {"language step"} if name == "DNALanguageModel" else {"memory step"}
    assert {context.task_name for _, kind, context in recorder.told if kind == "step"} == phases
    alone = case.fitted()
    np.testing.assert_array_equal(case.ask(model), case.ask(alone))
    assert vars(model).keys() - vars(alone).keys() == {"_skl_callbacks"}


@needs_callbacks
@pytest.mark.parametrize("layers", [0, 1])
def test_the_bar_knows_how_many_steps_there_can_be(name, layers):
    """As many as are taken where nothing ends training early."""
    case, recorder = EVERY[name], Recorder()
    case.learn(set_up(case.make(callbacks=None, max_steps=2, layers=layers), recorder))
    assert recorder.told[0][2].max_subtasks == recorder.order.count("end step")
    if name == "TitansForecaster":
        assert recorder.order.count("end step") == 2 * layers


@needs_callbacks
def test_a_true_answer_ends_training(name):
    case, recorder = EVERY[name], Recorder(stop_at=2)
    before = case.model.callbacks or []
    model = case.learn(set_up(case.make(max_steps=8), recorder))
    assert recorder.order.count("end step") == 2
    assert recorder.order[-2:] == ["end fit", "teardown fit"]
    taken = []
    by_hand = case.fitted(max_steps=8, callbacks=[*before, lambda _run, report: taken.append(report) or len(taken) == 2])
    np.testing.assert_array_equal(case.ask(model), case.ask(by_hand))


FAILURES = {
    "at the start": (("setup", "fit"), ["setup fit"]),
    "before a step": (("begin", "step"), ["setup fit", "begin fit", "begin step"]),
    "after a step": (("end", "step"), ["setup fit", "begin fit", "begin step", "end step"]),
}


@needs_callbacks
@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_leaves_the_fitted_model_and_ends_what_was_set_up(failure, name):
    fail_at, order = FAILURES[failure]
    case, recorder = EVERY[name], Recorder(fail_at=fail_at)
    model = case.fitted()
    before, answer = dict(vars(model)), case.ask(model)
    with pytest.raises(RuntimeError, match="failed at"):
        case.learn(set_up(model, recorder))
    assert recorder.order == [*order, "teardown fit"]
    assert {key: x for key, x in vars(model).items() if key != "_skl_callbacks"} == before
    np.testing.assert_array_equal(case.ask(model), answer)


@needs_callbacks
def test_an_interruption_by_hand_or_by_wrong_data_ends_what_was_set_up(name):
    case, recorder = EVERY[name], Recorder()
    model = set_up(case.fitted(), recorder)

    def interrupt(_run, _report):
        raise KeyboardInterrupt

    before, answer = case.model.callbacks, case.ask(model)
    with pytest.raises(KeyboardInterrupt):
        case.learn(model.set_params(callbacks=[interrupt]))
    assert recorder.order == ["setup fit", "begin fit", "begin step", "teardown fit"]
    model.set_params(callbacks=before)
    with pytest.raises((TypeError, ValueError)):
        model.fit(3.0, case.y)
    assert recorder.order[4:] == ["setup fit", "begin fit", "teardown fit"]
    np.testing.assert_array_equal(case.ask(model), answer)
    with pytest.raises(ValueError, match="'max_steps' parameter"):
        case.learn(model.set_params(max_steps=-1))
    assert len(recorder.told) == 7, "a wrong argument is refused before anything is set up"


@needs_callbacks
@pytest.mark.filterwarnings("ignore:The estimator FunctionTransformer does not support callbacks:UserWarning")
def test_it_is_followed_through_a_pipeline_and_a_search(name):
    case, recorder = EVERY[name], Recorder()
    pipeline = Pipeline([("same", FunctionTransformer()), ("titans", case.make())])
    few, many = (130, 160) if name == "TitansForecaster" else (30, 40)  # from fewer rows no memory is learned
    halves = [
        (np.arange(few), np.arange(few, many)),
        (np.arange(many - few, many), np.arange(many - few)),
    ]
    search = GridSearchCV(
        pipeline, {"titans__learning_rate": [1e-3, 1e-2]}, cv=halves, scoring=constant, error_score="raise"
    )
    case.learn(set_up(search, recorder))
    assert recorder.order.count("setup fit") == recorder.order.count("teardown fit") == 1, "the search's"
    assert recorder.order.count("end step") == STEPS[name] * 5, "four folds, and the refit"
    paths = [path for path in recorder.paths if name in path]
    assert {path[-1] for path in paths} == {name}
    assert ("GridSearchCV", "GridSearchCV", "Pipeline", name, name) in paths, paths
    assert not hasattr(search.best_estimator_["titans"], "_skl_callbacks"), "it was lent"
    assert not hasattr(search.best_estimator_["titans"], "_parent_callback_ctx")


def constant(_model, _X, _y=None):
    return 0.0


@needs_callbacks
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bars_are_shown_one_within_another(jobs, capsys):
    from sklearn.callback import ProgressBar

    case = EVERY["TitansClassifier"]
    search = GridSearchCV(case.make(), {"learning_rate": [1e-3, 1e-2]}, cv=2, n_jobs=jobs)
    case.learn(set_up(search, ProgressBar(max_propagation_depth=None)))
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    bars = [" ".join(words) for words in shown if words and words[0] == "GridSearchCV"]
    last = bars[-7:]  # the last picture: the search, its evaluations, the refit
    assert sum("TitansClassifier - fit" in bar for bar in last) == 5, last
    assert all("100%" in bar for bar in last), last


@needs_callbacks
@pytest.mark.parametrize("fraction", [0, 0.2])
@pytest.mark.parametrize("name", SUPERVISED)
def test_scores_are_monitored_as_if_each_step_were_the_last(name, fraction, monkeypatch):
    from sklearn.callback import ScoringMonitor

    monkeypatch.setattr(SupervisedWindows, "_unjudged", 1.0)  # the memory's word counts where nothing judges it
    case = EVERY[name]
    classes = case.question == "predict_proba"
    noise = np.random.default_rng(3).normal(size=40)  # of which a linear path can learn no more than a memory
    case = replace(case, y=np.where(noise > 0, "high", "low") if classes else noise)
    scoring = "neg_log_loss" if classes else "neg_mean_squared_error"
    arguments = {"max_steps": 3, "validation_fraction": fraction, "caution": 0.0, "learning_rate": 0.1}
    monitor = ScoringMonitor(scoring=scoring)
    case.learn(set_up(case.make(**arguments), monitor))
    rows = monitor.get_logs().data
    assert [row["task_name"] for row in rows] == ["fit", *["memory step"] * 3]
    score, expected = check_scoring(case.model, scoring), []
    for steps in range(1, 4):

        def enough(_run, report, steps=steps):
            return report.step == steps

        expected.append(score(case.fitted(**arguments, callbacks=[enough]), case.X, case.y))
    assert [row.get(scoring) for row in rows] == [expected[-1], *expected]
    assert len(set(expected)) == 3 or fraction, "each step tells"


@needs_callbacks
def test_callbacks_belong_to_the_model_and_not_to_its_file(name, tmp_path):
    case, recorder = EVERY[name], Recorder()
    model = set_up(case.make(), recorder)
    assert clone(model)._skl_callbacks == [recorder]
    case.learn(model).save(tmp_path / "a.titans")
    found = load(tmp_path / "a.titans")
    assert not hasattr(found, "_skl_callbacks")
    assert not hasattr(set_up(model), "_skl_callbacks"), "given none, they are taken away"
    told = len(recorder.told)
    case.learn(model)
    assert len(recorder.told) == told
    with pytest.raises(TypeError, match="callbacks must be instances following the FitCallback protocol"):
        model.set_callbacks(print)


@needs_callbacks
def test_without_callbacks_no_task_is_made(name, monkeypatch):
    case = EVERY[name]
    monkeypatch.setattr(type(case.model), "_init_callback_context", lambda *_, **__: pytest.fail("a task was made"))
    monkeypatch.setattr(following, "StepFollower", lambda *_: pytest.fail("steps were followed"))
    case.fitted()


def test_before_scikit_learn_1_9_fit_is_as_it_was_and_set_callbacks_says_what_it_takes(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)  # as if it were not there
    spec = importlib.util.spec_from_file_location("older", Path(following.__file__))
    older = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(older)

    class Model(older.CallbackSupportMixin, BaseEstimator):
        @older.followed
        def fit(self, X, y=None):
            self.seen_ = X
            return self

    model = Model().fit(3)
    assert (model.seen_, vars(model)) == (3, {"seen_": 3})
    with pytest.raises(NotImplementedError, match="set_callbacks needs scikit-learn 1.9 or newer, and this is .*verbose=1"):
        model.set_callbacks(Recorder())


def test_chance_is_not_touched_by_who_looks_on():
    """A monitor that asks for the model at each step draws nothing from the generators that training draws from."""
    if not HAS_CALLBACKS:
        pytest.skip("callbacks came with scikit-learn 1.9")
    case = EVERY["TitansClassifier"]

    class Curious(Recorder):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if fitted_estimator is not None:
                case.ask(fitted_estimator)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    arguments = {"validation_fraction": 0.2, "dropout": 0.3}
    found = case.learn(set_up(case.make(**arguments), Curious()))
    np.testing.assert_array_equal(case.ask(found), case.ask(case.fitted(**arguments)))
    assert torch.equal(torch.get_rng_state(), before)
