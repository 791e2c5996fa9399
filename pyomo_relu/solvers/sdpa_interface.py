"""What the interfaces to solvers of SDPA files have in common.

A conic form goes through three steps, and what the solver says comes back through them:
its quadratic part becomes cones, its dual is taken where that has fewer variables, and
equalities are eliminated.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.errors import InputError, SolverError, UnsupportedConeError
from pyomo_relu.solvers.cone_program import (
    Dual,
    Epigraph,
    Kind,
    Outcome,
    dual,
    epigraph,
)
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.conic_solver import ConicAnswer, ConicSolver
from pyomo_relu.solvers.elimination import Elimination, eliminate
from pyomo_relu.solvers.executable import Run, banner_version, run, working_directory
from pyomo_relu.solvers.sdpa_format import Embedding, SDPAProblem, SDPASolution, embed

__all__ = ["Report", "SDPASolver", "Translation", "translate"]

#: The dual is solved where it has fewer variables than this share of the primal's: the
#: work of an iteration grows with the cube of their number.
DUAL_SHARE = 0.7

#: Largest residual of a normalised proof or direction that is believed.
CERTIFICATE_TOLERANCE = 1e-6

#: Largest error, in the sense of :meth:`SDPASolution.errors`, of a point that counts as
#: solved although the program stopped short of what it was asked for: the tolerance
#: that CSDP has by itself.
ACCEPTABLE = 1e-8

#: Largest gap, relative to one plus the objective of the model, at which a point counts
#: as solved: the program measures it in the units of the scaled problem.
GAP_TOLERANCE = 1e-5

_SOLVED = TerminationCondition.convergenceCriteriaSatisfied
_DECIDED = frozenset(
    {
        _SOLVED,
        TerminationCondition.provenInfeasible,
        TerminationCondition.infeasibleOrUnbounded,
        TerminationCondition.iterationLimit,
        TerminationCondition.maxTimeLimit,
    }
)


@dataclass(frozen=True)
class Translation:
    """A conic form on its way to an SDPA problem, and the way back.

    Attributes
    ----------
    first : Epigraph
    turned : Dual or None
    last : Elimination
    embedding : Embedding or None
        None where the steps have already decided.
    """

    first: Epigraph
    turned: Dual | None
    last: Elimination
    embedding: Embedding | None

    @property
    def decided(self) -> Outcome | None:
        """What is known of the form without a solver."""
        return None if self.last.decided is None else self._up(self.last.decided)

    def restore(self, kind: Kind, x: np.ndarray, Y: np.ndarray) -> Outcome:
        """Bring a solution of the SDPA problem back to the form.

        Parameters
        ----------
        kind : Kind
            What the solver says that it is, for the SDPA problem (P).
        x : (m,) ndarray
        Y : (size,) ndarray

        Returns
        -------
        Outcome
        """
        assert self.embedding is not None
        if kind == Kind.DIRECTION:
            Y = np.zeros(len(Y))
        if kind == Kind.PROOF:
            x = np.zeros(len(x))
        z = self.embedding.multipliers(Y)
        return self._up(self.last.restore(Outcome(kind, x, z)))

    def _up(self, outcome: Outcome) -> Outcome:
        if self.turned is not None:
            outcome = self.turned.restore(outcome)
        return self.first.restore(outcome)


def translate(form: ConicForm, *, dualise: bool | None = None) -> Translation:
    """Turn a conic form into an SDPA problem.

    Parameters
    ----------
    form : ConicForm
        Without exponential cones.
    dualise : bool, optional
        Whether the variables of the problem are the multipliers; by default where that
        makes it smaller.

    Returns
    -------
    Translation
    """
    first = epigraph(form)
    program = first.program
    if dualise is None:
        variables = len(program.c) - program.n_zero
        multipliers = len(program.b) - program.n_zero - variables
        dualise = multipliers < DUAL_SHARE * variables
    turned = dual(program) if dualise else None
    last = eliminate(program if turned is None else turned.program)
    embedding = None if last.decided is not None else embed(last.reduced)
    return Translation(first, turned, last, embedding)


@dataclass(frozen=True)
class Report:
    """What a program said about an SDPA problem.

    Attributes
    ----------
    status : str
        Its own word.
    termination : TerminationCondition
        What that means for a point.
    kinds : tuple of Kind
        What ``solution`` may be, of (P), in the order in which it is tried.
    solution : SDPASolution or None
    iterations : int
    """

    status: str
    termination: TerminationCondition
    kinds: tuple[Kind, ...] = ()
    solution: SDPASolution | None = None
    iterations: int = 0


class SDPASolver(ConicSolver):
    """Base of the interfaces to programs that read SDPA files.

    A subclass names its program, has its parameters, and overrides :meth:`_write` and
    :meth:`_read`.
    """

    #: File name of the program, and its name in messages and before its version.
    executable = ""
    title = ""
    #: All parameters, with an integer where the program takes integers.
    parameters: ClassVar[dict[str, Any]] = {}
    #: What is changed for a second attempt where the first one decides nothing.
    second_parameters: ClassVar[dict[str, Any]] = {}
    #: The parameter that ``iteration_limit`` sets.
    iteration_parameter = ""
    #: Parameters that say when a point is good enough.
    tolerances: ClassVar[frozenset[str]] = frozenset()

    def path(self) -> str | None:
        """Where the program is: looked for on every call."""
        return shutil.which(self.executable)

    def available(self) -> Availability:
        """Whether the program is on the PATH."""
        return (
            Availability.NotFound if self.path() is None else Availability.FullLicense
        )

    def version(self) -> tuple[int, ...]:
        """Version that the program prints, () where there is none."""
        path = self.path()
        return () if path is None else banner_version(path, self.title)

    def _write(
        self,
        problem: SDPAProblem,
        parameters: dict[str, Any],
        config: Any,
        folder: Path,
    ) -> list[str]:
        """Write the files of a solve, and return the arguments of the program."""
        raise NotImplementedError(f"{type(self).__name__} does not override _write")

    def _read(
        self, problem: SDPAProblem, parameters: dict[str, Any], ended: Run, folder: Path
    ) -> Report | None:
        """Read what the program left; None where it is no answer."""
        raise NotImplementedError(f"{type(self).__name__} does not override _read")

    def _answer(self, form: ConicForm, config: Any) -> ConicAnswer:
        # Before the presolve: it forgets the names of the cones.
        _refuse_exponential(form, self.name)
        self._parameters(config)
        return super()._answer(form, config)

    def minimise(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Hand a conic form to the program, and bring its answer back.

        Parameters
        ----------
        form : ConicForm
            The problem, with at least one variable.
        config : ConicSolverConfig
            Options of this solve.

        Returns
        -------
        ConicAnswer

        Raises
        ------
        InputError
            If ``solver_options`` names no parameter of the program, or a value does
            not fit.
        SolverError
            If the program fails without an answer.
        UnsupportedConeError
            If there are exponential cones.
        """
        _refuse_exponential(form, self.name)
        translation = translate(form)
        if translation.decided is not None:
            word = f"{translation.decided.kind.value}, found without the solver"
            return _answer(form, (translation.decided,), Report(word, _SOLVED), [])
        assert translation.embedding is not None
        problem = translation.embedding.problem
        ended: list[Run] = []

        def ask(question: SDPAProblem, *, again: bool = False) -> Report:
            parameters = self._parameters(config, again=again)
            left = config.time_limit
            if left is not None:
                left = max(left - sum(one.seconds for one in ended), 0.0)
            with working_directory(config.working_dir, self.executable) as folder:
                arguments = self._write(question, parameters, config, folder)
                command = [self.path() or self.executable, *arguments]
                ended.append(
                    run(
                        command,
                        folder,
                        time_limit=left,
                        streams=config.tee,
                        environment=_threads(config),
                    )
                )
                return self._report(question, parameters, config, ended[-1], folder)

        def answer(report: Report, kinds: tuple[Kind, ...]) -> ConicAnswer:
            outcomes: tuple[Outcome, ...] = ()
            if report.solution is not None:
                x, Y = report.solution.x, report.solution.Y
                outcomes = tuple(translation.restore(kind, x, Y) for kind in kinds)
            found = _answer(form, outcomes, report, ended)
            return found if self._asked(config) else _check_gap(form, found)

        # Where nothing is minimised, or all sides are zero, the question is only
        # whether there is a point.
        for kind, trivial in (
            (Kind.PROOF, not problem.c.any()),
            (Kind.DIRECTION, not problem.F0.any()),
        ):
            if trivial:
                report = found_in_search(
                    problem, kind, ask(search_problem(problem, kind))
                )
                return answer(report, report.kinds)
        first = ask(problem)
        result = answer(first, first.kinds)
        if result.termination in _DECIDED:
            return result
        stuck = Kind.POINT in first.kinds
        if stuck and self.second_parameters:
            second = ask(problem, again=True)
            found = answer(second, second.kinds)
            if found.termination in _DECIDED:
                return found
        # It says that there is a proof or a direction but gives none that is one, or it
        # got stuck, perhaps for that reason.
        for kind in (Kind.PROOF, Kind.DIRECTION):
            if kind not in first.kinds:
                continue
            search = found_in_search(problem, kind, ask(search_problem(problem, kind)))
            if search.termination == TerminationCondition.maxTimeLimit:
                return answer(search, ())
            if kind not in search.kinds:
                continue
            found = answer(search, (kind,))
            if found.termination in _DECIDED:
                return dataclasses.replace(found, status=first.status)
        if not stuck and self.second_parameters:
            second = ask(problem, again=True)
            found = answer(second, second.kinds)
            if found.termination in _DECIDED:
                return found
        return answer(first, first.kinds)

    def _report(
        self,
        problem: SDPAProblem,
        parameters: dict[str, Any],
        config: Any,
        ended: Run,
        folder: Path,
    ) -> Report:
        """Read what the program left, and measure a point that it gave up on."""
        if ended.timed_out:
            return Report("time limit", TerminationCondition.maxTimeLimit)
        try:
            report = self._read(problem, parameters, ended, folder)
        except InputError as error:
            raise SolverError(
                f"{self.title} left a file that is no solution: {error}"
            ) from error
        if report is None:
            raise SolverError(
                f"{self.title} failed without an answer (exit code {ended.code}): "
                f"{ended.log[-500:].strip() or 'it printed nothing'}"
            )
        # The default tolerances ask for more than is needed, so that most points are
        # better; who sets them wants what they say.
        if (
            report.solution is not None
            and Kind.POINT in report.kinds
            and not self._asked(config)
            and max(report.solution.errors(problem)) <= ACCEPTABLE
        ):
            return dataclasses.replace(
                report,
                status=f"{report.status}, all errors at most {ACCEPTABLE:g}"
                if report.termination != _SOLVED
                else report.status,
                termination=_SOLVED,
                kinds=(Kind.POINT,),
            )
        return report

    def _asked(self, config: Any) -> bool:
        """Whether the user has set a tolerance of the program."""
        return not self.tolerances.isdisjoint(config.solver_options.value())

    def _parameters(self, config: Any, *, again: bool = False) -> dict[str, Any]:
        """All parameters of a solve: ours and the user's, names and values checked."""
        options = config.solver_options.value()
        limit = getattr(config, "iteration_limit", None)
        for name, value in options.items():
            if name not in self.parameters:
                raise InputError(
                    f"{self.title} has no parameter {name!r}; solver_options may have: "
                    f"{', '.join(self.parameters)}"
                )
            default = self.parameters[name]
            if not _fits(value, default):
                raise InputError(
                    f"{value!r} does not fit {self.title}'s parameter {name!r}, whose "
                    f"default is {default!r}"
                )
        parameters = dict(self.parameters)
        if again:
            parameters.update(self.second_parameters)
        for name, value in options.items():
            # Whatever its type was, the file gets a plain number.
            parameters[name] = type(parameters[name])(value)
        if limit is not None:
            parameters[self.iteration_parameter] = limit
        return parameters


