/* hog BOARD MODE BOUND_MB HOGS IDLE HOLD_SECONDS: takes memory at full speed, up to BOUND_MB in all hogs together.
 *
 * MODE: pages (4 KB each), huge (2 MB, by madvise), populate (MAP_POPULATE, 64 MB a call); beside (pages, while all share
 * 400 MB from before they were forked), copy (writes to these 400 MB, so each page is copied, then takes pages). IDLE more do nothing.
 * Safe by itself: RLIMIT_AS, alarm(2), and children die with their parent. */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "board.h"

#define MB ((size_t)1 << 20)
#define CHUNK (64 * MB)
#define SHARED (400 * MB)
#define LIFE 40 /* seconds, besides the hold */

static void take(struct board *board, size_t slot, const char *mode, size_t bound, char *shared)
{
    size_t copied = 0;
    if (!strcmp(mode, "copy"))
        for (; copied < SHARED && copied < bound; board->touched[slot] = copied += 4096)
            shared[copied] = 2;
    if (!strcmp(mode, "populate")) {
        for (size_t taken = 0; taken + CHUNK <= bound; board->touched[slot] = taken += CHUNK)
            if (mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
                return;
        return;
    }
    size_t step = strcmp(mode, "huge") ? 4096 : 2 * MB;
    char *block = mmap(NULL, bound, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return;
    madvise(block, bound, step == 4096 ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    for (size_t offset = 0; offset + copied < bound; offset += step) {
        block[offset] = 1;
        board->touched[slot] = copied + offset + step;
        if (slot == 0 && (offset + step) % MB == 0 && (offset + step) / MB < STAMPS)
            board->stamps[(offset + step) / MB] = now();
    }
}

int main(int count, char **words)
{
    if (count != 7)
        return 2;
    struct board *board = open_board(words[1]);
    const char *mode = words[2];
    size_t hogs = strtoul(words[4], NULL, 10), idle = strtoul(words[5], NULL, 10);
    size_t bound = strtoul(words[3], NULL, 10) * MB / (hogs ? hogs : 1);
    unsigned hold = (unsigned)strtoul(words[6], NULL, 10);
    size_t shares = !strcmp(mode, "copy") || !strcmp(mode, "beside") ? SHARED : 0;
    struct rlimit space = {bound + shares + 64 * MB, bound + shares + 64 * MB};
    setrlimit(RLIMIT_AS, &space);
    char *shared = NULL;
    if (shares) {
        shared = mmap(NULL, shares, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
            return 1;
        madvise(shared, shares, MADV_NOHUGEPAGE);
        memset(shared, 1, shares);
    }

    size_t slot = 0;
    pid_t parent = getpid();
    for (size_t next = 1; next < hogs + idle && next < MEMBERS; next++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                return 1;
            slot = next;
            break;
        }
    alarm(LIFE + hold);
    board->pids[slot] = (uint64_t)getpid();
    __atomic_add_fetch(&board->members, 1, __ATOMIC_SEQ_CST);
    if (slot >= hogs)
        for (;;)
            pause();
    while (!board->go)
        usleep(500);
    take(board, slot, mode, bound, shared);
    __atomic_add_fetch(&board->finished, 1, __ATOMIC_SEQ_CST);
    sleep(hold);
    return 0;
}
