# SPDX-License-Identifier: Apache-2.0
"""Make the references that follow from code: settings, metrics, danger signs, the tables of the lifecycle.

``python -m signalling.reference`` writes them, ``--check`` only says whether they are fresh (exit code 1 if not).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Protocol, get_args, get_origin

import msgspec
from prometheus_client import CollectorRegistry, Histogram

from signalling import config
from signalling.core import diagram, policy, triage
from signalling.metrics import LABEL_VALUES, Metrics
from signalling.wire.docstrings import Docstrings, markdown, read_docstrings
from signalling.wire.terms import Urgency

_ROOT = Path(__file__).parents[1]
CONFIGURATION = _ROOT / "docs" / "configuration.md"
EXAMPLE = _ROOT / "deploy" / "selat.example.toml"
METRICS = _ROOT / "docs" / "metrics.md"
TRIAGE = _ROOT / "docs" / "triage.md"
LIFECYCLE = _ROOT / "docs" / "lifecycle.md"


class _Exported(Protocol):
    registry: CollectorRegistry


_MADE = "Made by `make docs` from `{source}`; don't edit."


# -- settings --------------------------------------------------------------------------------------


def toml(value: object) -> str:
    """Return a setting's value as TOML (or as it would have to be written)."""
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "{ " + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + " }"
        case tuple() | list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case int() | float():
            return repr(value)
        case _:
            text = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{text}"'


def type_text(kind: Any) -> str:  # noqa: ANN401 - a type hint is any object
    """Return a setting's type and bounds in words."""
    if get_origin(kind) is Annotated:
        base, *notes = get_args(kind)
        bounds = [
            text for note in notes if isinstance(note, msgspec.Meta) for text in _bounds(note)
        ]
        return ", ".join([type_text(base), *bounds])
    if choices := config.choices_of(kind):
        return " or ".join(f"`{choice}`" for choice in choices)
    if get_origin(kind) is tuple:
        return "list of text"
    if get_origin(kind) is Mapping:
        return f"table of number by {', '.join(f'`{urgency}`' for urgency in Urgency)}"
    if NoneType in get_args(kind):
        inner = next(each for each in get_args(kind) if each is not NoneType)
        return (
            f"{type_text(inner)}, or empty"
            if "," in type_text(inner)
            else f"{type_text(inner)} or empty"
        )
    return {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}[
        kind
    ]


def _bounds(note: msgspec.Meta) -> Iterator[str]:
    if note.gt is not None:
        yield f"above {note.gt:g}"
    if note.ge is not None:
        yield f"at least {note.ge:g}"
    if note.le is not None and math.isfinite(note.le):
        yield f"at most {note.le:,.0f}".replace(",", " ")


def _texts() -> Docstrings:
    return read_docstrings(Path(config.__file__), Path(policy.__file__))


def configuration_reference() -> str:
    """Return `docs/configuration.md`."""
    texts = _texts()
    names = {target: name for name, target in config.ALIASES.items()}
    lines = [
        "# Settings",
        "",
        _MADE.format(source="signalling/config.py"),
        "",
        "Defaults, over them a TOML file (`selat --config FILE`, or its name in `SELAT_CONFIG`; "
        "[example](../deploy/selat.example.toml)), over that the environment: `SELAT_<SECTION>_<KEY>`, or the shorter name "
        "where there is one. Lists are written with commas there, tables as `red=300,green=900`. A key that isn't here, a "
        "wrong type or a value out of bounds stops the start with the key's name. `selat check --print` shows what is in "
        "force, without secrets. Spans are in seconds, sizes in bytes.",
    ]
    for section, kind in config.sections().items():
        lines += ["", f"## {section}", "", texts.classes[kind.__name__], ""]
        lines += ["| key | default | values | |", "| --- | --- | --- | --- |"]
        hints = config.hints(kind)
        for setting in fields(kind):
            text = markdown(texts.fields[kind.__name__, setting.name])
            if alias := names.get((section, setting.name)):
                text += f" Short: `{alias}`."
            values = type_text(hints[setting.name])
            if section == "consult" and ":" not in values:
                values += ", above 0"
            default = toml(config.default_of(setting))
            lines.append(f"| `{setting.name}` | `{default}` | {values} | {text} |")
    return "\n".join(lines) + "\n"


