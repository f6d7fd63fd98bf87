"""A leak to try memguard on: of two worker processes one works as it should, and one forgets nothing.

    memguard-test -t 200 python examples/leak.py

The leaking worker takes about 100 MB a second. It ends by itself at 1 GB, so the script is safe without memguard, too.
"""

import os
import signal
import subprocess
import sys
import time

PICTURE = 10  # MB
PAUSE = 0.1  # seconds between two pictures: 100 MB a second
PICTURES = 100  # 1 GB in all, then the workers end
LONGEST = 60  # seconds: on a machine that is very busy, SIGALRM ends the script


def picture() -> bytes:
    """Return 10 MB of noise, which no system can compress or share."""
    return os.urandom(1 << 20) * PICTURE


def thumbnails() -> None:
    """Keep every picture that was ever made: the leak."""
    cache = []
    for _ in range(PICTURES):
        cache.append(picture())
        time.sleep(PAUSE)


def uploads() -> None:
    """Use one picture at a time, as it should be."""
    for _ in range(PICTURES):
        latest = picture()
        time.sleep(PAUSE)
        del latest


WORKERS = {"thumbnails": thumbnails, "uploads": uploads}


def main() -> int:
    """Start both workers and wait for them, as a test runner would."""
    print(f"{len(WORKERS)} workers, {PICTURES} pictures of {PICTURE} MB each", flush=True)
    workers = [subprocess.Popen([sys.executable, sys.argv[0], name]) for name in WORKERS]
    try:
        statuses = [worker.wait() for worker in workers]
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()
            worker.wait()
        return 130
    if any(statuses):
        print(f"a worker failed: exit statuses {statuses}")
        return 1
    print("done: nothing stopped the leak")
    return 0


if __name__ == "__main__":
    signal.alarm(LONGEST)
    if len(sys.argv) > 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback
        WORKERS[sys.argv[1]]()
    else:
        sys.exit(main())
