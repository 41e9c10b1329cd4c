"""Times of a run, as logarithms and as given."""

from __future__ import annotations

import numpy as np


class Times:
    """Times as log t (n,), and as t if given as t, to return them exactly."""

    def __init__(self, log_t: np.ndarray, t: np.ndarray | None = None) -> None:
        self.log_t, self._given = log_t, t

    @property
    def given(self) -> np.ndarray:
        """(n,) t as given; NaN if only the logarithm is known."""
        return np.full(len(self.log_t), np.nan) if self._given is None else self._given

    @classmethod
    def of(cls, t: np.ndarray) -> Times:
        """Make Times from t."""
        with np.errstate(divide="ignore"):
            return cls(np.log(t), t)

    def __len__(self) -> int:
        return len(self.log_t)

    def __getitem__(self, rows) -> Times:
        return Times(self.log_t[rows], None if self._given is None else self._given[rows])

    def followed_by(self, others: Times) -> Times:
        """Concatenate with other times."""
        return Times(np.append(self.log_t, others.log_t), np.append(self.given, others.given))

    def given_of(self, log_t: np.ndarray) -> np.ndarray:
        """(m,) t as given for sorted log times; NaN for other times."""
        of_equal_ones = np.arange(len(log_t)) - np.searchsorted(log_t, log_t)
        place = np.minimum(np.searchsorted(self.log_t, log_t) + of_equal_ones, len(self) - 1)
        return np.where(self.log_t[place] == log_t, self.given[place], np.nan)

    @property
    def t(self) -> np.ndarray:
        """(n,) times; inf on overflow. A given t is used only if it agrees with log_t to rounding."""
        with np.errstate(all="ignore"):
            off = np.log(self.given) - self.log_t
            same = (np.abs(off) <= 1e-12 * (1.0 + np.abs(self.log_t))) | ((self.given == 0.0) & (self.log_t == -np.inf))
            return np.where(same, self.given, np.exp(self.log_t))
