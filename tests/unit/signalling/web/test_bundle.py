# SPDX-License-Identifier: Apache-2.0
import subprocess
from pathlib import Path

import pytest

from signalling.web import bundle


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a module."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def same(text: str) -> str:
    return text


def test_modules_come_after_what_they_import_once(write) -> None:
    """The order is that of the imports, however often something is imported."""
    write("base.js", "export const one = 1;\n")
    write("left.js", 'import {one} from "./base.js";\nexport const left = one;\n')
    write("right.js", 'import {one} from "./base.js";\nexport const right = one;\n')
    entry = write(
        "pages/page.js", 'import {left} from "../left.js";\nimport {right} from "../right.js";\n'
    )
    assert [path.name for path in bundle.modules(entry)] == [
        "base.js",
        "left.js",
        "right.js",
        "page.js",
    ]


def test_a_script_has_no_import_and_no_export_left(write) -> None:
    """What is put together is one module that needs nothing."""
    write("base.js", "export const one = 1;\nexport function two() { return one + one; }\n")
    entry = write(
        "page.js", 'import {one, two} from "./base.js";\ndocument.title = String(one + two());\n'
    )
    script = bundle.script(entry, same)
    assert "import" not in script
    assert "export" not in script


@pytest.mark.parametrize("short_names", [True, False])
def test_a_late_part_gives_what_its_entry_exports(write, short_names: bool, tmp_path: Path) -> None:
    """A page imports it by its address and finds the names of the source, whatever they are inside."""
    write("base.js", "export const one = 1;\n")
    entry = write(
        "late.js",
        'import {one} from "./base.js";\nexport class Thing {\n  value = one;\n}\nexport function double(number) {\n  return number * 2;\n}\n',
    )
    text = bundle.script(entry, same, short_names=short_names, late=True)
    made = tmp_path / "made.mjs"
    made.write_text(text, encoding="utf-8")
    program = f"""const {{Thing, double, one}} = (await import({made.as_uri()!r})).default;
    console.log(double(new Thing().value), one);"""
    said = subprocess.run(
        ["node", "--input-type=module", "-e", program], check=True, capture_output=True, text=True
    )
    assert said.stdout == "2 undefined\n"


def test_texts_are_replaced_by_their_translation(write) -> None:
    """A plain text needs no function any more; one with values keeps it."""
    entry = write("page.js", 'document.title = _("Hello") + _("Place {n}", {n: 2});\n')
    assert list(bundle.texts(entry.read_text())) == ["Hello", "Place {n}"]
    script = bundle.script(entry, {"Hello": "Halo", "Place {n}": "Urutan {n}"}.__getitem__)
    assert "_(`Urutan {n}`," in script.replace('"', "`")
    assert "Halo" in script
    assert script.count("_(") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('import * as all from "./base.js";\n', "named imports"),
        ('export {one} from "./base.js";\n', "plain exports"),
        ('import {one} from "./gone.js";\n', "no such module"),
        ("const one = 2;\nexport const one = 3;\n", "rename one"),
        ('document.title = "</script>";\n', "end the script"),
    ],
)
def test_what_can_not_be_put_together_stops_the_start(write, text: str, why: str) -> None:
    """A module that isn't understood is an error that names the reason, never a page that fails in a browser."""
    write("base.js", "export const base = 1;\n")
    with pytest.raises(bundle.BundleError, match=why):
        bundle.script(write("page.js", text), same)


def test_a_text_that_the_catalogues_would_miss_is_an_error() -> None:
    """Only literals can be found by reading the source."""
    for source in ("_(name)", "_('single')", "_(`template`)", '_("a" + "b")'):
        with pytest.raises(bundle.BundleError):
            list(bundle.texts(source))


def test_tables_that_a_page_does_not_use_are_left_out(write) -> None:
    """wire.js is for all pages; each takes only its part."""
    write(
        "wire.js",
        "export const USED = [\n  1,\n];\n\n/** doc */\nexport const UNUSED = [\n  2,\n];\n",
    )
    entry = write("page.js", 'import {USED} from "./wire.js";\ndocument.title = String(USED);\n')
    script = bundle.script(entry, same)
    assert "1" in script
    assert "2" not in script