def _fits(value: Any, default: float) -> bool:
    """Whether a value is a finite number, and an integer where the default is one."""
    if isinstance(value, (str, bool)):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return math.isfinite(number) and (isinstance(default, float) or number % 1.0 == 0.0)


def _threads(config: Any) -> dict[str, str]:
    """Tell OpenMP how many threads to use."""
    return {"OMP_NUM_THREADS": str(config.threads)} if config.threads else {}


def search_problem(problem: SDPAProblem, kind: Kind) -> SDPAProblem:
    r"""Write a problem whose optimum is a proof or a direction for another.

    .. math::

        \min t :\ \sum_i x_i F_i - F_0 + t I \succeq 0,\ t \ge -1

    has the multiplier Y with :math:`F_i \bullet Y = 0` and
    :math:`F_0 \bullet Y = t > 0` where (P) has no point, and

    .. math::

        \min t :\ \sum_i d_i F_i + t I \succeq 0,\ c^T d \le t - 1,\ t \ge 0

    the value zero where (P) has a direction of unbounded descent. Both have points
    inside.

    Parameters
    ----------
    problem : SDPAProblem
        The problem (P) in question.
    kind : Kind
        `PROOF` or `DIRECTION`.

    Returns
    -------
    SDPAProblem
        With t as its last variable and one more block.
    """
    m = len(problem.c)
    _, row, column = problem.places
    identity = sp.csc_array((row == column).astype(float)[:, None])
    last = np.zeros(m + 1)
    last[m] = 1.0
    if kind == Kind.PROOF:
        F0, sides, more = problem.F0, [-1.0], last[None, :]
    else:
        descent = np.append(-problem.c, 1.0)
        F0, sides, more = 0.0 * problem.F0, [1.0, 0.0], np.vstack([descent, last])
    return SDPAProblem(
        c=last,
        F=sp.csc_array(
            sp.vstack([sp.hstack([problem.F, identity]), sp.csc_array(more)])
        ),
        F0=np.concatenate([F0, sides]),
        blocks=np.append(problem.blocks, -len(sides)),
    )


