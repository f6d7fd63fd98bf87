"""The report as one page of HTML that loads nothing: see `page`."""