def example_toml() -> str:
    """Return `deploy/selat.example.toml`: every setting with its default, commented out."""
    texts = _texts()
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every setting with its default. Uncomment what you change; docs/configuration.md has the bounds.",
    ]
    for section, kind in config.sections().items():
        lines += ["", f"[{section}]"]
        for setting in fields(kind):
            text = texts.fields[kind.__name__, setting.name].replace("``", "`")
            lines += [f"# {line}" for line in _wrapped(text)]
            lines.append(f"#{setting.name} = {toml(config.default_of(setting))}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int = 110) -> list[str]:
    """Break a text at spaces; textwrap would also break at hyphens, in the middle of an address."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def in_force(settings: config.Config) -> str:
    """Return the settings in force as TOML, without secrets (`selat check --print`)."""
    lines = []
    for section, kind in config.sections().items():
        lines += ["", f"[{section}]"]
        for setting in fields(kind):
            value = getattr(getattr(settings, section), setting.name)
            lines.append(f"{setting.name} = {toml(_redacted(section, setting.name, value))}")
    return "\n".join(lines[1:]) + "\n"


def _redacted(section: str, key: str, value: object) -> object:
    """Hide the password that a store's address may carry; no other setting holds a secret."""
    if (section, key) == ("store", "url") and isinstance(value, str) and "@" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://[redacted]@{rest.rpartition('@')[2]}"
    return value


# -- metrics ---------------------------------------------------------------------------------------


def metrics_reference() -> str:
    """Return `docs/metrics.md`."""
    # Not above: `selat check` needs this module too, and a node's commands load no media.
    from media import metrics as of_relay  # noqa: PLC0415
    from media.app import described  # noqa: PLC0415

    relay = described()
    lines = [
        "# Metrics",
        "",
        _MADE.format(source="signalling/metrics.py` and `media/metrics.py"),
        "",
        "At `/metrics` of the listener that `server.metrics_host` and `server.metrics_port` name; never on the port of the "
        "pages. Beside these there are prometheus-client's own `process_*`, `python_*` metrics. Each event is counted by one "
        "node, the one that decided it, so sums over nodes are right; the gauges `selat_waiting`, `selat_in_call` and "
        "`selat_on_call` are the same on each node of a store, so take their `max`.",
        "",
        *_metric_rows(
            Metrics(CollectorRegistry()),
            "selat_",
            {"messages_received": ("type",), "messages_forwarded": ("type",)},
        ),
        "",
        "## Labels",
        "",
        "All are closed lists.",
        "",
        *_label_rows(sorted(LABEL_VALUES.items())),
        "| `version` | of the build; one value per node |",
        "",
        "## Of a relay",
        "",
        "Each relay process shows its own at `media.metrics_host` and `media.metrics_port`, the second one a port higher, and so "
        "on. What it counts of packets is of this process since its start, the legs that are gone included.",
        "",
        *_metric_rows(relay, "selat_relay_", dict(of_relay.LABELS)),
        "",
        *_label_rows(sorted(of_relay.LABEL_VALUES.items())),
    ]
    lines += [
        f"| `reason` of `selat_relay_{name}` | {', '.join(f'`{value}`' for value in values)} |"
        for name, values in of_relay.REASONS.items()
    ]
    return "\n".join(lines) + "\n"


def _metric_rows(
    metrics: _Exported, prefix: str, labels: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yield a table of all metrics but the process's own; ``labels``: of those that don't say so themselves."""
    bounds: dict[str, str] = {}
    for metric in vars(metrics).values():
        name = getattr(metric, "_name", "").removeprefix(prefix)
        labels.setdefault(name, tuple(getattr(metric, "_labelnames", ())))
        if isinstance(metric, Histogram):
            uppers = metric._kwargs["buckets"]  # noqa: SLF001 - not to be had otherwise
            bounds[name] = ", ".join(f"{upper:g}" for upper in uppers)
    yield "| metric | type | labels | |"
    yield "| --- | --- | --- | --- |"
    for family in sorted(metrics.registry.collect(), key=lambda each: each.name):
        if not family.name.startswith(prefix):
            continue
        short = family.name.removeprefix(prefix)
        suffix = "_total" if family.type == "counter" else ""
        text = family.documentation
        if short in bounds:
            text += f" Bounds: {bounds[short]}."
        names = ", ".join(f"`{label}`" for label in labels.get(short, ()))
        yield f"| `{family.name}{suffix}` | {family.type} | {names} | {text} |"


def _label_rows(values: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    yield "| label | values |"
    yield "| --- | --- |"
    for label, listed in values:
        yield f"| `{label}` | {', '.join(f'`{value}`' for value in listed)} |"


# -- danger signs ----------------------------------------------------------------------------------


def triage_reference() -> str:
    """Return `docs/triage.md`."""
    texts = read_docstrings(Path(triage.__file__))
    lines = [
        "# Danger signs",
        "",
        _MADE.format(source="signalling/core/triage.py"),
        "",
        "The intake asks these signs; the colour orders the queue and shows the post's emergency line when it is red. **It is no "
        "diagnosis**, and the page says so. The signs follow the Interagency Integrated Triage Tool of WHO, ICRC and MSF.",
        "",
        "**Before patients use it, the clinical owner of the installation must check this table.** Lines with the source "
        "*child chart, unverified* were written down from secondary accounts and not compared with the original chart. The "
        "wording for lay people is ours in every line, and has not been tested with patients.",
        "",
        "- Under 12 years the children's chart is asked, from 12 years the adults'. Lines marked *pregnant* are asked of pregnant "
        "patients only.",
        "- One red sign makes red. Any two of a group make red. Otherwise one yellow sign makes yellow.",
        "- A sign counts whichever chart it was asked on, and more signs never make a patient less urgent.",
        "",
        "| code | colour | asked of | question | criterion | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for sign in triage.SIGNS:
        colour = sign.alone.value if sign.alone is not Urgency.GREEN else "–"
        if sign.group:
            colour += f"; red with another of *{sign.group}*"
        question = sign.question or "*(not asked: follows from the age)*"
        lines.append(
            f"| `{sign.code}` | {colour} | {_asked_of(sign)} | {question} | {sign.criterion} | {sign.source} |"
        )
    lines += ["", "## Groups", ""]
    lines += [f"- *{group}*: {texts.fields['Group', group.name]}" for group in triage.Group]
    lines += ["", "## Left out", ""]
    lines += [
        "What a lay person can't measure. Who has no other sign is under-triaged by this.",
        "",
    ]
    lines += [f"- {criterion}: {reason}." for criterion, reason in triage.LEFT_OUT]
    return "\n".join(lines) + "\n"


def _asked_of(sign: triage.Sign) -> str:
    parts = [
        "all"
        if len(sign.charts) > 1
        else {triage.Chart.CHILD: "under 12"}.get(min(sign.charts), "12 and over")
    ]
    if sign.from_months:
        parts.append(f"from {sign.from_months // 12} years")
    if sign.below_months <= 1_560:
        parts.append(f"under {sign.below_months} month{'s' if sign.below_months > 1 else ''}")
    if sign.pregnant:
        parts.append("pregnant")
    return ", ".join(parts)


# -- lifecycle -------------------------------------------------------------------------------------

_MARK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def lifecycle_reference(page: str) -> str:
    """Return `docs/lifecycle.md` with every generated section made again; the prose around them is written by hand.

    Raises:
        ValueError: a section of the page is not known, or a known one is missing.
    """
    sections = diagram.sections()
    found = [match[2] for match in _MARK.finditer(page)]
    if sorted(found) != sorted(sections):
        raise ValueError(f"docs/lifecycle.md must have each of these once: {', '.join(sections)}")
    return _MARK.sub(lambda match: f"{match[1]}\n{sections[match[2]]}\n\n{match[3]}", page)


# -- files -----------------------------------------------------------------------------------------


def references() -> dict[Path, str]:
    """Return each file and what belongs into it."""
    return {
        CONFIGURATION: configuration_reference(),
        EXAMPLE: example_toml(),
        METRICS: metrics_reference(),
        TRIAGE: triage_reference(),
        LIFECYCLE: lifecycle_reference(LIFECYCLE.read_text(encoding="utf-8")),
    }


def stale() -> list[Path]:
    """Return the files that don't say what the code says."""
    return [
        path
        for path, text in references().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write what is stale, or with ``--check`` name it; return the exit code."""
    found = stale()
    for path in found:
        sys.stdout.write(
            f"{path.relative_to(_ROOT)} {'is stale' if '--check' in arguments else 'written'}\n"
        )
        if "--check" not in arguments:
            path.write_text(references()[path], encoding="utf-8")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
