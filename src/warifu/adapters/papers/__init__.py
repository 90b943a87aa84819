"""Papers that go over the counter: application form, delivery notice, receipt, appended particulars, as PDF.

``press`` prints; what stands on each paper is a value of ``content``; how it looks is in ``forms/*.typ``.
"""

from warifu.adapters.papers.content import (
    ApplicationForm,
    DeliveryNotice,
    DeliveryNotices,
    Entry,
    Paper,
    Particulars,
    Receipt,
)
from warifu.adapters.papers.press import Press, TooLong

__all__ = (
    "ApplicationForm",
    "DeliveryNotice",
    "DeliveryNotices",
    "Entry",
    "Paper",
    "Particulars",
    "Press",
    "Receipt",
    "TooLong",
)
