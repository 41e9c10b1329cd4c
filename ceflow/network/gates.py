"""Gates of "relu" that slide: where an entry stays at 0 because on both sides its velocity points there.

Of an entry at 0 the gate, the derivative of relu there, is any number g of [0, 1] (Filippov). What passes the gate on the
way back is g times what comes, a force f; the velocity is linear in the forces at all sliding entries together, in one
layer or in several, as nothing passes them on the way forth. So the forces are the solution of a linear system, that
these entries do not move, and it holds as long as each f is between 0 and what comes: the velocity is the projection of
that of all other gates to where these entries are 0. It is also the limit of "softplus:BETA". [ceflow]

With the gates given the field is smooth. Where an entry crosses 0, or a gate leaves [0, 1], they are chosen anew.
"""

from __future__ import annotations

import math

from numba import njit

from ..kernels import KERNEL
from .chain import (
    BELOW, BLOCKS, DEPTH, DRIFT, ENTRIES, FORCE, GATES, HEADER, KEPT, LEVEL, MOST, NUMBERS, OPEN, SIZE, SLIDING,
    SLOW, VALUE, WIDEST, apply, backward, product,
)  # fmt: skip

_DEPENDENT = 1e-12  # of a diagonal element: what is left of it where a sliding entry moves as others do
PULL = 1.0  # how fast a sliding entry that is off 0 goes back, over the speed of the layers
BEYOND = 1e-12  # by which a share of a force may leave [0, 1]


@njit(**KERNEL)
def _drift(chain, matrices, y, scratch, dy, room):
    """How entries move with layers of velocity dy; `scratch` is as `chain.forward` left it (kernel)."""
    blocks, depth, widest = chain[BLOCKS], chain[DEPTH], chain[WIDEST]
    step, levels = 3 * depth + 1, HEADER + blocks * (3 * depth + 1)
    drift = scratch[chain[KEPT] + DRIFT * chain[ENTRIES] :]
    moved, after = room[:widest], room[widest : 2 * widest]
    for layer in range(depth - 1, 0, -1):
        for i in range(blocks):
            own = HEADER + i * step
            rows, inner, columns = chain[own + layer], chain[own + layer + 1], chain[own + depth]
            place, velocity = chain[own + 2 * depth + 1 + layer], dy[chain[own + depth + 1 + layer] :]
            out = moved[place - chain[HEADER + 2 * depth + 1 + layer] :]
            if layer == depth - 1:
                for j in range(rows * columns):
                    out[j] = velocity[j]
                continue
            place = chain[own + 2 * depth + 2 + layer]
            product(velocity, scratch[place:], out, rows, inner, columns)
            below = after[place - chain[HEADER + 2 * depth + 2 + layer] :]
            product(y[chain[own + depth + 1 + layer] :], below, out, rows, inner, columns, False, False, True)
        level = levels + LEVEL * (layer - 1)
        size, entries, place, first = chain[level], chain[level + 1], chain[level + 4], chain[level + 5]
        found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
        apply(matrices[chain[level + 2] :], moved[:size], found)
        for j in range(entries):
            drift[first + j] = found[j]
            found[j] *= slope[j]
        apply(matrices[chain[level + 3] :], found, after[:size])


@njit(**KERNEL)
def _velocity(chain, matrices, beta, y, scratch, residual, frozen, dy, room):
    """Velocities of layers, and how entries move with them (kernel)."""
    backward(chain, matrices, beta, y, scratch, residual, dy)
    for j in range(chain[NUMBERS]):
        if frozen[j] > 0.0:
            dy[j] = 0.0
    _drift(chain, matrices, y, scratch, dy, room)


