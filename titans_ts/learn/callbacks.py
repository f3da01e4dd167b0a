"""How scikit-learn's callbacks follow a fit step by step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import sklearn

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """What takes its place before scikit-learn 1.9."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Say which scikit-learn it takes."""
            raise NotImplementedError(
                f"set_callbacks needs scikit-learn 1.9 or newer, and this is {sklearn.__version__}: update it, or take "
                "verbose=1 for progress bars and callbacks=[...] for functions that are called after every step"
            )

    def with_callbacks(method: Any) -> Any:
        """Return a method as it is."""
        return method


Fit = TypeVar("Fit", bound=Callable[..., Any])


class StepFollower:
    """A callback of a run of training that tells scikit-learn's callbacks of each step.

    ``context`` is the task of the estimator's ``fit``; ``given`` are X, y and metadata, for callbacks that ask for them.
    """

    def __init__(self, estimator: Any, context: Any, given: dict[str, Any]) -> None:
        self.estimator, self.context, self.given = estimator, context, given
        self.step = context

    def before_step(self, run: Any, label: str) -> None:
        """Begin a subtask."""
        self.step = self.context.subcontext(task_name=f"{label} step")
        self.step.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def __call__(self, run: Any, report: Any) -> bool:
        """End it; returns whether a callback wants training to stop."""
        return bool(
            self.step.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=lambda: self.estimator._learned_so_far(run),  # made for who asks, and only then
                **self.given,
            )
        )


def followed(fit: Fit) -> Fit:
    """Let scikit-learn's callbacks follow a ``fit``: from its first line to its end, or to the error that ends it.

    Without any of them, nothing is done beside ``fit``. Their ``teardown`` is called in any case.
    """
    signature = inspect.signature(fit)

    @with_callbacks
    @functools.wraps(fit)
    def followed_fit(estimator: Any, *args: Any, **named: Any) -> Any:
        if not hasattr(estimator, "_skl_callbacks"):
            return fit(estimator, *args, **named)
        arguments = signature.bind(estimator, *args, **named).arguments
        estimator._validate_params()  # the number of steps must be one
        weight = arguments.get("sample_weight")
        metadata = {} if weight is None else {"sample_weight": weight}
        given = {"X": arguments["X"], "y": arguments.get("y"), "metadata": metadata}
        context = estimator._init_callback_context(max_subtasks=estimator._most_steps())
        context.call_on_fit_task_begin(estimator=estimator, **given)
        estimator._step_follower = StepFollower(estimator, context, given)
        try:
            fit(estimator, *args, **named)
        finally:
            vars(estimator).pop("_step_follower", None)
        context.call_on_fit_task_end(estimator=estimator, reconstruction_attributes={}, **given)
        return estimator

    return followed_fit  # type: ignore[no-any-return]
