# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/man: a manual page for each command of the driver, from its flags, its help and its examples.

click-man writes such pages too. It escapes no text, so a line of a help that begins with a dot is lost, fills the lines
of examples into one paragraph, and cuts the first sentence after 45 characters. It also puts the date into each page,
which would differ every day. The pages are in the repository, because a build of the wheel would need every dependency
of the driver to make them.

python tests/lint/man_pages.py            (make docs)
python tests/lint/man_pages.py --check    reports whether they are stale, and changes nothing
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/man"
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

import click  # noqa: E402 - after the path from above, as what follows

from noslop_driver.cli.examples import EXAMPLES  # noqa: E402
from noslop_driver.cli.main import app  # noqa: E402
from noslop_driver.errors import ExitCode  # noqa: E402

PROGRAM = "noslop-driver"
_CODES = {
    ExitCode.OK: "Success.",
    ExitCode.FAILED: "A task or a check failed.",
    ExitCode.USAGE: "The command line is invalid, or an answer is missing.",
    ExitCode.PREFLIGHT: "A problem ended the command before anything was changed.",
    ExitCode.UNREACHABLE: "A host did not answer or refused the login; the others may be done.",
    ExitCode.DIFFERENT: "Something differs; with --exit-code only.",
    ExitCode.INTERRUPTED: "The command was interrupted.",
}


def render_pages() -> dict[str, str]:
    """Return the text of each page, by the name of its file."""
    return {f"{'-'.join(words)}.1": _render(words, context) for words, context in _list_commands()}


def _list_commands() -> Iterator[tuple[list[str], click.Context]]:
    """Yield the words and the context of the program and of each command."""
    rest = [([PROGRAM], click.Context(app, info_name=PROGRAM, **app.context_settings))]
    while rest:
        words, context = rest.pop()
        yield words, context
        if isinstance(context.command, click.Group):
            for name, command in context.command.commands.items():
                rest.append(([*words, name], click.Context(command, info_name=name, parent=context)))


def _render(words: list[str], context: click.Context) -> str:
    command = context.command
    text = inspect.cleandoc(command.help or "")
    title = "-".join(words)
    lines = [
        f'.TH "{_escape(title.upper())}" "1" "" "NoSlop" "NoSlop"',
        ".SH NAME",
        f"{_escape(title)} \\- {_escape(get_summary(text))}",
        ".SH SYNOPSIS",
        f".B {_escape(' '.join(words))}",
        _escape(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_render_text(text),
    ]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [option.get_help_record(context) for option in options]
    lines.append(".SH OPTIONS")
    for record in filter(None, records):
        lines += [".TP", f".B {_escape(record[0])}", _escape(record[1])]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name, one in command.commands.items():
            lines += [".TP", f".BR {_escape(f'{title}-{name}')} (1)", _escape(get_summary(one.help or ""))]
    if examples := EXAMPLES.get(" ".join(words[1:])):
        lines += [".SH EXAMPLES", ".nf", *map(_escape, examples), ".fi"]
    lines.append(".SH EXIT STATUS")
    for code, meaning in _CODES.items():
        lines += [".TP", f".B {int(code)}", _escape(meaning)]
    if len(words) > 1:
        lines += [".SH SEE ALSO", f".BR {_escape('-'.join(words[:-1]))} (1)"]
    return "\n".join(lines) + "\n"


def get_summary(text: str) -> str:
    """Return the first sentence of a help, without its full stop."""
    first, _, _ = inspect.cleandoc(text).partition("\n\n")
    return re.split(r"(?<=\.)\s", first)[0].rstrip(".:")


def _render_text(text: str) -> Iterator[str]:
    """Yield paragraphs, and those after click's sign for unfilled ones with their lines."""
    for number, paragraph in enumerate(text.split("\n\n")):
        yield from [".PP"] if number else []
        if paragraph.startswith("\b\n"):
            yield from (".nf", *map(_escape, paragraph.removeprefix("\b\n").splitlines()), ".fi")
        else:
            yield _escape(" ".join(paragraph.split()))


def _escape(text: str) -> str:
    """Return a line of text so that troff prints it as it is (groff_man_style(7))."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{escaped}" if escaped.startswith((".", "'", " ")) else escaped


def main(check: bool) -> int:
    """Write the pages, or report that they are stale. Return 1 where something is left to do."""
    pages = render_pages()
    present = {path.name: path.read_text("utf-8") for path in PAGES.glob("*")}
    if pages == present:
        return 0
    if check:
        print(f"{PAGES.relative_to(ROOT)} is stale: run `make docs`.")
        return 1
    PAGES.mkdir(exist_ok=True)
    for name in present.keys() - pages.keys():
        (PAGES / name).unlink()
    for name, text in pages.items():
        (PAGES / name).write_text(text, "utf-8")
    print(f"wrote {PAGES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
