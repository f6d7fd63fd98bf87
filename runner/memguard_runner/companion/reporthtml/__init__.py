"""The report as one page of HTML: `page(logs)` is pure, facts in and text out. The page loads nothing from anywhere."""

from .page import page

__all__ = ["page"]