def found_in_search(problem: SDPAProblem, kind: Kind, search: Report) -> Report:
    """Translate the answer to a :func:`search_problem`.

    Where there is no proof its x is a point of (P), and where there is no direction its
    multipliers are a point of (D), both optimal for a problem whose costs or whose
    sides are zero. What the program says about the search decides nothing: what it
    found is measured.

    Parameters
    ----------
    problem : SDPAProblem
        The problem in question.
    kind : Kind
        What was searched for.
    search : Report
        What was found.

    Returns
    -------
    Report
        With a solution of `problem`, and what it may be as the only one of its kinds.
    """
    if search.solution is None:
        return dataclasses.replace(search, kinds=())
    m, size = len(problem.c), len(problem.F0)
    x, t = search.solution.x[:m], float(search.solution.x[m])
    Y, price = search.solution.Y[:size], float(search.solution.Y[size])
    S = problem.F @ x - problem.F0
    if kind == Kind.PROOF and t <= ACCEPTABLE:
        # What the program holds for semidefinite, less t.
        _, row, column = problem.places
        kind, Y = Kind.POINT, 0.0 * Y
        S = search.solution.S[:size] - min(t, 0.0) * (row == column)
    elif kind == Kind.DIRECTION and t > ACCEPTABLE and price > ACCEPTABLE:
        kind, x, Y, S = Kind.POINT, 0.0 * x, Y / price, 0.0 * S
    found = SDPASolution(x, S, Y)
    termination = search.termination
    if kind == Kind.POINT and max(found.errors(problem)) <= ACCEPTABLE:
        termination = _SOLVED
    elif termination == _SOLVED:
        termination = TerminationCondition.unknown
    return dataclasses.replace(
        search, termination=termination, kinds=(kind,), solution=found
    )


