"""The engine: who is in the tree, how much it holds, deciding, and stopping it.

Nothing is imported here: what runs before the user's command starts is a budget, and every module says what it needs.
"""
