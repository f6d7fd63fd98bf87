/* idle COUNT SECONDS READY [words...]: COUNT processes that do nothing for SECONDS at most; READY gets the first pid.
 *
 * The words are only there to be read as a command line. Children die with their parent. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    unsigned seconds = (unsigned)strtoul(words[2], NULL, 10);
    pid_t parent = getpid();
    for (unsigned long left = strtoul(words[1], NULL, 10); left > 1; left--) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(seconds);
            while (getppid() == parent)
                pause();
            return 0;
        }
    }
    alarm(seconds);
    FILE *ready = fopen(words[3], "w");
    if (!ready || fprintf(ready, "%d\n", (int)parent) < 0 || fclose(ready) != 0) {
        perror(words[3]);
        return 1;
    }
    for (;;)
        pause();
}
