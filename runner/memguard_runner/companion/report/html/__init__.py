"""The report as one page of HTML that loads nothing: `page` makes it of facts, `write` puts it into a file."""
