"""Sliding gates of "relu": an entry stays at 0 if its velocity points to 0 from both sides.

At an entry 0 the gate (derivative of relu) can be any g in [0, 1] (Filippov). In the backward pass the gate transmits a
force, g times the incoming gradient. The velocity is linear in the forces at all sliding entries, in one or several
layers, because their outputs are 0. So the forces solve a linear system that keeps these entries at 0, as long as each
force is between 0 and the incoming gradient. The velocity is then the projection to the set where these entries are 0.
It is also the limit of "softplus:BETA" for large BETA. [ceflow]

For fixed gates the field is smooth. When an entry crosses 0, or a gate leaves [0, 1], the gates are chosen again.
"""

from __future__ import annotations

import math

from ..kernels import KERNEL, njit
from .chain import (
    BELOW,
    BLOCKS,
    DEPTH,
    DRIFT,
    EACH,
    ENTRIES,
    FORCE,
    GATES,
    HEADER,
    KEPT,
    LEVEL,
    MOST,
    NUMBERS,
    OPEN,
    SIZE,
    SLIDING,
    SLOW,
    VALUE,
    WIDEST,
    apply,
    backward,
    product,
)  # fmt: skip

_DEPENDENT = 1e-12  # relative pivot below which a sliding entry depends on others
PULL = 1.0  # rate at which a sliding entry returns to 0, relative to the speed of the layers
BEYOND = 1e-12  # tolerance of gates outside [0, 1]


@njit(**KERNEL)
def _drift(chain, matrices, y, scratch, dy, room):
    """Velocities of entries for layer velocities dy; `scratch` is that of `chain.forward` (kernel)."""
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
        if entries == 0:
            for j in range(size):
                after[j] = moved[j]
            continue
        found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
        apply(matrices[chain[level + 2] :], moved[:size], found)
        for j in range(entries):
            drift[first + j] = found[j]
            found[j] *= slope[j]
        apply(matrices[chain[level + 3] :], found, after[:size])


@njit(**KERNEL)
def _solve(matrix, x, n):
    """Solve ``matrix x = b`` in place for a scaled symmetric positive semidefinite matrix (kernel).

    Undetermined components of a singular system are set to 0."""
    for k in range(n):
        pivot = matrix[k * n + k]
        for i in range(k):  # subtract known parts
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
    """`chain.backward` for "relu" with forces at sliding gates (kernel).

    Frozen layers do not move; `fading` is the rate of decay."""
    entries, numbers, widest, most = chain[ENTRIES], chain[NUMBERS], chain[WIDEST], chain[MOST]
    gates, kept = chain[chain[GATES] :], scratch[chain[KEPT] :]
    value, force, drift = kept[VALUE * entries :], kept[FORCE * entries :], kept[DRIFT * entries :]
    slow, top = kept[SLOW * entries :], kept[EACH * entries :]
    unit, room = top[widest:], top[widest + numbers :]
    x, matrix = room[2 * widest :], room[2 * widest + most :]
    size = count = 0  # size of the blocks of logits
    for i in range(chain[BLOCKS]):
        own = HEADER + i * (3 * chain[DEPTH] + 1)
        size += chain[own] * chain[own + chain[DEPTH]]
    for j in range(size):
        top[j] = residual[j]
    for e in range(entries):
        force[e] = 0.0
        count += gates[e] == SLIDING
    e = -1
    # without forces; with each single force; with the solution
    for k in range(count + 2 if count > 0 else 1):
        alone = 0 < k <= count
        if alone:
            e += 1
            while gates[e] != SLIDING:
                e += 1
            force[e] = 1.0
        for j in range(size):
            residual[j] = 0.0 if alone else top[j]
        velocity = unit if alone else dy
        backward(chain, matrices, beta, y, scratch, residual, velocity)
        for j in range(numbers):
            if frozen[j] > 0.0:
                velocity[j] = 0.0
        _drift(chain, matrices, y, scratch, velocity, room)
        if k == 0:
            squares = speeds = 0.0
            for j in range(numbers):
                squares, speeds = squares + y[j] * y[j], speeds + dy[j] * dy[j]
            speed = PULL * (math.sqrt(speeds / squares) + fading) if squares > 0.0 else 0.0
        i = 0
        for other in range(entries):
            if k == 0:
                slow[other] = speed
            if k <= count and gates[other] == SLIDING:
                if alone:
                    matrix[i * count + k - 1] = drift[other]
                else:
                    x[i] = -drift[other] - speed * value[other]
                i += 1
        if alone:
            force[e] = 0.0
        if alone and k == count:
            _solve(matrix, x, count)
            i = 0
            for other in range(entries):
                if gates[other] == SLIDING:
                    force[other], i = x[i], i + 1


@njit(**KERNEL)
def measure(chain, y, scratch, near):
    """Distance and velocity below which each entry of "relu" counts as 0 and as at rest (kernel).

    The distance is `near` times the norms of its layer and of the input of the layer."""
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
    """Whether an entry has left the side of its gate, or a gate has left [0, 1] (kernel)."""
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
