"""Linear response of a field: stiffness, and distance from equilibrium.

A small velocity does not imply a small distance: with slow contraction the distance is velocity over contraction rate,
and near a saddle small displacements grow. [ceflow] The distance is a Newton step, ``-J^(-1) velocity``, with the
Jacobian J of the velocity in the clock by finite differences.
"""

from __future__ import annotations

import math

import numpy as np

from .._arrays import as_like, host
from .._field import CompiledField
from .._tolerances import STEP_SHARE

DENSE = 256  # largest state with a dense Jacobian
LARGEST = 2**16  # largest state with implicit steps, which store one or two hundred vectors
SETTLED = 3.0  # distance from an equilibrium, in tolerances of a step, that counts as rest
_SURE = 1e3  # velocity over that from rounding of the state, above which it is not rounding
LATER = 40.0  # increase of theta after which its effects have decayed
_SLOW = 1.0  # velocity for rtol = 1 below which to test for rest
# Step size times contraction rate: explicit steps are stable up to 6 and more, but with tight tolerances decaying
# components limit them to small parts of that.
_STIFF = 0.1
_SHORT = 0.02  # step in the clock (unit speed) that is short for a smooth path
PRODUCTS = 12  # for a rough estimate of the largest rate
_MANY_PRODUCTS = 60  # for the distance and growth of a large state


