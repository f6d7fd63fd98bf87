"""`python -m memguard_runner` is `memguard-test`."""

from memguard_runner.main import main_and_exit

main_and_exit()
