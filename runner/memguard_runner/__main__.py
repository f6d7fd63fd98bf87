"""`python -m memguard_runner` is `memguard-test`."""

from .main import main_and_exit

main_and_exit()
