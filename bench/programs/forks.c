/* forks RATE SECONDS: a machine where others work, too: so many short-lived processes a second. */
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    long rate = strtol(words[1], NULL, 10);
    alarm((unsigned)strtoul(words[2], NULL, 10));
    for (;;) {
        pid_t child = vfork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
        nanosleep(&(struct timespec){0, 1000000000L / (rate > 1 ? rate : 2)}, NULL);
    }
}
