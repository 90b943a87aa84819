"""Floor 4, screens: the counter's web application, server-rendered, in the terminal's own process.

``app.make_app`` builds it; ``terminal.CounterTerminal`` is the node it belongs to. Rooms: ``accounts`` (staff,
sign-in), ``desk`` (work that is never lost), ``seats`` (what lies before one clerk), ``visit`` (one request: who, which
words, which guards), ``pages_*`` (the pages), ``words`` (both languages). PINs pass from the resident's page to the
chip through this process's memory and nothing else. See docs/decisions/0015-screens.md.
"""
