"""`python -m memguard_runner` is `memguard-test`, and so is this file by its path (`--watch`): no relative import."""

from memguard_runner.main import main_and_exit

main_and_exit()
