"""What `memguard-test --help` prints: one screen of 80 x 24."""

HELP = """\
usage: memguard-test [options] [--] command [args...]

Runs a command and keeps it, with all it starts, inside a memory budget.

  -t, --limit SIZE      what the whole tree may hold: MB, 1.5G or 50% (800)
  --min-available SIZE  stop it, too, when the machine has less than that left
  -l, --log FILE        append JSON lines; -i, --interval S: how often (3)
  -v, --verbose         status line, and the peak at the end
  --grace S             seconds between SIGTERM and SIGKILL (default 5)
  --watch               run again whenever a file changes (extra: watch)
  --profile NAME        take [tool.memguard.profiles.NAME] from pyproject.toml
  --notify-on WORDS     kill,warning,finish; --no-notify; --notify-command CMD
  --leave-running       what the command leaves behind at its end is not stopped
  --show-config         print every setting and where it comes from; --version

Exit status: the command's own; 128+N when signal N ended it; 137 when memguard
stopped it; 125 own failure, 126 not executable, 127 not found, 2 wrong usage.

  memguard-test bun test
  memguard-test -t 1.5G -v npm run build
  memguard-test -t 50% -l memory.log -- bash -c "make && make check"
"""
