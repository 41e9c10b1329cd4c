"""Theorems that steps may quote without a check, each with a source."""

EXISTENCE = (
    "existence and uniqueness of solutions of ordinary differential equations, and no blow-up under a bound (Hartman, "
    "Ordinary Differential Equations, chapter II)"
)
MONOTONE = (
    "a function does not decrease where its derivative is not negative (mean value theorem; Rudin, Principles of "
    "Mathematical Analysis, 5.11)"
)
LIMITS = (
    "limits of sums, products, quotients, and of inverses of monotone functions (Rudin, Principles of Mathematical "
    "Analysis, chapters 3 and 4)"
)
BESSEL = "e^{x (u - 1/u)/2} is the sum of J_n(x) u^n over all n, and may be integrated term by term (DLMF 10.12.1)"
SPECTRAL = "commuting symmetric matrices have common eigenvectors (Horn & Johnson, Matrix Analysis, 2.5.5)"
NUCLEAR = (
    "|W H|_* <= |W| |H|, with equality for one pair of factors of every matrix (variational form of the nuclear norm; "
    "Srebro, Rennie & Jaakkola, 2004)"
)
DUALITY = "<A, Z> is at most the spectral norm of A times the nuclear norm of Z (Horn & Johnson, Matrix Analysis, 7.4)"
VON_NEUMANN = "von Neumann's trace inequality (Horn & Johnson, Matrix Analysis, 7.4.1)"
JENSEN = "Jensen's inequality for convex functions of class C^2 (Hardy, Littlewood & Pólya, Inequalities, 3.6)"
AVERAGING = (
    "the mean of a convex function over the images of a point is not less than its value at their mean (Jensen; Hardy, "
    "Littlewood & Pólya, Inequalities, 3.6)"
)
CONCAVE = (
    "a concave function that grows along the rays of a polyhedron without lines is least at one of its vertices "
    "(Rockafellar, Convex Analysis, section 32)"
)
MEANS = "inequality of the arithmetic and the geometric mean (Hardy, Littlewood & Pólya, Inequalities, 2.5)"
ROOT = "a positive semi-definite matrix has one such square root (Horn & Johnson, Matrix Analysis, 7.2.6)"
GAUSSIAN = (
    "a half-space at distance r has the probability Φ(-r/s) under a Gaussian of deviation s, of coordinates that are "
    "independent in every orthonormal basis (Feller, An Introduction to Probability Theory II, III.6)"
)
RADON = "Radon's theorem on d + 2 points in d dimensions (Rockafellar, Convex Analysis, section 17; Radon 1921)"
NEAREST = "a closed convex set has one point that is nearest to a given one (Rockafellar, Convex Analysis, section 2)"
POLAR = "every matrix has a singular value decomposition (Horn & Johnson, Matrix Analysis, 2.6.3)"
MANIFOLDS = (
    "near a normally hyperbolic set of critical points only a set of starts of measure zero stays, if there is one "
    "negative eigenvalue (stable manifolds; Hirsch, Pugh & Shub, Invariant Manifolds)"
)
INCLUSIONS = (
    "at a kink of an activation: existence of solutions of differential inclusions (Filippov, Differential Equations "
    "with Discontinuous Righthand Sides, section 7)"
)