class Response:
    """Field at a state, on the host, with products of its Jacobian.

    Parameters
    ----------
    field : vector field, see `ceflow._field`
    y : (N,) array, on the host
    log_t : float, optional
        Time for velocities in log t; by default velocities are in the clock.
    """

    def __init__(self, field, y: np.ndarray, log_t: float | None = None) -> None:
        self.field, self.y, self.log_t = field, np.array(y), log_t
        self._place = field.allocate(2, field.size)  # a state and its velocity, on the device of the field
        self.precision = float(np.finfo(_dtype_name(self._place)).eps)
        # error of products by differences, relative to the largest rate; fields may declare less precise velocities
        self.noise = 2.0 * math.sqrt(self.precision) * getattr(field, "roughness", 1.0)
        self.velocity, self.phi = np.empty(field.size), np.empty((2, 1))
        self.rates(self.y[None], self.velocity[None], self.phi)

    def rates(self, y: np.ndarray, velocities: np.ndarray, phi: np.ndarray) -> None:
        """Velocities at the states y (m, N), with phi and a (2, m)."""
        if isinstance(self.field, CompiledField):
            self.field.rates_of_rows(y, velocities, *phi)
        else:
            state, velocity = self._place
            for i in range(len(y)):
                state[:] = as_like(y[i], state)
                phi[0, i], phi[1, i] = map(float, self.field.rates(state, velocity))
                velocities[i] = host(velocity)
        if self.log_t is not None:
            velocities *= np.exp(np.minimum(self.log_t - phi[0], 700.0))[:, None]

    def size(self, errors: np.ndarray, rtol: float, atol: float) -> float:
        """Largest of the errors (m, N) of the state, in units of the tolerance of a step."""
        y, velocity = (as_like(x, self._place) for x in (self.y, self.velocity))
        return max(float(self.field.norm(as_like(error, self._place), y, velocity, rtol, atol)) for error in errors)

    @property
    def difference(self) -> float:
        """Step of finite differences; half of the digits suffice for rates."""
        usual = math.sqrt(float(self.y @ self.y) / self.y.size)
        return math.sqrt(self.precision) * (usual if usual > 0.0 else 1.0)

    def jacobian(self) -> np.ndarray:
        """(N, N) derivative of the velocity."""
        near = self.y + np.diag(np.maximum(self.difference, math.sqrt(self.precision) * np.abs(self.y)))
        steps, found = near.diagonal() - self.y, np.empty((self.y.size, self.y.size))
        self.rates(near, found, np.empty((2, self.y.size)))
        return ((found - self.velocity) / steps[:, None]).T

    def products(self, v: np.ndarray) -> np.ndarray:
        """Jacobian times each row of v (m, N)."""
        largest = np.abs(v).max(axis=1, keepdims=True)
        scale, found = self.difference / np.where(largest > 0.0, largest, 1.0), np.empty_like(v)
        self.rates(self.y + scale * v, found, np.empty((2, len(v))))
        return (found - self.velocity) / scale

    def product(self, v: np.ndarray) -> np.ndarray:
        """Jacobian times v (N,)."""
        return self.products(v[None])[0]

    def largest_rate(self) -> float:
        """Approximate largest rate of contraction in the clock, by power iteration."""
        v, rate = _some_direction(self.y.size), 0.0
        for _ in range(PRODUCTS):
            w = self.product(v)
            rate = float(np.linalg.norm(w))
            if not 0.0 < rate < math.inf:
                return 0.0
            v = w / rate
        return rate

    def is_stiff(self, h: float) -> bool:
        """Whether explicit steps of size h are limited by stability.

        For large states, whose implicit steps cost a dozen explicit ones, also whether steps move the state by
        little."""
        if self.y.size > DENSE and h * STEP_SHARE * self.size(self.velocity[None], 1.0, 0.0) > _SHORT:
            return False
        return h < _SHORT or h * self.largest_rate() > _STIFF

    def is_slow(self) -> bool:
        """Whether the state moves little within a step of any size, so that it may be near an equilibrium."""
        velocity = self.velocity * (1.0 if self.log_t is None else math.exp(self.phi[0, 0] - self.log_t))
        return self.size(velocity[None], 1.0, 0.0) < _SLOW

    def distance(self, rtol: float, atol: float, jacobian: np.ndarray | None = None) -> float:
        """Distance to an equilibrium, in tolerances of a step; infinite if there is none or it is unstable."""
        if not np.isfinite(self.velocity).all():
            return math.inf
        if self.y.size > DENSE:
            return self._distance_by_products(rtol, atol)
        jacobian = self.jacobian() if jacobian is None else jacobian
        n = getattr(self.field, "settling", self.y.size)
        own = jacobian[:n, :n]
        rates = np.linalg.eigvals(own).real if np.isfinite(own).all() else np.array([np.inf])
        if rates.max() > self.noise * np.abs(rates).max():
            return math.inf
        sides = np.column_stack([self.velocity[:n], self._later(n)])
        scale = np.abs(own).max(axis=1, keepdims=True)  # modes may be slower than others by many orders of magnitude
        moves = scale[:, 0] > 0.0
        if np.any(self.velocity[:n][~moves]):
            return math.inf
        ways = np.zeros((sides.shape[1], self.y.size))
        solved, _, rank, _ = np.linalg.lstsq(own[moves] / scale[moves], sides[moves] / scale[moves], rcond=self.noise)
        if rank < moves.sum() and self._leaves(self.velocity[:n] - own @ solved[:, 0], np.abs(rates).max()):
            return math.inf
        ways[:, :n] = solved.T
        return self.size(ways, rtol, atol)

    def _leaves(self, velocity: np.ndarray, largest: float) -> bool:
        """Whether a velocity in directions of which nothing is known but that their rates are small is more than the
        rounding that is usual there, as it is of what is conserved."""
        return bool(np.linalg.norm(velocity) > _SURE * self.precision * largest * np.linalg.norm(self.y))

    def _later(self, n: int) -> np.ndarray:
        """(n, 1) velocity of the converging components after the effects of theta, which decay at least like exp(-2
        theta); (n, 0) without theta."""
        later = np.empty((1, self.y.size))
        self.rates((self.y + LATER * (np.arange(self.y.size) >= n))[None], later, np.empty((2, 1)))
        return later[:, :n].T if n < self.y.size else np.empty((n, 0))

    def _distance_by_products(self, rtol: float, atol: float) -> float:
        from scipy.sparse.linalg import LinearOperator, gmres  # slow to import

        n = getattr(self.field, "settling", self.y.size)

        def product(v):
            return self.product(np.append(v, np.zeros(self.y.size - n)))[:n]

        largest, v, growth = self.largest_rate(), _some_direction(n), 0.0
        for _ in range(_MANY_PRODUCTS):  # of J + rate * 1, whose largest eigenvalue is that of the fastest growth
            w = product(v) + largest * v
            growth = float(np.linalg.norm(w))
            v = w / growth
        if growth > largest * (1.0 + 1e-3):
            return math.inf
        operator = LinearOperator((n, n), matvec=product, dtype=float)
        way, _ = gmres(operator, self.velocity[:n], rtol=0.1, restart=_MANY_PRODUCTS, maxiter=1)
        return self.size(np.append(way, np.zeros(self.y.size - n))[None], rtol, atol)


def _some_direction(size: int) -> np.ndarray:
    """Fixed unit vector with a component in every direction, for reproducible runs."""
    v = np.cos(np.arange(1.0, size + 1.0) ** 2)
    return v / np.linalg.norm(v)


def _dtype_name(array) -> str:
    return str(array.dtype).removeprefix("torch.")