def _refuse_exponential(form: ConicForm, solver: str) -> None:
    if not getattr(form, "n_exponential", 0):
        return
    first = len(form.b) - 3 * form.n_exponential
    names = [
        f"'{part.cone.name}'"
        for part in getattr(form, "vector_cones", [])
        if part.rows.min() >= first
    ]
    which = f"exponential cone {names[0]}" if names else "exponential cones"
    raise UnsupportedConeError(
        f"solver '{solver}' takes linear, second-order and semidefinite cones, but the "
        f"model has the {which}; use a solver that takes those, for instance 'clarabel'"
    )


def _check_gap(form: ConicForm, answer: ConicAnswer) -> ConicAnswer:
    """Take back an optimum whose objectives differ in the units of the model."""
    if answer.termination != _SOLVED or not answer.has_point:
        return answer
    value = form.objective(answer.x)
    gap = abs(value - form.dual_objective(answer.x, answer.z)) / (1.0 + abs(value))
    if gap <= GAP_TOLERANCE:
        return answer
    return dataclasses.replace(
        answer,
        status=f"{answer.status}, but with a relative gap of {gap:.1g} in the model",
        termination=TerminationCondition.unknown,
    )


def _answer(
    form: ConicForm,
    outcomes: tuple[Outcome, ...],
    report: Report,
    ended: list[Run],
) -> ConicAnswer:
    """Believe what can be checked: a proof, a direction, or a point."""
    x, z = np.zeros(len(form.c)), np.zeros(len(form.b))
    termination, has_point = report.termination, False
    for outcome in outcomes:
        if not (np.isfinite(outcome.x).all() and np.isfinite(outcome.z).all()):
            continue
        if outcome.kind == Kind.POINT:
            x, z, has_point = outcome.x, outcome.z, True
            break
        is_proof = outcome.kind == Kind.PROOF
        residual = (
            form.infeasibility_residual(outcome.z)
            if is_proof
            else form.unboundedness_residual(outcome.x)
        )
        if residual <= CERTIFICATE_TOLERANCE:
            x, z = outcome.x, outcome.z
            termination = (
                TerminationCondition.provenInfeasible
                if is_proof
                else TerminationCondition.infeasibleOrUnbounded
            )
            break
    if termination == _SOLVED and not has_point:
        termination = TerminationCondition.unknown
    return ConicAnswer(
        status=report.status,
        termination=termination,
        x=x,
        z=z,
        has_point=has_point,
        iterations=report.iterations,
        seconds=sum(one.seconds for one in ended),
        log="".join(one.log for one in ended),
    )
