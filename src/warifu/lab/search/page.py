"""A run as one self-contained page: who sent what to whom, when, and what befell it; no script, no other file."""

from html import escape

from warifu.lab.history import Event
from warifu.lab.search.run import Outcome

MOST = 4_000
"""Events on a page; of a longer history the end, which is where it failed."""
STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}
h1{font-size:1.2rem}p{max-width:60rem}.failed{color:#a00;font-weight:600}
table{border-collapse:collapse;font:12px/1.5 ui-monospace,monospace}
th{position:sticky;top:0;background:#eee;text-align:left}
td,th{padding:0 .6rem;border-bottom:1px solid #eee;vertical-align:top;white-space:nowrap}
td:last-child{white-space:normal}.ms{text-align:right;color:#777}
.fault{background:#fde8e8}.effect{background:#e6f4e6}.fail{color:#a00}.outbox{background:#fff6dd}
.invoke,.answer{font-weight:600}.log{color:#777}.hsm,.chip{color:#357}
"""


def page(outcome: Outcome, option: str = "") -> str:
    """The page.

    Args:
        outcome: of the run.
        option: as it stood on the command line beside the plan, e.g. ``--without F6``.
    """
    shown = outcome.history[-MOST:]
    names = {operation: number for number, operation in enumerate(_operations(outcome.history), 1)}
    rows = "\n".join(_row(event, names) for event in shown)
    plan = escape(f"warifu lab search {option} --replay {outcome.plan.text()}".replace("  ", " "))
    failure = f"FAILED: {outcome.failure.text}" if outcome.failure else "no property failed"
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.faults.items())) or "none"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(outcome.plan.text())}</title><style>{STYLE}</style></head>
<body><h1>{escape(outcome.plan.text())}</h1>
<p class="{"failed" if outcome.failure else ""}">{escape(failure)}</p>
<p>{outcome.steps:,} steps, {outcome.messages:,} messages, {outcome.collisions:,} collisions
in {outcome.virtual_ms:,} ms of virtual time; faults: {escape(faults)};
trace {outcome.trace_hash}<br><code>{plan}</code></p>
<p>{len(shown):,} of {len(outcome.history):,} events.</p>
<table><thead><tr><th>ms</th><th>who</th><th></th><th>whom</th><th>operation</th><th>what</th></tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _operations(history: tuple[Event, ...]) -> list[str]:
    return list(dict.fromkeys(event.operation_id for event in history if event.operation_id))


def _row(event: Event, names: dict[str, int]) -> str:
    operation = f"{names[event.operation_id]} · {event.step}" if event.operation_id else event.step
    what = " ".join(part for part in (event.outcome, event.name, event.detail) if part)
    cells = (event.node, event.kind, event.peer, operation, what)
    return f'<tr class="{event.kind}"><td class="ms">{event.at_ms}</td>' + "".join(
        f"<td>{escape(cell)}</td>" for cell in cells
    )
