"""Every bound has a reason, is read where it is needed, and can be made small by a test."""

import ast
import re
from pathlib import Path

import credit_service
from credit_service import bounds
from credit_service.domain.catch_up import TimerBounds
from credit_service.domain.rules import Rules
from credit_service.kafka.consume.turns import IntakeBounds
from support.small_bounds import CANNOT_BE_SMALL, SHOWS, SMALL, as_faults, read_by, small_bounds

SOURCES = Path(credit_service.__path__[0])
MODULE = ast.parse(Path(bounds.__file__).read_text("utf-8"))
NAMES = [name for name in vars(bounds) if name.isupper()]
COUNTED = re.compile(
    r"bytes|records?|rows?|events?|turns|things|letters?|lines?|characters|connections|questions|statements|accounts|"
    r"decisions|entries|messages|numbers|findings|gaps|requests|batches|spans|traces|sayings",
    re.IGNORECASE,
)


def test_each_has_a_reason_that_names_what_is_counted() -> None:
    told = {}
    for before, after in zip(MODULE.body, MODULE.body[1:], strict=False):
        if isinstance(before, ast.Assign):
            assert isinstance(after, ast.Expr), f"{ast.unparse(before)} has no reason"
            assert isinstance(after.value, ast.Constant)
            (target,) = before.targets
            told[ast.unparse(target)] = str(after.value.value)
    assert list(told) == NAMES
    assert [name for name, reason in told.items() if not COUNTED.search(reason)] == []


def test_the_module_imports_nothing() -> None:
    assert [node for node in ast.walk(MODULE) if isinstance(node, ast.Import | ast.ImportFrom)] == []


def test_each_is_used() -> None:
    assert read_by("") == set(NAMES)


def test_none_is_copied_when_a_module_is_imported() -> None:
    copied = []
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = [ast.unparse(node) for node in imports if node.module == "credit_service.bounds"]
        copied += [f"{path.name}: {read}" for read in names + _read_at_import(tree.body)]
    assert copied == []


def test_each_can_be_made_small_or_says_why_not() -> None:
    assert SMALL.keys() | CANNOT_BE_SMALL.keys() == set(NAMES)
    assert SMALL.keys() & CANNOT_BE_SMALL.keys() == set()
    assert SHOWS.keys() <= SMALL.keys()
    assert [name for name, value in SMALL.items() if not 1 <= value < getattr(bounds, name)] == []
    assert all(CANNOT_BE_SMALL.values())


def test_what_was_made_small_is_seen_at_once_and_put_back() -> None:
    usual = (TimerBounds(), Rules(), IntakeBounds())
    with small_bounds(
        TIMERS_PER_BATCH_MAX=3, TIMERS_PER_ACCOUNT_MAX=2, UNPARKED_PER_ACCOUNT_MAX=4, BATCH_RECORDS_MAX=5
    ):
        assert TimerBounds() == TimerBounds(of_batch=3, of_account=2)
        assert Rules().unparked_max == 4
        assert IntakeBounds().batch_records_max == 5
    assert (TimerBounds(), Rules(), IntakeBounds()) == usual
    assert as_faults(LANES=1) == "from credit_service import bounds; bounds.LANES = 1"


def _read_at_import(body: list[ast.stmt]) -> list[str]:
    """Where a bound is read when the module is: outside of functions, and in their default arguments."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            early = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            early += [] if isinstance(node, ast.Lambda) else node.decorator_list
            for one in early:
                visit(one)
            return
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "bounds":
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        for child in ast.iter_child_nodes(node):
            visit(child)

    for statement in body:
        visit(statement)
    return found
