"""Floor 0: what every room shares and nobody argues about: identifiers, check digits, the calendar, errors.

May import nothing of the project.
"""
