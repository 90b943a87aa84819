"""The report of a load run: one self-contained page with its verdict, what it rests on, and charts."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from msgspec import Struct

from warifu.lab.rigs.machine import machine

STYLE = """
body{font:15px/1.55 system-ui,"IPAexGothic","Noto Sans CJK JP",sans-serif;margin:2rem auto;
max-width:50rem;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
.ja{color:#666;font-weight:400;font-size:.85em}.verdict{padding:.7rem 1rem;border-radius:6px;margin:1rem 0}
.passed{background:#e4f4e6;border-left:6px solid #15803d}.failed{background:#fdeaea;border-left:6px solid #b91c1c}
table{border-collapse:collapse;margin:.8rem 0}td,th{padding:.25rem .9rem .25rem 0;border-bottom:1px solid #e3e3e3;
text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}figure{margin:1.2rem 0}
figcaption{font-weight:600}svg text{font-size:11px;fill:#444}.axis{stroke:#444}.grid{stroke:#e8e8e8}
.mark{stroke:#999;stroke-dasharray:3 3}.note{fill:#777}.limit{stroke:#b91c1c;stroke-dasharray:6 3}
.legend span{margin-right:1.2rem;font-size:.85em;white-space:nowrap}.small{color:#666;font-size:.85em}
"""


class Section(Struct, frozen=True):
    """A part of the page: a heading, words, a table, charts."""

    title: str
    japanese: str = ""
    words: str = ""
    table: tuple[tuple[str, ...], ...] = ()
    """First row: the head. Cells that are numbers stand to the right."""
    charts: tuple[str, ...] = ()


def page(title: str, japanese: str, *, passed: bool, reasons: Sequence[str], sections: Sequence[Section]) -> str:
    """The page."""
    verdict = "passed 合格" if passed else "not passed 不合格"
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    body = "".join(map(_section, sections))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)} <span class="ja" lang="ja">{escape(japanese)}</span></h1>
<p class="small">{escape(machine())}. The load generator ran on the same processors.
Synthetic residents and virtual cards only: this is not the real service.</p>
<div class="verdict {"passed" if passed else "failed"}"><strong>{verdict}</strong><ul>{items}</ul></div>
{body}</body></html>
"""


def _section(section: Section) -> str:
    japanese = f' <span class="ja" lang="ja">{escape(section.japanese)}</span>' if section.japanese else ""
    words = f"<p>{escape(section.words)}</p>" if section.words else ""
    return f"<h2>{escape(section.title)}{japanese}</h2>{words}{_table(section.table)}{''.join(section.charts)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    number = re.fullmatch(r"[-+]?[0-9][0-9,.]*", text)
    return f'<td class="n">{escape(text)}</td>' if number else f"<td>{escape(text)}</td>"


def rows_of(head: tuple[str, ...], figures: Mapping[str, float | str], digits: int = 0) -> tuple[tuple[str, ...], ...]:
    """A table of names and figures."""
    return (
        head,
        *((name, value if isinstance(value, str) else f"{value:,.{digits}f}") for name, value in figures.items()),
    )


def write(path: Path, text: str) -> None:
    """Write the page. ``OSError`` when it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
