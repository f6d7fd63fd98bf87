"""CI providers: what each shows more than plain lines."""
