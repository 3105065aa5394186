"""Plans as files: written whole or not at all, read strictly, and compared with the world as it is now."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from growc.diagnostics import GrowcError, fail
from growc.files.atomic import write_text
from growc.growth.graph import digest
from growc.growth.open import Opened, open_spec
from growc.plan.build import hashes
from growc.plan.plan import Plan
from growc.spec import load


def write_plan(plan: Plan, path: Path) -> None:
    """Freeze a plan to `path`; a plan that is there is replaced, and never half.

    Raises:
        GrowcError: it cannot be written (GROW604).
    """
    if path.resolve() == Path(plan.spec_path).resolve():
        fail("GROW604", f"{path} is the spec itself", help="choose another file with --out")
    try:
        write_text(path, plan.model_dump_json(by_alias=True, indent=1) + "\n")
    except OSError as error:
        fail("GROW604", f"cannot write {path}: {error.strerror}", help="choose another file with --out")


def read_plan(path: Path) -> Plan:
    """Read a frozen plan.

    Raises:
        GrowcError: it cannot be read, or is no plan of this version (GROW603).
    """
    try:
        return Plan.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        fail("GROW603", f"cannot read {path}: {error.strerror}", help="check the path")
    except UnicodeDecodeError:
        fail("GROW603", f"{path} is no plan: it is not UTF-8", help=_AGAIN)
    except (ValueError, RecursionError) as error:
        why = "it is not JSON"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
        fail("GROW603", f"{path} is no plan that this growc knows: {why}", help=_AGAIN)


_AGAIN = "make it with `growc plan SPEC --out FILE`"


def open_plan(plan: Plan, *, allow_code: bool = False) -> Opened:
    """What a plan describes, from its own text: the spec's file may be gone. Sources are read where they lie.

    Raises:
        GrowcError: a source cannot be read any more, or is another one with which the spec makes no sense.
    """
    return open_spec(Path(plan.spec_path), plan.overrides, allow_code=allow_code, text=plan.spec_text)


def drift(plan: Plan, opened: Opened) -> list[str]:
    """The parts that differ from those that the plan was made of, some of spec, source and code, in `opened`."""
    now = hashes(opened)
    return [part for part in ("spec", "source", "code") if plan.hashes.get(part) != now[part]]


def spec_moved_on(plan: Plan) -> bool:
    """Whether the file that the plan was made of says something else by now; not where there is none any more."""
    path = Path(plan.spec_path)
    try:
        return path.exists() and digest(load(path, plan.overrides, allow_code=True).values) != plan.hashes["spec"]
    except GrowcError:
        return True
