# SPDX-License-Identifier: Apache-2.0
import re
import subprocess

import pytest

from signalling.web.shorten import shorten


def run(script: str) -> str:
    """Return what a script prints."""
    command = ["node", "--input-type=module", "-e", script]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


SCRIPTS = [
    # properties of the same name as a variable stay
    "const total = 3; const box = {total: 4, box: 5}; console.log(total, box.total, box.box);",
    # shorthand in objects and patterns
    "const width = 3; const area = {width}; const {width: other} = area; console.log(JSON.stringify(area), other);",
    "const show = ({name, size = 2, ...rest}) => [name, size, JSON.stringify(rest)].join(); console.log(show({name: 1, x: 3}));",
    "const first = {one: 1, two: 2}; for (const [key, value] of Object.entries(first)) console.log(key, value);",
    # classes: members keep their names, private ones don't need to
    """class Counter {
  #count = 0;
  step = 2;
  constructor(start) { this.#count = start; }
  async count(times = 1) { this.#count += times * this.step; return this.#count; }
  get value() { return this.#count; }
  static from(value) { return new Counter(value); }
}
const counter = Counter.from(4); await counter.count(3); console.log(counter.value, counter.step);""",
    # blocks, ternaries, arrows, defaults
    "let state = 1; const next = (step = 2) => { state = step; return step ? state : next; }; next(); console.log(state);",
    "const values = [3, 4]; const sum = values.reduce((left, right) => left + right, 0); console.log(sum ? sum : values);",
    # templates, also one within another, with braces in them
    "const deep = 2; const make = (value) => `${value && ` · ${JSON.stringify({deep})}`} ${deep}`; console.log(make(deep));",
    # texts and expressions that only look like code
    r"const word = 'word'; const found = 'a word'.replace(/word/g, 'x'); console.log(word, found, '${word} {word}'); // word",
    "const error = 1; try { throw new Error('no'); } catch (error) { console.log(error.message); } console.log(error);",
    "const at = (list, index) => list?.[index] ?? list.length; console.log(at([1, 2], 5));",
    "const half = 4 / 2; const rest = half / 2; console.log(half, rest);",
    "async function late(value) { return await value; } console.log(await late(Promise.resolve(7)));",
    "const key = 'x'; const map = {[key]: 1, run() { return key; }}; console.log(map.x, map.run(), 'key' in map);",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_shortened_script_does_the_same(script: str) -> None:
    """Whatever kind of name stands where, the script prints what it printed before."""
    assert run(shorten(script)) == run(script)


def test_names_become_short_and_comments_go() -> None:
    """A long name that is only a variable is gone, and so is what nobody reads."""
    short = shorten("const veryLongName = 1; // why\n/** doc */\nconsole.log(veryLongName);")
    assert "veryLongName" not in short
    assert "why" not in short
    assert "doc" not in short


def test_what_the_browser_gives_keeps_its_name() -> None:
    """A module's own variable may be called like a global; the global is not renamed with it."""
    assert shorten("const location = 1; globalThis.x = location;").count("location") == 2


def test_short_names_are_new() -> None:
    """No name is given that something in the script has already."""
    script = (
        "const alpha = 1; const a = 2; const beta = (b) => b + alpha + a; console.log(beta(3));"
    )
    assert run(shorten(script)) == run(script)
    names = re.findall(r"const (\w+)", shorten(script))
    assert len(names) == len(set(names)) == 3
