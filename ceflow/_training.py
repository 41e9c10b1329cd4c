"""Training runs of a user: recorded states as a run, PyTorch layers as a flow and its start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ._checks import checked_array, checked_number
from .flow import BlockFlow, ETFFlow, Flow, MatrixFlow, ReducedETFFlow, RegressionFlow, SpectralFlow
from .solve import Outcome
from .trajectory import MatrixTrajectory, Times, trajectory_type

OF_THE_MODEL = ("activation", "bias", "depth", "frozen")  # options that `from_torch` takes from the layers


def record(flow: Flow, t: ArrayLike, *states: ArrayLike, step_size: float | None = None) -> MatrixTrajectory:
    """Make a trajectory of full matrices from states recorded in a training loop.

    It has all observables, plots and files of a run, and `ceflow.compare` accepts it.

    Parameters
    ----------
    flow : MatrixFlow, or a reduced flow
        Flow that the loop approximates; its loss, reduction, labels, decay etc. define the observables. For a reduced
        flow ``flow.full()`` is used.
    t : (n,) array
        Increasing times >= 0 in the unit of the flow's `reduction`: learning rate times step, or the sum of the
        learning rates of all steps before. (For heavy-ball momentum mu use learning rate / (1 - mu).)
    *states : (n, ...) arrays, or sequences of n arrays
        W (n, K, d), ..., H (n, d, N), then the bias (n, K) if the flow has one, as in a start of the flow; columns of H
        are samples. Arrays or PyTorch tensors of any floating type.
    step_size : float, optional
        Learning rate, stored with the run.

    Returns
    -------
    MatrixTrajectory
        Trajectory with these rows, without dense output.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it, and the row.

    Examples
    --------
    >>> flow = cf.MatrixFlow()
    >>> W, H = cf.random_init(classes=3, width=4, scale=0.1)
    >>> states = [(W.copy(), H.copy())]
    >>> for step in range(100):  # a training loop of one's own
    ...     G = (np.eye(3) - np.exp(W @ H) / np.exp(W @ H).sum(axis=0)) / 3
    ...     W, H = W + 0.1 * G @ H.T, H + 0.1 * W.T @ G
    ...     states.append((W, H))
    >>> run = cf.record(flow, 0.1 * np.arange(101), *zip(*states), step_size=0.1)
    >>> comparison = cf.compare(cf.integrate(flow, states[0], 10.0), run)
    >>> bool(comparison.max_error < 0.1)
    True
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    if isinstance(flow, (SpectralFlow, BlockFlow, RegressionFlow, ReducedETFFlow)):
        flow = flow.full()
    if not isinstance(flow, (MatrixFlow, ETFFlow)):
        raise TypeError(f"record takes a flow of matrices, or one reduced from it, got {type(flow).__name__}")
    step_size = None if step_size is None else checked_number("step_size", step_size, 0.0, 1e100) or None
    t = checked_array("t", t, 0.0)
    if t.ndim != 1 or not t.size or np.any(np.diff(t) <= 0.0):
        raise ValueError(f"t must be one-dimensional and strictly increasing, got {t.size} values of shape {t.shape}")
    parts = [checked_array(f"state {i}", part) for i, part in enumerate(states)]
    if any(part.ndim < 2 or len(part) != len(t) for part in parts):
        raise ValueError(f"each state must have {len(t)} rows, one for each t, got {[part.shape for part in parts]}")
    rows = []
    for row, state in enumerate(zip(*parts, strict=True) if parts else [()]):
        try:
            rows.append(flow.start(state))
        except ValueError as error:
            raise ValueError(f"row {row} is not a state of the flow: {error}") from None
    if rows[0][0].ndim != 2:
        raise ValueError(f"record takes one run, not a batch: W must be (n, K, d), got {parts[0].shape}")
    y = np.array([flow.origin(cast(Any, state)) for state in rows])
    told: dict[str, Any] = {"outcome": Outcome.RECORDED, "step_size": step_size}
    told["message"] = f"recorded at {len(t)} times"
    return trajectory_type(flow)(flow, rows[0], Times.of(t).log_t, y, t=t, **told)


