/* witness BOARD LIMIT_BYTES: looks at the members from outside, four times a millisecond, until they are gone.
 *
 * LIMIT_BYTES is a sum of resident memory. A member counts as stopped when its state says so, and when it has let go of
 * its memory (statm shows zeros from then on, though freeing a big one takes 0.1 s more). */
#include <sched.h>
#include <sys/prctl.h>

#include "board.h"

#define PAUSE 250000 /* nanoseconds */
#define LIFE 60      /* seconds */

static int open_file(uint64_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lu/%s", (unsigned long)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t resident(int file, uint64_t page)
{
    char text[128];
    unsigned long pages = 0;
    ssize_t length = file < 0 ? -1 : pread(file, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = 0;
    return sscanf(text, "%*u %lu", &pages) == 1 ? pages * page : 0;
}

static int runs(int file)
{
    char text[512];
    ssize_t length = file < 0 ? -1 : pread(file, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = 0;
    for (ssize_t end = length - 1; end > 0; end--) /* the name in parentheses is "hog": no trap here */
        if (text[end] == ')')
            return text[end + 2] == 'R' || text[end + 2] == 'S' || text[end + 2] == 'D';
    return 0;
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    struct board *board = open_board(words[1]);
    uint64_t limit = strtoull(words[2], NULL, 10), page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t members = board->members < MEMBERS ? board->members : MEMBERS;
    int statm[MEMBERS], stat[MEMBERS];
    for (uint64_t slot = 0; slot < members; slot++) {
        statm[slot] = open_file(board->pids[slot], "statm");
        stat[slot] = open_file(board->pids[slot], "stat");
    }
    alarm(LIFE);
    prctl(PR_SET_TIMERSLACK, 1);
    struct sched_param priority = {1};
    sched_setscheduler(0, SCHED_FIFO, &priority); /* two hogs must not starve it; only root may, without it goes, too */
    board->witness_ready = 1;
    for (;;) {
        uint64_t sum = 0, each[MEMBERS];
        for (uint64_t slot = 0; slot < members; slot++)
            sum += each[slot] = resident(statm[slot], page);
        if (sum > board->peak)
            board->peak = sum;
        if (!board->crossed && sum > limit)
            board->crossed = now();
        if (board->crossed && !board->stopped) {
            int running = 0;
            for (uint64_t slot = 0; slot < members && !running; slot++)
                running = each[slot] && runs(stat[slot]);
            if (!running)
                board->stopped = now();
        }
        if (sum == 0) {
            board->gone = now();
            return 0;
        }
        nanosleep(&(struct timespec){0, PAUSE}, NULL);
    }
}
