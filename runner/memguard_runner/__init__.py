"""The runner: `memguard-test [options] [--] command [args...]`."""