def from_torch(*layers: Any, **options: Any) -> tuple[MatrixFlow, tuple[np.ndarray, ...]]:
    """Make a flow and its start from a linear PyTorch network, or from a classifier on free features.

    Step n of gradient descent with learning rate eta and without momentum corresponds to ``t = n * eta``, up to an
    error proportional to eta.

    Parameters
    ----------
    *layers : torch.nn.Module or torch.Tensor
        Layers in the order of the forward pass. The first one contains the features H:

        - a tensor or parameter (N, d) of free features, one row per sample;
        - an ``nn.Embedding(N, d)``, equivalent to this;
        - an ``nn.Linear(K, d)`` on one-hot inputs, one per class (its weight is H).

        Then one or more ``nn.Linear``, with ``nn.ReLU`` between layers; ``nn.Identity`` is skipped, and
        ``nn.Sequential`` is expanded: ``from_torch(nn.Sequential(nn.Embedding(N, d), nn.Linear(d, K)))``. For another
        module pass its layers, ``from_torch(model.features, model.classifier)``; ``forward`` is not used.
    **options
        Options of `MatrixFlow` that are not part of the model: ``labels`` if there are more samples than classes,
        ``loss``, ``reduction``, ``weight_decay``, ``dtype``, ``backend`` etc. Depth, bias, activation and frozen layers
        come from the model.

    Returns
    -------
    flow : MatrixFlow
        Flow, with a bias if the last layer has one. Parameters with ``requires_grad=False`` are frozen; plain tensors
        are trained.
    start : tuple of arrays
        W (K, d), ..., H (d, N), and the bias (K,) if there is one: exact float64 copies.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If there is a layer of another type, a bias before the last layer, or a weight in two layers; or if an option is
        invalid.

    Notes
    -----
    ``CrossEntropyLoss()`` corresponds to ``reduction="mean"``. ``SGD(weight_decay=l)`` corresponds to
    ``weight_decay=l``, and with a bias also ``bias_decay=l``.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Embedding(6, 4), torch.nn.Linear(4, 3))  # free features of 6 samples
    >>> flow, start = cf.from_torch(model, labels=[0, 0, 1, 1, 2, 2], weight_decay=5e-3, bias_decay=5e-3)
    >>> [part.shape for part in start]
    [(3, 4), (4, 6), (3,)]
    >>> f"{cf.integrate(flow, start, 5e3, rtol=1e-6).loss[-1]:.4f}"  # where SGD of that weight decay goes
    '0.0142'
    """
    try:
        import torch
    except ImportError:
        raise ImportError("from_torch needs PyTorch: pip install torch") from None
    if given := [name for name in OF_THE_MODEL if name in options]:
        raise TypeError(f"{' and '.join(given)} must not be given: they are taken from the model")
    weights, bias, activations, by_rows = _read(torch, layers)
    if len({id(weight) for weight in weights}) < len(weights):
        raise ValueError("layers must not share a weight: one weight is in two layers")
    depth = len(weights)
    parts = [*weights[::-1], bias]
    frozen = tuple("b" if place == depth else place for place, part in enumerate(parts) if _is_frozen(torch, part))
    flow = MatrixFlow(depth=depth, bias=bias is not None, activation=activations[::-1], frozen=frozen, **options)
    H, K = weights[0].T if by_rows else weights[0], len(weights[-1])
    if flow.objective.labels is None and flow.objective.columns(K) != H.shape[1]:
        raise ValueError(f"labels must be given: there are {H.shape[1]} samples and {K} classes")
    return flow, flow.start((*weights[:0:-1], H, *([] if bias is None else [bias])))


def _is_frozen(torch: Any, part: Any) -> bool:
    return isinstance(part, torch.nn.Parameter) and not part.requires_grad


def _flattened(torch: Any, layers: Iterable[Any]) -> Iterator[Any]:
    for layer in layers:
        if type(layer) is torch.nn.Sequential:
            yield from _flattened(torch, layer)
        elif type(layer) is not torch.nn.Identity:
            yield layer


def _read(torch: Any, layers: Iterable[Any]) -> tuple[list, Any, tuple[str, ...], bool]:
    """Weights from the features on, bias of the last layer, activations, and whether samples are rows."""
    nn = torch.nn
    weights, biases, activations = list[Any](), list[Any](), list[str]()
    by_rows = False
    for layer in _flattened(torch, layers):
        if isinstance(layer, torch.Tensor) or type(layer) is nn.Embedding:
            if weights:
                raise ValueError("free features must come first, before all layers")
            if isinstance(layer, nn.Embedding) and not (layer.max_norm is layer.padding_idx is None):
                raise ValueError("an Embedding must have neither max_norm nor padding_idx, which constrain its rows")
            weights.append(layer if isinstance(layer, torch.Tensor) else layer.weight)
            biases.append(None)
            by_rows = True
        elif type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter):
            weights.append(layer.weight)
            biases.append(layer.bias)
        elif type(layer) is nn.ReLU and weights:
            activations[-1] = "relu"
            continue
        else:
            raise TypeError(
                "layers must be a tensor (N, d) or Embedding of free features, then Linear, with ReLU between, got "
                f"{type(layer).__name__}: pass the layers of other modules in the order of the forward pass"
            )
        activations.append("linear")
    if len(weights) < 2 or any(weight.ndim != 2 for weight in weights):
        raise ValueError(
            "there must be free features (N, d) and a classifier, or two or more linear layers, got weights of shapes "
            f"{[tuple(weight.shape) for weight in weights]}"
        )
    if activations.pop() != "linear":
        raise ValueError("the last layer must be linear: logits have no activation")
    if any(bias is not None for bias in biases[:-1]):
        raise ValueError("only the last layer may have a bias: use bias=False in the others")
    return weights, biases[-1], tuple(activations), by_rows
