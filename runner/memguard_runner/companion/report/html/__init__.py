"""The report as one page of HTML that loads nothing: `page` makes it of facts, `write` puts it into a file."""

from .page import page
from .write import write

__all__ = ["page", "write"]