@njit(**KERNEL)
def _solve(matrix, x, n):
    """``matrix x = b`` of a symmetric positive semidefinite matrix with scaled columns, b in x; 0 where it is singular."""
    for k in range(n):
        pivot = matrix[k * n + k]
        for i in range(k):  # what was subtracted
            pivot += abs(matrix[k * n + i] * matrix[i * n + k])
        if not abs(matrix[k * n + k]) > _DEPENDENT * pivot:
            matrix[k * n + k] = math.inf
        for i in range(k + 1, n):
            factor = matrix[i * n + k] / matrix[k * n + k]
            matrix[i * n + k] = factor
            for j in range(k + 1, n):
                matrix[i * n + j] -= factor * matrix[k * n + j]
            x[i] -= factor * x[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            x[k] -= matrix[k * n + j] * x[j]
        x[k] /= matrix[k * n + k]


@njit(**KERNEL)
def backward_gated(chain, matrices, beta, y, scratch, residual, frozen, fading, dy):
    """`chain.backward` of "relu", with the forces at sliding gates; frozen layers rest, and `fading` is the speed of decay
    (kernel)."""
    entries, numbers, widest = chain[ENTRIES], chain[NUMBERS], chain[WIDEST]
    gates, kept = chain[chain[GATES] :], scratch[chain[KEPT] :]
    value, force, drift = kept[VALUE * entries :], kept[FORCE * entries :], kept[DRIFT * entries :]
    slow, room = kept[SLOW * entries :], kept[6 * entries :]
    top, unit, room = room[:widest], room[widest : widest + numbers], room[widest + numbers :]
    size = 0  # numbers of the blocks of logits
    for i in range(chain[BLOCKS]):
        own = HEADER + i * (3 * chain[DEPTH] + 1)
        size += chain[own] * chain[own + chain[DEPTH]]
    count = 0
    for e in range(entries):
        force[e] = 0.0
        count += gates[e] == SLIDING
    for j in range(size):
        top[j] = residual[j]
    _velocity(chain, matrices, beta, y, scratch, residual, frozen, dy, room)
    squares = speeds = 0.0
    for j in range(numbers):
        squares, speeds = squares + y[j] * y[j], speeds + dy[j] * dy[j]
    speed = PULL * (math.sqrt(speeds / squares) + fading) if squares > 0.0 else 0.0
    for e in range(entries):
        slow[e] = speed
    if count == 0:
        return
    x, matrix, k = room[2 * widest :], room[2 * widest + chain[MOST] :], 0
    for e in range(entries):
        if gates[e] == SLIDING:
            x[k], k = -drift[e] - speed * value[e], k + 1
    k = 0
    for e in range(entries):
        if gates[e] != SLIDING:
            continue
        for j in range(size):
            residual[j] = 0.0
        force[e] = 1.0
        _velocity(chain, matrices, beta, y, scratch, residual, frozen, unit, room)
        force[e], i = 0.0, 0
        for other in range(entries):
            if gates[other] == SLIDING:
                matrix[i * count + k], i = drift[other], i + 1
        k += 1
    _solve(matrix, x, count)
    k = 0
    for e in range(entries):
        if gates[e] == SLIDING:
            force[e], k = x[k], k + 1
    for j in range(size):
        residual[j] = top[j]
    _velocity(chain, matrices, beta, y, scratch, residual, frozen, dy, room)


@njit(**KERNEL)
def measure(chain, y, scratch, near):
    """How far from 0 each entry of "relu" counts as 0, that is `near` times the norm of its layer and of what that acts
    on, and how slowly it is to move to count as resting (kernel)."""
    blocks, depth = chain[BLOCKS], chain[DEPTH]
    levels, step = HEADER + blocks * (3 * depth + 1), 3 * depth + 1
    size, slow = scratch[chain[KEPT] + SIZE * chain[ENTRIES] :], scratch[chain[KEPT] + SLOW * chain[ENTRIES] :]
    for layer in range(1, depth):
        weights = inputs = 0.0
        for i in range(blocks):
            own = HEADER + i * step
            rows, inner, columns = chain[own + layer], chain[own + layer + 1], chain[own + depth]
            for j in range(chain[own + depth + 1 + layer], chain[own + depth + 1 + layer] + rows * inner):
                weights += y[j] * y[j]
            if layer < depth - 1:
                place = chain[own + 2 * depth + 2 + layer]
                for j in range(place, place + inner * columns):
                    inputs += scratch[j] * scratch[j]
        level = levels + LEVEL * (layer - 1)
        for j in range(chain[level + 5], chain[level + 5] + chain[level + 1]):
            size[j] = near * math.sqrt(weights) * (math.sqrt(inputs) if layer < depth - 1 else 1.0)
            slow[j] *= size[j]


@njit(**KERNEL)
def left(chain, y, scratch, near):
    """Whether an entry has left the side that its gate is for, or a gate [0, 1] (kernel)."""
    entries, kept = chain[ENTRIES], scratch[chain[KEPT] :]
    gates, value, below = chain[chain[GATES] :], kept[VALUE * entries :], kept[BELOW * entries :]
    force, drift = kept[FORCE * entries :], kept[DRIFT * entries :]
    size, slow = kept[SIZE * entries :], kept[SLOW * entries :]
    measure(chain, y, scratch, near)
    for e in range(entries):
        if gates[e] == SLIDING:
            if not (below[e] < 0.0 and (1.0 + BEYOND) * below[e] <= force[e] <= -BEYOND * below[e]):
                return True
        else:
            side = 1.0 if gates[e] == OPEN else -1.0
            if side * value[e] < -size[e] or (side * value[e] < 0.0 and side * drift[e] < -slow[e]):
                return True
    return False
