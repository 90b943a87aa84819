"""Floor 4, the residents' portal: server-rendered pages for a phone, in the portal node's own process.

``app.make_app`` builds it; ``photo`` makes of a camera's picture what a card needs. No cookies but the language, no
login: the application ID is the key, it travels in forms only, never in an address.
"""
