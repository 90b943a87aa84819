"""Errors of JPKI's reception."""

from warifu.kernel.errors import NotAllowed


class WriteEnded(NotAllowed):
    """The card write that this request belongs to has ended already."""

    code = "authority.write_ended"
